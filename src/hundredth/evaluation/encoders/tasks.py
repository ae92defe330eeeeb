"""The tasks that an encoder is measured on: their names, their groups, and how they are read from a folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from hundredth.errors import UserError
from hundredth.evaluation.encoders.embeddings import Embed
from hundredth.evaluation.encoders.geometry import Geometry
from hundredth.evaluation.encoders.sts import Sts
from hundredth.evaluation.encoders.transfer import TRANSFER_TASKS, read_transfer
from hundredth.tasks.sts import STS_TASKS, MissingTaskError, read_sts, read_sts_benchmark

STS, TRANSFER, GEOMETRY = "sts", "transfer", "geometry"
GROUPS: dict[str, tuple[str, ...]] = {STS: STS_TASKS, TRANSFER: TRANSFER_TASKS, GEOMETRY: (GEOMETRY,)}
ALL = "all"
# As papers write them.
TITLES = {
    **{name: name.upper() for name in STS_TASKS + TRANSFER_TASKS},
    "stsb": "STS-B",
    "sickr": "SICK-R",
    "sst2": "SST-2",
    GEOMETRY: "alignment and uniformity",
}


class Measure(Protocol):
    """A task with its data: `content` is all that its result depends on but the embeddings."""

    def content(self) -> Any: ...  # noqa: D102

    def measure(self, embed: Embed) -> dict[str, Any]: ...  # noqa: D102


@dataclass(frozen=True)
class EncoderTasks:
    """The tasks that were found, by name in the order of `GROUPS`, and notes on those that were not."""

    found: dict[str, Measure]
    notes: list[str]


def read_tasks(root: Path, wanted: Sequence[str] = (ALL,), *, seed: int) -> EncoderTasks:
    """Read the tasks from a folder in SentEval's layout.

    Args:
        root: the folder that holds senteval, or one further down.
        wanted: names of tasks and of groups; with "all", those that are not in the folder are left out, else a
            missing one is an error.
        seed: of the folds of the transfer tasks.

    Raises:
        UserError: a name is unknown, a task that was named is not there, none is there, or a file is damaged.
    """
    known = [*GROUPS, *(name for group in GROUPS.values() for name in group)]
    unknown = [name for name in wanted if name not in (ALL, *known)]
    if unknown:
        raise UserError(
            f"there is no encoder task {unknown[0]!r}: choose from {ALL}, {', '.join(dict.fromkeys(known))}"
        )
    if not wanted:
        raise UserError(f"no task is named: choose from {ALL}, {', '.join(dict.fromkeys(known))}")
    named = {task for name in wanted if name != ALL for task in GROUPS.get(name, (name,))}
    found: dict[str, Measure] = {}
    missing: dict[str, str] = {}
    for name in (name for group in GROUPS.values() for name in group):
        if name not in named and ALL not in wanted:
            continue
        try:
            found[name] = _read(root, name, seed)
        except MissingTaskError as error:
            if name in named:
                raise
            missing[name] = str(error)
    if not found:
        raise UserError(next(iter(missing.values())))
    left_out = ", ".join(TITLES.get(name, name) for name in missing)
    return EncoderTasks(found, [f"not in {root}, left out: {left_out}"] if missing else [])


def _read(root: Path, name: str, seed: int) -> Measure:
    if name in STS_TASKS:
        return Sts(read_sts(root, name))
    return Geometry(read_sts_benchmark(root)) if name == GEOMETRY else read_transfer(root, name, seed)
