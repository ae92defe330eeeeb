"""The model that is served: watched on disk, replaced while requests go on, closed after its last one."""

import asyncio
import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hundredth.errors import UnavailableError, UserError
from hundredth.files import fingerprint, read_json
from hundredth.runtime import Model, load
from hundredth.runtime.engines import EngineName
from hundredth.service.metrics import Metrics

_log = logging.getLogger(__name__)
_STORE = "store.db"
_CHANGING = ("index.faiss", f"{_STORE}-wal", f"{_STORE}-shm")  # what changes with the knowledge, not the model
_LONGEST_CARD = 100_000  # characters
_RECORD = "stage.json"  # of the run that made the model, where it still lies there
_NUMBERS = ("dev", "entries", "bytes", "ignores_its_store")

Stamp = tuple[tuple[str, int, int, int], ...]


class Served:
    """A loaded model with what is told of it, and a count of those who use it.

    `version` tells models apart: two with the same hundredth.json have the same.
    """

    def __init__(self, model: Model, folder: Path) -> None:
        self.model = model
        self.version = fingerprint(asdict(model.manifest))[:16]
        self.card = _card(folder)
        self.numbers = _numbers(folder)
        self.users = 0
        self.retired = False
        self._counted: tuple[int, dict[str, int]] = (-1, {})

    @property
    def writable(self) -> bool:
        """Whether its knowledge can be changed."""
        return self.model.has_store and self.model.store.writable

    def entries(self) -> dict[str, int]:
        """Return how many entries each origin has; empty without a store."""
        if not self.model.has_store:
            return {}
        store = self.model.store
        generation = store.generation
        if self._counted[0] != generation:
            self._counted = generation, {str(origin): count for origin, count in store.counts().items()}
        return self._counted[1]


class Models:
    """The model in use, and the one that takes its place when the folder is replaced.

    But for `load`, everything runs in the thread of the event loop.
    """

    def __init__(self, folder: Path, threads: int | None, engine: EngineName, metrics: Metrics) -> None:
        self.folder, self._threads, self._engine, self._metrics = folder, threads, engine, metrics
        self._stamp = stamp(folder)
        self.served = self.load()
        self._poked = asyncio.Event()
        self._forced = False
        self._said = ""
        self._closer = ThreadPoolExecutor(1, "close")

    def load(self) -> Served:
        """Load and check what lies in the folder; raises UserError."""
        return Served(load(self.folder, self._threads, self._engine), self.folder)

    @contextmanager
    def using(self) -> Iterator[Served]:
        """Yield the model in use, which stays open for the block, whatever takes its place."""
        served = self.served
        self.take(served)
        try:
            yield served
        finally:
            self.give_back(served)

    def take(self, served: Served) -> None:
        """Keep a model open until it is given back."""
        served.users += 1

    def give_back(self, served: Served) -> None:
        """Close a model that has been replaced when its last user gives it back."""
        served.users -= 1
        if served.retired and not served.users:
            self._closer.submit(_close, served)

    def poke(self, forced: bool = False) -> None:
        """Let `watch` look at the folder now; `forced`: load it though it looks the same."""
        self._forced |= forced
        self._poked.set()

    async def watch(self, seconds: float) -> None:
        """Look every so many seconds, and when poked, whether there is a new model; 0 for when poked only."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds or None):
                    await self._poked.wait()
            self._poked.clear()
            await self._look()

    async def _look(self) -> None:
        """Load the model in the folder if it is another one; if it cannot be used, the old one is served on.

        What was loaded while the folder changed is no one's model: it is dropped, and the folder looked at again.
        """
        forced, self._forced = self._forced, False
        now = await asyncio.to_thread(stamp, self.folder)
        if now == self._stamp and not forced:
            return
        new, failure = None, None
        try:
            new = await asyncio.to_thread(self.load)
        except Exception as error:
            failure = error
        if await asyncio.to_thread(stamp, self.folder) != now:
            if new:
                self._closer.submit(_close, new)
            self.poke(forced)
        elif new:
            self._stamp = now
            self._exchange(new)
        elif failure:
            # It may work the next time with the folder as it is, where something else was in the way.
            self._stamp = () if isinstance(failure, UnavailableError) else now
            self._tell(failure)

    def _exchange(self, new: Served) -> None:
        self._said = ""
        old, self.served = self.served, new
        old.retired = True
        self.take(old)
        self.give_back(old)
        self._metrics.reloads.labels("done").inc()
        _log.info("the model in %s was loaded anew, version %s", self.folder, new.version)

    def _tell(self, failure: Exception) -> None:
        if str(failure) != self._said:
            _log.error(
                "the model in %s cannot be used, the one before is served on: %s",
                self.folder,
                " ".join(str(failure).splitlines()),
                exc_info=None if isinstance(failure, UserError) else failure,
            )
        self._said = str(failure)
        self._metrics.reloads.labels("failed").inc()

    def close(self) -> None:
        """Close the model in use, and wait until those before it are closed."""
        self._closer.submit(_close, self.served)
        self._closer.shutdown(wait=True)


def stamp(folder: Path) -> Stamp:
    """Return what changes when another model is put into a folder: names, inodes, times and sizes of its files.

    Of the store only its inode counts: it is written to all the time. Empty where there is no folder.
    """
    found = []
    try:
        for item in os.scandir(folder):
            if not item.name.startswith(".") and item.name not in _CHANGING:
                stat = item.stat()
                seen = (0, 0) if item.name == _STORE else (stat.st_mtime_ns, stat.st_size)
                found.append((item.name, stat.st_ino, *seen))
    except OSError:
        return ()
    return tuple(sorted(found))


def _close(served: Served) -> None:
    try:
        served.model.close()
    except Exception:
        _log.exception("a model could not be closed")


def _card(folder: Path) -> str:
    try:
        return (folder / "README.md").read_text(encoding="utf-8")[:_LONGEST_CARD]
    except (OSError, UnicodeDecodeError):
        return ""


def _numbers(folder: Path) -> dict[str, Any]:
    """Return the numbers of the run that made the model, as far as its record is there."""
    try:
        metrics = read_json(folder / _RECORD)["metrics"]
        return {name: metrics[name] for name in _NUMBERS if name in metrics}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
