"""Choosing K, t, lambda and the calibration: for a new model, and anew for one whose knowledge has changed."""

from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hundredth.errors import UserError
from hundredth.files import write_text
from hundredth.runtime import CalibrationInfo, DevInfo, Manifest, RetrievalInfo, dev_record, load
from hundredth.store import (
    KnowledgeStore,
    Neighbours,
    calibrate,
    mixture,
    neighbours_needed,
    softmax,
)
from hundredth.student.selection import RetrievalChoice, RetrievalGrid, choose_calibration, choose_retrieval
from hundredth.tasks.schema import Example, labels_of

Doubles = NDArray[np.float64]

# Entries this near are the text itself, or one that the encoder cannot tell from it.
_SAME = 1 - 1e-5
# Of the weights that the texts do not tell from the best, the nearest to this one: in a store that has grown since
# its student was trained, the entries know what the student cannot.
_PREFERRED = 0.7
# How many copies of a text the store may hold before one of them passes for a neighbour.
_COPIES = 8
_CARD = "README.md"
_TUNED = "\nTuned anew on "
# A label that a model gives no chance at all must not outweigh every other text.
_FLOOR = 1e-6


@dataclass(frozen=True)
class Setting:
    """K, t, lambda and the calibration temperature, and how they do on the texts that they were judged by."""

    k: int
    temperature: float
    weight: float
    calibration: float
    accuracy: float
    log_likelihood: float


@dataclass(frozen=True)
class Tuned:
    """What `tune` has done: on how many texts, and the settings before and after."""

    texts: int
    before: Setting
    after: Setting

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return both settings with what they come to, a line each."""
        return [
            f"{name:<7}K {one.k}, t {one.temperature:g}, lambda {one.weight:g}, calibration {one.calibration:.3g}: "
            f"accuracy {one.accuracy:.3f}, log-likelihood {one.log_likelihood:.3f} on {self.texts} texts"
            for name, one in (("before", self.before), ("after", self.after))
        ]


def tune(folder: Path, examples: list[Example], grid: RetrievalGrid | None = None, *, save: bool = True) -> Tuned:
    """Choose K, t, lambda and the calibration of a model folder anew, on labelled texts; nothing is trained.

    For a model whose store has changed much since it was made: what was chosen without the new knowledge may give
    it too little weight. The rule is that of a new model, but that of the weights which the texts do not tell from
    the best the one nearest 0.7 is taken, unless `grid` prefers another. A text that is itself in the store is
    judged by its other neighbours. With `save` the choice goes into hundredth.json, with a record of the texts for
    `max_error`, and into the model card.

    Raises:
        UserError: the model has no store, or there is nothing to choose by.
    """
    grid = grid or RetrievalGrid(preferred=_PREFERRED)
    gold = np.array(labels_of(examples), dtype=np.int64)
    with load(folder) as model:
        if not model.has_store:
            raise UserError(
                f"{folder} has no knowledge store: it is a plain classifier, and there is nothing to tune"
            )
        manifest = model.manifest
        keys, logits = model.embed([example.texts for example in examples])
        with KnowledgeStore.open(folder) as store:
            most = neighbours_needed(max(*grid.k, manifest.retrieval.k), len(store.labels) > logits.shape[1])
            neighbours = without_themselves(store.search(keys, most + _COPIES), most)
    head = softmax(logits, 1.0)
    before = _judged(head, gold, neighbours, manifest.retrieval, manifest.calibration.temperature)
    chosen, mixed = choose_mixture(grid, head, gold, neighbours)
    temperature = choose_calibration(mixed, gold)
    after = _judged(head, gold, neighbours, chosen, temperature)
    found = Tuned(len(gold), before, after)
    if save:
        nearest = neighbours.similarities[:, 0]
        nearest = nearest[np.isfinite(nearest)]  # a text may stand in the store alone
        record = dev_record(calibrate(mixed, temperature), gold, nearest if len(nearest) else None)
        _save(folder, manifest, found, record)
    return found


def choose_mixture(
    grid: RetrievalGrid, head: Doubles, gold: NDArray[np.int64], neighbours: Neighbours
) -> tuple[RetrievalInfo, Doubles]:
    """Choose how neighbours take part; return the choice and the texts' mixed probabilities (N, C).

    `head` (N, C) are the classifier's probabilities, `gold` (N,) the labels.
    """
    choice: RetrievalChoice = choose_retrieval(head, gold, neighbours.similarities, neighbours.soft_labels, grid)
    retrieval = RetrievalInfo(choice.k, choice.temperature, choice.weight)
    return retrieval, mixed_by(retrieval, head, neighbours)


def mixed_by(retrieval: RetrievalInfo, head: Doubles, neighbours: Neighbours) -> Doubles:
    """Return what head (N, T) and neighbours say together, before calibration, as the model serves it."""
    near = neighbours.similarities, neighbours.soft_labels
    return mixture(head, *near, retrieval.temperature, retrieval.weight, retrieval.k)


def without_themselves(found: Neighbours, k: int) -> Neighbours:
    """Return each text's k nearest entries but for the text itself: as if it were not in the store."""
    itself = found.similarities >= _SAME
    order = np.argsort(itself, axis=1, kind="stable")[:, :k]
    gone = np.take_along_axis(itself, order, axis=1)
    return Neighbours(
        np.where(gone, -1, np.take_along_axis(found.ids, order, axis=1)),
        np.where(gone, -np.inf, np.take_along_axis(found.similarities, order, axis=1)).astype(np.float32),
        np.where(gone[..., None], 0, np.take_along_axis(found.soft_labels, order[..., None], axis=1)).astype(
            np.float32
        ),
    )


def _judged(
    head: Doubles, gold: NDArray[np.int64], neighbours: Neighbours, retrieval: RetrievalInfo, calibration: float
) -> Setting:
    served = calibrate(mixed_by(retrieval, head, neighbours), calibration)
    likelihood = np.log(np.maximum(served[np.arange(len(gold)), gold], _FLOOR)).mean()
    accuracy = float((served.argmax(axis=1) == gold).mean())
    return Setting(
        **asdict(retrieval), calibration=calibration, accuracy=accuracy, log_likelihood=float(likelihood)
    )


def _save(folder: Path, manifest: Manifest, found: Tuned, record: DevInfo) -> None:
    after = found.after
    today = datetime.now(UTC).date().isoformat()
    card = folder / _CARD
    line = (
        f"{today}, on {found.texts} labelled texts: K {after.k}, t {after.temperature:g}, "
        f"lambda {after.weight:g}, calibration {after.calibration:.3g}. The numbers above are from before."
    )
    text = card.read_text(encoding="utf-8") if card.exists() else ""
    write_text(card, f"{text.partition(_TUNED)[0]}{_TUNED}{line}\n")
    replace(
        manifest,
        retrieval=RetrievalInfo(after.k, after.temperature, after.weight),
        calibration=CalibrationInfo(after.calibration),
        dev=record,
        provenance={**manifest.provenance, "tuned": {"on": today, **found.to_dict()}},
    ).write(folder)
