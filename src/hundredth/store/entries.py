"""The entries in SQLite: the one source of truth of a knowledge store.

The database carries the labels, the width of the keys, the fingerprint of the encoder that makes the keys,
and a generation: a counter that every change raises in its own transaction, so that a derived index can tell
whether it is current. Ids are never used twice.
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
from hundredth.files import atomic_path

Origin = Literal["gold", "generated", "unlabelled", "user"]
ORIGINS: tuple[Origin, ...] = get_args(Origin)

DATABASE = "store.db"
SCHEMA_VERSION = 1
_APPLICATION_ID = 0x48554E44  # "HUND": tells a knowledge store from any other SQLite file
_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE entries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    texts TEXT NOT NULL,            -- JSON list, one string per field of the task
    soft_label BLOB NOT NULL,       -- float32, little endian, one per label
    label INTEGER,                  -- index of the gold label, if there is one
    origin TEXT NOT NULL CHECK (origin IN ('gold', 'generated', 'unlabelled', 'user')),
    created TEXT NOT NULL,          -- ISO 8601, UTC
    key BLOB NOT NULL               -- float32, little endian, of length 1
);
"""
_FLOAT = np.dtype("<f4")
_COLUMNS = "id, texts, soft_label, label, origin, created"
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
    """Every entry's `ids` (N,) in ascending order, `keys` (N, d) and `soft_labels` (N, C), for the index."""

    ids: NDArray[np.int64]
    keys: NDArray[np.float32]
    soft_labels: NDArray[np.float32]


def create_database(path: Path, labels: Sequence[str], dimension: int, encoder: str) -> None:
    """Make an empty database at `path`, whole or not at all."""
    meta = {
        "labels": json.dumps(list(labels)),
        "dimension": str(dimension),
        "encoder": encoder,
        "generation": "0",
    }
    with atomic_path(path) as temporary:
        connection = sqlite3.connect(temporary)
        try:
            connection.executescript(_SCHEMA)
            connection.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            connection.commit()
        finally:
            connection.close()


class EntryTable:
    """Reads and writes entries; not thread-safe by itself (KnowledgeStore holds the lock)."""

    def __init__(self, path: Path, *, writable: bool) -> None:
        self.path = path
        self.writable = writable
        if not path.is_file():
            raise UserError(f"no knowledge store at {path}: check the path, or make one first")
        with self._reporting("read"):
            self._connection = _connect(path, writable)
            try:
                self._check_kind()
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

    def vectors(self) -> Vectors:
        """Read every id, key and soft label; refuses a database whose content cannot be right."""
        with self._reporting("read"):
            problem = self._connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if problem != "ok":
                raise self._damaged(problem)
            rows = self._connection.execute("SELECT id, key, soft_label FROM entries ORDER BY id").fetchall()
        ids = np.array([row[0] for row in rows], dtype=np.int64)
        keys = self._matrix([row[1] for row in rows], self.dimension, "key")
        soft_labels = self._matrix([row[2] for row in rows], len(self.labels), "soft label")
        self._check_rows(ids, np.abs(np.linalg.norm(keys, axis=1) - 1) < 1e-3, "key is not of length 1")
        self._check_rows(ids, np.abs(soft_labels.sum(axis=1) - 1) < 1e-3, "soft label does not sum to 1")
        return Vectors(ids, keys, soft_labels)

    def add(self, entries: Sequence[NewEntry]) -> list[int]:
        """Insert entries in one transaction and return their ids, ascending in the order given."""
        with self._change() as connection:
            row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'entries'").fetchone()
            first = (row[0] if row else 0) + 1
            connection.executemany(
                f"INSERT INTO entries ({_COLUMNS}, key) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    (
                        first + position,
                        json.dumps(entry.texts, ensure_ascii=False),
                        entry.soft_label.astype(_FLOAT).tobytes(),
                        entry.label,
                        entry.origin,
                        entry.created,
                        entry.key.astype(_FLOAT).tobytes(),
                    )
                    for position, entry in enumerate(entries)
                ),
            )
        return list(range(first, first + len(entries)))

    def delete(self, ids: Sequence[int]) -> list[int]:
        """Delete the entries with these ids in one transaction; return the ids that were there, ascending."""
        with self._change() as connection:
            return [
                id
                for id in sorted(set(ids))
                if connection.execute("DELETE FROM entries WHERE id = ?", (id,)).rowcount
            ]

    def update(self, id: int, soft_label: NDArray[np.float32], label: int | None) -> None:
        """Replace the labels of one entry; raises KeyError when there is none."""
        with self._change() as connection:
            changed = connection.execute(
                "UPDATE entries SET soft_label = ?, label = ? WHERE id = ?",
                (soft_label.astype(_FLOAT).tobytes(), label, id),
            )
            if not changed.rowcount:
                raise KeyError(id)

    def get(self, id: int) -> Entry | None:
        """Return one entry, or None when there is none with this id."""
        with self._reporting("read"):
            row = self._connection.execute(f"SELECT {_COLUMNS} FROM entries WHERE id = ?", (id,)).fetchone()
        return None if row is None else self._entry(row)

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

    def _check_kind(self) -> None:
        application = self._connection.execute("PRAGMA application_id").fetchone()[0]
        if application != _APPLICATION_ID:
            raise UserError(f"{self.path} is not a knowledge store (application id {application:#x})")
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version != SCHEMA_VERSION:
            raise UserError(
                f"{self.path} has schema version {version}, this hundredth reads {SCHEMA_VERSION}: "
                "use the version of hundredth that wrote it, or build the store again"
            )

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


def _connect(path: Path, writable: bool) -> sqlite3.Connection:
    # `immutable` lets SQLite read without a log or lock file, which a read-only folder could not hold.
    options = "mode=rw" if writable else "mode=ro&immutable=1"
    log = path.with_name(path.name + "-wal")
    if not writable and log.exists() and log.stat().st_size:
        raise UserError(
            f"{path} has changes in {log.name} that are not folded in, and its folder is read-only: "
            "open the store once where its folder can be written"
        )
    uri = f"{path.absolute().as_uri()}?{options}"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=10.0)
    try:
        if writable:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
    except BaseException:
        connection.close()
        raise
    return connection
