"""Search among the keys: exact while the store is small, inverted lists and exact re-scoring when large.

Faiss proposes candidates; their similarities are then computed from the float32 keys and sorted, the older
entry first when equal. So an exact result does not depend on the batch that a query comes in. Among users' entries
the newer comes first when nearly equal: the key of a text depends a little on the batch that it was made in. Their
lists hold the keys themselves, not codes of them: a correction is found among any number of others like it.
Letters of the shapes: N entries, B queries, d width of a key, C labels, k neighbours, F candidates.
"""

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from hundredth.store.entries import Vectors
from hundredth.store.faiss_import import faiss
from hundredth.store.proposer import even, has_lists, remove

# Up to this many entries a search compares the query with every key: exact, in a time that grows with them.
EXACT_LIMIT = 20_000
# The lists that one query visits, of about sqrt(N). Among 60,000 to 100,000 keys of three students this finds 86 to
# 99 % of the 32 nearest. Four times as many lists find no more: what is missed is lost in the codes.
LISTS_VISITED = 32

# Similarities this close may be swapped by rounding, faiss's own or that of an encoder.
TIE = 1e-5

_CHUNK = 1024  # queries searched at once at most
_CANDIDATES = 1 << 25  # numbers of candidates' keys held at once, 128 MiB: fewer queries where each has many

Ids = NDArray[np.int64]
Matrix = NDArray[np.float32]
T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """The k entries nearest to each query, best first; where the store holds fewer, padding comes last.

    `ids` (B, k) int64, -1 where padded; `similarities` (B, k) float32 cosines, -inf where padded;
    `soft_labels` (B, k, C) float32, zeros where padded.
    """

    ids: Ids
    similarities: Matrix
    soft_labels: Matrix


