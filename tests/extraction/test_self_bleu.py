"""Self-BLEU: the fast one is that of a maintained library, to the last digit."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

from hundredth.extraction.self_bleu import diversity, self_bleu, tokens

# Few words, so that n-grams repeat within a text and between texts.
WORDS = st.lists(st.sampled_from(["a", "b", "c", "the"]), min_size=1, max_size=12)


def by_nltk(texts: list[list[str]]) -> list[float]:
    smoothing = SmoothingFunction().method1
    return [
        sentence_bleu([*texts[:i], *texts[i + 1 :]], text, smoothing_function=smoothing, auto_reweigh=True)
        for i, text in enumerate(texts)
    ]


@settings(max_examples=300, deadline=None)
@given(texts=st.lists(WORDS, min_size=2, max_size=7))
def test_it_is_that_of_nltk(texts: list[list[str]]) -> None:
    """Silent otherwise: the policy would be rewarded for another thing than the one that is documented."""
    assert self_bleu(texts) == pytest.approx(by_nltk(texts), abs=1e-12)


def test_it_is_that_of_nltk_on_sentences() -> None:
    texts = [
        tokens(one)
        for one in (
            "The machine swallowed my card this morning.",
            "The machine swallowed my card, and the machine kept it!",
            "When will I get my money back?",
            "When will I get my card back from the machine?",
        )
    ]
    assert self_bleu(texts) == pytest.approx(by_nltk(texts), abs=1e-12)


def test_copies_of_any_length_have_no_diversity_and_strangers_all_of_it() -> None:
    assert diversity([("yes",), ("yes",), ("a b",), ("a b",)], [0, 0, 1, 1]) == pytest.approx([0] * 4)
    assert diversity([("one two three",), ("four five six",)], [0, 0]) == [1, 1]


def test_texts_are_compared_within_their_label_alone() -> None:
    assert diversity([("the same text",), ("the same text",), ("other words",)], [0, 1, 1]) == [1, 1, 1]


def test_all_fields_count() -> None:
    alike, other = diversity([("a b c d", "e f g h"), ("a b c d", "i j k l")], [0, 0])
    assert 0 < alike == other < 1


def test_words_marks_and_unspaced_scripts_are_tokens() -> None:
    assert tokens("Don't stop: naïve!") == ["don", "'", "t", "stop", ":", "naïve", "!"]
    assert tokens("我的卡 card") == ["我", "的", "卡", "card"]
