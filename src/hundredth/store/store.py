"""The knowledge store: an LLM's knowledge of a task, as entries that a small model looks up."""

import contextlib
import logging
import os
import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hundredth.errors import UserError
from hundredth.store.checks import check_texts, label_index, soft_label_rows, unit_keys
from hundredth.store.entries import (
    DATABASE,
    ORIGINS,
    Entry,
    EntryTable,
    NewEntry,
    Origin,
    create_database,
)
from hundredth.store.index import Neighbours, SearchIndex, fits
from hundredth.store.index_file import INDEX, StaleIndexError, read_index, write_index

_log = logging.getLogger(__name__)


class KnowledgeStore:
    """Entries in `store.db` and a search index in `index.faiss`, both in one folder.

    Every change is committed to SQLite before the index in memory follows; the index file is saved on `close`
    (or when the process ends) and made again from the database when it is missing, old or damaged. Several
    threads of one process may share a store. Made by `create` or `open`, not by calling the class.
    """

    def __init__(self, folder: Path, table: EntryTable, index: SearchIndex, saved: int) -> None:
        self._table = table
        self._index = _Derived(folder / INDEX, index, table.generation, saved, table.encoder)
        self._lock = threading.RLock()
        # Runs at the end of the process too, where nobody called `close`.
        self._finalizer = weakref.finalize(self, _release, table, self._index)

    @classmethod
    def create(cls, folder: Path, labels: Sequence[str], dimension: int, encoder: str) -> Self:
        """Make an empty store for keys of width `dimension` made by the encoder with this fingerprint."""
        path = folder / DATABASE
        if path.exists():
            raise UserError(f"{path} already exists: open it, or choose another folder")
        if isinstance(labels, str) or not labels or len(set(labels)) != len(labels):
            raise UserError(f"the labels of a store must be a list of different names, not {labels!r}")
        if dimension < 1:
            raise UserError(f"the width of the keys is {dimension}: it must be at least 1")
        create_database(path, labels, dimension, encoder)
        table = EntryTable(path, writable=True)
        try:
            index = SearchIndex(table.vectors())
            write_index(folder / INDEX, index.proposer, table.generation, encoder)
        except BaseException:
            table.close()
            raise
        return cls(folder, table, index, table.generation)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open the store in `folder`; a folder that cannot be written can still be searched."""
        table = EntryTable(folder / DATABASE, writable=os.access(folder, os.W_OK))
        try:
            vectors = table.vectors()
            try:
                proposer = read_index(folder / INDEX, table.generation, table.encoder)
                if not fits(proposer, vectors):
                    raise StaleIndexError("of another kind or size than the store needs")
                return cls(folder, table, SearchIndex(vectors, proposer), table.generation)
            except StaleIndexError as reason:
                _log.warning("%s is %s: making it again from %d entries", folder / INDEX, reason, len(vectors.ids))
            store = cls(folder, table, SearchIndex(vectors), -1)
        except BaseException:
            table.close()
            raise
        store._index.save(table)
        return store

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the labels, in index order."""
        return self._table.labels

    @property
    def dimension(self) -> int:
        """The width d of a key."""
        return self._table.dimension

    @property
    def encoder(self) -> str:
        """The fingerprint of the encoder that makes the keys."""
        return self._table.encoder

    @property
    def generation(self) -> int:
        """How many changes the store has seen."""
        return self._table.generation

    def add(
        self,
        texts: Sequence[tuple[str, ...]],
        soft_labels: ArrayLike,
        keys: ArrayLike,
        origins: Sequence[Origin] | Origin,
        labels: Sequence[int | None],
    ) -> list[int]:
        """Add N entries in one transaction and return their ids.

        `soft_labels` (N, C) rows sum to 1; `keys` (N, d) are normalised here; `origins` is one for all or one
        each; `labels` are gold labels' indices or None.
        """
        count = len(texts)
        key_rows = unit_keys(keys, self.dimension)
        soft_rows = soft_label_rows(soft_labels, len(self.labels))
        each: Sequence[Any] = [origins] * count if isinstance(origins, str) else origins
        sizes = {
            "soft labels": len(soft_rows),
            "keys": len(key_rows),
            "origins": len(each),
            "labels": len(labels),
        }
        for what, size in sizes.items():
            if size != count:
                raise UserError(f"{count} texts but {size} {what}: give one for each text")
        for position, (fields, origin) in enumerate(zip(texts, each, strict=True)):
            check_texts(fields, position)
            if origin not in ORIGINS:
                raise UserError(f"unknown origin {origin!r} of entry {position}: use one of {', '.join(ORIGINS)}")
        created = datetime.now(UTC).isoformat(timespec="seconds")
        entries = [
            NewEntry(tuple(fields), soft, label_index(label, len(self.labels)), origin, created, key)
            for fields, soft, label, origin, key in zip(texts, soft_rows, labels, each, key_rows, strict=True)
        ]
        if not entries:
            return []
        with self._locked():
            ids = self._table.add(entries)
            self._index.search.add(np.array(ids, dtype=np.int64), key_rows, soft_rows)
            self._index.generation = self._table.generation
        return ids

    def delete(self, ids: Iterable[int]) -> int:
        """Delete entries in one transaction; unknown ids are passed over. Returns how many went."""
        wanted = [int(id) for id in ids]
        with self._locked():
            gone = self._table.delete(wanted)
            self._index.search.delete(np.array(gone, dtype=np.int64))
            self._index.generation = self._table.generation
        return len(gone)

    def update(self, id: int, soft_label: ArrayLike, label: int | None) -> None:
        """Correct one entry: replace its soft label (C,) and its gold label's index."""
        row = soft_label_rows(np.asarray(soft_label)[None], len(self.labels))[0]
        checked = label_index(label, len(self.labels))
        with self._locked():
            try:
                self._table.update(int(id), row, checked)
            except KeyError:
                raise _unknown(id) from None
            self._index.search.set_soft_label(int(id), row)
            self._index.generation = self._table.generation

    def get(self, ids: Iterable[int]) -> list[Entry]:
        """Return the entries with these ids, in the order given."""
        with self._locked():
            entries = []
            for id in ids:
                entry = self._table.get(int(id))
                if entry is None:
                    raise _unknown(id)
                entries.append(entry)
            return entries

    def entries(self, origin: Origin | None = None) -> Iterator[Entry]:
        """Go through all entries, or those of one origin, in order of id; the store may change meanwhile."""
        if origin is not None and origin not in ORIGINS:
            raise UserError(f"unknown origin {origin!r}: use one of {', '.join(ORIGINS)}")
        return self._pages(origin)

    def _pages(self, origin: Origin | None) -> Iterator[Entry]:
        after = 0
        while True:
            with self._locked():
                page = self._table.page(after, origin)
            if not page:
                return
            yield from page
            after = page[-1].id

    def counts(self) -> dict[Origin, int]:
        """Return how many entries each origin has."""
        with self._locked():
            return self._table.counts()

    def __len__(self) -> int:
        return len(self._index.search)

    def search(self, keys: ArrayLike, k: int, exclude_ids: NDArray[np.int64] | None = None) -> Neighbours:
        """Return the k entries nearest to each of `keys` (B, d) by cosine, best first, then older first.

        `exclude_ids` (B,) names one entry that each row leaves out: its own, in leave-one-out (-1: none).
        """
        if k < 1:
            raise UserError(f"k is {k}: ask for at least 1 neighbour")
        queries = unit_keys(keys, self.dimension)
        excluded = None if exclude_ids is None else np.asarray(exclude_ids, dtype=np.int64)
        if excluded is not None and excluded.shape != (len(queries),):
            raise UserError(f"exclude_ids has shape {excluded.shape}: give one id for each of {len(queries)} keys")
        with self._locked():
            return self._index.search.search(queries, k, excluded)

    def nearest(self, key: ArrayLike, k: int) -> tuple[Neighbours, list[Entry]]:
        """Return the k entries nearest to one key (d,): the search's result (B = 1) and the entries found.

        Nothing can change the store between the two.
        """
        with self._locked():
            found = self.search(np.asarray(key)[None], k)
            return found, self.get(id for id in found.ids[0] if id >= 0)

    def rebuild(self) -> None:
        """Make the index again from the database, in memory and on disk."""
        with self._locked():
            self._index.search = SearchIndex(self._table.vectors())
            self._index.generation = self._table.generation
            self._index.saved = -1
            self._index.save(self._table)

    def close(self) -> None:
        """Save the index if the store has changed, and close the files; a second call does nothing."""
        with self._lock:
            self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with self._lock:
            if not self._finalizer.alive:
                raise UserError(f"the knowledge store {self._table.path} is closed: open it again")
            yield


class _Derived:
    """The index in memory, the generation it stands for and the generation of the file on disk."""

    def __init__(self, path: Path, search: SearchIndex, generation: int, saved: int, encoder: str) -> None:
        self.path, self.search, self.encoder = path, search, encoder
        self.generation, self.saved = generation, saved

    def save(self, table: EntryTable) -> None:
        if self.saved == self.generation or not table.writable:
            return
        try:
            write_index(self.path, self.search.proposer, self.generation, self.encoder)
        except OSError as error:
            _log.warning("%s could not be saved (%s): it is made again when the store is opened", self.path, error)
        else:
            self.saved = self.generation


def _release(table: EntryTable, index: _Derived) -> None:
    try:
        index.save(table)
    finally:
        table.close()


def _unknown(id: int) -> UserError:
    return UserError(f"no entry has the id {id}: it was deleted, or never added")