class SearchIndex:
    """Ids, keys and soft labels of all entries in memory, and the faiss index that proposes candidates.

    `proposer` is a faiss index over the same keys, labelled with entry ids; it is built when not given.
    Of entries that are equally near the older comes first, or with `newest_first` of those nearly so the newer.
    Not thread-safe by itself (KnowledgeStore holds the lock).
    """

    def __init__(self, vectors: Vectors, proposer: Any = None, *, newest_first: bool = False) -> None:
        self._newest_first = newest_first
        self._size = len(vectors.ids)
        self._ids, self._keys, self._soft_labels = vectors.ids, vectors.keys, vectors.soft_labels
        self._positions: Ids | None = None
        self.proposer = self._built() if proposer is None else proposer

    def __len__(self) -> int:
        return self._size

    @property
    def ids(self) -> Ids:
        """Ids of all entries (N,), ascending."""
        return self._ids[: self._size]

    @property
    def keys(self) -> Matrix:
        """Keys of all entries (N, d), aligned with `ids`."""
        return self._keys[: self._size]

    @property
    def exact(self) -> bool:
        """Whether a search compares the query with every key."""
        return not has_lists(self.proposer)

    def add(self, ids: Ids, keys: Matrix, soft_labels: Matrix) -> None:
        """Add entries that are not present; ids ascend. Those that come after all present ones cost the least."""
        if not self._size or not len(ids) or ids[0] > self._ids[self._size - 1]:
            self._ids = _append(self._ids, self._size, ids)
            self._keys = _append(self._keys, self._size, keys)
            self._soft_labels = _append(self._soft_labels, self._size, soft_labels)
        else:  # an undone deletion: the entries go back to their places
            places = np.searchsorted(self.ids, ids)
            self._soft_labels = np.insert(self._soft_labels[: self._size], places, soft_labels, axis=0)
            self._ids, self._keys = np.insert(self.ids, places, ids), np.insert(self.keys, places, keys, axis=0)
        self._size += len(ids)
        self._positions = None
        if self._outgrown():
            self.proposer = self._built()
        elif len(ids):
            self.proposer.add_with_ids(even(keys), ids)

    def widen(self, labels: int) -> None:
        """Give every soft label a 0 for each label that has been added."""
        missing = labels - self._soft_labels.shape[1]
        if missing:
            self._soft_labels = np.pad(self._soft_labels, ((0, 0), (0, missing)))

    def delete(self, ids: Ids) -> None:
        """Remove the entries with these ids, as far as they are present."""
        keep = ~np.isin(self.ids, ids)
        self._ids, self._keys = self.ids[keep], self.keys[keep]
        self._soft_labels = self._soft_labels[: self._size][keep]
        self._size = len(self._ids)
        self._positions = None
        # The lists are given up a little below the limit, so that edits around it do not train them anew.
        if not self.exact and self._size < 0.9 * EXACT_LIMIT:
            self.proposer = self._built()
        else:
            remove(self.proposer, np.ascontiguousarray(ids))

    def search(self, queries: Matrix, k: int, exclude_ids: Ids | None = None) -> Neighbours:
        """Return the k nearest entries of each query (B, d), which has length 1; B may be 0.

        `exclude_ids` (B,) leaves one entry out of each query's result: its own, in leave-one-out.
        """
        proposals, lists = self._proposals(k, exclude_ids)
        parts, chunk = [], self._at_once(proposals)
        for start in range(0, max(len(queries), 1), chunk):
            rows = slice(start, start + chunk)
            excluded = None if exclude_ids is None else exclude_ids[rows]
            parts.append(self._neighbours(queries[rows], k, excluded, proposals, lists))
        if len(parts) == 1:
            return parts[0]
        return Neighbours(
            np.concatenate([part.ids for part in parts]),
            np.concatenate([part.similarities for part in parts]),
            np.concatenate([part.soft_labels for part in parts]),
        )

    def _neighbours(self, queries: Matrix, k: int, excluded: Ids | None, proposals: int, lists: int) -> Neighbours:
        """Return the k nearest of a chunk of queries, padded where there are fewer."""
        count, labels = len(queries), self._soft_labels.shape[1]
        width = 0
        if self._size and count and k:
            positions, cosines, complete = self._nearest(queries, k, excluded, proposals, lists)
            width = positions.shape[1]
            ids, soft_labels = self._ids.take(positions), self._soft_labels.take(positions, axis=0)
            if width == k and complete:
                return Neighbours(ids, cosines, soft_labels)
            found = np.isfinite(cosines)
        padded = Neighbours(
            np.full((count, k), -1, dtype=np.int64),
            np.full((count, k), -np.inf, dtype=np.float32),
            np.zeros((count, k, labels), dtype=np.float32),
        )
        if width:
            padded.ids[:, :width][found] = ids[found]
            padded.similarities[:, :width] = cosines
            padded.soft_labels[:, :width][found] = soft_labels[found]
        return padded

    def _proposals(self, k: int, excluded: Ids | None) -> tuple[int, int]:
        """Return how many candidates faiss is asked for first, and in how many lists."""
        wanted = k + (excluded is not None)
        proposals, lists = (wanted + 16, 0) if self.exact else (4 * wanted + 64, LISTS_VISITED)
        return min(proposals, self._size), lists

    def _at_once(self, proposals: int) -> int:
        """Return for how many queries so many candidates fit into memory."""
        numbers = proposals * int(self._keys.shape[1])
        return max(1, min(_CHUNK, _CANDIDATES // max(1, numbers)))

    def _nearest(
        self, queries: Matrix, k: int, excluded: Ids | None, proposals: int, lists: int
    ) -> tuple[Ids, Matrix, bool]:
        """Return positions (B, <=k) and cosines of the nearest, best first; whether all are entries, not -inf."""
        rows, margin = np.arange(len(queries))[:, None], 2 * TIE if self._newest_first else TIE
        positions, cosines, complete = self._candidates(queries, proposals, lists)
        worst = cosines.min(axis=1) if self.exact or self._newest_first else None
        if excluded is not None:
            cosines[self.ids.take(positions) == excluded[:, None]] = -np.inf
        # Candidates come in the order in which they win a tie.
        if self._newest_first:
            order = _newest_of_near(cosines, k)
        else:
            order = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
        positions, best = positions[rows, order], cosines[rows, order]
        if excluded is not None or not complete:
            complete = bool(np.isfinite(best).all())
        again: list[tuple[Any, int, int]] = []
        if worst is not None and proposals < self._size and (tied := best[:, -1] - worst <= margin).any():
            # faiss may cut anywhere within a group of ties: go on until all of it has been seen
            again.append((tied, min(4 * proposals, self._size), lists))
        if not self.exact and lists < self.proposer.nlist and not complete:
            # lists differ in size: a query whose lists hold too few entries visits more of them
            again.append((~np.isfinite(best).all(axis=1), proposals, 4 * lists))
        for which, proposals, lists in again:
            places, chunk = np.flatnonzero(which), self._at_once(proposals)
            for start in range(0, len(places), chunk):
                some = places[start : start + chunk]
                left_out = None if excluded is None else excluded[some]
                positions[some], best[some], _ = self._nearest(queries[some], k, left_out, proposals, lists)
            complete = bool(np.isfinite(best).all())
        return positions, best, complete

    def _candidates(self, queries: Matrix, proposals: int, lists: int) -> tuple[Ids, Matrix, bool]:
        """Return positions (B, F) of faiss's proposals, the first to win a tie first, and their exact cosines.

        And whether all of them are entries: -inf marks no entry; its position is that of another one.
        """
        parameters: Any = None
        if not self.exact:
            parameters = faiss.SearchParametersIVF()
            parameters.nprobe = min(lists, self.proposer.nlist)
        _, ids = self.proposer.search(even(queries), proposals, params=parameters)
        positions = self._positions_of(ids)
        positions.sort(axis=1)
        complete = bool((positions[:, -1] < self._size).all())
        if self._newest_first:
            positions = positions[:, ::-1]
        none = positions == self._size if not complete else None
        if none is not None:
            positions[none] = 0
        # `take` copies whole rows: several times as fast as indexing, and the longest step of a search but faiss.
        cosines = np.einsum("bd,bfd->bf", queries, self._keys.take(positions, axis=0))
        if none is not None:
            cosines[none] = -np.inf
        return positions, cosines, complete

    def _positions_of(self, ids: Ids) -> Ids:
        """Return the positions of ids that are present, and the size for -1."""
        if self._positions is None:
            # The last place is that of -1.
            self._positions = np.full(int(self._ids[self._size - 1]) + 2, self._size)
            self._positions[self.ids] = np.arange(self._size)
        return self._positions.take(ids)

    def _built(self) -> Any:
        return _build(self.ids, self.keys, coded=not self._newest_first)

    def _outgrown(self) -> bool:
        """Whether the proposer was made for a far smaller store than this one has become."""
        if self.exact:
            return self._size > EXACT_LIMIT
        return _list_count(self._size) >= 2 * int(self.proposer.nlist)


def fits(proposer: Any, vectors: Vectors) -> bool:
    """Whether a faiss index read from disk has the kind, width and number of keys that these vectors need."""
    size, dimension = vectors.keys.shape
    if has_lists(proposer):
        kind_fits = size >= 0.9 * EXACT_LIMIT and proposer.by_residual
    else:
        kind_fits = size <= EXACT_LIMIT
    return bool(kind_fits and proposer.ntotal == size and proposer.d == dimension + dimension % 2)


def _build(ids: Ids, keys: Matrix, *, coded: bool) -> Any:
    vectors = even(keys)
    dimension = vectors.shape[1]
    if len(ids) <= EXACT_LIMIT:
        proposer: Any = faiss.IndexIDMap2(faiss.IndexFlatIP(dimension))
    else:
        # One 4-bit code for each two numbers of a key: 32 bytes, not 512, at d = 128. Coded is the difference from
        # the centre of the list (fsr), which loses far less where keys lie close together.
        lists = _list_count(len(ids))
        kind = f"IVF{lists}," + (f"PQ{dimension // 2}x4fsr" if coded else "Flat")
        proposer = faiss.index_factory(dimension, kind, faiss.METRIC_INNER_PRODUCT)
        proposer.cp.max_points_per_centroid = 64
        proposer.cp.min_points_per_centroid = 1
        proposer.cp.niter = 10
        if coded:
            proposer.pq.cp.min_points_per_centroid = 1
        proposer.train(vectors)
    if len(ids):
        proposer.add_with_ids(vectors, ids)
    return proposer


def _list_count(size: int) -> int:
    return max(1, int(size**0.5))


def _newest_of_near(cosines: Matrix, k: int) -> Ids:
    """Return the order (B, k) of candidates, which come newest first; those of -inf come last.

    Each in turn is the first of those left that are nearly as near as the nearest of them.
    """
    first = _first_of_near(cosines)
    if k == 1:
        return first
    left, rank = cosines.copy(), np.full(cosines.shape, cosines.shape[1])
    for place in range(min(k, cosines.shape[1])):
        np.put_along_axis(rank, first, np.minimum(np.take_along_axis(rank, first, axis=1), place), axis=1)
        np.put_along_axis(left, first, -np.inf, axis=1)
        first = _first_of_near(left)
    return np.argsort(rank, axis=1, kind="stable")[:, :k]


def _first_of_near(cosines: Matrix) -> Ids:
    first: Ids = (cosines >= np.maximum.reduce(cosines, axis=1, keepdims=True) - TIE).argmax(axis=1)
    return first[:, None]


def _append(array: NDArray[T], size: int, rows: NDArray[T]) -> NDArray[T]:
    """Put `rows` after the first `size` rows, with room to grow, so that many small additions stay cheap."""
    needed = size + len(rows)
    if needed > len(array):
        grown = np.empty((max(needed, size + size // 4), *array.shape[1:]), dtype=array.dtype)
        grown[:size] = array[:size]
        array = grown
    array[size:needed] = rows
    return array
