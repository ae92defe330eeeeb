"""Where a training works until its encoder is whole: a hidden folder beside the one that is asked for.

`OUT` appears only when it is whole. Until then `.OUT.training` holds the corpus, the checkpoints and the settings,
so that the same call goes on where it was stopped, and a call with other settings is refused.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from hundredth.errors import UserError
from hundredth.files import flush_to_disk, read_json, replace_folder, write_json

RECORD = "training.json"


class Workplace:
    """The folders of one training. `settings` is everything that decides its result, as JSON can hold it."""

    def __init__(self, out: Path, settings: dict[str, Any]) -> None:
        self.out = out
        self.settings = settings
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
        self._compare(
            theirs, f"{self.out} holds an encoder that was trained with other settings", "choose another folder"
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
            UserError: another training works here, or one with other settings was stopped here.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / ".lock", timeout=0)
        preparing = FileLock(self.folder / ".preparing.lock")
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
        if not path.exists():
            write_json(path, {"settings": self.settings})
        self._compare(
            read_json(path)["settings"],
            f"a training with other settings was stopped in {self.folder}",
            "go on with the same ones, remove that folder, or choose another to write to",
        )

    def _compare(self, theirs: dict[str, Any], what: str, advice: str) -> None:
        ours = _flat(self.settings)
        for name, value in _flat(theirs).items():
            if ours.get(name) != value:
                raise UserError(f"{what}: {name} is {_short(ours.get(name))} now and was {_short(value)}; {advice}")


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found.update({f"{name}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {name: value})
    return found


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
