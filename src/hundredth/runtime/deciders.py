"""Which of the users' entries decide a text: those near to it, with the same unknown words.

To an encoder every word that it does not know is the same token. A thumb up and a thumb down, or any two words of
a script that it never saw, have one key, though what a user says of one need not hold for the other.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from hundredth.runtime.encoder import Encoded, Encoder
from hundredth.store import Entry, KnowledgeStore, Neighbours
from hundredth.store.index import TIE

Matrix = NDArray[np.float32]
Words = tuple[str, ...]


class Deciders:
    """Looks up a text's neighbours together with the entry that decides it; threads may share it."""

    def __init__(self, store: KnowledgeStore, encoder: Encoder) -> None:
        self._store, self._encoder = store, encoder
        # By the ids of entries that were near a text. Texts never change, and ids are never given again.
        self._words: dict[int, Words] = {}

    def look_up(
        self, texts: Sequence[Words], read: Encoded, k: int, at_least: float
    ) -> tuple[Matrix | None, Neighbours]:
        """Return what the deciding entry says of each of B texts, (B, C), zeros without one, and the k neighbours.

        Both are of the same state of the store. The first is None where users have made no entries.
        """
        user, found = self._store.look_up(read.embeddings, k, at_least)
        if user is None or not any(self._doubtful(user, read.unknown)):
            return None if user is None else user.soft_labels[:, 0], found
        with self._store.unchanging():
            user, found = self._store.look_up(read.embeddings, k, at_least)
            if user is None:
                return None, found
            decided = user.soft_labels[:, 0]
            for row, doubtful in enumerate(self._doubtful(user, read.unknown)):
                if doubtful:
                    near = self.near(texts[row], read.embeddings[row], 1, at_least)
                    decided[row] = near[0][0].soft_label if near else 0
            return decided, found

    def near(self, texts: Words, key: Matrix, count: int, at_least: float) -> list[tuple[Entry, float]]:
        """Return the first `count` entries that may decide a text with this key (d,), and their cosines.

        Runs in a block in which the store is unchanging.
        """
        words = self._encoder.unknown_words(texts)
        ids, cosines = self._store.near_user(key, at_least)
        self._read(id for id in ids.tolist() if id not in self._words)
        same = [
            (id, cosine)
            for id, cosine in zip(ids.tolist(), cosines.tolist(), strict=True)
            if self._words[id] == words
        ]
        chosen: list[tuple[int, float]] = []
        while same and len(chosen) < count:
            highest = max(cosine for _, cosine in same)
            newest = max(pair for pair in same if pair[1] >= highest - TIE)  # by their ids
            same.remove(newest)
            chosen.append(newest)
        entries = self._store.get(id for id, _ in chosen)
        return [(entry, cosine) for entry, (_, cosine) in zip(entries, chosen, strict=True)]

    def _doubtful(self, user: Neighbours, unknown: Sequence[bool]) -> list[bool]:
        """Whether each text, or the entry nearest to it, has unknown words or was never looked at."""
        known = self._words
        return [
            id >= 0 and (has or known.get(id) != ())
            for id, has in zip(user.ids[:, 0].tolist(), unknown, strict=True)
        ]

    def _read(self, ids: Iterable[int]) -> None:
        """Take down the unknown words of entries that were not looked at so far."""
        for entry in self._store.get(ids):
            self._words[entry.id] = self._encoder.unknown_words(entry.texts)
