"""The knowledge of a loaded model, edited by text and label; the next prediction knows of it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hundredth.errors import UserError
from hundredth.runtime.encoder import Encoder
from hundredth.runtime.texts import Text, as_fields
from hundredth.store import Entry, KnowledgeStore, Origin


@dataclass(frozen=True, slots=True)
class Hit:
    """An entry found by `ModelStore.search`, with its cosine similarity to the text."""

    entry: Entry
    similarity: float


class ModelStore:
    """A model's knowledge store, with the model's encoder to make the keys."""

    def __init__(self, store: KnowledgeStore, encoder: Encoder, fields: Sequence[str]) -> None:
        self._store = store
        self._encoder = encoder
        self._fields = tuple(fields)

    def add(self, texts: Sequence[Text], labels: Sequence[str]) -> list[int]:
        """Add texts with their labels (names that the model knows) and return the ids of the new entries."""
        rows = as_fields(texts, self._fields)
        if isinstance(labels, str) or len(labels) != len(rows):
            raise UserError(f"{len(rows)} texts need a list of as many labels, not {labels!r}")
        known = {name: index for index, name in enumerate(self._store.labels)}
        for label in labels:
            if label not in known:
                raise UserError(f"unknown label {label!r}: this model knows {', '.join(known)}")
        indices = [known[label] for label in labels]
        if not rows:
            return []
        embeddings, _ = self._encoder.encode(rows)
        return self._store.add(rows, np.eye(len(known))[indices], embeddings, "user", indices)

    def delete(self, ids: Iterable[int]) -> int:
        """Delete entries by id and return how many were there."""
        return self._store.delete(ids)

    def entries(self, origin: Origin | None = None) -> Iterator[Entry]:
        """Go through all entries, or those of one origin, in order of id."""
        return self._store.entries(origin)

    def search(self, text: Text, k: int = 10) -> list[Hit]:
        """Return up to `k` entries nearest to a text, nearest first."""
        embeddings, _ = self._encoder.encode(as_fields([text], self._fields))
        found, entries = self._store.nearest(embeddings[0], k)
        similarities = found.similarities[0, : len(entries)].tolist()
        return [Hit(*pair) for pair in zip(entries, similarities, strict=True)]

    def __len__(self) -> int:
        return len(self._store)
