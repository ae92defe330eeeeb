"""Which of the users' entries decide a text: those near to it, with the same unknown words.

To an encoder every word that it does not know is the same token. A thumb up and a thumb down, or any two words of
a script that it never saw, have one key, though what a user says of one need not hold for the other.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hundredth.runtime.encoder import Encoded, Encoder
from hundredth.store import Entry, KnowledgeStore, Neighbours

_AT_ONCE = 8  # entries looked at first, of those near to a text with unknown words

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
        words, k = self._encoder.unknown_words(texts), _AT_ONCE
        while True:
            found = self._store.search_user(key[None], k, at_least)
            ids = [id for id in found.ids[0].tolist() if id >= 0]
            same = [
                (entry, similarity)
                for entry, similarity in zip(self._store.get(ids), found.similarities[0].tolist(), strict=False)
                if self._words_of(entry) == words
            ]
            if len(same) >= count or len(ids) < k:
                return same[:count]
            k *= 4

    def _doubtful(self, user: Neighbours, unknown: Sequence[bool]) -> list[bool]:
        """Whether each text, or the entry nearest to it, has unknown words or was never looked at."""
        known = self._words
        return [
            id >= 0 and (has or known.get(id) != ())
            for id, has in zip(user.ids[:, 0].tolist(), unknown, strict=True)
        ]

    def _words_of(self, entry: Entry) -> Words:
        words = self._words.get(entry.id)
        if words is None:
            words = self._words[entry.id] = self._encoder.unknown_words(entry.texts)
        return words
