"""The encoders that are evaluated: how they are read, and what they are called."""

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from hundredth.errors import UserError
from hundredth.evaluation.encoders.encoder import encoder_labels, open_encoder

TEXTS = ["my card is gone", "where is my refund for the hotel"]


@pytest.fixture(scope="module")
def sentence_encoder(tiny_encoder, tmp_path_factory):
    """The folder of a SentenceTransformer that pools by [CLS]."""
    folder = tmp_path_factory.mktemp("sentence-encoder")
    open_encoder(str(tiny_encoder), "cls").save(str(folder))
    return folder


def states(folder, text):
    tokens = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    with torch.inference_mode():
        return AutoModel.from_pretrained(folder)(**tokens).last_hidden_state[0].numpy()


@pytest.mark.parametrize(
    ("pooling", "pool"), [("cls", lambda s: s[0]), ("mean", lambda s: s.mean(axis=0)), ("last", lambda s: s[-1])]
)
def test_a_plain_model_is_read_with_the_pooling_that_is_named(tiny_encoder, pooling, pool):
    found = open_encoder(str(tiny_encoder), pooling).encode(TEXTS)
    for text, row in zip(TEXTS, found, strict=True):
        np.testing.assert_allclose(row, pool(states(tiny_encoder, text)), atol=1e-5)


def test_a_decoder_is_read_at_its_last_token_also_beside_longer_texts(tiny_llm):
    found = open_encoder(str(tiny_llm), "last").encode(TEXTS)
    for text, row in zip(TEXTS, found, strict=True):
        np.testing.assert_allclose(row, states(tiny_llm, text)[-1], atol=1e-4)


def test_a_sentence_transformer_keeps_its_own_pooling(sentence_encoder, tiny_encoder):
    kept = open_encoder(str(sentence_encoder), "mean").encode(TEXTS[0])
    np.testing.assert_allclose(kept, states(tiny_encoder, TEXTS[0])[0], atol=1e-5)


def test_a_plain_model_without_a_pooling_is_refused(tiny_encoder):
    """sentence-transformers would take the mean and only log it: the numbers would be of another encoder."""
    with pytest.raises(UserError, match="--pooling cls, mean, last"):
        open_encoder(str(tiny_encoder))


def test_an_unknown_pooling_is_refused(tiny_encoder):
    with pytest.raises(UserError, match="no pooling 'max': choose one of cls, mean, last"):
        open_encoder(str(tiny_encoder), "max")


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["runs/a", "runs/b"], ["a", "b"]),
        (["runs/a/model", "runs/b/model"], ["a/model", "b/model"]),
        (["x/seed-0/enc", "y/seed-0/enc"], ["x/seed-0/enc", "y/seed-0/enc"]),
        (["package:pkg/model", "all-MiniLM-L6-v2"], ["pkg/model", "all-MiniLM-L6-v2"]),
        (["enc", "runs/enc"], ["enc", "runs/enc"]),
    ],
)
def test_labels_are_as_short_as_they_can_be(names, labels):
    assert encoder_labels(names) == labels


def test_an_encoder_named_twice_is_refused():
    with pytest.raises(UserError, match="'a' is named twice"):
        encoder_labels(["a", "b", "a"])
