"""A loaded model: embed, search, mix, calibrate."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, overload

import numpy as np
from numpy.typing import NDArray

from hundredth.errors import UserError
from hundredth.folders import model_folder
from hundredth.runtime.deciders import Deciders
from hundredth.runtime.encoder import Encoded, Encoder
from hundredth.runtime.engines import EngineName
from hundredth.runtime.explanation import Explanation, explain
from hundredth.runtime.knowledge import Hit, ModelStore, hits
from hundredth.runtime.manifest import TOKENIZER, Manifest
from hundredth.runtime.texts import Text, as_fields
from hundredth.runtime.trust import Nearness, is_number, quantile_of, threshold_for
from hundredth.store import (
    Change,
    KnowledgeStore,
    calibrate,
    decide,
    mixture,
    neighbours_needed,
    softmax,
)
from hundredth.store.database import DATABASE

_CHUNK = 1024  # predictions made at once, which bounds the memory for the neighbours' soft labels

Matrix = NDArray[np.float32]
Doubles = NDArray[np.float64]


def load(path: str | os.PathLike[str], threads: int | None = None, engine: EngineName = "onnxruntime") -> "Model":
    """Load the model folder `path`, or the model of the run folder `path`.

    Raises:
        UserError: it names whatever is missing or does not fit together.
    """
    folder = model_folder(path)
    manifest = Manifest.read(folder)
    manifest.check_files(folder)
    graph = folder / manifest.encoder.file
    encoder = Encoder(graph, folder / TOKENIZER, manifest.encoder.max_length, threads, engine)
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
        manifest.check_store(store.base_labels, store.dimension, store.encoder)
    except UserError:
        store.close()
        raise
    return store


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """Calibrated `probabilities` (N, C) of N texts, and how near each is to what the model knows."""

    probabilities: Doubles
    nearness: Nearness


class Model:
    """Predicts labels from texts; made by `hundredth.load`. Threads may share it.

    A text is a string, or for tasks of several fields a tuple in the order of the fields or a mapping by
    their names. A model used in a `with` block, or closed, leaves its search index saved on disk.
    """

    def __init__(self, manifest: Manifest, encoder: Encoder, store: KnowledgeStore | None) -> None:
        self.manifest = manifest
        self._encoder = encoder
        self._knowledge = store
        self._deciders = None if store is None else Deciders(store, encoder)

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the labels, in the order of the columns of `predict_proba`: added ones come last."""
        return self.manifest.task.labels if self._knowledge is None else self._knowledge.labels

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the text fields."""
        return self.manifest.task.fields

    @property
    def engine(self) -> str:
        """What runs the encoder: onnxruntime or openvino."""
        return self._encoder.engine

    @property
    def precision(self) -> str:
        """The number format of the encoder's weights: int8 or float32."""
        return self.manifest.encoder.precision

    @property
    def threads(self) -> int:
        """How many CPU threads the encoder uses."""
        return self._encoder.threads

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

    @overload
    def predict(self, texts: Sequence[Text]) -> list[str]: ...

    @overload
    def predict(
        self, texts: Sequence[Text], *, abstain_below: float | None = ..., max_error: float | None = ...
    ) -> list[str | None]: ...

    def predict(
        self, texts: Sequence[Text], *, abstain_below: float | None = None, max_error: float | None = None
    ) -> Sequence[str | None]:
        """Return the likeliest label of each text; None where the model abstains.

        It does where the label's calibrated probability is below `abstain_below`, or below the threshold that
        keeps the share of wrong answers at `max_error` on the development texts (see `threshold`).
        """
        least = self.threshold(abstain_below=abstain_below, max_error=max_error)
        probabilities = self.predict_proba(texts)
        best, sure = probabilities.argmax(axis=1).tolist(), (probabilities.max(axis=1) >= least).tolist()
        return [self.labels[label] if answer else None for label, answer in zip(best, sure, strict=True)]

    def threshold(self, *, abstain_below: float | None = None, max_error: float | None = None) -> float:
        """Return the probability below which `predict` abstains with these arguments; 0 without any.

        Raises:
            UserError: both are given, one is out of its range, or the development texts cannot show so small an
                error.
        """
        if max_error is not None:
            if abstain_below is not None:
                raise UserError("abstain_below and max_error are both given: leave one out")
            return threshold_for(self.manifest.dev, max_error)
        if abstain_below is not None and not (is_number(abstain_below) and 0 <= abstain_below <= 1):
            raise UserError(f"abstain_below is {abstain_below!r}: give a probability from 0 to 1")
        return abstain_below or 0.0

    def predict_proba(self, texts: Sequence[Text]) -> Doubles:
        """Return calibrated probabilities (N, C), in the order of the texts and of `labels`.

        A label that is added meanwhile may be missing.
        """
        rows = as_fields(texts, self.fields)
        return self._looked_up(rows, self._encoder.read(rows), nearest=False)[0]

    def answer(self, texts: Sequence[Text]) -> Answers:
        """Return what `predict_proba` and `nearness` say of each text, embedded and searched for once."""
        rows = as_fields(texts, self.fields)
        probabilities, similarity = self._looked_up(rows, self._encoder.read(rows), nearest=True)
        return Answers(probabilities, Nearness(similarity, quantile_of(self.manifest.dev, similarity)))

    def embed(self, texts: Sequence[Text]) -> tuple[Matrix, Matrix]:
        """Return the embeddings (N, d), of length 1, and the head's logits (N, T), of the labels it was taught."""
        return self._encoder.encode(as_fields(texts, self.fields))

    def explain(self, text: Text) -> Explanation:
        """Predict one text and say how much the head and each stored entry had to do with it."""
        [row] = as_fields([text], self.fields)
        embeddings, logits = self._encoder.encode([row])
        settings = self.manifest.retrieval
        near: list[Hit] = []
        deciders: list[Hit] = []
        similarity = quantile = None
        labels = self.labels
        if self._knowledge is not None and self._deciders is not None:
            with self._knowledge.unchanging():
                labels = self.labels
                needed = neighbours_needed(settings.k, len(labels) > logits.shape[1])
                found, entries = self._knowledge.nearest(embeddings[0], needed)
                near = hits(entries, found.similarities[0])
                # Searched anew: among many entries the k nearest of more need not be the k nearest.
                found, entries = self._knowledge.nearest(embeddings[0], needed + 1)
                known = {hit.entry.id for hit in near}
                near += [hit for hit in hits(entries, found.similarities[0]) if hit.entry.id not in known][:1]
                deciding = self._deciders.near(row, embeddings[0], 2, self.manifest.correction.similarity)
                deciders = [Hit(entry, cosine) for entry, cosine in deciding]
        if near:
            similarity = near[0].similarity
            known_quantile = float(quantile_of(self.manifest.dev, np.array([similarity]))[0])
            quantile = None if np.isnan(known_quantile) else known_quantile
        return explain(self.manifest, labels, softmax(logits, 1.0)[0], near, deciders, (similarity, quantile))

    def nearness(self, texts: Sequence[Text]) -> Nearness:
        """Say how near each text is to what the model knows: far ones may be out of its scope."""
        embeddings, _ = self.embed(texts)
        if self._knowledge is None or not len(embeddings):
            similarity = np.full(len(embeddings), np.nan)
        else:
            nearest = self._knowledge.search(embeddings, 1).similarities[:, 0].astype(np.float64)
            similarity = np.where(np.isfinite(nearest), nearest, np.nan)
        return Nearness(similarity, quantile_of(self.manifest.dev, similarity))

    def correct(self, text: Text, label: str, *, new_label: bool = False, by: str = "", note: str = "") -> Change:
        """Say what the label of a text is; it holds at once for the text and all nearly identical ones.

        Whatever the weight of the store: a user's entry with a cosine of at least `manifest.correction.similarity`
        decides, the nearest of them, and of equally near ones the newest; not where words that the tokenizer does
        not know are others, as these are all one to the encoder. What the store said otherwise about this very
        text is replaced. With `new_label` a label that the model does not know is added first. `by` and `note`,
        who and why, go into the log.
        """
        return self.store.correct(text, label, new_label=new_label, by=by, note=note)

    def add_label(self, label: str, *, by: str = "", note: str = "") -> Change:
        """Add a label that the model was not taught; it is predicted as soon as entries have it.

        What the two nearest entries say of it counts in full, whatever the weight of the store: the head, which
        does not know of it, and the other entries share the rest (see `hundredth.store.retrieval`).
        """
        return self.store.add_label(label, by=by, note=note)

    def forget(self, ids: Iterable[int], *, by: str = "", note: str = "") -> Change:
        """Delete the entries with these ids, all of which must be there."""
        return self.store.forget(ids, by=by, note=note)

    def undo(self, change: int, *, by: str = "", note: str = "") -> Change:
        """Take back the change with this id: see `log`."""
        return self.store.undo(change, by=by, note=note)

    def log(self, limit: int | None = None) -> list[Change]:
        """Return who changed what of the knowledge, when and why; the latest first, `limit` of them or all."""
        return self.store.log(limit)

    def __repr__(self) -> str:
        knowledge = "no store" if self._knowledge is None else f"{len(self._knowledge):,} entries"
        return (
            f"<hundredth.Model of {self.manifest.task.name}: {len(self.labels)} labels, {knowledge}, "
            f"{self.precision} weights with {self.engine}, {self.threads} thread{'s' * (self.threads > 1)}>"
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

    def _looked_up(self, texts: list[tuple[str, ...]], read: Encoded, nearest: bool) -> tuple[Doubles, Doubles]:
        """Return probabilities (N, C) and, if wanted, cosines (N,) to the nearest entry, NaN without any."""
        if len(texts) <= _CHUNK:
            return self._mixed(texts, read, nearest)
        parts = []
        for start in range(0, len(texts), _CHUNK):
            rows = slice(start, start + _CHUNK)
            part = Encoded(read.embeddings[rows], read.logits[rows], read.unknown[rows])
            parts.append(self._mixed(texts[rows], part, nearest))
        probabilities, similarity = zip(*parts, strict=True)
        return stacked(probabilities), np.concatenate(similarity)

    def _mixed(self, texts: list[tuple[str, ...]], read: Encoded, nearest: bool) -> tuple[Doubles, Doubles]:
        settings, at_least = self.manifest.retrieval, self.manifest.correction.similarity
        mixed, similarity = softmax(read.logits, 1.0), np.full(len(texts), np.nan)
        if self._knowledge is not None and self._deciders is not None:
            taught = mixed.shape[1]
            late = len(self._knowledge.labels) > taught
            used = settings.weight > 0 or late
            k = neighbours_needed(settings.k, late) if used else int(nearest)
            decided, found = self._deciders.look_up(texts, read, k, at_least)
            if not late and found.soft_labels.shape[-1] > taught:  # another process has added a label meanwhile
                used, k = True, neighbours_needed(settings.k, late=True)
                decided, found = self._deciders.look_up(texts, read, k, at_least)
            if used:
                near = found.similarities, found.soft_labels
                mixed = mixture(mixed, *near, settings.temperature, settings.weight, settings.k)
            if nearest:
                first = found.similarities[:, 0].astype(np.float64)
                similarity = np.where(np.isfinite(first), first, np.nan)
            if decided is not None:
                mixed = decide(mixed, decided)
        return calibrate(mixed, self.manifest.calibration.temperature), similarity


def stacked(parts: Sequence[Doubles]) -> Doubles:
    """Return the rows of several predictions (N, C): labels that were added between them have 0 in the earlier."""
    width = max(part.shape[1] for part in parts)
    return np.concatenate([np.pad(part, ((0, 0), (0, width - part.shape[1]))) for part in parts])
