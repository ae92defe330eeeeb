"""The knowledge of a loaded model, edited by text and label; the next prediction knows of it."""

import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hundredth.errors import ConflictError, UnknownLabelError, UserError
from hundredth.runtime.encoder import Encoder
from hundredth.runtime.texts import Text, as_fields
from hundredth.store import ORIGINS, Change, Entry, Filter, KnowledgeStore, Origin, Page
from hundredth.store.checks import check_label_name, near_label

_AT_ONCE = 1024  # texts encoded between two reports of the progress
_NAMED = 20  # labels that an error lists
_ROUNDING = 1e-3  # by which a soft label may miss the sum of 1


@dataclass(frozen=True, slots=True)
class Hit:
    """An entry that was found for a text, with its cosine similarity to it."""

    entry: Entry
    similarity: float


@dataclass(frozen=True, slots=True)
class Given:
    """An entry to be: texts in the order of the fields, with the name of a gold label, a soft label, or both.

    `soft_label` has probabilities by name, which sum to 1; without it, or where it contradicts the gold label, that
    has all.

    Raises:
        UserError: it has no label at all, the soft label is none, or the origin is unknown.
    """

    texts: tuple[str, ...]
    label: str | None
    soft_label: Mapping[str, float] | None = None
    origin: Origin = "user"

    def __post_init__(self) -> None:
        if self.label is None and self.soft_label is None:
            raise UserError(f"the text {reprlib.repr(self.texts)} has no label")
        chances = [1.0] if self.soft_label is None else self.soft_label.values()
        if not (all(chance >= 0 for chance in chances) and abs(sum(chances) - 1) <= _ROUNDING):
            shown = reprlib.repr(self.soft_label)
            raise UserError(f"a soft label is {shown}: give probabilities by label that sum to 1")
        if self.origin not in ORIGINS:
            raise UserError(f"unknown origin {self.origin!r}: use one of {', '.join(ORIGINS)}")

    @property
    def contradictory(self) -> bool:
        """Whether the likeliest of the soft label is not the gold label: of an entry in a file one was edited."""
        if self.label is None or self.soft_label is None:
            return False
        return self.soft_label.get(self.label, 0.0) < max(self.soft_label.values())

    @property
    def probabilities(self) -> Mapping[str, float]:
        """The soft label as it is stored, without zeros: that of the gold label where the two do not agree."""
        if self.label is not None and (self.soft_label is None or self.contradictory):
            return {self.label: 1.0}
        return {name: chance for name, chance in (self.soft_label or {}).items() if chance}

    def row(self, labels: Sequence[str]) -> list[float]:
        """Return the soft label in the order of these labels, which are all that there are."""
        chances = self.probabilities
        return [chances.get(name, 0.0) for name in labels]

    @property
    def shown_label(self) -> str:
        """The gold label, or where there is none the likeliest one."""
        return max(self.probabilities, key=self.probabilities.__getitem__) if self.label is None else self.label

    @property
    def labels(self) -> list[str]:
        """The labels that it takes to store it."""
        return [*([] if self.label is None else [self.label]), *self.probabilities]


