"""The embeddings of an evaluation: each sentence encoded once, however many tasks contain it."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from hundredth.errors import UserError
from hundredth.extraction.batching import Progress

Floats = NDArray[np.float32]
# Texts (N) in, embeddings (N, d) in float32 out.
Embed = Callable[[Sequence[str]], Floats]

_CHUNK, _BATCH = 512, 64


class Embeddings:
    """Encodes texts as they are first asked for, longest first, and remembers them.

    Runs of white space count as one space and a text of nothing else as a full stop, as in SentEval, which
    takes texts apart at spaces. `encoded` counts the texts that went through the encoder.
    """

    def __init__(self, encoder: SentenceTransformer, progress: Progress = lambda done, total, note: None) -> None:
        self.encoder = encoder
        self.progress = progress
        self._known: dict[str, Floats] = {}

    def __call__(self, texts: Sequence[str]) -> Floats:
        """Return the embeddings of `texts`, (N, d) in float32.

        Raises:
            UserError: an embedding holds NaN or an infinite number.
        """
        keys = [" ".join(text.split()) or "." for text in texts]
        self._encode(key for key in dict.fromkeys(keys) if key not in self._known)
        return np.stack([self._known[key] for key in keys])

    @property
    def encoded(self) -> int:
        """How many texts were encoded."""
        return len(self._known)

    def _encode(self, texts: Iterable[str]) -> None:
        # Texts of like length stand together, so little is padding, and memory runs out at once if it does.
        waiting = sorted(texts, key=len, reverse=True)
        for start in range(0, len(waiting), _CHUNK):
            chunk = waiting[start : start + _CHUNK]
            found: Floats = self.encoder.encode(chunk, batch_size=_BATCH, show_progress_bar=False)
            bad = ~np.isfinite(found).all(axis=1)
            if bad.any():
                raise UserError(
                    f"the encoder gives {int(bad.sum())} of {len(chunk)} texts an embedding with NaN or infinite "
                    f"numbers, first {chunk[int(bad.argmax())][:60]!r}: it is damaged, or its training failed"
                )
            self._known.update(zip(chunk, found, strict=True))
            self.progress(start + len(chunk), len(waiting), "")
