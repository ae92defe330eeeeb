"""The history of a store: read while nobody adds to it, and made again in the store that takes its place."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from hundredth.errors import UnavailableError
from hundredth.store import changes
from hundredth.store.changes import ENTRY_COLUMNS, Change, Kind
from hundredth.store.checks import new_entries
from hundredth.store.database import BUSY_MS, DATABASE
from hundredth.store.entries import Entry, EntryTable, NewEntry

_RETRY_SECONDS = 0.01
_COLUMNS = ENTRY_COLUMNS.removesuffix(", key")


@dataclass(frozen=True, order=True)
class Said:
    """A change of a store: when it was made, its id in the log there, its kind, who made it, and why."""

    at: str
    change: int
    kind: Kind
    by: str
    note: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"id": self.change, "at": self.at, "kind": self.kind, "by": self.by, "note": self.note}

    @classmethod
    def from_dict(cls, row: Any) -> "Said":
        """Read what `to_dict` returned of a change that put an entry in.

        Raises:
            ValueError, KeyError, TypeError: it is something else.
        """
        if row["kind"] not in ("add", "correct"):
            raise ValueError(f"change.kind is {row['kind']!r}")
        said = cls(row["at"], row["id"], row["kind"], row["by"], row["note"])
        datetime.fromisoformat(said.at)
        for name, value, kind in (("id", said.change, int), ("by", said.by, str), ("note", said.note, str)):
            if not isinstance(value, kind):
                raise TypeError(f"change.{name} is {value!r}")
        (said.by + said.note).encode()  # which half of a surrogate pair cannot be
        return said


@dataclass(frozen=True)
class History:
    """What a store holds and how it came to: its labels, those it was made for and all, its entries, its log.

    `changes` are in their order. `replaced` are the entries that they took out or altered, as they were before,
    each with the id of the change, in the same order.
    """

    base_labels: tuple[str, ...]
    labels: tuple[str, ...]
    entries: list[Entry]
    changes: list[Change]
    replaced: list[tuple[int, Entry]]


@contextmanager
def held_history(folder: Path) -> Iterator[History]:
    """Read the history of the store in `folder`; inside the block no process can add to it.

    Who tries waits, and is refused as with any lock that lasts. A folder that cannot be written needs no lock.

    Raises:
        UserError: there is no store, or it cannot be read.
        UnavailableError: another process kept it locked.
    """
    table = HistoryTable(folder / DATABASE, writable=os.access(folder, os.W_OK))
    try:
        if table.writable:
            table.hold()
        yield table.history()
    finally:
        table.close()  # ends the transaction, which has changed nothing


@contextmanager
def repeating(folder: Path) -> Iterator["HistoryTable"]:
    """Open the store in `folder` to make changes of another one again: all those of the block or none."""
    table = HistoryTable(folder / DATABASE, writable=True)
    try:
        table.hold()
        with table.changing():
            yield table
    finally:
        table.close()


class HistoryTable(EntryTable):
    """The entries of a store with the changes of its log as things to read and to make again."""

    def hold(self) -> None:
        """Start a transaction in which this connection alone may change the store.

        Raises:
            UnavailableError: another process kept it locked.
        """
        given_up = time.monotonic() + BUSY_MS / 1000
        while not self.begin_change():
            if time.monotonic() > given_up:
                raise UnavailableError(f"{self.path} is kept locked by another process: try again")
            time.sleep(_RETRY_SECONDS)
        self._read_labels()

    def history(self) -> History:
        """Read all of it."""
        entries: list[Entry] = []
        while page := self.page(entries[-1].id if entries else 0, None):
            entries += page
        with self._reporting("read"):
            query = f"SELECT change, {_COLUMNS} FROM replaced ORDER BY change, id"
            rows = self._connection.execute(query).fetchall() if self.has_log() else []
        replaced = [(change, self._entry(tuple(row))) for change, *row in rows]
        return History(self.base_labels, self.labels, entries, self.changes(None)[::-1], replaced)

    def repeat_label(self, name: str, at: str, by: str, note: str) -> Change:
        """Add a label as it was added to another store."""
        change = self.add_label(name, by, note, at)
        self._read_labels()  # which a change that follows may need
        return change

    def repeat(
        self,
        kind: Kind,
        at: str,
        by: str,
        note: str,
        removed: Sequence[Entry],
        added: Sequence[Entry],
        keys: ArrayLike,
    ) -> Change:
        """Make a change of another store again: log it with its time and author, and return it.

        What it `removed` there is not here: it goes into the log alone, under ids of its own, from where an undo
        brings it back. What it `added` goes in; what an update added, under the ids of what it removed. Of the
        entries given the ids do not count. `keys` (R + A, d) are those of the removed and the added.
        """
        entries = self._checked([*removed, *added], keys)
        gone, new = entries[: len(removed)], entries[len(removed) :]
        before = self._next_ids(len(gone))
        self._put_in(before, gone)
        after = before if kind == "update" else self._next_ids(len(new))
        changes.record(self._connection, kind, by, note, before, after, at=at)
        self._take_out(before)
        self._put_in(after, new)
        return self._changed()

    def _checked(self, entries: Sequence[Entry], keys: ArrayLike) -> list[NewEntry]:
        classes = len(self.labels), len(self.base_labels)
        made = new_entries(
            [entry.texts for entry in entries],
            np.reshape([entry.soft_label for entry in entries], (len(entries), classes[0])),
            keys,
            [entry.origin for entry in entries],
            [entry.label for entry in entries],
            self.dimension,
            *classes,
        )
        return [replace(one, created=entry.created) for one, entry in zip(made, entries, strict=True)]