class ModelStore:
    """A model's knowledge store, with the model's encoder to make the keys.

    What changes it takes `by`, who does it, and `note`, why: both go into the log.
    """

    def __init__(self, store: KnowledgeStore, encoder: Encoder, fields: Sequence[str]) -> None:
        self._store = store
        self._encoder = encoder
        self._fields = tuple(fields)

    def add(
        self,
        texts: Sequence[Text],
        labels: Sequence[str],
        *,
        new_labels: bool = False,
        by: str = "",
        note: str = "",
    ) -> list[int]:
        """Add texts with their labels and return the ids of the new entries.

        Labels are names that the model knows; with `new_labels` those that it does not know are added first, but
        for one that differs from a known one by case or white space alone, which is refused.
        """
        given = labelled(as_fields(texts, self._fields), labels)
        change = self.put(given, new_labels=new_labels, by=by, note=note)
        return [] if change is None else list(change.added)

    def put(
        self,
        entries: Sequence[Given],
        *,
        new_labels: bool = False,
        by: str = "",
        note: str = "",
        progress: Callable[[int], object] | None = None,
    ) -> Change | None:
        """Add entries of any origin as one change, and return it; None where there are no entries.

        `progress` is told from time to time how many more of the texts have been encoded, which takes the longest.
        """
        rows = as_fields([one.texts for one in entries], self._fields)
        names = list(dict.fromkeys(name for one in entries for name in one.labels))
        self._check_labels(names, new_labels)
        if not rows:
            return None
        parts: list[NDArray[np.float32]] = []
        for start in range(0, len(rows), _AT_ONCE):
            parts.append(self._encoder.encode(rows[start : start + _AT_ONCE])[0])
            if progress is not None:
                progress(len(parts[-1]))
        # Only now: a label is for good, and a text that cannot be encoded is refused.
        self.add_labels(names, by=by, note=note)
        known = self._store.labels
        soft_labels = [one.row(known) for one in entries]
        labels = [None if one.label is None else known.index(one.label) for one in entries]
        origins = [one.origin for one in entries]
        return self._store.put(rows, soft_labels, np.concatenate(parts), origins, labels, by, note)

    def correct(self, text: Text, label: str, *, new_label: bool = False, by: str = "", note: str = "") -> Change:
        """Say what the label of a text is: from now on it is that of all nearly identical texts too.

        What the store said otherwise about this very text is replaced. With `new_label` a label that the model does
        not know is added first.
        """
        [row] = as_fields([text], self._fields)
        self._check_labels([label], new_label)
        embeddings, _ = self._encoder.encode([row])
        self.add_labels([label], by=by, note=note)
        words = self._encoder.unknown_words(row)
        return self._store.correct(
            row,
            self._index(label),
            embeddings[0],
            by,
            note,
            same=lambda texts: self._encoder.unknown_words(texts) == words,
        )

    def add_label(self, label: str, *, by: str = "", note: str = "") -> Change:
        """Add a label that the model was not taught; texts can be added with it from now on.

        Raises:
            UserError: it is no name: empty, with other whitespace than single spaces inside, or not printable; or
                it differs from a known one by case or white space alone.
            ConflictError: there is such a label.
        """
        return self._store.add_label(label, by, note)

    def add_labels(self, labels: Iterable[str], *, by: str = "", note: str = "") -> None:
        """Add those of the labels that there are not yet."""
        for label in labels:
            if label not in self._store.labels:
                with suppress(ConflictError):  # somebody else has just added it
                    self._store.add_label(label, by, note)

    def delete(self, ids: Iterable[int], *, by: str = "", note: str = "") -> int:
        """Delete entries by id and return how many were there."""
        return self._store.delete(ids, by, note)

    def forget(self, ids: Iterable[int], *, by: str = "", note: str = "") -> Change:
        """Delete entries by id; refuses ids that are not there."""
        return self._store.forget(ids, by, note)

    def undo(self, change: int, *, by: str = "", note: str = "") -> Change:
        """Take back the change with this id; the undo is a change as well, and can be undone."""
        return self._store.undo(change, by, note)

    def log(self, limit: int | None = None) -> list[Change]:
        """Return the changes, or the last `limit` of them, the latest first."""
        return self._store.changes(limit)

    def entries(self, origin: Origin | None = None) -> Iterator[Entry]:
        """Go through all entries, or those of one origin, in order of id."""
        return self._store.entries(origin)

    def get(self, id: int) -> Entry:
        """Return the entry with this id, which must be there."""
        return self._store.get([id])[0]

    def find(
        self,
        *,
        origin: Origin | None = None,
        label: str | None = None,
        contains: str = "",
        after: int = 0,
        limit: int = 50,
        least_sure: bool = False,
    ) -> Page:
        """Return up to `limit` entries with ids above `after`: of an origin, with a label, with some words.

        With `least_sure` those that no person labelled, the ones of whose label the LLM was least sure first.
        """
        index = None if label is None else self._index(label)
        return self._store.find(Filter(origin, index, contains), after, limit, least_sure=least_sure)

    def counts(self) -> dict[Origin, int]:
        """Return how many entries each origin has."""
        return self._store.counts()

    @property
    def generation(self) -> int:
        """How many changes the store has seen, whoever made them."""
        return self._store.generation

    @property
    def writable(self) -> bool:
        """Whether the store can be changed."""
        return self._store.writable

    def search(self, text: Text, k: int = 10) -> list[Hit]:
        """Return up to `k` entries nearest to a text, nearest first."""
        embeddings, _ = self._encoder.encode(as_fields([text], self._fields))
        found, entries = self._store.nearest(embeddings[0], k)
        return hits(entries, found.similarities[0])

    def __len__(self) -> int:
        return len(self._store)

    def _index(self, label: str) -> int:
        if label not in self._store.labels:
            with self._store.unchanging():  # which also tells of labels that another process has added
                known = self._store.labels
            if label not in known:
                raise unknown_label(label, known)
        return self._store.labels.index(label)

    def _check_labels(self, names: Iterable[str], new_labels: bool) -> None:
        with self._store.unchanging():  # which also tells of labels that another process has added
            seen = list(self._store.labels)
        for name in names:
            if not new_labels:
                self._index(name)
            elif name not in seen:
                check_label_name(name, seen)
                seen.append(name)


def labelled(rows: Sequence[tuple[str, ...]], labels: Sequence[str]) -> list[Given]:
    """Pair texts with the names of their labels; UserError where these are not as many."""
    if isinstance(labels, str) or len(labels) != len(rows):
        raise UserError(f"{len(rows)} texts need a list of as many labels, not {labels!r}")
    return [Given(row, label) for row, label in zip(rows, labels, strict=True)]


def unknown_label(label: str, known: Sequence[str]) -> UserError:
    """Return the error for a label that is none of those `known`: UnknownLabelError if it can be added."""
    if isinstance(label, str) and (near := near_label(label, known)) is not None:
        return near
    more = f" and {len(known) - _NAMED} more" if len(known) > _NAMED else ""
    return UnknownLabelError(
        f"unknown label {label!r}: this model knows {', '.join(known[:_NAMED])}{more}; a new one is added first"
    )


def hits(entries: Sequence[Entry], similarities: Iterable[float]) -> list[Hit]:
    """Pair entries with their similarities, of which there may be more (padding)."""
    return [Hit(entry, float(similarity)) for entry, similarity in zip(entries, similarities, strict=False)]
