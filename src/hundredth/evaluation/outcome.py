"""What an evaluation has found: every system's numbers for every seed, and what they amount to."""

import statistics
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hundredth.evaluation.results import Row
from hundredth.evaluation.statistics import (
    Difference,
    Resampled,
    deviation,
    difference,
    gap_interval,
    resample,
    share_of_gap,
)
from hundredth.pipeline.run import Run
from hundredth.tasks.schema import Example, Task, labels_of

# What is written to results.json, with the unit of each.
_UNITS = {
    "score": "fraction",
    "accuracy": "fraction",
    "macro_f1": "fraction",
    "f1": "fraction",
    "matthews": "fraction",
    "ece": "fraction",
    "ece_uncalibrated": "fraction",
    "parameters": "count",
    "bytes": "bytes",
    "store_bytes": "bytes",
    "entries": "count",
    "ms_per_text": "ms",
}
_REFERENCE = "full"


@dataclass(frozen=True)
class Cell:
    """One system trained with one seed (None: no seed takes part) and measured.

    `metrics` has `score`, `accuracy`, `macro_f1`, `f1` (of two labels), `matthews`, `ece`, `parameters`, `bytes`,
    `store_bytes`, `entries`, `ms_per_text`, and for students `ece_uncalibrated`, `temperature`, `retrieval` (K, t
    and lambda, or None) and `ignores_its_store`. `probabilities` is (N, C).
    """

    system: str
    seed: int | None
    metrics: dict[str, Any]
    probabilities: NDArray[np.float64]


@dataclass(frozen=True)
class Evaluation:
    """A run's systems side by side on one test set.

    `cells` holds each system's cells, in the order of `SYSTEMS`; `deployed` is the system that is the run's own
    model, if it was evaluated; `notes` says what was left out, and what the numbers should be read with.
    """

    run: Run
    test: list[Example]
    seeds: tuple[int, ...]
    cells: dict[str, list[Cell]]
    deployed: str | None
    notes: list[str]

    @property
    def task(self) -> Task:
        """The run's task."""
        return self.run.data.task

    @property
    def main(self) -> str:
        """The system that the report looks into: the deployed one, or the one with most to it."""
        return self.deployed if self.deployed is not None else list(self.cells)[-1]

    @property
    def reference(self) -> str:
        """The system that all others are compared with: `full`, or the main one where that was not evaluated."""
        return _REFERENCE if _REFERENCE in self.cells else self.main

    @property
    def gold(self) -> NDArray[np.int64]:
        """The test labels, (N,)."""
        return np.array(labels_of(self.test), dtype=np.int64)

    def values(self, system: str, metric: str) -> list[float]:
        """Return a metric's value for each seed; empty where the system has no such number."""
        found = [cell.metrics.get(metric) for cell in self.cells.get(system, [])]
        return [float(value) for value in found if value is not None]

    def mean(self, system: str, metric: str) -> float | None:
        """Return a metric's mean over the seeds."""
        values = self.values(system, metric)
        return statistics.fmean(values) if values else None

    def deviation(self, system: str, metric: str) -> float | None:
        """Return a metric's standard deviation over the seeds; None with fewer than two."""
        return deviation(self.values(system, metric))

    def gap_closed(self, system: str) -> float | None:
        """Return the share of the way from `student` to `llm` that a system has come, in the task's score.

        None for those two, when either is missing, and when the LLM is less than a point above the student.
        """
        ours, student, llm = (self.mean(name, "score") for name in (system, "student", "llm"))
        if ours is None or student is None or llm is None or system in ("student", "llm"):
            return None
        return share_of_gap(ours, student, llm)

    def gap_interval(self, system: str) -> tuple[float, float] | None:
        """Return the 95 % interval of `gap_closed`; None where that is, or where the gap may be under a point."""
        if self.gap_closed(system) is None:
            return None
        return gap_interval(*(self._resampled[name] for name in (system, "student", "llm")))

    def predictions(self, system: str) -> NDArray[np.int64]:
        """Return the labels that a system predicts, (S, N)."""
        return np.stack([cell.probabilities.argmax(axis=1) for cell in self.cells[system]])

    def ignoring_its_store(self, system: str) -> tuple[int, int]:
        """Return how many seeds of a system chose to do without their store, and how many have one."""
        chosen = [cell.metrics.get("ignores_its_store") for cell in self.cells[system]]
        return sum(one is True for one in chosen), sum(one is not None for one in chosen)

    def ignores_its_store(self, system: str) -> bool:
        """Whether a system has a store and every seed chose to do without it."""
        ignoring, having = self.ignoring_its_store(system)
        return 0 < having == ignoring

    def compare(self, system: str, other: str) -> Difference:
        """Return what one system's score differs by from another's, with the interval over texts and seeds."""
        return difference(self._resampled[system], self._resampled[other])

    @cached_property
    def _resampled(self) -> dict[str, Resampled]:
        # Once for all systems, so that all differences and shares rest on the same draws.
        return resample(self.task.metric, self.gold, {name: self.predictions(name) for name in self.cells})

    def rows(self) -> list[Row]:
        """Return all numbers as rows of results.json."""
        return [
            Row(self.task.name, system, metric, values, unit)
            for system in self.cells
            for metric, unit in _UNITS.items()
            if (values := self.values(system, metric))
        ]
