"""A run that is killed again and again comes to the same end as one that nobody disturbed."""

import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hundredth
from hundredth.pipeline.run import STAGES
from hundredth.pipeline.stages import read_record
from hundredth.store import KnowledgeStore

_KILLS_A_STAGE = 2
_PATIENCE = 120.0  # seconds until a process that makes no progress fails the test


def command_line(arguments: Sequence[str]) -> None:
    """What a new process runs: the command line, saying nothing."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    os.dup2(devnull, 2)
    from hundredth.cli import app

    app(list(arguments))


def is_done(root: Path, stage: str) -> bool:
    return read_record(root / stage) is not None


def kill_in(process: Any, root: Path, stage: str, seconds: float) -> bool:
    """Wait until `stage` is being made, then so many seconds; kill the process. False when it was too late."""
    start = time.monotonic()
    while process.is_alive() and not (root / f".{stage}.work").exists() and not is_done(root, stage):
        assert time.monotonic() - start < _PATIENCE
        time.sleep(0.001)
    process.join(seconds)
    alive = process.exitcode is None
    if alive:
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    return alive and process.exitcode == -signal.SIGKILL


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_as_if_nobody_had_disturbed_it(
    undisturbed_run: Path, small_config: Path, tmp_path: Path
) -> None:
    """Silent otherwise: half a stage that is taken for a whole one makes a worse model, not an error."""
    seconds = {name: read_record(undisturbed_run / name)["seconds"] for name in STAGES}  # type: ignore[index]
    root, moments = tmp_path / "run", random.Random(0)
    data = str(undisturbed_run.parent / "tickets.csv")
    arguments = ["transfer", data, "--config", str(small_config), "--out", str(root), "--quiet"]
    # A server that has imported everything once and forks: a process a kill would cost seconds of imports.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["hundredth.pipeline.transfer"])
    killed: list[str] = []
    for stage in [name for name in STAGES for _ in range(_KILLS_A_STAGE)]:
        process = context.Process(target=command_line, args=(arguments,))
        process.start()
        if kill_in(process, root, stage, moments.uniform(0, 0.1 + seconds[stage])):
            killed.append(stage)
    assert len(killed) >= 10, killed
    last = context.Process(target=command_line, args=(arguments,))
    last.start()
    last.join(_PATIENCE)
    assert last.exitcode == 0
    # A kill while run.yaml is written may leave its temporary file; of the stages nothing may be left.
    for path in root.glob(".run.yaml.*.tmp"):
        path.unlink()
    assert {path.name for path in root.iterdir() if path.name.startswith(".")} == {".lock"}
    assert_same(root, undisturbed_run)


def contents(root: Path) -> dict[str, object]:
    """Every file of a run by its path, but for records and the store: they say when they were made."""
    found: dict[str, object] = {}
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        if path.name == "adapter_config.json":
            config = json.loads(path.read_text())  # a list in it comes from a set, in any order
            found[str(path.relative_to(root))] = {**config, "target_modules": sorted(config["target_modules"])}
        elif path.name not in ("stage.json", "store.db", "index.faiss"):
            found[str(path.relative_to(root))] = path.read_bytes()
    return found


def assert_same(root: Path, other: Path) -> None:
    ours, theirs = contents(root), contents(other)
    assert list(ours) == list(theirs)
    assert {"samples/samples.jsonl", "knowledge/knowledge.safetensors", "model/encoder.onnx"} <= ours.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []
    assert entries(root / "model") == entries(other / "model")
    texts = [json.loads(line)["texts"][0] for line in (other / "task" / "train.jsonl").read_text().splitlines()]
    with hundredth.load(root / "model", 1) as one, hundredth.load(other / "model", 1) as two:
        np.testing.assert_array_equal(one.predict_proba(texts), two.predict_proba(texts))


def entries(model: Path) -> list[tuple[Any, ...]]:
    with KnowledgeStore.open(model) as store:
        return [(one.id, one.texts, one.soft_label.tobytes(), one.label, one.origin) for one in store.entries()]
