"""Stages of a run: each makes one folder, is redone when what it depends on changes, and is never half-made.

A stage works in a hidden folder beside its own. `stage.json` is written into it last and the folder then takes
the place of the old one, so a run that is killed at any moment goes on from the last whole stage.
"""

import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from hundredth.errors import UserError
from hundredth.files import file_fingerprint, fingerprint, flush_to_disk, read_json, replace_folder, write_json

STAGE_RECORD = "stage.json"
# Raised when a stage's code changes what it makes from the same settings, so that old results are redone.
_STAGES_VERSION = 1


@dataclass(frozen=True)
class Stage:
    """One step of a run.

    `settings` is everything besides the results of `needs` that decides what `make` writes into its folder;
    `make` returns the numbers worth keeping.
    """

    name: str
    needs: tuple[str, ...]
    settings: Any
    make: Callable[[Path], dict[str, Any]]


@dataclass(frozen=True)
class Outcome:
    """What became of a stage: its folder, its record, and whether it was made now or found whole."""

    folder: Path
    record: dict[str, Any]
    made: bool


def run_stages(
    root: Path, stages: Sequence[Stage], announce: Callable[[Stage, bool], None] = lambda stage, fresh: None
) -> dict[str, Outcome]:
    """Bring each stage up to date while no other process works in `root`, as `bring_up_to_date` does."""
    with locked(root):
        return bring_up_to_date(root, stages, announce)


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Make the folder, and keep other processes from working in it inside the block.

    Raises:
        UserError: another one is at work there.
    """
    root.mkdir(parents=True, exist_ok=True)
    lock = FileLock(root / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(f"another process is working in {root}: wait until it has ended") from None
    try:
        yield
    finally:
        lock.release()


def bring_up_to_date(
    root: Path, stages: Sequence[Stage], announce: Callable[[Stage, bool], None]
) -> dict[str, Outcome]:
    """Make each stage that is not whole or no longer fits, in order, inside `locked`.

    `announce` is told of each, and whether it is whole already.
    """
    outcomes: dict[str, Outcome] = {}
    for stage in stages:
        needed = {name: outcomes[name].record["outputs"] for name in stage.needs}
        key = fingerprint([_STAGES_VERSION, stage.name, stage.settings, needed])
        target, work = root / stage.name, root / f".{stage.name}.work"
        _recover(target, work)
        record = read_record(target)
        fresh = record is not None and record["fingerprint"] == key
        announce(stage, fresh)
        if not fresh:
            record = _make(stage, target, work, key, needed)
        assert record is not None
        outcomes[stage.name] = Outcome(target, record, made=not fresh)
    return outcomes


def refuse_strangers(root: Path, stages: Sequence[Stage]) -> None:
    """Refuse a folder in which something that no stage made bears a stage's name: it would be replaced.

    Raises:
        UserError: names what is in the way.
    """
    for stage in stages:
        target = root / stage.name
        empty = target.is_dir() and not any(target.iterdir())
        if target.exists() and not empty and not (target / STAGE_RECORD).exists():
            raise UserError(
                f"{target} was not made by a run and would be replaced: choose another folder, or move it away"
            )


def first_unfinished(root: Path, needs: Mapping[str, Sequence[str]]) -> str | None:
    """Return the first stage that is not whole, or not made from what the stages it needs hold now; else None.

    `needs` names the stages in their order. A run that is killed while it is redone holds whole stages of both
    times: they do not belong together.
    """
    outputs: dict[str, str] = {}
    for name, needed in needs.items():
        record = read_record(root / name)
        if record is None or record.get("inputs") != {one: outputs[one] for one in needed}:
            return name
        outputs[name] = record["outputs"]
    return None


def read_record(folder: Path) -> dict[str, Any] | None:
    """Return a stage's record, or None when the stage is not whole."""
    try:
        record = read_json(folder / STAGE_RECORD)
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and {"fingerprint", "outputs"} <= record.keys() else None


def _make(stage: Stage, target: Path, work: Path, key: str, needed: Mapping[str, str]) -> dict[str, Any]:
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    started = time.monotonic()
    try:
        metrics = stage.make(work)
        record = {
            "stage": stage.name,
            "fingerprint": key,
            "inputs": dict(needed),
            "settings": stage.settings,
            "metrics": metrics,
            "seconds": round(time.monotonic() - started, 1),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "peak_memory_mb": peak_memory_mb(),
            "outputs": _outputs(work),
        }
        # The record says that all is whole: nothing of it may still be on its way to the disk.
        for path in work.rglob("*"):
            if path.is_file():
                flush_to_disk(path)
        write_json(work / STAGE_RECORD, record)
    except BaseException:
        # On a full disk what is half made would stand in the way of making it again.
        shutil.rmtree(work, ignore_errors=True)
        raise
    replace_folder(work, target)
    return record


def peak_memory_mb() -> int:
    """Return the most memory that this process has held so far, in MiB."""
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset) // 2**20
    import resource  # which Windows does not have

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (2**20 if sys.platform == "darwin" else 2**10)


def _recover(target: Path, work: Path) -> None:
    """Finish or undo what a crash left: a whole new folder takes its place, an old one returns to it."""
    old = target.with_name(f".{target.name}.old")
    if not target.exists() and read_record(work) is not None:
        work.rename(target)
    elif not target.exists() and old.exists():
        old.rename(target)
    shutil.rmtree(work, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def _outputs(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return fingerprint([[path.relative_to(folder).as_posix(), file_fingerprint(path)] for path in files])
