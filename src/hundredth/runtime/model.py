"""A loaded model: embed, search, mix, calibrate."""

import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from hundredth.errors import UserError
from hundredth.runtime.encoder import Encoder
from hundredth.runtime.explanation import Explanation, NeighbourShare
from hundredth.runtime.knowledge import ModelStore
from hundredth.runtime.manifest import TOKENIZER, Manifest
from hundredth.runtime.texts import Text, as_fields
from hundredth.store import (
    Entry,
    KnowledgeStore,
    calibrate,
    mix,
    neighbour_distribution,
    neighbour_weights,
    softmax,
)
from hundredth.store.entries import DATABASE

_CHUNK = 1024  # predictions made at once, which bounds the memory for the neighbours' soft labels

Matrix = NDArray[np.float32]
Doubles = NDArray[np.float64]


def load(path: str | os.PathLike[str], threads: int | None = None) -> "Model":
    """Load the model folder `path`; raises UserError naming whatever is missing or does not fit together."""
    folder = Path(path)
    manifest = Manifest.read(folder)
    manifest.check_files(folder)
    encoder = Encoder(folder / manifest.encoder.file, folder / TOKENIZER, manifest.encoder.max_length, threads)
    widths = {"encoder.dimension": manifest.encoder.dimension, "task.labels": len(manifest.task.labels)}
    for (name, expected), found in zip(widths.items(), encoder.widths(), strict=True):
        if found != expected:
            raise UserError(f"{name} says {expected}, but {manifest.encoder.file} gives {found} numbers a text")
    return Model(manifest, encoder, _open_store(folder, manifest))


def _open_store(folder: Path, manifest: Manifest) -> KnowledgeStore | None:
    if not (folder / DATABASE).exists():
        if manifest.retrieval.weight > 0:
            raise UserError(
                f"{folder / DATABASE} is missing, but retrieval.weight is {manifest.retrieval.weight}: "
                "copy the whole model folder, or set the weight to 0 to predict without knowledge"
            )
        return None
    store = KnowledgeStore.open(folder)
    try:
        manifest.check_store(store.labels, store.dimension, store.encoder)
    except UserError:
        store.close()
        raise
    return store


class Model:
    """Predicts labels from texts; made by `hundredth.load`. Threads may share it.

    A text is a string, or for tasks of several fields a tuple in the order of the fields or a mapping by
    their names. A model used in a `with` block, or closed, leaves its search index saved on disk.
    """

    def __init__(self, manifest: Manifest, encoder: Encoder, store: KnowledgeStore | None) -> None:
        self.manifest = manifest
        self._encoder = encoder
        self._knowledge = store

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the labels, in the order of the columns of `predict_proba`."""
        return self.manifest.task.labels

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the text fields."""
        return self.manifest.task.fields

    @property
    def has_store(self) -> bool:
        """Whether the model came with a knowledge store."""
        return self._knowledge is not None

    @property
    def store(self) -> ModelStore:
        """The model's knowledge, to search and to edit."""
        if self._knowledge is None:
            raise UserError("this model has no knowledge store: it is a plain classifier")
        return ModelStore(self._knowledge, self._encoder, self.fields)

    def predict(self, texts: Sequence[Text]) -> list[str]:
        """Return the likeliest label of each text."""
        return [self.labels[best] for best in self.predict_proba(texts).argmax(axis=1)]

    def predict_proba(self, texts: Sequence[Text]) -> Doubles:
        """Return calibrated probabilities (N, C), in the order of the texts and of `labels`."""
        embeddings, logits = self.embed(texts)
        result = np.empty((len(embeddings), len(self.labels)))
        for start in range(0, len(result), _CHUNK):
            rows = slice(start, start + _CHUNK)
            result[rows] = self._probabilities(embeddings[rows], logits[rows])
        return result

    def embed(self, texts: Sequence[Text]) -> tuple[Matrix, Matrix]:
        """Return the embeddings (N, d), of length 1, and the head's logits (N, C)."""
        return self._encoder.encode(as_fields(texts, self.fields))

    def explain(self, text: Text) -> Explanation:
        """Predict one text and say how much the head and each stored entry had to do with it."""
        embeddings, logits = self.embed([text])
        settings = self.manifest.retrieval
        head = softmax(logits, 1.0)
        mixed, weights = head, np.zeros(0)
        similarities: list[float] = []
        entries: list[Entry] = []
        if self._knowledge is not None and settings.weight > 0:
            found, entries = self._knowledge.nearest(embeddings[0], settings.k)
            weighed = neighbour_weights(found.similarities, settings.temperature)
            mixed = mix(head, neighbour_distribution(weighed, found.soft_labels), settings.weight)
            weights, similarities = weighed[0], found.similarities[0].tolist()
        calibrated = calibrate(mixed, self.manifest.calibration.temperature)[0]
        best = int(calibrated.argmax())
        whole = float(mixed[0, best])
        weight = settings.weight if entries else 0.0
        neighbours = tuple(
            NeighbourShare(
                id=entry.id,
                texts=entry.texts,
                label=self.labels[int(entry.soft_label.argmax()) if entry.label is None else entry.label],
                origin=entry.origin,
                similarity=similarity,
                share=weight * float(taken) * float(entry.soft_label[best]) / whole,
            )
            for entry, similarity, taken in zip(entries, similarities, weights, strict=False)
        )
        return Explanation(
            label=self.labels[best],
            probability=float(calibrated[best]),
            probabilities=dict(zip(self.labels, calibrated.tolist(), strict=True)),
            head_share=(1 - weight) * float(head[0, best]) / whole,
            neighbours=neighbours,
        )

    def close(self) -> None:
        """Save the search index if the knowledge has changed, and close the files."""
        if self._knowledge is not None:
            self._knowledge.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _probabilities(self, embeddings: Matrix, logits: Matrix) -> Doubles:
        settings = self.manifest.retrieval
        mixed = softmax(logits, 1.0)
        if self._knowledge is not None and settings.weight > 0:
            found = self._knowledge.search(embeddings, settings.k)
            weights = neighbour_weights(found.similarities, settings.temperature)
            mixed = mix(mixed, neighbour_distribution(weights, found.soft_labels), settings.weight)
        return calibrate(mixed, self.manifest.calibration.temperature)
