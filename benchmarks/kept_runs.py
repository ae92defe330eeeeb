"""The finished runs of controls.py as small files of the checkout: scores, and what every system predicted.

The runs themselves are large and lie outside it. With these files whoever has the checkout can make every interval
anew, and one machine can add a seed to those of another. A file is RESULTS/controls/TASK-SEED.json.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from hundredth.evaluation.cells import FOLDER, PROBABILITIES
from hundredth.evaluation.controls import SYSTEMS
from hundredth.evaluation.results import Row, commit, machine, versions
from hundredth.files import fingerprint, read_json, write_json
from hundredth.pipeline.extract import read_task
from hundredth.tasks import cap, labels_of

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class KeptRun:
    """A run's numbers, the gold labels (N,) of its test texts, and the labels (N,) that each system predicted.

    `tests` is a fingerprint of the texts and their labels: only runs with the same can be put together.
    """

    metric: str
    tests: str
    gold: Ints
    rows: list[Row]
    predicted: dict[str, Ints]


def keep(run: Path, rows: Sequence[Row], target: Path) -> None:
    """Write what is to be kept of a finished run; a file that says the same already stays as it is."""
    predicted = {name: file for name in SYSTEMS if (file := _cell(run, name) / PROBABILITIES).exists()}
    labels = {name: load_file(file)["probabilities"].argmax(axis=1) for name, file in predicted.items()}
    data = read_task(run / "task")
    tests = cap(data.test, max(map(len, labels.values())), 0)
    content = {
        "metric": data.task.metric,
        "tests": fingerprint([[one.texts, one.label] for one in tests]),
        "rows": [row.to_dict() for row in rows],
        "gold": _line(labels_of(tests)),
        "predicted": {name: _line(one.tolist()) for name, one in labels.items()},
    }
    if target.exists() and content.items() <= read_json(target).items():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    measured = {"commit": commit(), "machine": machine(), "versions": versions()}
    write_json(target, {"date": datetime.now(UTC).isoformat(timespec="seconds"), **measured, **content})


def read_kept(folder: Path, task: str) -> dict[int, KeptRun]:
    """Return the kept runs of a task by their seeds, in order."""
    files = {int(file.stem.rpartition("-")[2]): file for file in folder.glob(f"{task}-[0-9]*.json")}
    return {seed: _read(files[seed]) for seed in sorted(files)}


def _read(file: Path) -> KeptRun:
    content: dict[str, Any] = read_json(file)
    return KeptRun(
        content["metric"],
        content["tests"],
        _labels(content["gold"]),
        [Row(**row) for row in content["rows"]],
        {name: _labels(line) for name, line in content["predicted"].items()},
    )


def _cell(run: Path, system: str) -> Path:
    return run / FOLDER / (system if system == "llm" else f"{system}-0")


def _line(labels: Sequence[int]) -> str:
    """Return labels on one line: as a list, JSON would have a line for each."""
    return " ".join(map(str, labels))


def _labels(line: str) -> Ints:
    return np.array(line.split(), dtype=np.int64)
