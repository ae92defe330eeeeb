"""What several seeds and a finite test set say: mean and deviation, the gap closed, intervals of differences.

Letters of the shapes: N texts, S seeds, C classes, D draws of the bootstrap.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student_t

Ints = NDArray[np.integer]
Doubles = NDArray[np.float64]

# With less than a point between student and LLM, a share of the gap is noise divided by noise.
_LEAST_GAP = 0.01
_CONFIDENCE = 0.95
_AT_ONCE = 10_000_000  # numbers of a block of draws, which bounds the memory for a large test set


@dataclass(frozen=True)
class Resampled:
    """A system's score with each seed, (S,), and with each seed under each draw of the texts, (S, D)."""

    scores: Doubles
    draws: Doubles

    @property
    def score(self) -> float:
        """The mean over the seeds."""
        return float(self.scores.mean())


@dataclass(frozen=True)
class Difference:
    """What a score differs by between two systems, with its 95 % interval, and how many seeds it is the mean of.

    The interval is for other texts and other seeds; of one seed, for other texts alone. `variance` is the squared
    standard error of the mean, and `of_seeds` what the seeds contribute to it, with its degrees of freedom.
    """

    mean: float
    variance: float
    of_seeds: float
    freedom: float
    seeds: int

    @property
    def low(self) -> float:
        """The lower end of the interval."""
        return self.mean - self._half

    @property
    def high(self) -> float:
        """The upper end of the interval."""
        return self.mean + self._half

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0

    def to_dict(self) -> dict[str, float]:
        """Return the mean, the ends of the interval and the number of seeds."""
        return {"mean": self.mean, "low": self.low, "high": self.high, "seeds": self.seeds}

    @property
    def _half(self) -> float:
        return math.sqrt(_reach(self.variance, self.of_seeds, self.freedom))


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
    """Score every system, with each of its seeds, under the same draws of test texts (a paired bootstrap).

    Texts that are hard for all systems then widen no interval between two of them.

    Args:
        metric: one of `hundredth.tasks.METRICS`.
        gold: labels, (N,).
        predictions: predicted labels by system, (S, N) each; the numbers of seeds may differ.
        draws: how many times the texts are drawn, with replacement.
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
    return {
        name: Resampled(
            _of_seeds(metric, gold, one, np.ones((1, texts)))[:, 0],
            np.concatenate([block[name] for block in blocks], axis=1),
        )
        for name, one in predictions.items()
    }


def difference(ours: Resampled, theirs: Resampled) -> Difference:
    """Return ours - theirs, both from one `resample`, with its interval.

    Seeds are paired, in order; a system with one seed is held against every seed of the other. The squared standard
    error is what the texts and what the seeds contribute, less what is in both (as of two random factors, Clark
    1973). Half the interval is the root of both, each times its squared quantile: the normal one of the many texts,
    Student's of the few seeds.

    Raises:
        ValueError: the numbers of seeds differ, and neither is one.
    """
    scores_S, draws_SD = _apart(ours, theirs)
    return Difference(float(scores_S.mean()), *_error(scores_S, draws_SD), _freedom(len(scores_S)), len(scores_S))


def mean_difference(apart: Sequence[Difference]) -> Difference:
    """Return the mean of the differences on several tasks: the tasks are what they are.

    `seeds` is the least of the tasks. Degrees of freedom are by Satterthwaite.
    """
    of_seeds = sum(one.of_seeds for one in apart)
    spread = sum(one.of_seeds**2 / one.freedom for one in apart)
    return Difference(
        statistics.fmean(one.mean for one in apart),
        sum(one.variance for one in apart) / len(apart) ** 2,
        of_seeds / len(apart) ** 2,
        of_seeds**2 / spread if spread else math.inf,
        min(one.seeds for one in apart),
    )


def gap_interval(ours: Resampled, student: Resampled, llm: Resampled) -> tuple[float, float] | None:
    """Return the 95 % interval of the share of the gap, all from one `resample`: that of a ratio, by Fieller.

    None where the gap itself may be less than a point: a share of it could then be anything.
    """
    gap = difference(llm, student)
    if gap.low < _LEAST_GAP:
        return None
    (a_S, a_SD), (b_S, b_SD) = _apart(ours, student), _apart(llm, student)
    share = float(a_S.mean() / b_S.mean())
    variance, of_seeds = _error(a_S - share * b_S, a_SD - share * b_SD)
    reach = _reach(variance, of_seeds, _freedom(len(a_S)))
    factor = reach / variance if variance else _reach(1.0, 0.0, math.inf)
    # What is in both is counted twice here, which is on the safe side.
    covariance = np.cov(a_SD.mean(axis=0), b_SD.mean(axis=0))
    if len(a_S) > 1:
        covariance = covariance + np.cov(a_S, b_S) / len(a_S)
    # The shares r for which a - r b is within `factor` of its squared error from zero.
    square = b_S.mean() ** 2 - factor * covariance[1, 1]
    linear = a_S.mean() * b_S.mean() - factor * covariance[0, 1]
    constant = a_S.mean() ** 2 - factor * covariance[0, 0]
    if square <= 0:
        return None
    root = math.sqrt(max(linear**2 - square * constant, 0.0))
    return float((linear - root) / square), float((linear + root) / square)


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


def _apart(ours: Resampled, theirs: Resampled) -> tuple[Doubles, Doubles]:
    """Return the differences of the scores, (S,), and of those under each draw, (S, D)."""
    if len(ours.scores) != len(theirs.scores) and 1 not in (len(ours.scores), len(theirs.scores)):
        raise ValueError(f"{len(ours.scores)} and {len(theirs.scores)} seeds cannot be paired")
    return ours.scores - theirs.scores, ours.draws - theirs.draws


def _error(scores_S: Doubles, draws_SD: Doubles) -> tuple[float, float]:
    """Return the squared standard error of the mean of `scores_S`, and what of it the seeds contribute.

    For other texts and seeds; of one seed, for other texts alone.
    """
    seeds = len(scores_S)
    of_texts = float(draws_SD.mean(axis=0).var(ddof=1))
    if seeds == 1:
        return of_texts, 0.0
    of_seeds = float(scores_S.var(ddof=1)) / seeds
    # What a seed makes of a text is part of both.
    of_both = max(0.0, float(draws_SD.var(axis=1, ddof=1).mean()) - of_texts) / (seeds - 1)
    return max(of_texts + of_seeds - of_both, of_texts, of_seeds), of_seeds


def _freedom(seeds: int) -> float:
    return seeds - 1 if seeds > 1 else math.inf


def _reach(variance: float, of_seeds: float, freedom: float) -> float:
    """Return the square of how far the interval reaches on each side.

    One quantile for all of it, with degrees of freedom by Satterthwaite, would be too short where few seeds happen
    to agree: then both what they contribute and the quantile are small.
    """
    normal, of_few = (float(student_t.ppf((1 + _CONFIDENCE) / 2, one)) for one in (math.inf, freedom))
    return normal**2 * (variance - of_seeds) + of_few**2 * of_seeds
