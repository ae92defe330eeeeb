"""The same call again: what goes on, what starts anew, what is found finished, and what cannot be told."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer
from tiny_bases import bag_teacher, sentences, text_file

from hundredth.errors import UserError
from hundredth.ranking import train_encoder, training
from hundredth.ranking.config import EncoderTrainingConfig, make_training_config
from hundredth.ranking.reporting import Silent

SMALL = {"batch_size": 16, "steps": 2, "precision": "float32", "learning_rate": 3e-3}


def config(method: str = "simcse", **values: Any) -> EncoderTrainingConfig:
    return make_training_config(method, {**SMALL, **values})


class Told(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "encoder"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return text_file(tmp_path / "corpus.txt", 64)


# --- After a first error -----------------------------------------------------------------------------------


def test_after_a_first_error_the_corrected_call_starts_anew(tiny_encoder: Path, corpus: Path, out: Path) -> None:
    with pytest.raises(UserError, match="fewer than one batch of 128"):
        train_encoder(tiny_encoder, corpus, out, config=config(batch_size=128))
    told = Told()
    train_encoder(tiny_encoder, corpus, out, config=config(), reporter=told)
    assert "  starting anew, since no step was saved before: config.batch_size is 16 now and was 128" in told.lines
    assert not out.with_name(".encoder.training").exists()


def test_nothing_of_the_first_call_is_left_in_the_second(tiny_encoder: Path, tmp_path: Path, out: Path) -> None:
    """Silent otherwise: the sentences, tokens or scores that were made with other settings."""
    data = Dataset.from_dict({"id": [f"{text} refund" for text in sentences(64)], "sentence": sentences(64)})
    with pytest.raises(UserError, match="NaN"):
        train_encoder(
            tiny_encoder, data, out, teachers=[_broken], config=config("rankcse", max_length=5), column="id"
        )
    assert (out.with_name(".encoder.training") / "tokens.arrow").exists()
    train_encoder(tiny_encoder, data, out, teachers=[bag_teacher], config=config("rankcse"))
    train_encoder(tiny_encoder, data, tmp_path / "alone", teachers=[bag_teacher], config=config("rankcse"))
    one, other = (SentenceTransformer(str(folder), device="cpu") for folder in (out, tmp_path / "alone"))
    assert _equal(one, other)


def _broken(texts: list[str]) -> np.ndarray:
    return np.full((len(texts), 3), np.nan)


def test_with_a_saved_step_other_settings_are_refused(
    tiny_encoder: Path, corpus: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(training, "_publish", _stop)
        with pytest.raises(KeyboardInterrupt):
            train_encoder(tiny_encoder, corpus, out, config=config())
    with pytest.raises(UserError, match=r"was stopped in .*: config\.steps is 3 now and was 2; go on"):
        train_encoder(tiny_encoder, corpus, out, config=config(steps=3))
    told = Told()
    train_encoder(tiny_encoder, corpus, out, config=config(), reporter=told)
    assert "  going on from step 2" in told.lines


def _stop(*_: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("teachers", "weights", "said"),
    [
        ([], [7.0], "1 weights of teachers, but no teacher is named"),
        ([bag_teacher], [0.5, 0.5], "2 weights for 1 teachers"),
        ([bag_teacher, bag_teacher], [0.5, 0.6], "sum to 1.1"),
    ],
    ids=["none", "number", "sum"],
)
def test_weights_that_do_not_fit_are_refused_before_anything_starts(
    teachers: list[Any], weights: list[float], said: str, tiny_encoder: Path, corpus: Path, out: Path
) -> None:
    settings = config("rankcse" if teachers else "simcse")
    with pytest.raises(UserError, match=said):
        train_encoder(tiny_encoder, corpus, out, teachers=teachers, weights=weights, config=settings)
    assert list(out.parent.iterdir()) == [corpus]


# --- What is told apart ------------------------------------------------------------------------------------


def test_a_corpus_that_changed_in_its_middle_is_another(tiny_encoder: Path, tmp_path: Path, out: Path) -> None:
    """Silent otherwise: the size and the ends of the file are the same."""
    lines = [f"my card {number:07d}" for number in range(300_000)]
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(lines))
    settings = config(steps=1)
    train_encoder(tiny_encoder, corpus, out, config=settings)
    lines[75_001] = "the bank 075001"
    corpus.write_text("\n".join(lines))
    with pytest.raises(UserError, match=r"corpus_content is .* now and was"):
        train_encoder(tiny_encoder, corpus, out, config=settings)


def test_an_encoder_of_an_earlier_version_is_still_found(tiny_encoder: Path, corpus: Path, out: Path) -> None:
    """Its record does not hold the hash of the whole corpus yet."""
    train_encoder(tiny_encoder, corpus, out, config=config())
    record = json.loads((out / "training.json").read_text())
    assert record["settings"].pop("corpus_content")
    (out / "training.json").write_text(json.dumps(record))
    told = Told()
    train_encoder(tiny_encoder, corpus, out, config=config(), reporter=told)
    assert told.lines == [f"{out} is already trained with these settings"]


UNTOLD = {
    "function": "a teacher that is a function ('bag_teacher') cannot be told from another: it is taken",
    "stream": "a corpus that is an IterableDataset cannot be told from another: it is taken",
}


@pytest.mark.parametrize("kind", UNTOLD)
@pytest.mark.parametrize("stopped", [False, True])
def test_what_cannot_be_told_from_another_is_said(
    stopped: bool,
    kind: str,
    tiny_encoder: Path,
    corpus: Path,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def train() -> None:
        if kind == "function":
            train_encoder(tiny_encoder, corpus, out, teachers=[bag_teacher], config=config("rankcse"))
        else:
            streamed = Dataset.from_dict({"text": sentences(64)}).to_iterable_dataset()
            train_encoder(tiny_encoder, streamed, out, config=config())

    with monkeypatch.context() as patch:
        if stopped:
            patch.setattr(training, "_publish", _stop)
        try:
            train()
        except KeyboardInterrupt:
            assert stopped
    assert "cannot be told" not in caplog.text
    with caplog.at_level(logging.WARNING, "hundredth.ranking.training"):
        train()
    assert caplog.text.count(UNTOLD[kind]) == 1


# --- A model that is passed in -----------------------------------------------------------------------------


@pytest.fixture
def models(tiny_encoder: Path) -> list[SentenceTransformer]:
    return [SentenceTransformer(str(tiny_encoder), device="cpu") for _ in range(2)]


def test_a_model_that_is_passed_is_trained_in_place_by_a_finished_training_too(
    models: list[SentenceTransformer], corpus: Path, out: Path
) -> None:
    """Silent otherwise: the caller goes on with a model that has learnt nothing."""
    first, second = models
    settings = config(pooling="cls")
    assert train_encoder(first, corpus, out, config=settings) is first
    assert not _equal(first, second)
    assert train_encoder(second, corpus, out, config=settings) is second
    assert _equal(first, second)
    assert not second.training
    np.testing.assert_allclose(second.encode(["my card"]), first.encode(["my card"]), atol=1e-6)


def test_a_model_whose_training_stopped_is_as_it_was_and_the_same_call_goes_on(
    models: list[SentenceTransformer], tiny_encoder: Path, corpus: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = models
    with monkeypatch.context() as patch:
        patch.setattr(training, "_publish", _stop)
        with pytest.raises(KeyboardInterrupt):
            train_encoder(one, corpus, out, config=config())
    assert _equal(one, other)
    told = Told()
    train_encoder(one, corpus, out, config=config(), reporter=told)
    assert "  going on from step 2" in told.lines
    train_encoder(other, corpus, out.with_name("whole"), config=config())
    assert _equal(one, other)
    assert not _equal(one, SentenceTransformer(str(tiny_encoder), device="cpu"))


def test_a_model_in_memory_keeps_its_own_dropout(
    models: list[SentenceTransformer], corpus: Path, out: Path
) -> None:
    """Silent otherwise: a rate that is asked for and not taken."""
    with pytest.raises(UserError, match=r"dropout is 0\.3, but a model in memory keeps its own: leave it out"):
        train_encoder(models[0], corpus, out, config=config(dropout=0.3))


def test_a_file_of_embeddings_that_changed_in_its_middle_is_another(
    tiny_encoder: Path, corpus: Path, out: Path, tmp_path: Path
) -> None:
    rows = np.random.default_rng(0).normal(size=(64, 8000)).astype(np.float32)
    np.save(tmp_path / "rows.npy", rows)

    def train() -> None:
        train_encoder(tiny_encoder, corpus, out, teachers=[tmp_path / "rows.npy"], config=config("rankcse"))

    train()
    rows[33, 77] *= -1
    np.save(tmp_path / "rows.npy", rows)
    with pytest.raises(UserError, match=r"teacher_weights is .* now and was"):
        train()


def _equal(one: SentenceTransformer, other: SentenceTransformer) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
