"""The teachers' cache: nothing stale, nothing twice, nothing lost to a kill or a full disk."""

import errno
import json
import logging
import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer
from tiny_sentences import SENTENCES, tiny_model

from hundredth.errors import UserError
from hundredth.ranking import HFTeacher, TeacherRankings, teacher_cache
from hundredth.ranking.teacher_cache import TeacherCache, text_keys

_PATIENCE = 60.0  # seconds until a process that makes no progress fails the test


def rank(teacher: Any, cache: Path, texts: list[str] = SENTENCES) -> torch.Tensor:
    teachers = TeacherRankings([teacher], cache=cache)
    return teachers.rows(torch.tensor(teachers.rank(Dataset.from_dict({"text": texts}))["label"]))


def vector_of(text: str) -> np.ndarray:
    seed = int.from_bytes(text.encode()[:8], "little")
    return np.random.default_rng(seed).normal(size=3).astype(np.float32)


def ensure(cache: TeacherCache, texts: list[str], seconds: float = 0.0) -> tuple[np.ndarray, list[str]]:
    """Fill a cache as a slow teacher would; return the vectors of the texts, and what was encoded."""
    seen: list[str] = []

    def encode(chosen: np.ndarray) -> np.ndarray:
        time.sleep(seconds)
        seen.extend(texts[i] for i in chosen)
        return np.stack([vector_of(texts[i]) for i in chosen])

    rows = cache.ensure(text_keys(texts), encode, lambda done, total: None)
    return cache.vectors()[rows], seen


def expected(texts: list[str]) -> np.ndarray:
    return np.stack([vector_of(text) for text in texts])


# --- Nothing twice, nothing stale -------------------------------------------------------------------------


def test_a_second_run_encodes_nothing_and_a_grown_dataset_only_what_is_new(
    tiny_encoder: Path, encoded: list[str], tmp_path: Path
) -> None:
    model = tiny_model(tiny_encoder)
    first = rank(model, tmp_path, SENTENCES[:5])
    assert len(encoded) == 5
    encoded.clear()
    again = rank(model, tmp_path, SENTENCES[4::-1])
    assert not encoded
    torch.testing.assert_close(again, first.flip(0), rtol=0, atol=0)
    grown = rank(model, tmp_path, SENTENCES)
    assert encoded == SENTENCES[5:]
    torch.testing.assert_close(grown[:5], first, rtol=0, atol=0)


def changed_weights(model: SentenceTransformer) -> None:
    with torch.no_grad():
        list(model[0].model.encoder.parameters())[-1][0] += 0.25


def changed_pooling(model: SentenceTransformer) -> None:
    model[1].pooling_mode = "cls"


def changed_prompt(model: SentenceTransformer) -> None:
    model.prompts["teacher"] = "say: "
    model.default_prompt_name = "teacher"


def changed_length(model: SentenceTransformer) -> None:
    model.max_seq_length = 7


def changed_tokenizer(model: SentenceTransformer) -> None:
    model.tokenizer.backend_tokenizer.normalizer.lowercase = False


def changed_activation(model: SentenceTransformer) -> None:
    model[0].model.config.hidden_act = "relu"


@pytest.mark.parametrize(
    "change",
    [changed_weights, changed_pooling, changed_prompt, changed_length, changed_tokenizer, changed_activation],
)
def test_a_changed_teacher_never_meets_a_stale_row(
    change: Any, tiny_encoder: Path, encoded: list[str], tmp_path: Path
) -> None:
    rank(tiny_model(tiny_encoder), tmp_path)
    encoded.clear()
    other = tiny_model(tiny_encoder)
    change(other)
    found = rank(other, tmp_path)
    assert sorted(encoded) == sorted(SENTENCES)
    torch.testing.assert_close(found, rank(other, tmp_path / "fresh"), rtol=0, atol=0)


def test_a_changed_folder_never_meets_a_stale_row(tiny_encoder: Path, encoded: list[str], tmp_path: Path) -> None:
    """The same path, other weights in it."""
    folder = str(tmp_path / "model")
    tiny_model(tiny_encoder, seed=1).save(folder)
    first = rank(folder, tmp_path)
    tiny_model(tiny_encoder, seed=2).save(folder)
    encoded.clear()
    assert not torch.allclose(rank(folder, tmp_path), first)
    assert len(encoded) == len(SENTENCES)


def test_using_a_teacher_does_not_change_who_it_is(tiny_encoder: Path, encoded: list[str], tmp_path: Path) -> None:
    """Calls leave settings on a tokenizer; who loads the same model elsewhere must find its rows."""
    model = tiny_model(tiny_encoder)
    rank(model, tmp_path)
    model.encode(["some other text"])
    model.eval()
    model.save(str(tmp_path / "moved"))
    encoded.clear()
    rank(model, tmp_path)
    rank(tmp_path / "moved", tmp_path)
    assert not encoded


@pytest.mark.parametrize("kind", ["named", "plain"])
def test_a_pooler_that_no_checkpoint_holds_does_not_change_who_a_teacher_is(
    kind: str, poolerless: Path, encoded: list[str], tmp_path: Path
) -> None:
    """It is random at each loading: no row would ever be found again."""
    spec = HFTeacher(str(poolerless), "mean") if kind == "named" else str(poolerless)
    rank(spec, tmp_path)
    encoded.clear()
    rank(spec, tmp_path)
    assert not encoded


