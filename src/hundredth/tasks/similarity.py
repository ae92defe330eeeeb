"""Near-copies of texts: the Jaccard similarity of their sets of character 4-grams.

Case, punctuation and spacing do not count. A text with fewer than four characters left is one gram.
Everything here is exact: grams are numbered, not hashed, and the filter below drops no pair that qualifies.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import sparse

GRAM = 4
_CHUNK_ROWS = 512  # rows compared at once: with 10,000 texts on the other side, 40 MB
_BLOCK_PAIRS = 50_000  # pairs checked at once
_FIRST_LOOK = 8  # most promising pairs of a text, checked before its others

Text = str | tuple[str, ...]  # a text, or its fields
BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


class _Dropped(dict[int, int | None]):
    """A table for str.translate that drops punctuation, separators and control characters of any script."""

    def __missing__(self, code: int) -> int | None:
        value = None if unicodedata.category(chr(code))[0] in "PZC" else code
        self[code] = value
        return value


_DROPPED = _Dropped()


def normalised(text: str) -> str:
    """Return `text` case-folded, without punctuation and spaces; as it is when nothing would be left."""
    return text.casefold().translate(_DROPPED) or text.strip()


def near_copies(texts: Sequence[Text], against: Sequence[Text] | None = None, threshold: float = 0.8) -> BoolArray:
    """Return, for each text, whether it is a near-copy: similarity `threshold` or more; shape (len(texts),).

    Without `against`, of an earlier text of the same list, so that the first of a group is False. With it, of
    any text in `against`, and `texts` are not compared with each other. A text of several fields, the same number
    in all, is a near-copy when each of its fields is one of the same text's.
    """
    if not 0.0 < threshold <= 1.0:
        raise ValueError(f"threshold must be above 0 and at most 1, not {threshold}")
    keys = [_key(text) for text in texts]
    copied = np.zeros(len(keys), dtype=np.bool_)
    # Equal texts are found by looking them up: only one of each takes part in the comparison.
    if against is None:
        seen: set[tuple[str, ...]] = set()
        for index, key in enumerate(keys):
            copied[index] = key in seen
            seen.add(key)
        others = None
    else:
        other_keys = list(dict.fromkeys(_key(text) for text in against))
        known = set(other_keys)
        copied[:] = [key in known for key in keys]
        others = other_keys
    left_rows = np.flatnonzero(~copied)
    left_keys = [keys[index] for index in left_rows]
    if not left_keys or others == []:
        return copied
    compared = left_keys if others is None else left_keys + others
    fields = [_grams(side) for side in zip(*compared, strict=True)]
    offset = 0 if others is None else len(left_keys)
    for rows, columns in _candidates(_joined(fields), len(left_keys), offset, threshold):
        for block_rows, block_columns in _looks(rows, columns):
            open_pairs = ~copied[left_rows[block_rows]]
            first, second = block_rows[open_pairs], block_columns[open_pairs]
            for grams in fields:
                hit = _jaccard(grams, first, second) >= threshold - 1e-9
                first, second = first[hit], second[hit]
            copied[left_rows[first]] = True
    return copied


def max_similarity(texts: Sequence[str], against: Sequence[str]) -> FloatArray:
    """Return each text's highest similarity with a text in `against`, in [0, 1]; shape (len(texts),)."""
    highest = np.zeros(len(texts), dtype=np.float64)
    if not texts or not against:
        return highest
    grams = _grams([normalised(text) for text in [*texts, *against]])
    left, right = grams.matrix[: len(texts)], grams.matrix[len(texts) :].T.tocsr()
    left_sizes, right_sizes = grams.sizes[: len(texts)], grams.sizes[len(texts) :]
    for start in range(0, len(texts), _CHUNK_ROWS):
        rows = slice(start, start + _CHUNK_ROWS)
        shared = (left[rows] @ right).toarray().astype(np.float64)
        highest[rows] = (shared / (left_sizes[rows, None] + right_sizes[None, :] - shared)).max(axis=1)
    return highest


def _key(text: Text) -> tuple[str, ...]:
    return tuple(normalised(field) for field in ((text,) if isinstance(text, str) else text))


@dataclass(frozen=True)
class _Grams:
    """Sets of grams as the rows of a 0/1 matrix (texts x grams), columns sorted from rare to common."""

    matrix: sparse.csr_matrix
    sizes: IntArray


