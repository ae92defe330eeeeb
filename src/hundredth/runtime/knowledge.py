"""The knowledge of a loaded model, edited by text and label; the next prediction knows of it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hundredth.errors import UnknownLabelError, UserError
from hundredth.runtime.encoder import Encoder
from hundredth.runtime.texts import Text, as_fields
from hundredth.store import Change, Entry, Filter, KnowledgeStore, Origin, Page


@dataclass(frozen=True, slots=True)
class Hit:
    """An entry that was found for a text, with its cosine similarity to it."""

    entry: Entry
    similarity: float


class ModelStore:
    """A model's knowledge store, with the model's encoder to make the keys.

    What changes it takes `by`, who does it, and `note`, why: both go into the log.
    """

    def __init__(self, store: KnowledgeStore, encoder: Encoder, fields: Sequence[str]) -> None:
        self._store = store
        self._encoder = encoder
        self._fields = tuple(fields)

    def add(self, texts: Sequence[Text], labels: Sequence[str], *, by: str = "", note: str = "") -> list[int]:
        """Add texts with their labels (names that the model knows) and return the ids of the new entries."""
        rows = as_fields(texts, self._fields)
        if isinstance(labels, str) or len(labels) != len(rows):
            raise UserError(f"{len(rows)} texts need a list of as many labels, not {labels!r}")
        indices = [self._index(label) for label in labels]
        if not rows:
            return []
        embeddings, _ = self._encoder.encode(rows)
        soft_labels = np.eye(len(self._store.labels))[indices]
        return self._store.add(rows, soft_labels, embeddings, "user", indices, by, note)

    def correct(self, text: Text, label: str, *, by: str = "", note: str = "") -> Change:
        """Say what the label of a text is: from now on it is that of all nearly identical texts too.

        What the store said otherwise about this very text is replaced.
        """
        [row] = as_fields([text], self._fields)
        index = self._index(label)
        embeddings, _ = self._encoder.encode([row])
        return self._store.correct(row, index, embeddings[0], by, note)

    def add_label(self, label: str, *, by: str = "", note: str = "") -> Change:
        """Add a label that the model was not taught; texts can be added with it from now on."""
        return self._store.add_label(label, by, note)

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
    ) -> Page:
        """Return up to `limit` entries with ids above `after`: of an origin, with a label, with some words."""
        index = None if label is None else self._index(label)
        return self._store.find(Filter(origin, index, contains), after, limit)

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
            known = ", ".join(self._store.labels)
            raise UnknownLabelError(f"unknown label {label!r}: this model knows {known}; a new one is added first")
        return self._store.labels.index(label)


def hits(entries: Sequence[Entry], similarities: Iterable[float]) -> list[Hit]:
    """Pair entries with their similarities, of which there may be more (padding)."""
    return [Hit(entry, float(similarity)) for entry, similarity in zip(entries, similarities, strict=False)]
