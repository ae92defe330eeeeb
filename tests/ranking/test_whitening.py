"""Encoders that are made of a model's first layers by whitening."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer
from tiny_bases import ARCHITECTURES, base_folder, sentences, text_file

from hundredth.encoders import load_encoder
from hundredth.errors import UserError
from hundredth.ranking import TeacherRankings, whiten_encoder
from hundredth.ranking.whitening import first_layers, token_weights, whitening


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 12), st.data())
def test_what_is_whitened_has_mean_0_and_covariance_1(seed: int, width: int, data: Any) -> None:
    kept = data.draw(st.integers(1, width))
    generator = np.random.default_rng(seed)
    vectors = generator.normal(size=(5 * width, width)) @ generator.normal(size=(width, width)) + 10
    matrix, bias = whitening(vectors, kept)
    white = vectors @ matrix + bias
    assert white.shape == (5 * width, kept)
    assert white.mean(axis=0) == pytest.approx(np.zeros(kept), abs=1e-6)
    assert np.cov(white.T, ddof=1).reshape(kept, kept) == pytest.approx(np.eye(kept), abs=1e-6)


def test_the_strongest_directions_are_kept() -> None:
    vectors = np.random.default_rng(0).normal(size=(500, 3)) * [1.0, 10.0, 0.1]
    matrix, _ = whitening(vectors, 1)
    assert abs(matrix[1, 0]) == pytest.approx(np.abs(matrix).max())
    assert abs(matrix[1, 0]) > 20 * max(abs(matrix[0, 0]), abs(matrix[2, 0]))


@pytest.mark.parametrize(("dimensions", "said"), [(5, "vary in 2 directions"), (0, "0 dim"), (7, "have 6")])
def test_what_cannot_be_whitened(dimensions: int, said: str) -> None:
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(50, 2)) @ generator.normal(size=(2, 6))
    with pytest.raises(ValueError, match=said):
        whitening(vectors, dimensions)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_encoder_of_the_first_layers(architecture: str, tmp_path: Path) -> None:
    """Of two layers the first: its states as they are, without the norm that decoders end with."""
    base, out = base_folder(architecture, tmp_path / "base"), tmp_path / "out"
    corpus = text_file(tmp_path / "corpus.txt", 400)
    assert whiten_encoder(str(base), corpus, out, layers=1, dimensions=6, sentences=300) == out
    made = SentenceTransformer(str(out), device="cpu")
    white = made.encode(sentences(400)[::2])
    assert white.shape == (200, 6)
    assert np.abs(white.mean(axis=0)).max() < 0.3
    assert np.diag(np.cov(white.T)) == pytest.approx(np.ones(6), abs=0.4)
    whole: Any = load_encoder(str(base))
    features = {k: v for k, v in whole.preprocess(["my card"]).items() if torch.is_tensor(v)}
    with torch.inference_mode():
        states = whole[0].model(**features, output_hidden_states=True).hidden_states[1]
        read = made[1](made[0](made.preprocess(["my card"])))["token_embeddings"]  # before words are weighted
    assert torch.allclose(read, states, atol=1e-5)


def test_frequent_words_count_less(tmp_path: Path) -> None:
    model: Any = load_encoder(str(base_folder("roberta", tmp_path / "base")))
    weights = token_weights(model, ["the the the card"], 0.05)
    by_word = dict(zip(weights.vocab, weights.emb_layer.weight[:, 0].tolist(), strict=True))
    total = len(weights.vocab) + len(model.tokenizer("the the the card")["input_ids"])
    for word, count in (("the", 4), ("card", 2), ("money", 1)):
        assert by_word[word] == pytest.approx(0.05 / (0.05 + count / total), rel=1e-6)


def test_an_embedding_is_the_weighted_mean_whitened(tmp_path: Path) -> None:
    base, corpus = base_folder("llama", tmp_path / "base"), text_file(tmp_path / "corpus.txt", 400)
    folder = whiten_encoder(str(base), corpus, tmp_path / "out", dimensions=4, sif=0.01)
    made: Any = SentenceTransformer(str(folder), device="cpu")
    whole: Any = load_encoder(str(base))
    features = {k: v for k, v in whole.preprocess(["the card my card"]).items() if torch.is_tensor(v)}
    words, dense = made[1], made[-1]
    with torch.inference_mode():
        states = whole[0].model(**features).last_hidden_state[0]
        weights = words.emb_layer(features["input_ids"][0])
        expected = dense.linear((states * weights).sum(dim=0) / weights.sum())
    assert made.encode("the card my card") == pytest.approx(expected.numpy(), abs=1e-4)


def test_fewer_layers_are_kept(tmp_path: Path) -> None:
    model: Any = load_encoder(str(base_folder("llama", tmp_path / "base", layers=4)))
    before = sum(one.numel() for one in model.parameters())
    [reading] = first_layers(model, 1, "it")
    assert len(model[0].model.layers) == 2
    assert sum(one.numel() for one in model.parameters()) < before
    assert reading.layer_weights.tolist() == [1, 0]
    assert first_layers(model, 2, "it") == []


def test_it_is_a_teacher_and_comes_out_the_same_twice(tmp_path: Path) -> None:
    base = base_folder("llama", tmp_path / "base")
    corpus = text_file(tmp_path / "corpus.txt", 300)
    made = [whiten_encoder(str(base), corpus, tmp_path / name, dimensions=8) for name in ("a", "b")]
    one, other = (SentenceTransformer(str(folder), device="cpu").encode(["my card"]) for folder in made)
    assert np.array_equal(one, other)
    rankings = TeacherRankings([str(made[0])], cache=tmp_path / "cache")
    ranked = rankings.rank(Dataset.from_dict({"sentence": sentences(20)}), "sentence")
    rows = rankings.rows(torch.tensor(ranked["label"][:]))
    assert rows.shape == (20, 8)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"layers": 3}, "has 2 layers: 3 of them cannot be kept"),
        ({"dimensions": 17}, "17 dimensions of vectors that have 16"),
        ({"sentences": 5}, "by 5 sentences: they vary in 4 directions, fewer than the 8"),
    ],
)
def test_bad_settings(changed: dict[str, float], said: str, tmp_path: Path) -> None:
    base, corpus = base_folder("roberta", tmp_path / "base"), text_file(tmp_path / "corpus.txt")
    with pytest.raises(UserError, match=said):
        whiten_encoder(str(base), corpus, tmp_path / "out", **{"dimensions": 8, **changed})  # type: ignore[arg-type]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "corpus.txt"]


@pytest.mark.parametrize(("settings", "between"), [({}, "WordWeights"), ({"layers": 1}, "WeightedLayerPooling")])
def test_what_is_whitened_already_is_refused(settings: dict[str, Any], between: str, tmp_path: Path) -> None:
    base, corpus = base_folder("roberta", tmp_path / "base"), text_file(tmp_path / "corpus.txt")
    whiten_encoder(str(base), corpus, tmp_path / "white", dimensions=4, **settings)
    with pytest.raises(UserError, match=f"has a {between} between its transformer and its pooling"):
        whiten_encoder(str(tmp_path / "white"), corpus, tmp_path / "again", dimensions=4)


@pytest.mark.parametrize("sif", [-0.1, 1.0, float("nan")])
def test_a_weight_that_cannot_be_is_refused_before_anything_is_loaded(sif: float, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"sif is {sif}: give a share of the corpus"):
        whiten_encoder(str(tmp_path / "no-base"), tmp_path / "no-corpus.txt", tmp_path / "out", sif=sif)


def test_a_folder_in_use_and_a_model_without_layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base, corpus = base_folder("roberta", tmp_path / "base"), text_file(tmp_path / "corpus.txt")
    with pytest.raises(UserError, match="base is not empty: choose another folder"):
        whiten_encoder(str(base), corpus, tmp_path / "base")
    load: Callable[..., Any] = load_encoder

    def without(*arguments: Any, **settings: Any) -> Any:
        model = load(*arguments, **settings)
        model[0].model.config.num_hidden_layers = 99
        return model

    monkeypatch.setattr("hundredth.ranking.whitening.load_encoder", without)
    with pytest.raises(UserError, match="its layers are not found and cannot be cut"):
        whiten_encoder(str(base), corpus, tmp_path / "out", layers=1)
