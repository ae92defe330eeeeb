"""The entries in SQLite: the one source of truth of a knowledge store.

The database carries the labels, the width of the keys, the fingerprint of the encoder that makes the keys,
and a generation: a counter that every change raises in its own transaction, so that a derived index can tell
whether it is current. Each change is logged in the same transaction. Ids are never given to another entry.
"""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from hundredth.errors import UserError
from hundredth.store import changes
from hundredth.store.changes import ENTRY_COLUMNS, Change, Kind
from hundredth.store.database import bring_up_to_date, connect

Origin = Literal["gold", "generated", "unlabelled", "user"]
ORIGINS: tuple[Origin, ...] = get_args(Origin)

_FLOAT = np.dtype("<f4")
_COLUMNS = "id, texts, soft_label, label, origin, created"
_AT_ONCE = 500  # ids named in one statement
_PAGE = 1000


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One piece of knowledge: `soft_label` (C,) float32 sums to 1, `label` is the gold label's index."""

    id: int
    texts: tuple[str, ...]
    soft_label: NDArray[np.float32]
    label: int | None
    origin: Origin
    created: str


@dataclass(frozen=True)
class NewEntry:
    """A checked entry on its way in: `soft_label` (C,) and `key` (d,) are float32, the key of length 1."""

    texts: tuple[str, ...]
    soft_label: NDArray[np.float32]
    label: int | None
    origin: Origin
    created: str
    key: NDArray[np.float32]


@dataclass(frozen=True)
class Vectors:
    """Entries' `ids` (N,), ascending, `keys` (N, d), `soft_labels` (N, C), and which are the user's (N,)."""

    ids: NDArray[np.int64]
    keys: NDArray[np.float32]
    soft_labels: NDArray[np.float32]
    user: NDArray[np.bool_]

    def of_user(self) -> "Vectors":
        """Return those of the entries that users made."""
        mine = self.user
        return Vectors(self.ids[mine], self.keys[mine], self.soft_labels[mine], mine[mine])


