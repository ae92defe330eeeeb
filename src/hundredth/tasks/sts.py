"""SentEval's tasks of semantic textual similarity (STS): pairs of sentences with people's scores of likeness."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hundredth.errors import UserError
from hundredth.tables import read_lines, read_tsv

STS_TASKS = ("sts12", "sts13", "sts14", "sts15", "sts16", "stsb", "sickr")

_BENCHMARK = "senteval/downstream/STS/STSBenchmark"
_BENCHMARK_COLUMNS = ("genre", "file", "year", "number", "score", "first", "second")
_SICK = "senteval/downstream/SICK"
_INPUT, _GOLD = "STS.input.", "STS.gs."


class MissingTaskError(UserError):
    """A benchmark folder does not hold a task."""


@dataclass(frozen=True)
class StsSubset:
    """Scored pairs of one source: sentence i of `first` beside sentence i of `second`, `scores` (N,), float64.

    Scores go from 0 (nothing in common) to 5 (the same meaning), in SICK from 1 to 5.
    """

    name: str
    first: list[str]
    second: list[str]
    scores: NDArray[np.float64]


def read_sts(root: Path, task: str) -> list[StsSubset]:
    """Read the test split of one of `STS_TASKS`: its subsets, for STS-B and SICK-R a single one.

    Pairs that were never scored (an empty line in the file of scores) are left out.

    Args:
        root: the folder that holds senteval, or one further down: senteval, downstream, or the task's own.
        task: a name from `STS_TASKS`.

    Raises:
        MissingTaskError: the task is not there.
        UserError: `root` is no folder, or a file is not as SentEval lays it out.
    """
    if task == "stsb":
        return [_read_benchmark(senteval_folder(root, _BENCHMARK, "sts-test.csv"), "test")]
    if task == "sickr":
        return [_read_sick(senteval_folder(root, _SICK, "SICK_test_annotated.txt") / "SICK_test_annotated.txt")]
    if task not in STS_TASKS:
        raise ValueError(f"there is no STS task {task!r}: choose one of {', '.join(STS_TASKS)}")
    folder = senteval_folder(root, f"senteval/downstream/STS/{task.upper()}-en-test", f"{_INPUT}*.txt")
    return [_read_subset(path) for path in sorted(folder.glob(f"{_INPUT}*.txt"))]


def read_sts_dev(root: Path) -> StsSubset:
    """Read the development split of STS-B, by which encoders are chosen; `root` as in `read_sts`."""
    return _read_benchmark(senteval_folder(root, _BENCHMARK, "sts-dev.csv"), "dev")


def read_sts_benchmark(root: Path) -> StsSubset:
    """Read all of STS-B, training, development and test split in one; `root` as in `read_sts`."""
    folder = senteval_folder(root, _BENCHMARK, "sts-train.csv")
    return _joined("stsb", [_read_benchmark(folder, split) for split in ("train", "dev", "test")])


def senteval_folder(root: Path, place: str, marker: str) -> Path:
    """Return the folder `place` (such as "senteval/downstream/MR"), which a file `marker` (a glob) is known by.

    Raises:
        MissingTaskError: the place is in `root` at none of the depths that are tried.
        UserError: `root` is no folder.
    """
    if not root.is_dir():
        what = "is a file, where a folder in SentEval's layout is needed" if root.exists() else "does not exist"
        raise UserError(f"{root} {what} (looked in {root.absolute().parent})")
    parts = place.split("/")
    for depth in range(len(parts) + 1):
        # The task's own folder is taken only under its own name: another task's may hold files named alike.
        if depth == len(parts) and root.resolve().name != parts[-1]:
            continue
        folder = root.joinpath(*parts[depth:])
        if folder.is_dir() and next(folder.glob(marker), None) is not None:
            return folder
    raise MissingTaskError(f"{root} does not hold {place}/{marker}: is it a folder in SentEval's layout?")


def _read_subset(path: Path) -> StsSubset:
    """Read one source of a year's task: pairs and scores in two files, line by line."""
    name = path.name.removeprefix(_INPUT).removesuffix(".txt")
    gold_path = path.with_name(f"{_GOLD}{name}.txt")
    pairs, gold = read_lines(path), read_lines(gold_path)
    if len(pairs) != len(gold):
        raise UserError(
            f"{path} has {len(pairs)} pairs, but {gold_path.name} has {len(gold)} lines: are both whole?"
        )
    rows = []
    for number, (pair, score) in enumerate(zip(pairs, gold, strict=True), start=1):
        if not score.strip():
            continue
        sentences = pair.split("\t")
        if len(sentences) != 2:
            raise UserError(f"{path} line {number}: {len(sentences)} columns, where a pair of sentences is needed")
        rows.append((sentences[0], sentences[1], _score(gold_path, number, score)))
    return _subset(name, path, rows)


def _read_benchmark(folder: Path, split: str) -> StsSubset:
    path = folder / f"sts-{split}.csv"
    table = read_tsv(path, columns=_BENCHMARK_COLUMNS)
    columns = [table.column(name) for name in ("first", "second", "score")]
    return _scored_columns("stsb", path, columns, table.lines)


def _read_sick(path: Path) -> StsSubset:
    table = read_tsv(path)
    columns = [table.column(name) for name in ("sentence_A", "sentence_B", "relatedness_score")]
    return _scored_columns("sickr", path, columns, table.lines)


def _scored_columns(name: str, path: Path, columns: Sequence[Sequence[object]], lines: Sequence[int]) -> StsSubset:
    cells = zip(*columns, lines, strict=True)
    rows = ((str(first), str(second), _score(path, line, str(score))) for first, second, score, line in cells)
    return _subset(name, path, rows)


def _subset(name: str, path: Path, rows: Iterable[tuple[str, str, float]]) -> StsSubset:
    kept = list(rows)
    if len(kept) < 2:
        raise UserError(f"{path} has {len(kept)} scored pairs: a correlation needs 2 or more")
    return StsSubset(
        name,
        [first.strip() for first, _, _ in kept],
        [second.strip() for _, second, _ in kept],
        np.array([score for _, _, score in kept], dtype=np.float64),
    )


def _joined(name: str, subsets: Sequence[StsSubset]) -> StsSubset:
    return StsSubset(
        name,
        [text for one in subsets for text in one.first],
        [text for one in subsets for text in one.second],
        np.concatenate([one.scores for one in subsets]),
    )


def _score(path: Path, line: int, value: str) -> float:
    try:
        score = float(value)
    except ValueError:
        score = float("nan")
    if not np.isfinite(score):
        raise UserError(f"{path} line {line}: {value.strip()[:60]!r} is not a score")
    return score