def test_settings_of_hugging_face_teachers_keep_them_apart(tiny_llm: Path, tmp_path: Path) -> None:
    specs = [HFTeacher(str(tiny_llm), *rest) for rest in (("mean",), ("last",), ("mean", "to: "), ("mean", "", 9))]
    for spec in specs:
        rank(spec, tmp_path)
    assert len(list(tmp_path.glob("*/teacher.json"))) == len(specs)


def test_a_changed_function_never_meets_a_stale_row(tmp_path: Path) -> None:
    one = rank(lambda texts: np.ones((len(texts), 2)), tmp_path)
    two = rank(lambda texts: np.ones((len(texts), 3)), tmp_path)
    assert (one.shape[1], two.shape[1]) == (2, 3)
    assert not list(tmp_path.iterdir())


def test_texts_that_differ_in_a_space_are_two_texts(tmp_path: Path) -> None:
    cache = TeacherCache(tmp_path, {})
    _, seen = ensure(cache, ["a", "a ", "A", "a\n"])
    assert seen == ["a", "a ", "A", "a\n"]


# --- Kills, damage, two processes, a full disk -------------------------------------------------------------


TEXTS = [f"text number {number}" for number in range(60)]


def fill_slowly(folder: Path) -> None:
    teacher_cache._CHUNK = 4
    ensure(TeacherCache(folder, {}), TEXTS, seconds=0.02)


def wait_for_rows(folder: Path, least: int) -> None:
    start = time.monotonic()
    while not any(keys.stat().st_size >= 16 * least for keys in folder.glob("*/keys.bin")):
        assert time.monotonic() - start < _PATIENCE
        time.sleep(0.002)


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    kept = 0
    for least in (4, 20, 36):
        process = context.Process(target=fill_slowly, args=(tmp_path,))
        process.start()
        wait_for_rows(tmp_path, least)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        kept = least
    vectors, seen = ensure(TeacherCache(tmp_path, {}), TEXTS)
    assert len(seen) <= len(TEXTS) - kept
    np.testing.assert_array_equal(vectors, expected(TEXTS))


@pytest.mark.parametrize("cut_keys", [0, 5, 16, 40])
@pytest.mark.parametrize("cut_vectors", [0, 3, 12, 30])
def test_half_written_rows_are_made_again(cut_keys: int, cut_vectors: int, tmp_path: Path) -> None:
    cache = TeacherCache(tmp_path, {})
    ensure(cache, TEXTS[:10])
    for name, cut in (("keys.bin", cut_keys), ("vectors.f32", cut_vectors)):
        path = cache.folder / name
        os.truncate(path, path.stat().st_size - cut)
    vectors, seen = ensure(cache, TEXTS[:20])
    lost = max(-(-cut_keys // 16), -(-cut_vectors // 12))
    assert seen == TEXTS[10 - lost : 20]
    np.testing.assert_array_equal(vectors, expected(TEXTS[:20]))


def test_a_second_process_waits_and_reads(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    process = multiprocessing.get_context("fork").Process(target=fill_slowly, args=(tmp_path,))
    process.start()
    wait_for_rows(tmp_path, 4)
    with caplog.at_level(logging.WARNING, "hundredth.ranking.teacher_cache"):
        vectors, seen = ensure(TeacherCache(tmp_path, {}), TEXTS)
    process.join()
    assert not seen
    assert "waiting for it" in caplog.text
    np.testing.assert_array_equal(vectors, expected(TEXTS))


def test_a_full_disk_is_said_and_finished_rows_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teacher_cache, "_CHUNK", 4)
    cache = TeacherCache(tmp_path, {})
    synced = 0

    def fsync(handle: int) -> None:
        nonlocal synced
        synced += 1
        if synced == 5:  # the vectors of the third chunk
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as full:
        full.setattr(teacher_cache.os, "fsync", fsync)
        with pytest.raises(
            UserError, match=r"disk full while writing the teacher's vectors.*finished texts are kept"
        ):
            ensure(cache, TEXTS)
    vectors, seen = ensure(cache, TEXTS)
    assert seen == TEXTS[8:]
    np.testing.assert_array_equal(vectors, expected(TEXTS))


def test_progress_counts_what_is_left_to_encode(
    tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teacher_cache, "_CHUNK", 3)
    model = tiny_model(tiny_encoder)
    rank(model, tmp_path, SENTENCES[:2])
    said: list[tuple[int, int]] = []
    teachers = TeacherRankings(
        [model], cache=tmp_path, progress=lambda done, total, note: said.append((done, total))
    )
    teachers.rank(Dataset.from_dict({"text": SENTENCES}))
    assert said == [(0, 6), (3, 6), (6, 6)]


def test_the_cache_says_whose_it_is(tiny_encoder: Path, tmp_path: Path) -> None:
    rank(tiny_model(tiny_encoder), tmp_path)
    (path,) = tmp_path.glob("*/teacher.json")
    found = json.loads(path.read_text())
    assert found["width"] == 32
    assert {"weights", "tokenizer", "config", "modules", "prompt", "max_length", "format"} <= found.keys()