class EntryTable:
    """Reads and writes entries; not thread-safe by itself (KnowledgeStore holds the lock)."""

    def __init__(self, path: Path, *, writable: bool) -> None:
        self.path = path
        self.writable = writable
        if not path.is_file():
            raise UserError(f"no knowledge store at {path}: check the path, or make one first")
        with self._reporting("read"):
            self._connection = connect(path, writable)
            try:
                self._has_log = bring_up_to_date(self._connection, path, writable)
                meta = dict(self._connection.execute("SELECT name, value FROM meta"))
                self.labels = tuple(str(label) for label in json.loads(meta["labels"]))
                self.dimension = int(meta["dimension"])
                self.encoder = str(meta["encoder"])
                self.generation = int(meta["generation"])
            except (KeyError, ValueError) as error:
                self._connection.close()
                raise self._damaged(f"its description cannot be read ({error})") from error
            except BaseException:
                self._connection.close()
                raise

    def close(self) -> None:
        """Fold the log into the database file and close it."""
        self._connection.close()

    def vectors(self, ids: Sequence[int] | None = None) -> Vectors:
        """Read ids, keys and soft labels, all or of these `ids`; refuses content that cannot be right."""
        select = "SELECT id, key, soft_label, origin = 'user' FROM entries"
        with self._reporting("read"):
            if ids is None:
                problem = self._connection.execute("PRAGMA quick_check(1)").fetchone()[0]
                if problem != "ok":
                    raise self._damaged(problem)
                rows = self._connection.execute(f"{select} ORDER BY id").fetchall()
            else:
                rows = []
                for start in range(0, len(ids), _AT_ONCE):
                    some = sorted(ids)[start : start + _AT_ONCE]
                    marks = ",".join("?" * len(some))
                    rows += self._connection.execute(f"{select} WHERE id IN ({marks}) ORDER BY id", some)
        found = np.array([row[0] for row in rows], dtype=np.int64)
        keys = self._matrix([row[1] for row in rows], self.dimension, "key")
        soft_labels = self._matrix([row[2] for row in rows], len(self.labels), "soft label")
        self._check_rows(found, np.abs(np.linalg.norm(keys, axis=1) - 1) < 1e-3, "key is not of length 1")
        self._check_rows(found, np.abs(soft_labels.sum(axis=1) - 1) < 1e-3, "soft label does not sum to 1")
        return Vectors(found, keys, soft_labels, np.array([row[3] for row in rows], dtype=np.bool_))

    def replace(self, kind: Kind, ids: Sequence[int], entries: Sequence[NewEntry], by: str, note: str) -> Change:
        """Take out the entries with these ids that are there, and put others in, in one logged transaction.

        The new entries' ids ascend in the order given.
        """
        with self._change() as connection:
            row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'entries'").fetchone()
            first = (row[0] if row else 0) + 1
            gone = [id for id in sorted(set(ids)) if self._row(id) is not None]
            new = list(range(first, first + len(entries)))
            changes.record(connection, kind, by, note, gone, new)
            connection.executemany("DELETE FROM entries WHERE id = ?", ((id,) for id in gone))
            connection.executemany(
                f"INSERT INTO entries ({ENTRY_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    (
                        id,
                        json.dumps(entry.texts, ensure_ascii=False),
                        entry.soft_label.astype(_FLOAT).tobytes(),
                        entry.label,
                        entry.origin,
                        entry.created,
                        entry.key.astype(_FLOAT).tobytes(),
                    )
                    for id, entry in zip(new, entries, strict=True)
                ),
            )
            return changes.read_changes(connection, 1)[0]

    def update(self, id: int, soft_label: NDArray[np.float32], label: int | None, by: str, note: str) -> Change:
        """Replace the labels of one entry; raises KeyError when there is none."""
        with self._change() as connection:
            if self._row(id) is None:
                raise KeyError(id)
            changes.record(connection, "update", by, note, [id], [id])
            connection.execute(
                "UPDATE entries SET soft_label = ?, label = ? WHERE id = ?",
                (soft_label.astype(_FLOAT).tobytes(), label, id),
            )
            return changes.read_changes(connection, 1)[0]

    def undo(self, change: int, by: str, note: str) -> Change:
        """Take a change back; return the change that this makes."""
        with self._change() as connection:
            changes.undo(connection, change, by, note)
            return changes.read_changes(connection, 1)[0]

    def changes(self, limit: int | None) -> list[Change]:
        """Return the last `limit` changes, or all, the latest first; none where there is no log."""
        with self._reporting("read"):
            return changes.read_changes(self._connection, limit) if self._has_log else []

    def get(self, id: int) -> Entry | None:
        """Return one entry, or None when there is none with this id."""
        with self._reporting("read"):
            row = self._row(id)
        return None if row is None else self._entry(row)

    def with_texts(self, texts: tuple[str, ...]) -> list[int]:
        """Return the ids of the entries with these very texts."""
        with self._reporting("read"):
            rows = self._connection.execute(
                "SELECT id FROM entries WHERE texts = ? ORDER BY id", (json.dumps(texts, ensure_ascii=False),)
            ).fetchall()
        return [id for (id,) in rows]

    def page(self, after: int, origin: Origin | None) -> list[Entry]:
        """Return the next entries in order of id, from the first id above `after`; empty at the end."""
        where, values = ("AND origin = ?", (after, origin)) if origin else ("", (after,))
        with self._reporting("read"):
            rows = self._connection.execute(
                f"SELECT {_COLUMNS} FROM entries WHERE id > ? {where} ORDER BY id LIMIT {_PAGE}", values
            ).fetchall()
        return [self._entry(row) for row in rows]

    def counts(self) -> dict[Origin, int]:
        """Return how many entries each origin has."""
        with self._reporting("read"):
            rows = dict(self._connection.execute("SELECT origin, COUNT(*) FROM entries GROUP BY origin"))
        return {origin: rows.get(origin, 0) for origin in ORIGINS}

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        """Run a block as one transaction that raises the generation; an error undoes it all."""
        if not self.writable:
            raise UserError(f"{self.path} cannot be changed: its folder is read-only")
        with self._reporting("written"):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                row = self._connection.execute("SELECT value FROM meta WHERE name = 'generation'").fetchone()
                if int(row[0]) != self.generation:
                    raise UserError(
                        f"{self.path} was changed by another process (generation {row[0]}, here "
                        f"{self.generation}): close it here and open it again"
                    )
                yield self._connection
                self._connection.execute(
                    "UPDATE meta SET value = ? WHERE name = 'generation'", (str(self.generation + 1),)
                )
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
        self.generation += 1

    @contextmanager
    def _reporting(self, doing: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:  # locked, disk full, no permission: the machine, not the file
            raise UserError(f"{self.path} could not be {doing}: {error}") from error
        except sqlite3.DatabaseError as error:
            raise self._damaged(str(error)) from error

    def _row(self, id: int) -> tuple[int, str, bytes, int | None, Origin, str] | None:
        row: tuple[int, str, bytes, int | None, Origin, str] | None = self._connection.execute(
            f"SELECT {_COLUMNS} FROM entries WHERE id = ?", (id,)
        ).fetchone()
        return row

    def _matrix(self, blobs: list[bytes], width: int, what: str) -> NDArray[np.float32]:
        if any(len(blob) != width * _FLOAT.itemsize for blob in blobs):
            raise self._damaged(f"a {what} is not {width} numbers wide")
        values = np.frombuffer(b"".join(blobs), dtype=_FLOAT).astype(np.float32)
        return values.reshape(len(blobs), width)

    def _check_rows(self, ids: NDArray[np.int64], good: NDArray[np.bool_], problem: str) -> None:
        if not good.all():
            raise self._damaged(f"entry {ids[np.argmin(good)]}: {problem}")

    def _entry(self, row: tuple[int, str, bytes, int | None, Origin, str]) -> Entry:
        id, texts, soft_label, label, origin, created = row
        values = self._matrix([soft_label], len(self.labels), "soft label")[0]
        try:
            fields = tuple(str(text) for text in json.loads(texts))
        except (ValueError, TypeError) as error:
            raise self._damaged(f"the texts of entry {id} cannot be read ({error})") from error
        return Entry(id, fields, values, label, origin, created)

    def _damaged(self, problem: str) -> UserError:
        return UserError(f"{self.path} is damaged: {problem}; restore it from a copy, or build the store again")
