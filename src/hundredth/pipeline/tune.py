"""Choosing K, t, lambda and the calibration: for a new model, and anew for one whose knowledge has changed."""

import math
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hundredth.errors import UserError
from hundredth.folders import model_folder
from hundredth.pipeline.tuned import Setting, Tuned, save_tuning
from hundredth.runtime import RetrievalInfo, dev_record, load
from hundredth.store import (
    KnowledgeStore,
    Neighbours,
    calibrate,
    mixture,
    neighbours_needed,
    softmax,
)
from hundredth.student.selection import (
    RetrievalChoice,
    RetrievalGrid,
    choose_calibration,
    choose_retrieval,
    expected_calibration_error,
)
from hundredth.tasks.schema import Example, labels_of

Doubles = NDArray[np.float64]

# Entries this near are the text itself, or one that the encoder cannot tell from it.
_SAME = 1 - 1e-5
# Of the weights that the texts do not tell from the best, the nearest to this one: in a store that has grown since
# its student was trained, the entries know what the student cannot.
_PREFERRED = 0.7
# How many copies of a text the store may hold before one of them passes for a neighbour.
_COPIES = 8
# A handful of texts is fitted by settings that are wrong for all others.
_LEAST = 20
# A label that a model gives no chance at all must not outweigh every other text.
_FLOOR = 1e-6


def tune(
    folder: Path,
    examples: list[Example],
    grid: RetrievalGrid | None = None,
    *,
    save: bool = True,
    least: int = _LEAST,
) -> Tuned:
    """Choose K, t, lambda and the calibration of a model folder anew, on labelled texts; nothing is trained.

    For a model whose store has changed much since it was made: what was chosen without the new knowledge may give
    it too little weight. The rule is that of a new model, but that of the weights which the texts do not tell from
    the best the one nearest 0.7 is taken, unless `grid` prefers another. A text that is itself in the store is
    judged by its other neighbours. A choice that is less likely on the texts than the settings before, by more than
    the standard error of the difference, is not taken. With `save` the choice goes into hundredth.json, with a
    record of the texts for `max_error` and with what was there before for `untune`, and into the model card; where
    the settings stay, only a record that is missing is made.

    Raises:
        UserError: the model has no store, or there are not even `least` texts to choose by.
    """
    folder = model_folder(folder)
    grid = grid or RetrievalGrid(preferred=_PREFERRED)
    if len(examples) < least:
        raise UserError(
            f"the labelled texts are {len(examples)}, too few to choose settings by, which would fit these and no "
            f"others: give at least {least}, or leave the model as it is"
        )
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
    before, was = _judged(head, gold, neighbours, manifest.retrieval, manifest.calibration.temperature)
    chosen, mixed = choose_mixture(grid, head, gold, neighbours)
    temperature = choose_calibration(mixed, gold)
    after, becomes = _judged(head, gold, neighbours, chosen, temperature)
    taken = after != before and not _is_clear(was - becomes)
    found = Tuned(len(gold), before, after) if taken else Tuned(len(gold), before, before, rejected=after)
    if save and (taken or not manifest.dev.threshold):
        if not taken:
            mixed = mixed_by(manifest.retrieval, head, neighbours)
            temperature = manifest.calibration.temperature
        nearest = neighbours.similarities[:, 0]
        nearest = nearest[np.isfinite(nearest)]  # a text may stand in the store alone
        record = dev_record(calibrate(mixed, temperature), gold, nearest if len(nearest) else None)
        if taken:
            save_tuning(folder, manifest, found, record)
        else:
            replace(manifest, dev=record).write(folder)
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
) -> tuple[Setting, Doubles]:
    """Return how a setting does, and the log-likelihood of each text's label, (N,)."""
    mixed = mixed_by(retrieval, head, neighbours)
    served = calibrate(mixed, calibration)
    likelihoods = _log_likelihoods(served, gold)
    accuracy, likelihood = float((served.argmax(axis=1) == gold).mean()), float(likelihoods.mean())
    setting = Setting(
        **asdict(retrieval),
        calibration=calibration,
        accuracy=accuracy,
        log_likelihood=likelihood,
        ece=expected_calibration_error(served, gold),
        ece_before=expected_calibration_error(mixed, gold),
    )
    return setting, likelihoods


def clearly_likelier(ours: Doubles, theirs: Doubles, gold: NDArray[np.int64]) -> bool:
    """Whether the labels (N,) are likelier by our probabilities (N, C), by more than one standard error."""
    return _is_clear(_log_likelihoods(ours, gold) - _log_likelihoods(theirs, gold))


def _log_likelihoods(probabilities: Doubles, gold: NDArray[np.int64]) -> Doubles:
    found: Doubles = np.log(np.maximum(probabilities[np.arange(len(gold)), gold], _FLOOR))
    return found


def _is_clear(differences: Doubles) -> bool:
    """Whether the mean of differences (N,) is above zero by more than its standard error."""
    return float(differences.mean()) > float(differences.std(ddof=1)) / math.sqrt(len(differences))
