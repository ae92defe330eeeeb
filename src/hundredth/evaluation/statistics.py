"""What several seeds and a finite test set say: mean and deviation, the gap closed, a paired bootstrap.

Letters of the shapes: N texts, S seeds, C classes, D draws of the bootstrap.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.integer]
Doubles = NDArray[np.float64]

# With less than a point between student and LLM, a share of the gap is noise divided by noise.
_LEAST_GAP = 0.01


@dataclass(frozen=True)
class Difference:
    """The mean difference of a score between two systems, and its 95 % interval over draws of the test texts."""

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


def paired_bootstrap(
    metric: str, gold: Ints, ours: Ints, theirs: Ints, *, draws: int = 2000, seed: int = 0
) -> Difference:
    """Return score(ours) - score(theirs), each averaged over its seeds, with a 95 % percentile interval.

    The same drawn texts score both systems, so that texts which are hard for both do not widen the interval.
    It is about the choice of test texts; the deviation over seeds is a matter of its own.

    Args:
        metric: "accuracy", "macro_f1" or "matthews".
        gold: labels, (N,).
        ours: predicted labels, (S, N).
        theirs: predicted labels, (S', N); the numbers of seeds may differ.
        draws: how many test sets are drawn, with replacement.
        seed: seed of the draws.

    Raises:
        ValueError: the shapes do not fit, or there are no texts.
    """
    texts = len(gold)
    if not texts or ours.shape[1:] != (texts,) or theirs.shape[1:] != (texts,) or not len(ours) * len(theirs):
        raise ValueError(f"predictions {ours.shape} and {theirs.shape} do not fit {texts} labels")
    weights_DN = np.random.default_rng(seed).multinomial(texts, np.full(texts, 1 / texts), size=draws)
    whole_1N = np.ones((1, texts))

    def mean_difference(weights: NDArray[np.number]) -> Doubles:
        scores = [
            np.mean([weighted_scores(metric, gold, one, weights) for one in predictions], axis=0)
            for predictions in (ours, theirs)
        ]
        difference: Doubles = scores[0] - scores[1]
        return difference

    low, high = np.percentile(mean_difference(weights_DN), [2.5, 97.5])
    return Difference(float(mean_difference(whole_1N)[0]), float(low), float(high))


def weighted_scores(metric: str, gold: Ints, predicted: Ints, weights: NDArray[np.number]) -> Doubles:
    """Return the score under each row of `weights` (D, N), the number of times that a text is drawn, as (D,).

    The formulas are those of `hundredth.tasks.metrics`, from sums that one matrix product gives for all draws.
    """
    classes = int(max(gold.max(), predicted.max())) + 1
    one_hot = np.eye(classes)
    weights = weights.astype(np.float64)
    total_D = weights.sum(axis=1)
    right_N = (gold == predicted).astype(np.float64)
    if metric == "accuracy":
        accuracy: Doubles = weights @ right_N / total_D
        return accuracy
    gold_DC, predicted_DC = weights @ one_hot[gold], weights @ one_hot[predicted]
    if metric == "macro_f1":
        both_DC = gold_DC + predicted_DC
        right_DC = weights @ (one_hot[gold] * right_N[:, None])
        f1_DC = np.divide(2 * right_DC, both_DC, out=np.zeros_like(both_DC), where=both_DC > 0)
        f1: Doubles = f1_DC.sum(axis=1) / (both_DC > 0).sum(axis=1)
        return f1
    if metric == "matthews":
        covariance = total_D * (weights @ right_N) - (gold_DC * predicted_DC).sum(axis=1)
        spread = [total_D**2 - (one**2).sum(axis=1) for one in (gold_DC, predicted_DC)]
        product = np.sqrt(np.maximum(spread[0] * spread[1], 0.0))
        matthews: Doubles = np.divide(covariance, product, out=np.zeros_like(product), where=product > 0)
        return matthews
    raise ValueError(f"unknown metric {metric!r}")
