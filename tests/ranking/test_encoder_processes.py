"""Two processes train what one would, under torchrun and with gloo."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from tiny_bases import bag_teacher, sentences, text_file

from hundredth.cli import app
from hundredth.files import read_json

_COMMAND = [
    *("--batch-size", "16", "--steps", "4", "--learning-rate", "0.01", "--quiet", "--json", "--seed", "1"),
    *("--set", "dropout=0", "--set", "precision=float32", "--set", "projection=mlp"),
    *("--set", "held_out=20", "--set", "evaluate_every=2"),
]
_SENTENCES = 400  # of which 20 are held out


def run(*command: str) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", *command], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_two_processes_train_what_one_would(tiny_encoder: Path, tmp_path: Path) -> None:
    """Silent otherwise: shorter lists, or gradients too large by the number of processes."""
    corpus = text_file(tmp_path / "corpus.txt", _SENTENCES)
    teacher = tmp_path / "teacher.npy"
    np.save(teacher, bag_teacher(sentences(_SENTENCES)))
    options = ["encoder", "train", str(corpus), "--base", str(tiny_encoder), "--teacher", str(teacher), *_COMMAND]
    alone = CliRunner().invoke(app, [*options, "--out", str(tmp_path / "one")])
    assert alone.exit_code == 0, alone.stderr
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "hundredth"]
    printed = run(*launcher, *options, "--out", str(tmp_path / "two"))
    [line] = [line for line in printed.splitlines() if line.startswith("{")]
    assert json.loads(line)["steps"] == 4
    # The main process judges the steps, and all go on from the one it has chosen.
    chosen = [read_json(tmp_path / name / "training.json")["result"]["chosen_by"] for name in ("one", "two")]
    assert chosen[0]["count"] == 20
    assert chosen[0]["step"] == chosen[1]["step"]
    assert chosen[0]["best"] == pytest.approx(chosen[1]["best"], abs=1e-3)
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    start = load_file(tiny_encoder / "model.safetensors")
    word = "embeddings.word_embeddings.weight"
    assert float((one[word] - start[word]).abs().max()) > 1e-3
    # Where a gradient is nothing but rounding errors, Adam makes steps of full length of it.
    used = [name for name in one if not name.endswith("key.bias")]
    differences = torch.cat([(one[name] - two[name]).abs().flatten() for name in used])
    assert float(differences.quantile(0.99)) < 1e-4
