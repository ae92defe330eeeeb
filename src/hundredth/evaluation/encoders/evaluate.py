"""Encoders side by side: every encoder measured on every task, each result kept as soon as it is there."""

import statistics
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sentence_transformers import SentenceTransformer

from hundredth.encoders import encoder_fingerprint
from hundredth.errors import UserError
from hundredth.evaluation.encoders.embeddings import Embeddings
from hundredth.evaluation.encoders.encoder import open_encoder
from hundredth.evaluation.encoders.tasks import ALL, GROUPS, TITLES, Measure, read_tasks
from hundredth.evaluation.results import Row, machine, versions, write_results
from hundredth.files import fingerprint
from hundredth.pipeline.progress import Reporter
from hundredth.pipeline.stages import Stage, run_stages

CELLS, RESULTS = "cells", "results.json"
SEED = 1111  # SentEval's own

# Raised when this code changes what a task measures, so that finished results are redone.
_VERSION = 1
# The number of a task that goes into its group's average.
MAIN = {"sts": "spearman", "transfer": "accuracy"}
_UNITS = {"spearman": "x 100", "accuracy": "x 100", "f1": "x 100", "alignment": "loss", "uniformity": "loss"}


@dataclass(frozen=True)
class EncoderEvaluation:
    """What was found: for each encoder, by label, the numbers of each task; `tasks` in the order of `GROUPS`."""

    tasks: list[str]
    results: dict[str, dict[str, dict[str, Any]]]
    seed: int
    notes: list[str]

    def value(self, label: str, task: str, metric: str) -> float | None:
        """Return one number, or None where the task was not measured or has no such metric."""
        found = self.results[label].get(task, {}).get(metric)
        return None if found is None else float(found)

    def average(self, label: str, group: str) -> float | None:
        """Return the mean over a group's tasks ("sts" or "transfer"), or None unless all of them were measured."""
        values = [self.value(label, task, MAIN[group]) for task in GROUPS[group]]
        known = [value for value in values if value is not None]
        return statistics.fmean(known) if len(known) == len(values) else None

    def rows(self) -> list[Row]:
        """Return all numbers as rows of results.json; averages are metrics `sts_avg` and `transfer_avg`."""
        found = []
        for label, results in self.results.items():
            for task, numbers in results.items():
                found += [
                    Row(task, label, name, [numbers[name]], unit)
                    for name, unit in _UNITS.items()
                    if name in numbers
                ]
            for group in MAIN:
                average = self.average(label, group)
                if average is not None:
                    found.append(Row(group, label, f"{group}_avg", [average], "x 100"))
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return what was found, on which machine and with which versions, as JSON holds it."""
        return {
            "machine": machine(),
            "versions": versions(),
            "seeds": [self.seed],
            "rows": [row.to_dict() for row in self.rows()],
        }


def evaluate_encoders(
    encoders: Mapping[str, str | SentenceTransformer],
    data: Path,
    tasks: Sequence[str] = (ALL,),
    *,
    out: Path | None = None,
    pooling: str | None = None,
    seed: int = SEED,
    reporter: Reporter | None = None,
) -> EncoderEvaluation:
    """Measure encoders on SentEval's tasks.

    With `out` each result is kept there as soon as it is there, and results.json is written at the end: an
    evaluation that was stopped goes on where it was. A result is done again when the encoder's weights, settings
    or tokenizer, or the task's texts, have changed.

    Args:
        encoders: for each label that it is shown under, an encoder or the name of one (see `open_encoder`).
        data: a folder in SentEval's layout.
        tasks: names of tasks and groups; "all" for those that the folder holds.
        out: folder to keep the results in; None to keep nothing.
        pooling: "cls", "mean" or "last", for names of models that are no SentenceTransformer.
        seed: of the folds of the transfer tasks.
        reporter: told of each step.

    Raises:
        UserError: a task or an encoder is not there or not valid, or an encoder gives no usable embeddings.
    """
    reporter = reporter or Reporter(quiet=True)
    if not encoders:
        raise UserError("there is no encoder to evaluate: name one or more")
    read = read_tasks(data, tasks, seed=seed)
    for note in read.notes:
        reporter.say(f"  {note}")
    if len(encoders) > 1:
        # A wrong name must not come out after the hours that the encoders before it take.
        for named in encoders.values():
            if isinstance(named, str):
                open_encoder(named, pooling)
    stamps = {name: fingerprint(task.content()) for name, task in read.found.items()}
    results = {}
    with nullcontext(out) if out is not None else TemporaryDirectory() as folder:
        cells = Path(folder) / CELLS
        for label, named in encoders.items():
            encoder = open_encoder(named, pooling) if isinstance(named, str) else named
            results[label] = _measure(label, encoder, read.found, stamps, cells, reporter)
    evaluation = EncoderEvaluation(list(read.found), results, seed, read.notes)
    if out is not None:
        write_results(out / RESULTS, "encoder evaluate", [seed], evaluation.rows())
    return evaluation


def _measure(
    label: str,
    encoder: SentenceTransformer,
    tasks: Mapping[str, Measure],
    stamps: Mapping[str, str],
    cells: Path,
    reporter: Reporter,
) -> dict[str, dict[str, Any]]:
    identity = encoder_fingerprint(encoder)
    reporter.say(f"{label}: {sum(one.numel() for one in encoder.parameters()):,} parameters")
    embeddings = Embeddings(encoder)

    def stage(name: str, task: Measure) -> Stage:
        def make(folder: Path) -> dict[str, Any]:
            with reporter.bar(f"{TITLES[name]}: sentences encoded") as embeddings.progress:
                try:
                    return task.measure(embeddings)
                except UserError as error:
                    raise UserError(f"{label}, {TITLES[name]}: {error}") from error

        return Stage(name, (), {"version": _VERSION, "encoder": identity, "task": stamps[name]}, make)

    def announce(stage: Stage, fresh: bool) -> None:
        reporter.say(f"  {TITLES[stage.name]}: {'already done' if fresh else 'working'}")

    # Encoders are told apart by what they are: one that is trained further and evaluated again has its own folder.
    outcomes = run_stages(cells / identity[:16], [stage(*item) for item in tasks.items()], announce)
    return {name: one.record["metrics"] for name, one in outcomes.items()}
