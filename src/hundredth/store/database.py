"""The SQLite file of a knowledge store: its schema, how it is made, connected to and brought up to date."""

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from hundredth.errors import UserError
from hundredth.files import atomic_path

DATABASE = "store.db"
SCHEMA_VERSION = 2
BUSY_MS = 10_000  # how long a lock of another process is waited for
_WITHOUT_LOG = 1  # the version before the log of changes
_APPLICATION_ID = 0x48554E44  # "HUND": tells a knowledge store from any other SQLite file
_ENTRY = """
    texts TEXT NOT NULL,            -- JSON list, one string per field of the task
    soft_label BLOB NOT NULL,       -- float32, little endian, one per label
    label INTEGER,                  -- index of the gold label, if there is one
    origin TEXT NOT NULL CHECK (origin IN ('gold', 'generated', 'unlabelled', 'user')),
    created TEXT NOT NULL,          -- ISO 8601, UTC
    key BLOB NOT NULL               -- float32, little endian, of length 1
"""
_ENTRIES = f"""
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE entries (id INTEGER PRIMARY KEY AUTOINCREMENT, {_ENTRY});
-- Length and end tell almost all texts apart, and take less room than texts.
CREATE INDEX entries_by_texts ON entries (length(texts), substr(texts, -16));
"""
# Entries with the texts ?1, found by that index; stores from before it are read from end to end. Without the +
# SQLite would put ?1 for texts in the other terms, and these would no longer be those of the index.
SAME_TEXTS = "length(texts) = length(?1) AND substr(texts, -16) = substr(?1, -16) AND +texts = ?1"
_CHANGES = """
CREATE TABLE changes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL CHECK (kind IN ('add', 'correct', 'delete', 'update', 'undo')),
    at TEXT NOT NULL,               -- ISO 8601, UTC
    by TEXT NOT NULL,               -- who, as they said; may be empty
    note TEXT NOT NULL,             -- why, as they said; may be empty
    added TEXT NOT NULL,            -- JSON list of [first, last] ids of the entries it put in
    undoes INTEGER REFERENCES changes (id)
)"""
# The entries that a change took out or altered, as they were before it.
_REPLACED = (
    f"CREATE TABLE replaced (change INTEGER NOT NULL REFERENCES changes (id), id INTEGER NOT NULL, {_ENTRY})"
)
_REPLACED_INDEX = "CREATE UNIQUE INDEX replaced_of_change ON replaced (change, id)"
_LOG = (_CHANGES, _REPLACED, _REPLACED_INDEX)


def create_database(path: Path, labels: Sequence[str], dimension: int, encoder: str) -> None:
    """Make an empty database at `path`, whole or not at all.

    Raises:
        UserError: there is a log of a database that is gone, which SQLite would take for the new one's.
    """
    if (log := _log_of(path)).exists():
        raise UserError(f"{log} is left of a store that was here: put its {path.name} back, or delete it too")
    meta = {
        "labels": json.dumps(list(labels)),
        "dimension": str(dimension),
        "encoder": encoder,
        "generation": "0",
    }
    with atomic_path(path) as temporary:
        connection = sqlite3.connect(temporary)
        try:
            connection.executescript(_ENTRIES)
            for statement in _LOG:
                connection.execute(statement)
            connection.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            connection.commit()
        finally:
            connection.close()


def connect(path: Path, writable: bool) -> tuple[sqlite3.Connection, bool]:
    """Open the database at `path`, in a folder that can be written or only be read; say whether it sees changes.

    Where a folder can only be read and no other process has the database open, SQLite is told that it is
    immutable: else it would need a log and a lock file, which the folder cannot hold. What is changed later on is
    then not seen before the database is opened again (see `watched`).

    Raises:
        UserError: there are changes in a log that cannot be read.
    """
    if writable:
        connection = _opened(path, "mode=rw")
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
        except BaseException:
            connection.close()
            raise
        return connection, True
    log = _log_of(path)
    if log.exists() and path.with_name(path.name + "-shm").exists():
        connection = _opened(path, "mode=ro")
        try:
            connection.execute("SELECT 1 FROM sqlite_master").fetchone()
        except sqlite3.OperationalError:  # one of the two cannot be read
            connection.close()
        else:
            return connection, True
    if log.exists() and log.stat().st_size:
        raise UserError(
            f"{path} has changes in {log.name} that are not folded in, and its folder is read-only: "
            "open the store once where its folder can be written"
        )
    return _opened(path, "mode=ro&immutable=1"), False


def watched(path: Path) -> tuple[object, ...]:
    """Return what differs as soon as another process has changed the database at `path`, or is about to."""
    found: list[object] = []
    for one in (path, _log_of(path)):
        try:
            about = one.stat()
            found.append((about.st_dev, about.st_ino, about.st_mtime_ns, about.st_size))
        except OSError:
            found.append(None)
    return tuple(found)


def _log_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _opened(path: Path, options: str) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?{options}"
    return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=BUSY_MS / 1000)


def bring_up_to_date(connection: sqlite3.Connection, path: Path, writable: bool) -> bool:
    """Refuse what is no store or of an unknown version; return whether the database has a log of changes.

    A store from before the log gets one, empty, where it can be written.
    """
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    if application != _APPLICATION_ID:
        raise UserError(f"{path} is not a knowledge store (application id {application:#x})")
    version = _version(connection)
    if version == _WITHOUT_LOG and writable:
        _add_log(connection)
        version = _version(connection)
    if version not in (_WITHOUT_LOG, SCHEMA_VERSION):
        raise UserError(
            f"{path} has schema version {version}, this hundredth reads {_WITHOUT_LOG} and {SCHEMA_VERSION}: "
            "use the version of hundredth that wrote it, or build the store again"
        )
    return version == SCHEMA_VERSION


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _add_log(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        if _version(connection) == _WITHOUT_LOG:  # else another process has just done it
            for statement in _LOG:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
