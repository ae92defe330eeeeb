"""What may enter a store: each check returns clean values or says what is wrong, with the value seen."""

import operator
import reprlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hundredth.errors import ConflictError, UserError
from hundredth.store.entries import ORIGINS, NewEntry, Origin

LONGEST_NAME = 500  # characters of a label
# By which some scripts join letters, or keep them apart: they belong to names, though nothing is seen of them.
_JOINERS = dict.fromkeys(map(ord, "\u200c\u200d"))


def unit_keys(keys: ArrayLike, dimension: int) -> NDArray[np.float32]:
    """Return keys (N, d) scaled to length 1; refuses another width, zeros, NaN and infinities."""
    values = np.asarray(keys, dtype=np.float32)
    if values.ndim != 2 or values.shape[1] != dimension:
        raise UserError(f"keys have shape {values.shape}: this store needs (N, {dimension})")
    # float64: the squares of very small or very large float32 numbers would not fit.
    norms = np.sqrt(np.einsum("nd,nd->n", values, values, dtype=np.float64))
    if len(norms) and not (norms.min() > 0 and norms.max() < np.inf):
        row = int(np.argmax(~(np.isfinite(norms) & (norms > 0))))
        what = "all zeros" if norms[row] == 0 else "not finite"
        raise UserError(f"key {row} is {what}: the encoder gave no usable embedding for it")
    units: NDArray[np.float32] = (values / norms[:, None]).astype(np.float32)
    return units


def soft_label_rows(soft_labels: ArrayLike, count: int, least: int) -> NDArray[np.float32]:
    """Return soft labels (N, C) scaled to sum to 1; refuses another width, negative values and other sums.

    C is the `count` of labels, or lacks some of those that were added to the `least` that there were at first.
    """
    values = np.asarray(soft_labels, dtype=np.float64)
    if values.ndim != 2 or not least <= values.shape[1] <= count:
        raise UserError(f"soft labels have shape {values.shape}: this store needs (N, {count})")
    totals = values.sum(axis=1)
    bad = ~((np.abs(totals - 1) <= 1e-3) & (values >= 0).all(axis=1))
    if bad.any():
        row = int(np.argmax(bad))
        raise UserError(
            f"soft label {row} sums to {totals[row]:.6g}, its smallest value is {values[row].min():.6g}: "
            "it must be at least 0 everywhere and sum to 1"
        )
    rows: NDArray[np.float32] = (values / totals[:, None]).astype(np.float32)
    return rows


def label_index(label: int | None, count: int) -> int | None:
    """Return the index of a gold label as a plain int; None stays None."""
    if label is None:
        return None
    if not 0 <= label < count:
        raise UserError(f"unknown label {label}: this store has labels 0 to {count - 1}")
    return int(label)


def entry_ids(ids: Iterable[int]) -> list[int]:
    """Return ids as plain ints; refuses what is no whole number, and a single one."""
    if not isinstance(ids, Iterable):
        raise UserError(f"the ids are {ids!r}: give a list of ids, such as [{ids!r}]")
    found = []
    for id in ids:
        try:
            found.append(operator.index(id))
        except TypeError:
            raise UserError(f"an id is {id!r}: give whole numbers, as the entries have them") from None
    return found


def check_label_name(name: str, known: Sequence[str] = ()) -> None:
    """Refuse what is no name for a new label: it is shown in lists and tables, and has to be typed again.

    Raises:
        UserError: it is empty or very long, has other whitespace than single spaces inside, or is not printable; or
            it differs from one of those `known` by case or white space alone.
        ConflictError: it is one of those `known`.
    """
    if not isinstance(name, str) or not name.translate(_JOINERS).strip():
        raise UserError(f"a label needs a name, not {name!r}")
    if name in known:
        raise ConflictError(f"there is a label {name!r} already")
    if (near := near_label(name, known)) is not None:
        raise near
    if len(name) > LONGEST_NAME:
        raise UserError(f"a label of {len(name)} characters is given: at most {LONGEST_NAME} make a name")
    if name != " ".join(name.split()) or not is_printable(name):
        raise UserError(
            f"a new label cannot be named {name!r}: use printable characters and single spaces between words"
        )


def near_label(label: str, known: Sequence[str]) -> UserError | None:
    """Return the error for a label that differs from one of those `known` by case or white space alone."""
    for name in known:
        if _folded(name) == _folded(label):
            return UserError(f"unknown label {label!r}: did you mean {name!r}?")
    return None


def is_printable(text: str) -> bool:
    """Whether a text is of letters, signs and spaces, on one line, and something of it is seen."""
    seen = text.translate(_JOINERS)
    return seen.isprintable() and bool(seen.strip())


def _folded(label: str) -> str:
    return " ".join(label.translate(_JOINERS).casefold().split())


def check_texts(texts: tuple[str, ...], position: int) -> None:
    """Refuse anything but one or more strings of valid Unicode."""
    if isinstance(texts, str) or not texts or not all(isinstance(text, str) for text in texts):
        raise UserError(
            f"texts of entry {position} are {reprlib.repr(texts)}: give a tuple with one string per field"
        )
    try:
        "".join(texts).encode()
    except UnicodeEncodeError as error:
        raise UserError(f"entry {position} holds text that is not valid Unicode: {error}") from error


def new_entries(
    texts: Sequence[tuple[str, ...]],
    soft_labels: ArrayLike,
    keys: ArrayLike,
    origins: Sequence[Origin] | Origin,
    labels: Sequence[int | None],
    dimension: int,
    classes: int,
    base_classes: int,
) -> list[NewEntry]:
    """Return N checked entries, made now, of a store with keys of width `dimension` and so many `classes`.

    `base_classes` are those that the store was made for.

    `origins` is one for all or one each; see `KnowledgeStore.add` for the rest.
    """
    count = len(texts)
    key_rows = unit_keys(keys, dimension)
    soft_rows = soft_label_rows(soft_labels, classes, base_classes)
    each: Sequence[Any] = [origins] * count if isinstance(origins, str) else origins
    sizes = {"soft labels": len(soft_rows), "keys": len(key_rows), "origins": len(each), "labels": len(labels)}
    for what, size in sizes.items():
        if size != count:
            raise UserError(f"{count} texts but {size} {what}: give one for each text")
    for position, (fields, origin) in enumerate(zip(texts, each, strict=True)):
        check_texts(fields, position)
        if origin not in ORIGINS:
            raise UserError(f"unknown origin {origin!r} of entry {position}: use one of {', '.join(ORIGINS)}")
    created = datetime.now(UTC).isoformat(timespec="seconds")
    return [
        NewEntry(tuple(fields), soft, label_index(label, classes), origin, created, key)
        for fields, soft, label, origin, key in zip(texts, soft_rows, labels, each, key_rows, strict=True)
    ]
