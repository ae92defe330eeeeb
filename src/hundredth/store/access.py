"""Who may read and change a store when: one thread at a time in a process, one process at a time for changes."""

import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

from hundredth.errors import UnavailableError
from hundredth.store.database import BUSY_MS
from hundredth.store.derived import Derived, release
from hundredth.store.entries import EntryTable

_RETRY_SECONDS = 0.01  # between two attempts to change what another process keeps locked


class Access:
    """The lock of a store; each block that holds it begins with the indexes up to date."""

    def __init__(self, table: EntryTable, derived: Derived) -> None:
        self._table = table
        self._index = derived
        self._lock = threading.RLock()
        # Of the database when the indexes were last brought up to date to search.
        self._version: tuple[int, int] | None = None
        # Runs at the end of the process too, where nobody called `close`.
        self._finalizer = weakref.finalize(self, release, table, derived)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Run a block that sees one state of the store; blocks may lie within each other."""
        with self._lock:
            self._check_open()
            if self._table.in_transaction:  # within another such block, or a change
                yield
                return
            with self._table.reading():
                self._index.catch_up(self._table)
                yield

    @contextmanager
    def searching(self) -> Iterator[None]:
        """Run a block that asks the indexes in memory alone: as current as `reading`, at a fraction of its cost."""
        with self._lock:
            self._check_open()
            version = self._table.version()
            if version != self._version:
                with self.reading():
                    self._version = version
            yield

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Run a block that changes the store as one transaction, as soon as no other process does so.

        Raises:
            UnavailableError: another process kept the store locked, or it cannot be written.
        """
        self._begin_change()
        try:
            with self._table.changing():
                self._index.catch_up(self._table)
                yield
            with self._table.reading():
                self._index.catch_up(self._table)
        finally:
            self._lock.release()

    def close(self) -> None:
        """Save the index if the store has changed, and close the files; a second call does nothing."""
        with self._lock:
            self._finalizer()

    def _begin_change(self) -> None:
        """Start a transaction that may change, and keep the lock. Others can read while it is waited for."""
        given_up = time.monotonic() + BUSY_MS / 1000
        while True:
            self._lock.acquire()
            try:
                self._check_open()
                assert not self._table.in_transaction, "a change within a block of `reading`"
                begun = self._table.begin_change()
            except BaseException:
                self._lock.release()
                raise
            if begun:
                return
            self._lock.release()
            if time.monotonic() > given_up:
                raise UnavailableError(f"{self._table.path} could not be written: another process keeps it locked")
            time.sleep(_RETRY_SECONDS)

    def _check_open(self) -> None:
        if not self._finalizer.alive:
            raise UnavailableError(f"the knowledge store {self._table.path} is closed: open it again")
