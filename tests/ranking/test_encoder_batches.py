"""Batches of like length: their rows, their order, and their tokens."""

from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer
from tiny_bases import sentences

from hundredth.ranking import tokens as tokens_module
from hundredth.ranking.bucketing import LengthBuckets
from hundredth.ranking.tokens import Tokenizer, TokenRows, embed, write_tokens


def lengths(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(3, 33, count).astype(np.int32)


def test_a_pass_takes_every_row_once_and_the_next_pass_in_another_order() -> None:
    batches = list(LengthBuckets(lengths(1000), 10, 200, seed=3))
    first, second = batches[:100], batches[100:]
    assert sorted(chain(*first)) == sorted(chain(*second)) == list(range(1000))
    assert first != second
    assert batches == list(LengthBuckets(lengths(1000), 10, 200, seed=3))
    assert batches != list(LengthBuckets(lengths(1000), 10, 200, seed=4))


def test_the_rows_left_over_by_one_pass_change_from_pass_to_pass() -> None:
    batches = list(LengthBuckets(lengths(25), 10, 40))
    left = [set(range(25)) - set(chain(*batches[at : at + 2])) for at in range(0, 40, 2)]
    assert all(len(one) == 5 for one in left)
    assert len({frozenset(one) for one in left}) > 10


def test_little_of_a_batch_is_padding_and_its_lengths_come_in_any_order() -> None:
    sizes = lengths(20_000)
    batches = [sizes[rows] for rows in LengthBuckets(sizes, 64, 300)]
    padding = 1 - sum(map(np.sum, batches)) / sum(batch.max() * len(batch) for batch in batches)
    assert padding < 0.05
    means = np.array([batch.mean() for batch in batches])
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.2


def test_processes_share_the_batches_of_one() -> None:
    sizes = lengths(500)
    whole = list(LengthBuckets(sizes, 12, 60, seed=1))
    shares = [list(LengthBuckets(sizes, 12, 60, seed=1, process=i, processes=3)) for i in range(3)]
    for step, batch in enumerate(whole):
        parts = [share[step] for share in shares]
        assert {len(part) for part in parts} == {4}
        assert sorted(chain(*parts)) == sorted(batch)


@pytest.fixture
def model(tiny_encoder: Path) -> SentenceTransformer:
    return SentenceTransformer(str(tiny_encoder), device="cpu")


def test_tokens_written_and_read_back_are_those_of_encode(
    model: SentenceTransformer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small chunks, so that rows stand in several of them, and the last is not full."""
    monkeypatch.setattr(tokens_module, "CHUNK", 7)
    monkeypatch.setattr(tokens_module, "_TOKENISED", 3)
    texts = sentences(25)
    tokenizer = Tokenizer(model, 8)
    done: list[int] = []
    corpus = Dataset.from_dict({"sentence": texts})
    write_tokens(tokenizer, corpus, "sentence", tmp_path / "t.arrow", lambda at, total, note: done.append(at))
    rows = TokenRows(tmp_path / "t.arrow")
    assert len(rows) == 25
    assert done[-1] == 25
    for row, text in enumerate(texts):
        ids = model.tokenizer(text, truncation=True, max_length=8).input_ids
        assert rows[row].tolist() == ids
        assert rows.lengths[row] == len(ids)
    batch = tokenizer.batch([rows[3], rows[20]])
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (2, max(rows.lengths[[3, 20]]))
    assert batch["attention_mask"].sum(dim=1).tolist() == rows.lengths[[3, 20]].tolist()


def test_embeddings_of_tokens_are_those_of_encode(
    model: SentenceTransformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens_module, "_ENCODED", 40)
    texts = sentences(30)
    tokenizer = Tokenizer(model)
    found = embed(model.train(), tokenizer, tokenizer(texts))
    assert model.training
    expected = model.eval().encode(texts, normalize_embeddings=True, convert_to_tensor=True)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
