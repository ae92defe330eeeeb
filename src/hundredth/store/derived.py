"""What is derived from the entries: the indexes in memory, and the file that spares making the large one again."""

import logging
from pathlib import Path

import numpy as np

from hundredth.store.changes import Change
from hundredth.store.entries import EntryTable, Vectors
from hundredth.store.index import SearchIndex, fits
from hundredth.store.index_file import INDEX, StaleIndexError, read_index, write_index

_log = logging.getLogger(__name__)


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
        self.generation = table.generation
        self.saved = -1 if proposer is None else table.generation

    @classmethod
    def open(cls, folder: Path, table: EntryTable) -> "Derived":
        """Read the index file, or make the index again where it does not fit."""
        vectors = table.vectors()
        path = folder / INDEX
        try:
            proposer = read_index(path, table.generation, table.encoder)
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

    def follow(self, table: EntryTable, change: Change) -> None:
        """Bring the indexes up to date with a change that has just been made."""
        removed = np.array(change.removed, dtype=np.int64)
        vectors = table.vectors(change.added)
        for index, added in ((self.search, vectors), (self.user, vectors.of_user())):
            if np.isin(removed, index.ids).any():
                index.delete(removed)
            if len(added.ids):
                index.add(added.ids, added.keys, added.soft_labels)
        self.generation = table.generation

    def save(self, table: EntryTable) -> None:
        """Write the index file if it is behind and the folder can be written; a failure is warned of."""
        if self.saved == self.generation or not table.writable:
            return
        try:
            write_index(self.path, self.search.proposer, self.generation, self.encoder)
        except OSError as error:
            _log.warning("%s could not be saved (%s): it is made again when the store is opened", self.path, error)
        else:
            self.saved = self.generation


def release(table: EntryTable, derived: Derived) -> None:
    """Save the index and close the database."""
    try:
        derived.save(table)
    finally:
        table.close()
