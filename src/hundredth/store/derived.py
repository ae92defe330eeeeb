"""What is derived from the entries: the indexes in memory, and the file that spares making the large one again."""

import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hundredth.errors import UnavailableError
from hundredth.store.entries import EntryTable, Vectors
from hundredth.store.index import Neighbours, SearchIndex, fits
from hundredth.store.index_file import INDEX, StaleIndexError, read_index, write_index

_log = logging.getLogger(__name__)

_SAME = 1 - 1e-5


class Derived:
    """The index of all entries, that of the users' own, and the generations they and the file stand for.

    The users' entries are few and searched first and apart, as they decide (see `hundredth.store.decide`): their
    index is made anew whenever the store is opened.
    """

    def __init__(self, path: Path, vectors: Vectors, table: EntryTable, proposer: object = None) -> None:
        self.path, self.encoder = path, table.encoder
        self._fill(vectors, table, proposer)

    def _fill(self, vectors: Vectors, table: EntryTable, proposer: object = None) -> None:
        self.search = SearchIndex(vectors, proposer)
        self.user = SearchIndex(vectors.of_user(), newest_first=True)
        self.generation = table.generation()
        self.saved = -1 if proposer is None else self.generation

    @classmethod
    def open(cls, folder: Path, table: EntryTable) -> "Derived":
        """Read the index file, or make the index again where it does not fit."""
        vectors = table.vectors()
        path = folder / INDEX
        try:
            proposer = read_index(path, table.generation(), table.state(), table.encoder)
            if not fits(proposer, vectors):
                raise StaleIndexError("of another kind or size than the store needs")
        except StaleIndexError as reason:
            _log.warning("%s is %s: making it again from %d entries", path, reason, len(vectors.ids))
            made = cls(path, vectors, table)
            made.save(table)
            return made
        return cls(path, vectors, table, proposer)

    def rebuild(self, table: EntryTable) -> None:
        """Make the indexes again from the database, in memory and on disk."""
        self._fill(table.vectors(), table)
        self.save(table)

    def catch_up(self, table: EntryTable) -> None:
        """Bring the indexes up to date with what this process or another has changed since they last were.

        Costs one small query where nothing has changed. Runs within a block of `table.reading` or `changing`.
        """
        missed = table.generation() - self.generation
        if missed == 0:
            return
        changes = table.changes(missed) if missed > 0 else []
        if len(changes) < abs(missed):
            _log.warning("%s has changes without a trace in its log: making its index again", table.path)
            self._fill(table.vectors(), table)
            return
        ids = np.array(sorted({id for change in changes for id in (*change.added, *change.removed)}), np.int64)
        vectors = table.vectors(ids.tolist())
        for index, there in ((self.search, vectors), (self.user, vectors.of_user())):
            index.widen(len(table.labels))
            if _any_in(ids, index.ids):
                index.delete(ids)
            if len(there.ids):
                index.add(there.ids, there.keys, there.soft_labels)
        self.generation += missed

    def with_key(self, key: NDArray[np.float32]) -> list[int]:
        """Return the ids of the entries with this key (d,), but for rounding: to the encoder they are one text."""
        same: list[int] = self.search.ids[self.search.keys @ key >= _SAME].tolist()
        return same

    def search_user(self, queries: NDArray[np.float32], k: int, at_least: float) -> Neighbours:
        """Return the users' entries nearest to each query (B, d) with a cosine of `at_least`, at most k."""
        found = self.user.search(queries, k)
        near = found.similarities >= at_least
        if (near | (found.ids < 0)).all():
            return found
        return Neighbours(
            np.where(near, found.ids, -1),
            np.where(near, found.similarities, np.float32(-np.inf)),
            np.where(near[..., None], found.soft_labels, np.float32(0)),
        )

    def near_user(
        self, query: NDArray[np.float32], at_least: float
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the ids of all the users' entries with a cosine of `at_least` to one query (d,), and these."""
        cosines = self.user.keys @ query
        near = cosines >= at_least
        return self.user.ids[near], cosines[near]

    def save(self, table: EntryTable) -> None:
        """Write the index file if it is behind and the store is still there; a failure is warned of.

        Runs within a block of `table.reading`.
        """
        if self.saved == self.generation or not table.writable or not table.is_current:
            return
        try:
            # What another process has saved meanwhile must not be overwritten with an older state.
            self.catch_up(table)
            write_index(self.path, self.search.proposer, self.generation, table.state(), self.encoder)
        except (OSError, UnavailableError) as error:
            _log.warning("%s could not be saved (%s): it is made again when the store is opened", self.path, error)
        else:
            self.saved = self.generation


def release(table: EntryTable, derived: Derived) -> None:
    """Save the index and close the database."""
    try:
        with table.reading():
            derived.save(table)
    finally:
        table.close()


def _any_in(some: NDArray[np.int64], ids: NDArray[np.int64]) -> bool:
    """Whether one of `some` is among `ids`, which ascend."""
    if not len(ids):
        return False
    places = np.minimum(np.searchsorted(ids, some), len(ids) - 1)
    return bool((ids[places] == some).any())
