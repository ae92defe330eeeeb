"""The entries in SQLite: the one source of truth of a knowledge store.

The database carries the labels, those it was made for and those added since, the width of the keys, the
fingerprint of the encoder that makes the keys, and a generation: a counter that every change raises by one in its
own transaction, so that a derived index can tell whether it is current. Each change is logged in the same
transaction. Ids are never given to another entry.
"""

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from hundredth.store import changes
from hundredth.store.changes import ENTRY_COLUMNS, Change, Kind
from hundredth.store.connection import Connection
from hundredth.store.database import SAME_TEXTS, bring_up_to_date

Origin = Literal["gold", "generated", "unlabelled", "user"]
ORIGINS: tuple[Origin, ...] = get_args(Origin)

_FLOAT = np.dtype("<f4")
_ADDED_LABELS, _STATE = "added_labels", "state"  # in meta, where there are any
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

    @property
    def shown_label(self) -> int:
        """The index of the gold label, or where there is none of the likeliest one."""
        return int(self.soft_label.argmax()) if self.label is None else self.label


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


class EntryTable(Connection):
    """Reads and writes entries; what changes them runs in a block of `changing`."""

    def __init__(self, path: Path, *, writable: bool) -> None:
        super().__init__(path, writable)
        try:
            with self._reporting("read"):
                self._has_log = bring_up_to_date(self._connection, path, writable)
                meta = dict(self._connection.execute("SELECT name, value FROM meta"))
            self.base_labels = tuple(str(label) for label in json.loads(meta["labels"]))
            self.labels = (*self.base_labels, *json.loads(meta.get(_ADDED_LABELS, "[]")))
            self.dimension = int(meta["dimension"])
            self.encoder = str(meta["encoder"])
            int(meta["generation"])
        except (KeyError, ValueError) as error:
            self._connection.close()
            raise self._damaged(f"its description cannot be read ({error})") from error
        except BaseException:
            self._connection.close()
            raise

    def has_log(self) -> bool:
        """Whether there is a log of changes: another process may have added it since."""
        if not self._has_log:
            self._has_log = bring_up_to_date(self._connection, self.path, writable=False)
        return self._has_log

    def generation(self) -> int:
        """Return how many changes have been made, by this process or another."""
        with self._reporting("read"):
            row = self._connection.execute("SELECT value FROM meta WHERE name = 'generation'").fetchone()
        return int(row[0])

    def state(self) -> str | None:
        """Return what no other state of this or another store has; None before the first change of it."""
        with self._reporting("read"):
            row = self._connection.execute("SELECT value FROM meta WHERE name = ?", (_STATE,)).fetchone()
        return None if row is None else str(row[0])

    def vectors(self, ids: Sequence[int] | None = None) -> Vectors:
        """Read the labels, and ids, keys and soft labels of all or of these `ids`; refuses what cannot be right."""
        self._read_labels()
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
        soft_labels = self._soft_labels([row[2] for row in rows])
        # The square of the length, which needs no copy of the keys.
        squares = np.einsum("nd,nd->n", keys, keys)
        self._check_rows(found, np.abs(squares - 1) < 2e-3, "key is not of length 1")
        self._check_rows(found, np.abs(soft_labels.sum(axis=1) - 1) < 1e-3, "soft label does not sum to 1")
        return Vectors(found, keys, soft_labels, np.array([row[3] for row in rows], dtype=np.bool_))

    def replace(self, kind: Kind, ids: Sequence[int], entries: Sequence[NewEntry], by: str, note: str) -> Change:
        """Take out the entries with these ids that are there, put others in, and log it.

        The new entries' ids ascend in the order given.
        """
        gone = [id for id in sorted(set(ids)) if self._row(id) is not None]
        new = self._next_ids(len(entries))
        changes.record(self._connection, kind, by, note, gone, new)
        self._take_out(gone)
        self._put_in(new, entries)
        return self._changed()

    def add_label(self, name: str, by: str, note: str, at: str | None = None) -> Change:
        """Put a label behind those there are; entries from before it give it 0. Logged as a change of no entry."""
        added = json.dumps([*self.labels[len(self.base_labels) :], name], ensure_ascii=False)
        changes.record(self._connection, "add", by, note, [], [], at=at)
        self._connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_ADDED_LABELS, added))
        return self._changed()

    def update(self, id: int, soft_label: NDArray[np.float32], label: int | None, by: str, note: str) -> Change:
        """Replace the labels of one entry; raises KeyError when there is none."""
        if self._row(id) is None:
            raise KeyError(id)
        changes.record(self._connection, "update", by, note, [id], [id])
        self._connection.execute(
            "UPDATE entries SET soft_label = ?, label = ? WHERE id = ?",
            (soft_label.astype(_FLOAT).tobytes(), label, id),
        )
        return self._changed()

    def undo(self, change: int, by: str, note: str) -> Change:
        """Take a change back; return the change that this makes."""
        changes.undo(self._connection, change, by, note)
        return self._changed()

    def changes(self, limit: int | None) -> list[Change]:
        """Return the last `limit` changes, or all, the latest first; none where there is no log."""
        with self._reporting("read"):
            return changes.read_changes(self._connection, limit) if self.has_log() else []

    def get(self, id: int) -> Entry | None:
        """Return one entry, or None when there is none with this id."""
        with self._reporting("read"):
            row = self._row(id)
        return None if row is None else self._entry(row)

    def with_texts(self, texts: tuple[str, ...]) -> list[int]:
        """Return the ids of the entries with these very texts."""
        with self._reporting("read"):
            rows = self._connection.execute(
                f"SELECT id FROM entries WHERE {SAME_TEXTS} ORDER BY id", (json.dumps(texts, ensure_ascii=False),)
            ).fetchall()
        return [id for (id,) in rows]

    def page(self, after: int, origin: Origin | None) -> list[Entry]:
        """Return the next entries in order of id, from the first id above `after`; empty at the end."""
        return self._entries("id > ?", (after,), origin, _PAGE)

    def between(self, first: int, last: int, origin: Origin | None) -> list[Entry]:
        """Return the entries with ids from `first` to `last`, in order of id."""
        return self._entries("id BETWEEN ? AND ?", (first, last), origin, last - first + 1)

    def counts(self) -> dict[Origin, int]:
        """Return how many entries each origin has."""
        with self._reporting("read"):
            rows = dict(self._connection.execute("SELECT origin, COUNT(*) FROM entries GROUP BY origin"))
        return {origin: rows.get(origin, 0) for origin in ORIGINS}

    def _changed(self) -> Change:
        """Raise the generation by the change that was just recorded, and return the change.

        The generation alone would not tell two copies of a store in which different changes were made.
        """
        self._connection.execute("UPDATE meta SET value = CAST(value AS INTEGER) + 1 WHERE name = 'generation'")
        self._connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_STATE, secrets.token_hex(8)))
        return changes.read_changes(self._connection, 1)[0]

    def _next_ids(self, count: int) -> list[int]:
        """Return the ids that so many new entries will have."""
        row = self._connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'entries'").fetchone()
        first = (row[0] if row else 0) + 1
        return list(range(first, first + count))

    def _take_out(self, ids: Sequence[int]) -> None:
        self._connection.executemany("DELETE FROM entries WHERE id = ?", ((id,) for id in ids))

    def _put_in(self, ids: Sequence[int], entries: Sequence[NewEntry]) -> None:
        self._connection.executemany(
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
                for id, entry in zip(ids, entries, strict=True)
            ),
        )

    def _entries(self, where: str, values: tuple[int, ...], origin: Origin | None, limit: int) -> list[Entry]:
        where, given = (f"{where} AND origin = ?", (*values, origin)) if origin else (where, values)
        with self._reporting("read"):
            rows = self._connection.execute(
                f"SELECT {_COLUMNS} FROM entries WHERE {where} ORDER BY id LIMIT {limit}", given
            ).fetchall()
        return [self._entry(row) for row in rows]

    def _row(self, id: int) -> tuple[int, str, bytes, int | None, Origin, str] | None:
        if id.bit_length() > 63:  # more than SQLite has numbers
            return None
        row: tuple[int, str, bytes, int | None, Origin, str] | None = self._connection.execute(
            f"SELECT {_COLUMNS} FROM entries WHERE id = ?", (id,)
        ).fetchone()
        return row

    def _read_labels(self) -> None:
        with self._reporting("read"):
            row = self._connection.execute("SELECT value FROM meta WHERE name = ?", (_ADDED_LABELS,)).fetchone()
        self.labels = (*self.base_labels, *(json.loads(row[0]) if row else ()))

    def _soft_labels(self, blobs: list[bytes]) -> NDArray[np.float32]:
        """Return soft labels (N, C): those from before a label was added have a 0 for it."""
        size = _FLOAT.itemsize
        least, most = len(self.base_labels) * size, len(self.labels) * size
        padded = [
            blob.ljust(most, b"\0") if len(blob) >= least and not len(blob) % size else blob for blob in blobs
        ]
        return self._matrix(padded, len(self.labels), "soft label")

    def _matrix(self, blobs: list[bytes], width: int, what: str) -> NDArray[np.float32]:
        if set(map(len, blobs)) - {width * _FLOAT.itemsize}:
            raise self._damaged(f"a {what} is not {width} numbers wide")
        values = np.frombuffer(b"".join(blobs), dtype=_FLOAT).astype(np.float32, copy=False)
        return values.reshape(len(blobs), width)

    def _check_rows(self, ids: NDArray[np.int64], good: NDArray[np.bool_], problem: str) -> None:
        if not good.all():
            raise self._damaged(f"entry {ids[np.argmin(good)]}: {problem}")

    def _entry(self, row: tuple[int, str, bytes, int | None, Origin, str]) -> Entry:
        id, texts, soft_label, label, origin, created = row
        values = self._soft_labels([soft_label])[0]
        try:
            fields = tuple(str(text) for text in json.loads(texts))
        except (ValueError, TypeError) as error:
            raise self._damaged(f"the texts of entry {id} cannot be read ({error})") from error
        return Entry(id, fields, values, label, origin, created)
