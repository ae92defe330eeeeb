"""The knowledge store: an LLM's knowledge of a task, as entries that a small model looks up."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hundredth.errors import NotThereError, UserError
from hundredth.store.access import Access
from hundredth.store.changes import Change, check_said
from hundredth.store.checks import check_label_name, entry_ids, label_index, new_entries, soft_label_rows, unit_keys
from hundredth.store.database import DATABASE, create_database
from hundredth.store.derived import Derived
from hundredth.store.entries import Entry, EntryTable, Origin
from hundredth.store.index import Neighbours
from hundredth.store.index_file import INDEX
from hundredth.store.listing import Filter, Page, check_origin, every, find


class KnowledgeStore:
    """Entries in `store.db` and a search index in `index.faiss`, both in one folder.

    Every change is committed to SQLite before the index in memory follows; the index file is saved on `close`
    (or when the process ends) and made again from the database when it is missing, old or damaged. Several
    threads may share a store, and several processes may have it open: what one has changed, the others know of from
    their next call on. Made by `create` or `open`, not by calling the class.
    """

    def __init__(self, table: EntryTable, derived: Derived) -> None:
        self._table = table
        self._index = derived
        self._access = Access(table, derived)

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
            with table.reading():
                derived = Derived(folder / INDEX, table.vectors(), table)
                derived.save(table)
        except BaseException:
            table.close()
            raise
        return cls(table, derived)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open the store in `folder`; a folder that cannot be written can still be searched."""
        table = EntryTable(folder / DATABASE, writable=os.access(folder, os.W_OK))
        try:
            with table.reading():
                derived = Derived.open(folder, table)
            return cls(table, derived)
        except BaseException:
            table.close()
            raise

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the labels, in index order: those it was made for, then those that were added."""
        return self._table.labels

    @property
    def base_labels(self) -> tuple[str, ...]:
        """The labels that the store was made for, which the head of its model was taught."""
        return self._table.base_labels

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
        with self.unchanging():
            return self._index.generation

    @property
    def writable(self) -> bool:
        """Whether the store can be changed: whether its folder could be written when it was opened."""
        return self._table.writable

    def add(
        self,
        texts: Sequence[tuple[str, ...]],
        soft_labels: ArrayLike,
        keys: ArrayLike,
        origins: Sequence[Origin] | Origin,
        labels: Sequence[int | None],
        by: str = "",
        note: str = "",
    ) -> list[int]:
        """Add N entries as `put` does, and return their ids."""
        change = self.put(texts, soft_labels, keys, origins, labels, by, note)
        return [] if change is None else list(change.added)

    def put(
        self,
        texts: Sequence[tuple[str, ...]],
        soft_labels: ArrayLike,
        keys: ArrayLike,
        origins: Sequence[Origin] | Origin,
        labels: Sequence[int | None],
        by: str = "",
        note: str = "",
    ) -> Change | None:
        """Add N entries in one transaction and return the change; None where there are no entries.

        `soft_labels` (N, C) rows sum to 1, and may lack the labels added last; `keys` (N, d) are normalised here;
        `origins` is one for all or one each; `labels` are gold labels' indices or None; `by` and `note` go into the
        log.
        """
        classes = len(self.labels), len(self.base_labels)
        entries = new_entries(texts, soft_labels, keys, origins, labels, self.dimension, *classes)
        if not entries:
            return None
        with self._access.changing():
            return self._table.replace("add", (), entries, by, note)

    def delete(self, ids: Iterable[int], by: str = "", note: str = "") -> int:
        """Delete entries in one transaction; unknown ids are passed over. Returns how many went."""
        with self._access.changing():
            there = [id for id in entry_ids(ids) if self._table.get(id) is not None]
            return len(self._table.replace("delete", there, (), by, note).removed) if there else 0

    def forget(self, ids: Iterable[int], by: str = "", note: str = "") -> Change:
        """Delete entries that must all be there, and return the change."""
        wanted = entry_ids(ids)
        if not wanted:
            raise UserError("no ids were given: name the entries to forget")
        with self._access.changing():
            self.get(wanted)
            return self._table.replace("delete", wanted, (), by, note)

    def correct(
        self,
        texts: tuple[str, ...],
        label: int,
        key: ArrayLike,
        by: str = "",
        note: str = "",
        same: Callable[[tuple[str, ...]], bool] = lambda texts: True,
    ) -> Change:
        """Add a text with its right label as the user's; what the store says of this very text is replaced.

        Of the entries with the same texts, or with the same key (d,) and texts that are the `same`, those of users
        go, and those whose likeliest label is another.
        """
        classes = len(self.labels), len(self.base_labels)
        label_index(label, classes[0])
        soft, keys = np.eye(classes[0])[[label]], np.asarray(key)[None]
        [entry] = new_entries([texts], soft, keys, "user", [label], self.dimension, *classes)
        with self._access.changing():
            very = self._table.with_texts(entry.texts)
            old = [
                one.id
                for one in self.get(sorted({*self._index.with_key(entry.key), *very}))
                if (one.id in very or same(one.texts))
                and (one.origin == "user" or int(one.soft_label.argmax()) != label)
            ]
            return self._table.replace("correct", old, [entry], by, note)

    def update(self, id: int, soft_label: ArrayLike, label: int | None, by: str = "", note: str = "") -> Change:
        """Replace the soft label (C,) and the gold label's index of one entry."""
        row = soft_label_rows(np.asarray(soft_label)[None], len(self.labels), len(self.base_labels))[0]
        checked = label_index(label, len(self.labels))
        with self._access.changing():
            try:
                return self._table.update(entry_ids([id])[0], row, checked, by, note)
            except KeyError:
                raise _unknown(id) from None

    def add_label(self, name: str, by: str = "", note: str = "") -> Change:
        """Add a label behind those there are; it is for good, and predicted as soon as entries have it.

        Raises:
            UserError: it is no name, or nearly one that there is (see `check_label_name`); or `note` is no text.
            ConflictError: there is such a label.
        """
        with self._access.changing():
            check_label_name(name, self.labels)
            check_said(by, note)
            return self._table.add_label(name, by, f"new label {name!r}" + (f": {note}" if note else ""))

    def undo(self, change: int, by: str = "", note: str = "") -> Change:
        """Put the entries that a change touched back as they were before it; this is a change too.

        Raises:
            NotThereError: there is no such change.
            ConflictError: it is undone already or altered since, it filled the store, or it added a label.
        """
        with self._access.changing():
            return self._table.undo(entry_ids([change])[0], by, note)

    def changes(self, limit: int | None = None) -> list[Change]:
        """Return the changes, or the last `limit` of them, the latest first."""
        if limit is not None and not (isinstance(limit, int | np.integer) and limit >= 0):
            raise UserError(f"limit is {limit!r}: give a number of changes, or none for all")
        with self.unchanging():
            return self._table.changes(None if limit is None else int(limit))

    def get(self, ids: Iterable[int]) -> list[Entry]:
        """Return the entries with these ids, in the order given."""
        with self.unchanging():
            entries = []
            for id in entry_ids(ids):
                entry = self._table.get(id)
                if entry is None:
                    raise _unknown(id)
                entries.append(entry)
            return entries

    def entries(self, origin: Origin | None = None) -> Iterator[Entry]:
        """Go through all entries, or those of one origin, in order of id; the store may change meanwhile."""
        check_origin(origin)
        return every(self._access, self._table, origin)

    def find(self, wanted: Filter, after: int = 0, limit: int = 50, *, least_sure: bool = False) -> Page:
        """Return up to `limit` entries that match: see `hundredth.store.listing.find`."""
        return find(self._access, self._table, self._index, wanted, after, limit, least_sure=least_sure)

    def counts(self) -> dict[Origin, int]:
        """Return how many entries each origin has."""
        with self.unchanging():
            return self._table.counts()

    def __len__(self) -> int:
        with self.unchanging():
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
        with self._access.searching():
            return self._index.search.search(queries, k, excluded)

    def nearest(self, key: ArrayLike, k: int) -> tuple[Neighbours, list[Entry]]:
        """Return the k entries nearest to one key (d,), or all: the search's result (B = 1) and the entries."""
        with self.unchanging():
            found = self.search(np.asarray(key)[None], min(k, max(len(self), 1)))
            return found, self.get(id for id in found.ids[0] if id >= 0)

    def search_user(self, keys: ArrayLike, k: int, at_least: float) -> Neighbours:
        """Return the users' entries nearest to each of `keys` (B, d) with a cosine of `at_least`, at most k.

        They are ordered by similarity, then newer first: the first one decides (see `decide`).
        """
        queries = unit_keys(keys, self.dimension)
        with self._access.searching():
            return self._index.search_user(queries, k, at_least)

    def near_user(self, key: ArrayLike, at_least: float) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the ids of all the users' entries with a cosine of `at_least` to one key (d,), and the cosines."""
        [query] = unit_keys(np.asarray(key)[None], self.dimension)
        with self._access.searching():
            return self._index.near_user(query, at_least)

    def look_up(self, keys: ArrayLike, k: int, at_least: float) -> tuple[Neighbours | None, Neighbours]:
        """Return `search_user(keys, 1, at_least)` and `search(keys, k)`: all that a prediction asks for.

        Both are of the same state of the store. The first is None where users have made no entries; k may be 0.
        """
        queries = unit_keys(keys, self.dimension)
        with self._access.searching():
            user = self._index.search_user(queries, 1, at_least) if len(self._index.user) else None
            return user, self._index.search.search(queries, k)

    def rebuild(self) -> None:
        """Make the index again from the database, in memory and on disk."""
        with self.unchanging():
            self._index.rebuild(self._table)

    def close(self) -> None:
        """Save the index if the store has changed, and close the files; a second call does nothing."""
        self._access.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def unchanging(self) -> AbstractContextManager[None]:
        """Hold the store still for a block: what is read in it belongs together, and nothing is changed in it.

        What other processes have changed before the block is known in it.
        """
        return self._access.reading()


def _unknown(id: int) -> NotThereError:
    return NotThereError(f"no entry has the id {id}: it was deleted, or never added")
