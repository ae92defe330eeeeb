"""The words that a student knows: which they are, and in what order."""

import pytest
from tiny_student import WORDS, tiny_student, wordpiece_tokenizer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from hundredth.student.prune import prune_vocabulary
from hundredth.student.words import known_words


def test_words_of_the_texts_come_first_then_the_others_by_their_id() -> None:
    texts = ["lost cash", "cash machine, cash", "swallowed"]
    words = known_words(wordpiece_tokenizer(), texts, 100)
    assert words[:4] == ["cash", "swallow", "machine", "lost"]  # thrice, then once each, by id
    assert words[4:] == [word for word in WORDS if word not in words[:4]]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_no_more_than_asked_for(count: int) -> None:
    assert known_words(wordpiece_tokenizer(), [], count) == WORDS[:count]


def test_endings_letters_and_special_tokens_are_no_words() -> None:
    assert set(known_words(wordpiece_tokenizer(), ["transfering a [MASK]"], 100)) == set(WORDS)


def test_a_pruned_student_knows_the_words_that_are_left() -> None:
    model, tokenizer = tiny_student()
    _, pruned, _ = prune_vocabulary(model, tokenizer, ["my card", "lost payment"])
    assert known_words(pruned, [], 100) == ["card", "payment", "lost"]


@pytest.mark.parametrize("capitals", [False, True])
def test_in_byte_level_and_unigram_vocabularies_a_space_begins_a_word(capitals: bool) -> None:
    pieces = ["\u0120", "\u0120card", "card", "\u0120Card", "\u0120caf\u00c3\u00a9", "ing", "\u012012", "\u0120the"]
    if capitals:
        pieces[1], pieces[3] = pieces[3], pieces[1]
    backend = Tokenizer(models.BPE({piece: id for id, piece in enumerate(pieces)}, []))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    assert known_words(tokenizer, [], 100) == ["Card" if capitals else "card", "caf\u00e9", "the"]
