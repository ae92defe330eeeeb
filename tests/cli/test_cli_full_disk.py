"""A full disk: one clear line, what is finished is kept, and the same command goes on when there is space."""

import errno
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from hundredth import files
from hundredth.errors import UserError
from hundredth.pipeline.run import STAGES
from hundredth.pipeline.stages import read_record

# Shares of what a run takes, at which different writers run out of space: JSON, safetensors, LoRA, ONNX.
SHARES = (0.02, 0.05, 0.12, 0.3, 0.5, 0.7, 0.85)
PAGE = 4096


def mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no small file system can be mounted here: {done.stderr.strip()}")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few kilobytes."""
    place = tmp_path / "disk"
    place.mkdir()
    mount("-t", "tmpfs", "-o", "size=4k", "tmpfs", str(place))
    yield place
    subprocess.run(["umount", str(place)], check=True)


def done(root: Path) -> list[str]:
    return [name for name in STAGES if read_record(root / name) is not None]


def test_a_disk_that_fills_up_at_any_stage(
    small_disk: Path,
    undisturbed_run: Path,
    tickets: Path,
    small_config: Path,
    run: Any,
    refused: Callable[..., str],
) -> None:
    whole = sum(-(-path.stat().st_size // PAGE) * PAGE for path in undisturbed_run.rglob("*") if path.is_file())
    root = small_disk / "run"
    command = ("transfer", tickets, "--config", small_config, "--quiet", "--out", root)
    finished: list[list[str]] = []
    for share in SHARES:
        mount("-o", f"remount,size={round(share * whole)}", str(small_disk))
        said = refused(*command)
        assert said == (
            f"disk full while writing {root}: free space and run the same command again; finished stages are kept"
        )
        finished.append(done(root))
    assert all(set(before) <= set(after) for before, after in pairwise(finished))
    assert finished[0] == []
    assert len({len(names) for names in finished}) >= 4, finished
    mount("-o", "remount,size=64m", str(small_disk))
    assert run(*command).exit_code == 0
    assert done(root) == list(STAGES)


def test_a_disk_that_fills_up_while_an_encoder_is_trained(
    small_disk: Path, tiny_encoder: Path, tmp_path: Path, run: Any, refused: Callable[..., str]
) -> None:
    corpus, out = tmp_path / "corpus.txt", small_disk / "encoder"
    corpus.write_text("".join(f"card number {i} was lost in shop {i % 7}\n" for i in range(400)))
    command = (
        *("encoder", "train", corpus, "--base", tiny_encoder, "--out", out, "--threads", 1, "--quiet"),
        *("--method", "simcse", "--batch-size", 20, "--steps", 12),
        *("--set", "precision=float32", "--set", "checkpoint_every=2", "--set", "evaluate_every=2"),
    )
    # In the corpus, in the first checkpoint at several places, with one checkpoint whole, at the end.
    for pages in (3, 20, 60, 100):
        mount("-o", f"remount,size={4 * pages}k", str(small_disk))
        assert refused(*command).startswith(f"disk full while writing {out}: free space"), pages
        assert not out.exists()
    mount("-o", "remount,size=64m", str(small_disk))
    assert run(*command).exit_code == 0
    assert (out / "model.safetensors").exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_or_quota_when_a_file_is_written(
    number: int,
    monkeypatch: pytest.MonkeyPatch,
    tickets: Path,
    out: Path,
    names: Sequence[str],
    refused: Callable[..., str],
) -> None:
    """The same without a file system of its own: the third file cannot be written out."""
    calls: list[int] = []

    def fsync(handle: int) -> None:
        calls.append(handle)
        if len(calls) == 3:
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, "fsync", fsync)
    said = refused("transfer", tickets, *names, "--out", out)
    assert said.startswith(f"disk full while writing {out}: free space")
    assert done(out) == []
    assert sorted(path.name for path in out.iterdir()) == [".lock", ".unfinished", "run.yaml"]


def test_a_text_that_speaks_of_a_full_disk_is_not_one(
    monkeypatch: pytest.MonkeyPatch, tickets: Path, out: Path, names: Sequence[str], refused: Callable[..., str]
) -> None:
    def fail(*_: Any) -> None:
        raise UserError("unknown label 'disk is full'")

    monkeypatch.setattr("hundredth.pipeline.transfer.transfer", fail)
    assert refused("transfer", tickets, *names, "--out", out) == "unknown label 'disk is full'"
