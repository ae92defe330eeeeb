"""Choosing how much the student trusts its neighbours, and how sure it may be (METHODS section 2, step 6).

K, t and lambda, then the calibration temperature, are chosen on texts with gold labels that are not in the store.
These are a few dozen, which cannot tell a good weight from a slightly better one. So what differs from the best by
less than one standard error counts as equal (Breiman et al. 1984), and of equals the weight nearest a preferred
one is taken: a store that does no harm is used, as knowledge that is added or corrected later needs it. The
formulas are those of `hundredth.store.retrieval`, which serve later on.

Letters of the shapes: N texts, K neighbours, C classes, T settings tried.
"""

import math
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator

from hundredth.errors import UserError
from hundredth.store.retrieval import calibrate, late_shares, mix, neighbour_distribution, neighbour_weights

Floats = NDArray[np.floating[Any]]
Doubles = NDArray[np.float64]
Ints = NDArray[np.integer[Any]]

# A label that a model gives no chance at all must not outweigh every other text of a small development set.
_FLOOR = 1e-6
# Log-likelihoods that differ by less are equal, whatever the rounding.
_EQUAL = 1e-9
_LOWEST_TEMPERATURE, _HIGHEST_TEMPERATURE = 0.05, 20.0
_DIFFERENT, _FARTHEST_COPY, _NEAREST_COPY = 0.95, 0.95, 0.99
_GOLDEN = (math.sqrt(5) - 1) / 2


