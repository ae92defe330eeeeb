"""The embeddings of an evaluation: each sentence once, in the order asked for, and finite."""

import numpy as np
import pytest

from hundredth.errors import UserError
from hundredth.evaluation.encoders.embeddings import Embeddings


class Counting:
    """An encoder of one dimension, the length of the text; remembers what it was given."""

    def __init__(self, broken=None):
        self.seen, self.broken = [], broken

    def encode(self, texts, **options):
        self.seen += texts
        return np.array([[np.nan if text == self.broken else len(text)] for text in texts], dtype=np.float32)


def test_each_sentence_is_encoded_once_however_often_it_is_asked_for():
    encoder = Counting()
    embed = Embeddings(encoder)
    assert embed(["bb", "a", "bb"]).tolist() == [[2], [1], [2]]
    assert embed(["a", "cccc", "bb"]).tolist() == [[1], [4], [2]]
    assert sorted(encoder.seen) == ["a", "bb", "cccc"]
    assert embed.encoded == 3


def test_longest_texts_go_first_so_that_little_is_padding():
    encoder = Counting()
    Embeddings(encoder)(["a", "ccc", "bb"])
    assert encoder.seen == ["ccc", "bb", "a"]


def test_white_space_is_taken_as_senteval_takes_it():
    """It takes texts apart at spaces and gives a text without words a full stop."""
    encoder = Counting()
    Embeddings(encoder)([" a  b\t", "a b", "", " "])
    assert sorted(encoder.seen) == [".", "a b"]


def test_progress_counts_what_is_encoded_over_several_chunks():
    told = []
    embed = Embeddings(Counting(), lambda done, total, note: told.append((done, total)))
    embed([f"text {i}" for i in range(1100)])
    embed(["text 1"])
    assert told == [(512, 1100), (1024, 1100), (1100, 1100)]


def test_an_embedding_that_is_no_number_is_refused_with_its_text():
    with pytest.raises(UserError, match=r"1 of 2 texts .* first 'odd'"):
        Embeddings(Counting(broken="odd"))(["fine", "odd"])