def _joined(fields: Sequence[_Grams]) -> _Grams:
    """Return the texts' grams of all fields, each field's apart from the others'.

    Where every field reaches a Jaccard similarity, so do the fields as one: it is a mean of theirs, weighted.
    """
    if len(fields) == 1:
        return fields[0]
    matrix = sparse.hstack([one.matrix for one in fields], format="csr")
    frequency = np.asarray(matrix.sum(axis=0)).ravel()
    return _sorted_by_frequency(matrix.indices, matrix.indptr, frequency)


def _grams(keys: Sequence[str]) -> _Grams:
    numbers: dict[str, int] = {}
    indices: list[int] = []
    ends = [0]
    for key in keys:
        grams = {key[i : i + GRAM] for i in range(max(1, len(key) - GRAM + 1))}
        indices.extend(numbers.setdefault(gram, len(numbers)) for gram in grams)
        ends.append(len(indices))
    columns = np.asarray(indices, dtype=np.int64)
    frequency = np.bincount(columns, minlength=len(numbers))
    return _sorted_by_frequency(columns, np.asarray(ends, dtype=np.int64), frequency)


def _sorted_by_frequency(columns: IntArray, ends: IntArray, frequency: IntArray) -> _Grams:
    rank = np.empty(len(frequency), dtype=np.int64)
    rank[np.argsort(frequency, kind="stable")] = np.arange(len(frequency))
    matrix = sparse.csr_matrix(
        (np.ones(len(columns), dtype=np.int32), rank[columns], ends), shape=(len(ends) - 1, len(frequency))
    )
    matrix.sort_indices()
    return _Grams(matrix=matrix, sizes=np.diff(matrix.indptr).astype(np.int64))


def _candidates(grams: _Grams, left: int, offset: int, threshold: float) -> Iterator[tuple[IntArray, IntArray]]:
    """Yield the pairs of rows that may reach the threshold, a chunk of the left rows at a time.

    Sets with Jaccard >= t share at least t * size grams of either one, so each leaves out fewer than
    (1 - t) * size grams, and the rarest that many plus one of both must meet (prefix filter, Chaudhuri et al.
    2006). Rare grams meet rarely, which makes this far cheaper than the product of the whole matrix.
    """
    lengths = grams.sizes - np.ceil(threshold * grams.sizes - 1e-9).astype(np.int64) + 1
    starts = grams.matrix.indptr[:-1]
    places = np.arange(grams.matrix.nnz) - np.repeat(starts, grams.sizes)
    kept = places < np.repeat(lengths, grams.sizes)
    prefix = sparse.csr_matrix(
        (grams.matrix.data[kept], grams.matrix.indices[kept], np.concatenate([[0], np.cumsum(lengths)])),
        shape=grams.matrix.shape,
    )
    right = prefix[offset:].T.tocsr()
    for start in range(0, left, _CHUNK_ROWS):
        meets = (prefix[start : min(start + _CHUNK_ROWS, left)] @ right).tocoo()
        rows = meets.row.astype(np.int64) + start
        columns = meets.col.astype(np.int64) + offset
        small = np.minimum(grams.sizes[rows], grams.sizes[columns])
        large = np.maximum(grams.sizes[rows], grams.sizes[columns])
        fits = small >= threshold * large - 1e-9
        if offset == 0:
            fits &= columns < rows
        rows, columns, strength = rows[fits], columns[fits], meets.data[fits]
        order = np.lexsort((-strength, rows))
        yield rows[order], columns[order]


def _looks(rows: IntArray, columns: IntArray) -> Iterator[tuple[IntArray, IntArray]]:
    """Yield the pairs in blocks, each text's most promising first: one found early needs no more."""
    if len(rows) == 0:
        return
    firsts = np.flatnonzero(np.r_[True, rows[1:] != rows[:-1]])
    place = np.arange(len(rows)) - np.repeat(firsts, np.diff(np.r_[firsts, len(rows)]))
    order = np.argsort(place // _FIRST_LOOK, kind="stable")
    early = int((place < _FIRST_LOOK).sum())
    cuts = [*range(0, early, _BLOCK_PAIRS), *range(early, len(rows), _BLOCK_PAIRS), len(rows)]
    for start, end in pairwise(cuts):
        chosen = order[start:end]
        yield rows[chosen], columns[chosen]


def _jaccard(grams: _Grams, first: IntArray, second: IntArray) -> FloatArray:
    shared = np.asarray(grams.matrix[first].multiply(grams.matrix[second]).sum(axis=1)).ravel()
    union = grams.sizes[first] + grams.sizes[second] - shared
    return np.asarray(shared / union, dtype=np.float64)