class RetrievalGrid(BaseModel):
    """The settings tried: every combination of a number of neighbours, a temperature and a weight."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    k: tuple[int, ...] = Field(default=(1, 2, 4, 8, 16, 32), min_length=1, description="numbers of neighbours K")
    temperature: tuple[float, ...] = Field(
        default=(0.01, 0.02, 0.05, 0.1, 0.2),
        min_length=1,
        description="temperatures t of the neighbours' softmax",
    )
    weight: tuple[float, ...] = Field(
        default=(0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
        min_length=1,
        description="weights lambda of the neighbours' prediction, 0 (the head alone) among them",
    )

    preferred: float = Field(
        default=0.3,
        ge=0,
        le=1,
        description="the weight nearest to this is taken of those that dev does not tell from the best",
    )

    @field_validator("k")
    @classmethod
    def _whole_neighbours(cls, values: tuple[int, ...]) -> tuple[int, ...]:
        if min(values) < 1:
            raise ValueError(f"a number of neighbours is at least 1, not {min(values)}")
        return values

    @field_validator("temperature")
    @classmethod
    def _positive(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if not all(math.isfinite(value) and value > 0 for value in values):
            raise ValueError(f"temperatures must be above 0, not {values}")
        return values

    @field_validator("weight")
    @classmethod
    def _fractions_with_zero(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0.0 <= value <= 1.0 for value in values):
            raise ValueError(f"weights are from 0 to 1, not {values}")
        if 0.0 not in values:
            raise ValueError("0 must be among the weights, so that the head alone can win")
        return values


@dataclass(frozen=True)
class RetrievalTrial:
    """One setting with its mean log-likelihood (natural log, at most 0) and its accuracy."""

    k: int
    temperature: float
    weight: float
    log_likelihood: float
    accuracy: float


@dataclass(frozen=True)
class RetrievalChoice:
    """The setting chosen, and all those tried. `score` is its mean log-likelihood.

    A `weight` of 0 means that the neighbours did harm: the head alone was better, and `k` and `temperature` are
    those of the best setting that uses the store.
    """

    k: int
    temperature: float
    weight: float
    score: float
    accuracy: float
    table: list[RetrievalTrial]


def choose_retrieval(
    head_probs: Floats,
    gold: Ints,
    similarities: Floats,
    soft_labels: Floats,
    grid: RetrievalGrid | None = None,
) -> RetrievalChoice:
    """Choose K, t and lambda by the mean log-likelihood of the gold labels, each mixture calibrated first.

    The log-likelihood is steadier than the accuracy on a few dozen texts. Without the calibration that every
    mixture is served with, it would judge how sharp a mixture is more than how right: neighbours make it
    flatter. Of the settings that are not worse than the likeliest by more than one standard error, those with
    the weight nearest `grid.preferred` are taken, and of these the likeliest, then the most accurate, then the
    smallest K.

    Args:
        head_probs: the classifier's probabilities, (N, T): T is C, or less where labels were added to the store.
        gold: the labels, (N,).
        similarities: cosines of the nearest entries, best first, (N, Kmax); -inf where there is none. A text
            that is itself in the store must not be among its own neighbours.
        soft_labels: the entries' class probabilities, (N, Kmax, C).
        grid: the settings to try; numbers of neighbours above Kmax are left out.

    Raises:
        UserError: there is nothing to judge by, shapes do not fit, or every K of the grid is above Kmax.
    """
    grid = grid or RetrievalGrid()
    classes = max(head_probs.shape[-1], soft_labels.shape[-1])
    _check(head_probs, gold, classes)
    texts, taught = head_probs.shape
    most = similarities.shape[-1]
    if similarities.shape != (texts, most) or soft_labels.shape != (texts, most, classes):
        raise UserError(
            f"neighbours do not fit {texts} texts of {classes} classes: similarities {similarities.shape}, "
            f"soft labels {soft_labels.shape}"
        )
    ks = sorted({k for k in grid.k if k <= most})
    if not ks:
        raise UserError(f"every K of {grid.k} is above the {most} neighbours there are: try a smaller K")
    table: list[RetrievalTrial] = []
    of_texts: list[Doubles] = []
    for k, temperature in product(ks, sorted(set(grid.temperature))):
        weights = neighbour_weights(similarities[:, :k], temperature)
        retrieved = neighbour_distribution(weights, soft_labels[:, :k])
        late = late_shares(similarities, soft_labels, taught) if classes > taught else None
        for weight in sorted(set(grid.weight)):
            mixed = mix(head_probs, retrieved, weight, late)
            served = calibrate(mixed, choose_calibration(mixed, gold))
            likelihoods = _log_likelihoods(served, gold)
            of_texts.append(likelihoods)
            table.append(RetrievalTrial(k, temperature, weight, float(likelihoods.mean()), _accuracy(served, gold)))
    best = _best(_not_worse(table, np.stack(of_texts), grid.preferred))
    # The head alone scores the same with every K and t: keep those that serve a user who turns lambda up.
    setting = best if best.weight > 0 else _best([trial for trial in table if trial.weight > 0] or [best])
    return RetrievalChoice(setting.k, setting.temperature, best.weight, best.log_likelihood, best.accuracy, table)


def choose_calibration(probabilities: Floats, gold: Ints) -> float:
    """Return the temperature at which `calibrate(probabilities, temperature)` is likeliest to give `gold`.

    `probabilities` is (N, C), `gold` (N,). A golden-section search over the logarithm of the temperature, from
    0.05 to 20. The target is not 1 for the gold label but (N + 1) / (N + 2), the rest spread over the others:
    without this, a few dozen texts that all are right would ask for certainty. Sources: Guo et al. 2017
    (temperature), Platt 1999 (targets).

    Raises:
        UserError: there is nothing to judge by, or shapes do not fit.
    """
    _check(probabilities, gold)
    texts, classes = probabilities.shape
    if classes == 1:
        return 1.0
    target = np.full((texts, classes), 1 / (texts + 2) / (classes - 1))
    target[np.arange(texts), gold] = (texts + 1) / (texts + 2)

    def loss(log_temperature: float) -> float:
        calibrated = calibrate(probabilities, math.exp(log_temperature))
        return float(-np.mean(np.sum(target * np.log(np.maximum(calibrated, _FLOOR)), axis=1)))

    low, high = math.log(_LOWEST_TEMPERATURE), math.log(_HIGHEST_TEMPERATURE)
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    left_loss, right_loss = loss(left), loss(right)
    while high - low > 1e-4:
        if left_loss <= right_loss:
            high, right, right_loss = right, left, left_loss
            left = high - _GOLDEN * (high - low)
            left_loss = loss(left)
        else:
            low, left, left_loss = left, right, right_loss
            right = low + _GOLDEN * (high - low)
            right_loss = loss(right)
    found = (low + high) / 2
    return math.exp(found) if loss(found) < loss(0.0) else 1.0


def choose_correction(nearest: Floats) -> float:
    """Return the cosine from which on a correction holds for another text, for an encoder's own spread of keys.

    `nearest` (N,) is each stored text's cosine to the nearest other one. At most one text in twenty may have a
    different one as near as that; but never below 0.95, where texts may differ in a word that matters, and never
    above 0.99, where a copy with other punctuation would no longer be one.
    """
    usable = nearest[np.isfinite(nearest)]
    found = float(np.quantile(usable, _DIFFERENT)) if len(usable) else _FARTHEST_COPY
    return min(max(found, _FARTHEST_COPY), _NEAREST_COPY)


def expected_calibration_error(probabilities: Floats, gold: Ints, bins: int = 15) -> float:
    """Return the gap between how sure the predictions are and how often they are right, from 0 to 1.

    Predictions (N, C) are sorted into `bins` equal ranges of their largest probability, (low, high]; the gaps
    |accuracy - mean confidence| are averaged by the number of texts. Source: Guo et al. 2017.

    Raises:
        UserError: there is nothing to judge by, shapes do not fit, or there are no bins.
    """
    _check(probabilities, gold)
    if bins < 1:
        raise UserError(f"the calibration error needs at least 1 bin, not {bins}")
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = (probabilities.argmax(axis=1) == gold).astype(np.float64)
    index = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(index, weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(gold))


def _check(probabilities: Floats, gold: Ints, classes: int | None = None) -> None:
    if probabilities.ndim != 2 or gold.shape != probabilities.shape[:1]:
        raise UserError(f"{gold.shape} labels do not fit probabilities of {probabilities.shape}")
    if not len(gold):
        raise UserError("there are no labelled texts to choose by: give some development data")
    classes = classes or probabilities.shape[1]
    if gold.min() < 0 or gold.max() >= classes:
        raise UserError(f"labels from {gold.min()} to {gold.max()} do not fit {classes} classes")
    if not np.all(np.isfinite(probabilities)):
        raise UserError("the student's probabilities are not finite: its training has failed")


def _log_likelihoods(probabilities: Doubles, gold: Ints) -> Doubles:
    chosen = probabilities[np.arange(len(gold)), gold]
    out: Doubles = np.log(np.maximum(chosen, _FLOOR))
    return out


def _accuracy(probabilities: Doubles, gold: Ints) -> float:
    return float(np.mean(probabilities.argmax(axis=1) == gold))


def _not_worse(table: list[RetrievalTrial], of_texts: Doubles, preferred: float) -> list[RetrievalTrial]:
    """Return the trials of one weight, the nearest to `preferred` that is within one error of the likeliest.

    `of_texts` is the log-likelihood of each trial on each text, (T, N). The error is that of the difference, text
    by text, which is far smaller than that of either mean.
    """
    behind = of_texts[of_texts.mean(axis=1).argmax()] - of_texts
    texts = behind.shape[1]
    error = behind.std(axis=1, ddof=1) / math.sqrt(texts) if texts > 1 else np.zeros(len(behind))
    near = [trial for trial, ok in zip(table, behind.mean(axis=1) <= error + _EQUAL, strict=True) if ok]
    weight = min((trial.weight for trial in near), key=lambda one: (round(abs(one - preferred), 9), one))
    return [trial for trial in near if trial.weight == weight]


def _best(table: list[RetrievalTrial]) -> RetrievalTrial:
    top = max(trial.log_likelihood for trial in table)
    equal = [trial for trial in table if trial.log_likelihood >= top - _EQUAL]
    return min(equal, key=lambda trial: (trial.weight, -trial.accuracy, trial.k, trial.temperature))
