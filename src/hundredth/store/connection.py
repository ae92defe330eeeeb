"""A connection to the database of a store: its transactions, and what goes wrong in plain words.

Several processes may have one database open. Each sees what the others have committed from its next transaction on.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hundredth.errors import UnavailableError, UserError
from hundredth.store.database import BUSY_MS, connect, watched


class Connection:
    """Reads in blocks of `reading`, changes in blocks of `changing`.

    Not thread-safe by itself (KnowledgeStore holds the lock).
    """

    def __init__(self, path: Path, writable: bool) -> None:
        self.path = path
        self.writable = writable
        if not path.is_file():
            raise UserError(f"no knowledge store at {path}: check the path, or make one first")
        self._file = _file(path)
        self._opened = 0
        self._connect()

    def close(self) -> None:
        """Fold the log into the database file and close it."""
        self._connection.close()

    @property
    def in_transaction(self) -> bool:
        """Whether a block of `reading` or `changing` is being run."""
        return self._connection.in_transaction

    @property
    def is_current(self) -> bool:
        """Whether the file at `path` is still the one that was opened."""
        return _file(self.path) == self._file

    def version(self) -> tuple[int, int]:
        """Return what changes whenever another connection has committed: cheaper than a transaction."""
        try:
            if self._seen is not None:
                self._look_again()
            return self._opened, int(self._connection.execute("PRAGMA data_version").fetchone()[0])
        except sqlite3.Error:
            with self._reporting("read"):  # a block around every question would cost as much as the question
                raise

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Run a block that sees one state of the database, whatever other processes change meanwhile."""
        with self._reporting("read"):
            self._look_again()
            self._connection.execute("BEGIN")
        try:
            yield
        finally:
            if self._connection.in_transaction:  # an error may have ended it
                self._connection.execute("ROLLBACK")  # there is nothing to commit

    def begin_change(self) -> bool:
        """Start a transaction that may change; False where another process is in the middle of one."""
        if not self.writable:
            raise UnavailableError(f"{self.path} cannot be changed: its folder is read-only")
        self._check_current()
        with self._reporting("written"):
            self._connection.execute("PRAGMA busy_timeout = 0")
            try:
                self._connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
                    return False
                raise
            finally:
                self._connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
        # Whoever replaces a store holds its lock until that is done: looked at in it, this cannot change any more.
        try:
            self._check_current()
        except UnavailableError:
            self._connection.execute("ROLLBACK")
            raise
        return True

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Run a block as the transaction that `begin_change` has started; an error undoes it all."""
        with self._reporting("written"):
            try:
                yield
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def _check_current(self) -> None:
        if not self.is_current:
            # Silent otherwise: the change would go into a file that nobody reads any more.
            raise UnavailableError(f"{self.path} was replaced or removed since it was opened: open it again")

    def _connect(self) -> None:
        """Open the file; what is seen of it is kept where later changes of it would go unnoticed."""
        seen = watched(self.path)
        with self._reporting("read"):
            self._connection, sees_changes = connect(self.path, self.writable)
        self._seen = None if sees_changes else seen
        self._opened += 1

    def _look_again(self) -> None:
        """Open the file again where another process has changed it unnoticed; not another one in its place."""
        if self._seen is None or self.in_transaction or not self.is_current:
            return
        now = watched(self.path)
        if now == self._seen:
            return
        before, self._seen = self._connection, now
        try:
            self._connect()
        except UserError:  # in the middle of a change whose log cannot be read: until that is folded in, as it was
            return
        before.close()

    @contextmanager
    def _reporting(self, doing: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:  # locked, disk full, no permission: the machine, not the file
            raise UnavailableError(f"{self.path} could not be {doing}: {error}") from error
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.DataError):  # of ours, not of the file
            raise
        except sqlite3.DatabaseError as error:
            raise self._damaged(str(error)) from error

    def _damaged(self, problem: str) -> UnavailableError:
        return UnavailableError(
            f"{self.path} is damaged: {problem}; restore it from a copy, or build the store again"
        )


def _file(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from any other that takes its place; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
