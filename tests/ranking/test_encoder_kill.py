"""A training that is killed again and again, or stopped by Ctrl-C, ends in the weights of an undisturbed one."""

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_bases import bag_teacher, text_file

from hundredth.errors import UserError
from hundredth.ranking.checkpoint import MARKER, last_checkpoint, remove_halves
from hundredth.ranking.config import make_training_config
from hundredth.ranking.training import train_encoder

_PATIENCE = 60.0  # seconds until a process that makes no progress fails the test
# Dropout, a head of the loss, passes over the corpus, warm-up, the best step: all of it must be picked up.
_SETTINGS = {
    "batch_size": 16,
    "steps": 40,
    "learning_rate": 1e-2,
    "projection": "mlp",
    "evaluate_every": 3,
    "checkpoint_every": 4,
    "held_out": 20,
}


def train(base: Path, corpus: Path, out: Path, **changed: Any) -> None:
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 2)
    torch.set_num_threads(1)
    settings = make_training_config(values={**_SETTINGS, **changed})
    train_encoder(base, corpus, out, teachers=[bag_teacher], config=settings)


@pytest.fixture(scope="module")
def start() -> Callable[..., Any]:
    """Start a training in a process of its own, from a server that has imported everything once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["hundredth.ranking.training"])

    def started(*arguments: Any, **changed: Any) -> Any:
        process = context.Process(target=train, args=arguments, kwargs=changed)
        process.start()
        return process

    return started


def wait_for(process: Any, path: Path) -> bool:
    """Wait until a file is there; False when the process has ended before."""
    begun = time.monotonic()
    while process.is_alive() and not path.exists():
        assert time.monotonic() - begun < _PATIENCE
        time.sleep(0.001)
    return process.is_alive()


def result(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "training.json").read_text())["result"]
    return found


@pytest.mark.slow
def test_a_killed_training_ends_in_the_same_weights(
    start: Callable[..., Any], tiny_encoder: Path, tmp_path: Path
) -> None:
    """Silent otherwise: a state that is picked up in part trains on, to another encoder."""
    corpus = text_file(tmp_path / "corpus.txt", 400)
    lines = corpus.read_text().splitlines(keepends=True)
    corpus.write_text("".join(lines[:300] + 20 * lines[:5]))  # some stand in a batch twice, and are counted
    undisturbed = start(tiny_encoder, corpus, tmp_path / "whole")
    undisturbed.join(_PATIENCE)
    assert undisturbed.exitcode == 0
    out, work = tmp_path / "killed", tmp_path / ".killed.training"
    # In the corpus, before the first checkpoint, after some, while one is written, and at the end.
    moments = [
        work / "tokens.arrow",
        work / "checkpoint-8" / MARKER,
        work / "checkpoint-20",
        work / "checkpoint-28" / "optimizer.pt",
        work / "checkpoint-40" / MARKER,
    ]
    kills = 0
    for path in moments:
        process = start(tiny_encoder, corpus, out)
        if wait_for(process, path):
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.join()
    last = start(tiny_encoder, corpus, out)
    last.join(_PATIENCE)
    assert last.exitcode == 0
    assert kills >= 4
    ours, theirs = load_file(out / "model.safetensors"), load_file(tmp_path / "whole" / "model.safetensors")
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    assert result(out)["chosen_by"] == result(tmp_path / "whole")["chosen_by"] is not None
    assert result(out)["duplicates"] == result(tmp_path / "whole")["duplicates"] > 0
    assert not work.exists()


def test_ctrl_c_saves_the_step_and_the_same_call_goes_on(
    start: Callable[..., Any], tiny_encoder: Path, tmp_path: Path
) -> None:
    corpus, out, work = text_file(tmp_path / "corpus.txt", 400), tmp_path / "out", tmp_path / ".out.training"
    changed = {"steps": 80, "evaluate_every": 1, "checkpoint_every": 80}
    process = start(tiny_encoder, corpus, out, **changed)
    assert wait_for(process, work / "best.safetensors")
    os.kill(process.pid, signal.SIGINT)
    process.join(_PATIENCE)
    assert process.exitcode != 0
    assert not out.exists()
    found = last_checkpoint(work)
    assert found is not None
    stopped = json.loads((found / MARKER).read_text())["step"]
    assert 0 < stopped < 80
    other = make_training_config(values={**_SETTINGS, **changed, "checkpoint_every": 4})
    with pytest.raises(UserError, match=r"other settings was stopped in .*: config\.checkpoint_every is 4 now"):
        train_encoder(tiny_encoder, corpus, out, teachers=[bag_teacher], config=other)
    again = start(tiny_encoder, corpus, out, **changed)
    again.join(_PATIENCE)
    assert again.exitcode == 0
    scores = [entry["step"] for entry in result(out)["history"] if "eval_teacher_agreement" in entry]
    assert scores == list(range(1, 81))  # each step once, also where it was stopped


def test_two_trainings_of_one_encoder_are_refused(
    start: Callable[..., Any], tiny_encoder: Path, tmp_path: Path
) -> None:
    corpus, out = text_file(tmp_path / "corpus.txt", 400), tmp_path / "out"
    process = start(tiny_encoder, corpus, out, steps=2000)
    assert wait_for(process, tmp_path / ".out.training" / "corpus.json")
    settings = make_training_config(values={**_SETTINGS, "steps": 2000})
    with pytest.raises(UserError, match="another process is training"):
        train_encoder(tiny_encoder, corpus, out, teachers=[bag_teacher], config=settings)
    os.kill(process.pid, signal.SIGKILL)
    process.join()


def test_half_a_checkpoint_is_not_taken_for_a_whole_one(tmp_path: Path) -> None:
    for step in (8, 12, 100):
        (tmp_path / f"checkpoint-{step}").mkdir()
    for step in (8, 12):
        (tmp_path / f"checkpoint-{step}" / MARKER).write_text(json.dumps({"step": step}))
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-12"
    remove_halves(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-12", "checkpoint-8"]
