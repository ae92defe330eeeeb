"""What several seeds and a finite test set say: mean and deviation, the gap closed, a paired bootstrap.

Letters of the shapes: N texts, S seeds, C classes, D draws of the bootstrap.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.integer]
Doubles = NDArray[np.float64]

# With less than a point between student and LLM, a share of the gap is noise divided by noise.
_LEAST_GAP = 0.01
_INTERVAL = (2.5, 97.5)
_AT_ONCE = 10_000_000  # numbers of a block of draws, which bounds the memory for a large test set


@dataclass(frozen=True)
class Resampled:
    """A system's score, mean over its seeds, and its scores under each draw of texts and seeds, (D,)."""

    score: float
    draws: Doubles


@dataclass(frozen=True)
class Difference:
    """What a score differs by between two systems, and the 95 % interval over draws of texts and seeds."""

    mean: float
    low: float
    high: float

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0


def deviation(values: Sequence[float]) -> float | None:
    """Return the sample standard deviation (ddof 1), or None for fewer than two values."""
    return statistics.stdev(values) if len(values) > 1 else None


def share_of_gap(score: float, student: float, llm: float) -> float | None:
    """Return (score - student) / (llm - student), or None when the LLM is less than a point above the student."""
    gap = llm - student
    return (score - student) / gap if gap >= _LEAST_GAP else None


def resample(
    metric: str, gold: Ints, predictions: Mapping[str, Ints], *, draws: int = 2000, seed: int = 0
) -> dict[str, Resampled]:
    """Score every system under the same draws of test texts and of seeds, with replacement (a paired bootstrap).

    Texts that are hard for all systems, and a seed that is lucky for all, then widen no interval between two of
    them. The seeds of systems with as many of them are paired, in order; with one seed the draws are of the texts
    alone. Of few seeds a bootstrap sees too little: with S of them it takes their variance for (S - 1) / S of what
    it is.

    Args:
        metric: one of `hundredth.tasks.METRICS`.
        gold: labels, (N,).
        predictions: predicted labels by system, (S, N) each; the numbers of seeds may differ.
        draws: how many times texts and seeds are drawn.
        seed: seed of the draws.

    Raises:
        ValueError: the shapes do not fit, or there are no texts.
    """
    texts = len(gold)
    for name, one in predictions.items():
        if not texts or one.ndim != 2 or one.shape[1] != texts or not len(one):
            raise ValueError(f"predictions {one.shape} of {name} do not fit {texts} labels")
    generator = np.random.default_rng(seed)
    blocks: list[dict[str, Doubles]] = []
    size = max(1, _AT_ONCE // max(texts, 1))
    for start in range(0, draws, size):
        count = min(size, draws - start)
        weights_DN = generator.multinomial(texts, np.full(texts, 1 / texts), size=count)
        blocks.append({name: _of_seeds(metric, gold, one, weights_DN) for name, one in predictions.items()})
    seed_weights = {
        seeds: generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=draws) / seeds
        for seeds in sorted({len(one) for one in predictions.values()})
    }
    found = {}
    for name, one in predictions.items():
        scores_SD = np.concatenate([block[name] for block in blocks], axis=1)
        drawn = (scores_SD.T * seed_weights[len(one)]).sum(axis=1)
        found[name] = Resampled(float(_of_seeds(metric, gold, one, np.ones((1, texts))).mean()), drawn)
    return found


def difference(ours: Resampled, theirs: Resampled) -> Difference:
    """Return ours - theirs with a 95 % percentile interval, both from one `resample`."""
    low, high = np.percentile(ours.draws - theirs.draws, _INTERVAL)
    return Difference(ours.score - theirs.score, float(low), float(high))


def gap_interval(ours: Resampled, student: Resampled, llm: Resampled) -> tuple[float, float] | None:
    """Return the 95 % interval of the share of the gap, all from one `resample`.

    None where the gap itself may be less than a point: a share of it could then be anything.
    """
    gaps = llm.draws - student.draws
    if np.percentile(gaps, _INTERVAL[0]) < _LEAST_GAP:
        return None
    there = gaps >= _LEAST_GAP
    low, high = np.percentile((ours.draws - student.draws)[there] / gaps[there], _INTERVAL)
    return float(low), float(high)


def weighted_scores(metric: str, gold: Ints, predicted: Ints, weights: NDArray[np.number]) -> Doubles:
    """Return the score under each row of `weights` (D, N), the number of times that a text is drawn, as (D,).

    The formulas are those of `hundredth.tasks.metrics`, from sums that one matrix product gives for all draws.
    """
    classes = int(max(gold.max(), predicted.max(), 1)) + 1
    one_hot = np.eye(classes)
    weights = weights.astype(np.float64)
    total_D = weights.sum(axis=1)
    right_N = (gold == predicted).astype(np.float64)
    if metric == "accuracy":
        accuracy: Doubles = weights @ right_N / total_D
        return accuracy
    gold_DC, predicted_DC = weights @ one_hot[gold], weights @ one_hot[predicted]
    if metric in ("macro_f1", "f1"):
        both_DC = gold_DC + predicted_DC
        right_DC = weights @ (one_hot[gold] * right_N[:, None])
        f1_DC = np.divide(2 * right_DC, both_DC, out=np.zeros_like(both_DC), where=both_DC > 0)
        f1: Doubles = f1_DC[:, 1] if metric == "f1" else f1_DC.sum(axis=1) / (both_DC > 0).sum(axis=1)
        return f1
    if metric == "matthews":
        covariance = total_D * (weights @ right_N) - (gold_DC * predicted_DC).sum(axis=1)
        spread = [total_D**2 - (one**2).sum(axis=1) for one in (gold_DC, predicted_DC)]
        product = np.sqrt(np.maximum(spread[0] * spread[1], 0.0))
        matthews: Doubles = np.divide(covariance, product, out=np.zeros_like(product), where=product > 0)
        return matthews
    raise ValueError(f"unknown metric {metric!r}")


def _of_seeds(metric: str, gold: Ints, predictions_SN: Ints, weights_DN: NDArray[np.number]) -> Doubles:
    """Return the score of each seed under each draw, (S, D)."""
    return np.stack([weighted_scores(metric, gold, one, weights_DN) for one in predictions_SN])
