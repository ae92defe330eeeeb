"""Near-copies: exact against the definition, and fast enough for ten thousand texts."""

import random
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hundredth.tasks.similarity import max_similarity, near_copies, normalised

words = st.lists(st.sampled_from(["card", "cards", "lost", "post", "my", "is", "a", "é", "!"]), max_size=7)
texts = st.lists(words.map(" ".join), max_size=12)


def jaccard(first: str, second: str) -> float:
    a, b = ({t[i : i + 4] for i in range(max(1, len(t) - 3))} for t in (normalised(first), normalised(second)))
    return len(a & b) / len(a | b)


@given(texts, st.sampled_from([0.1, 0.3, 0.5, 0.8, 1.0]))
@settings(max_examples=150, deadline=None)
def test_copies_within_a_list_are_those_of_the_definition(given_texts: list[str], threshold: float) -> None:
    """The candidate filter must lose no pair: a lost pair would be a leak that nobody sees."""
    expected = [
        any(jaccard(text, given_texts[j]) >= threshold - 1e-9 for j in range(i))
        for i, text in enumerate(given_texts)
    ]
    assert near_copies(given_texts, threshold=threshold).tolist() == expected


@given(texts, texts, st.sampled_from([0.1, 0.3, 0.5, 0.8, 1.0]))
@settings(max_examples=150, deadline=None)
def test_copies_of_another_list_are_those_of_the_definition(
    mine: list[str], others: list[str], threshold: float
) -> None:
    best = [max((jaccard(text, other) for other in others), default=0.0) for text in mine]
    assert max_similarity(mine, others) == pytest.approx(np.array(best))
    assert near_copies(mine, others, threshold).tolist() == [value >= threshold - 1e-9 for value in best]


pairs = st.lists(st.tuples(words.map(" ".join), words.map(" ".join)), max_size=12)


@given(pairs, pairs, st.sampled_from([0.1, 0.3, 0.5, 0.8, 1.0]))
@settings(max_examples=150, deadline=None)
def test_texts_of_two_fields_are_copies_where_both_fields_are_those_of_one_text(
    mine: list[tuple[str, str]], others: list[tuple[str, str]], threshold: float
) -> None:
    def copy(one: tuple[str, str], other: tuple[str, str]) -> bool:
        return all(jaccard(*sides) >= threshold - 1e-9 for sides in zip(one, other, strict=True))

    expected = [any(copy(one, other) for other in others) for one in mine]
    assert near_copies(mine, others, threshold).tolist() == expected
    expected = [any(copy(one, mine[j]) for j in range(i)) for i, one in enumerate(mine)]
    assert near_copies(mine, threshold=threshold).tolist() == expected


def test_case_punctuation_and_spacing_do_not_count() -> None:
    assert normalised("The CARD -- was\tlost!") == "thecardwaslost"
    assert near_copies(["My card was lost.", "my   CARD, was lost!!", "my dog was found"]).tolist() == [
        False,
        True,
        False,
    ]


def test_letters_of_other_scripts_and_symbols_stay() -> None:
    """Stripping marks would make Hindi words alike, and stripping emoji would make opposite texts equal."""
    assert normalised("हिन्दी में") == "हिन्दीमें"
    assert near_copies(["👍👍👍👍", "👎👎👎👎"]).tolist() == [False, False]


def test_texts_of_punctuation_only_are_alike_only_when_equal() -> None:
    assert near_copies(["!!!", "???", "!!!", ""]).tolist() == [False, False, True, False]


def test_the_first_of_a_group_stays_and_a_chain_goes() -> None:
    chain = ["abcdefghijklmnopqrstuvwxyz", "bcdefghijklmnopqrstuvwxyz0", "cdefghijklmnopqrstuvwxyz01"]
    assert jaccard(chain[0], chain[2]) < 0.9 <= jaccard(chain[0], chain[1])
    assert near_copies(chain, threshold=0.9).tolist() == [False, True, True]


def test_empty_lists_have_no_copies() -> None:
    assert near_copies([]).shape == (0,)
    assert near_copies(["a"], []).tolist() == [False]
    assert max_similarity([], ["a"]).shape == (0,)
    assert max_similarity(["a"], []).tolist() == [0.0]


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.1])
def test_a_threshold_outside_its_range_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match="threshold"):
        near_copies(["a"], threshold=threshold)


def test_ten_thousand_texts_take_seconds() -> None:
    rng = random.Random(0)
    vocabulary = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(2000)]
    mine = [" ".join(rng.choices(vocabulary, k=12)) for _ in range(10_000)]
    others = [text + "." for text in mine[:100]] + [" ".join(rng.choices(vocabulary, k=12)) for _ in range(9900)]
    start = time.perf_counter()
    found = near_copies(mine, others)
    assert time.perf_counter() - start < 15
    assert found[:100].all()
    assert found.sum() == 100
