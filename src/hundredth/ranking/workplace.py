"""Where a training works until its encoder is whole: a hidden folder beside the one that is asked for.

`OUT` appears only when it is whole. Until then `.OUT.training` holds the corpus, the checkpoints and the settings,
so that the same call goes on where it was stopped. A call with other settings is refused, unless there is no whole
checkpoint yet: then nothing is lost by starting anew.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from hundredth.errors import UserError
from hundredth.files import flush_to_disk, read_json, replace_folder, write_json
from hundredth.ranking.checkpoint import last_checkpoint
from hundredth.ranking.reporting import Reporter

RECORD = "training.json"
_LOCK, _PREPARING = ".lock", ".preparing.lock"


class Workplace:
    """The folders of one training. `settings` is everything that decides its result, as JSON can hold it.

    `resumed` tells, inside of `claimed` and in the first process, whether an earlier training goes on.
    """

    def __init__(self, out: Path, settings: dict[str, Any], reporter: Reporter) -> None:
        self.out = out
        self.settings = settings
        self.reporter = reporter
        self.resumed = False
        self.folder = out.absolute().with_name(f".{out.absolute().name}.training")

    def finished(self) -> dict[str, Any] | None:
        """Return the record of a training with these settings that has come to its end.

        Raises:
            UserError: `out` holds something else.
        """
        if not self.out.exists():
            return None
        if self.out.is_dir() and not any(self.out.iterdir()):
            return None
        try:
            record: dict[str, Any] = read_json(self.out / RECORD)
            theirs = record["settings"]
        except (OSError, ValueError, KeyError, TypeError):
            raise UserError(
                f"{self.out} holds something that is no trained encoder: choose another folder, or move it away"
            ) from None
        difference = self._difference(theirs)
        if difference is not None:
            raise UserError(
                f"{self.out} holds an encoder that was trained with other settings: {difference}; choose another "
                "folder"
            )
        # A kill between the last two acts of `publish` leaves this behind.
        shutil.rmtree(self.folder, ignore_errors=True)
        return record

    @contextmanager
    def claimed(self, first: bool, meet: Callable[[], None]) -> Iterator[Callable[[], None]]:
        """Keep other trainings out, and the other processes of this one waiting, while its `first` prepares it.

        Yields the function to call when it is prepared. `meet` returns when all processes of the training have
        called it. They wait for the first at a lock, not there, since collective operations give up after some
        minutes, and preparing may take hours.

        Raises:
            UserError: another training works here, or one with other settings was stopped here after a checkpoint.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / _LOCK, timeout=0)
        preparing = FileLock(self.folder / _PREPARING)
        if first:
            try:
                lock.acquire()
            except Timeout:
                raise UserError(f"another process is training {self.out}: wait until it has ended") from None
        try:
            if first:
                self._check_settings()
                preparing.acquire()
            meet()
            if not first:
                preparing.acquire()
                preparing.release()
            yield preparing.release
        finally:
            preparing.release()
            lock.release()

    def publish(self, model: Path, result: dict[str, Any]) -> None:
        """Put the finished folder `model` in its place, with its record, and clear the workplace."""
        for path in model.rglob("*"):
            if path.is_file():
                flush_to_disk(path)
        write_json(model / RECORD, {"settings": self.settings, "result": result})
        replace_folder(model, self.out.absolute())
        shutil.rmtree(self.folder, ignore_errors=True)

    def _check_settings(self) -> None:
        path = self.folder / RECORD
        if path.exists():
            difference = self._difference(read_json(path)["settings"])
            if difference is None:
                self.resumed = True
                return
            if last_checkpoint(self.folder) is not None:
                raise UserError(
                    f"a training with other settings was stopped in {self.folder}: {difference}; go on with the "
                    "same ones, remove that folder, or choose another to write to"
                )
            self.reporter.say(f"  starting anew, since no step was saved before: {difference}")
            self._clear()
        write_json(path, {"settings": self.settings})

    def _clear(self) -> None:
        # The record goes last: a kill in between leaves it, to be compared again.
        for one in sorted(self.folder.iterdir(), key=lambda one: one.name == RECORD):
            if one.name in (_LOCK, _PREPARING):
                continue
            if one.is_dir():
                shutil.rmtree(one)
            else:
                one.unlink()

    def _difference(self, theirs: dict[str, Any]) -> str | None:
        """Say the first setting that is another one here; what an older record does not hold yet is none."""
        ours = _flat(self.settings)
        for name, value in _flat(theirs).items():
            if ours.get(name) != value:
                return f"{name} is {_short(ours.get(name))} now and was {_short(value)}"
        return None


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found.update({f"{name}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {name: value})
    return found


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
