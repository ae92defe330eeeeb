"""Whether two sets of texts could come from the same source: two-sample tests on their embeddings.

Both take rows of numbers, shuffle many times which row is whose, and return how often the two then differ as much
as they really do. A small p-value says that the two can be told apart; a large one, that so many rows do not show
it. Neither depends on which of the two comes first, and the same seed gives the same numbers.

Letters of the shapes: N and M rows, E numbers a row, P permutations.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.model_selection import StratifiedKFold, permutation_test_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

Doubles = NDArray[np.float64]

# Embeddings are about as wide as there are rows: with scikit-learn's own 1.0 a classifier fits noise and sees less.
_REGULARISED = 0.01


@dataclass(frozen=True)
class TwoSample:
    """What a test found: its statistic, and how often rows of one source give as large a one (0 to 1)."""

    statistic: float
    p_value: float


def classifier_test(
    ours: NDArray[np.floating],
    theirs: NDArray[np.floating],
    *,
    folds: int = 5,
    permutations: int = 200,
    seed: int = 0,
) -> TwoSample:
    """Return how well a classifier tells the rows apart: C2ST (Lopez-Paz and Oquab 2017).

    The statistic is the balanced accuracy of a logistic regression on rows that it was not trained on, over folds:
    0.5 where the two cannot be told apart, 1 where they always can. Its p-value is that of Ojala and Garriga (2010,
    test 1), since folds share training rows and no formula holds for their mean.

    Args:
        ours: (N, E), N at least `folds`.
        theirs: (M, E), M at least `folds`.
        folds: parts of the cross-validation, at least 2.
        permutations: how often the rows are shuffled; the p-value is never below 1 / (P + 1).
        seed: of the folds and the shuffling.

    Raises:
        ValueError: too few rows, different widths, or a number that is not finite.
    """
    rows, is_first = _pooled(ours, theirs, folds)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=_REGULARISED, class_weight="balanced"))
    splits = StratifiedKFold(folds, shuffle=True, random_state=seed)
    score, _, p_value = permutation_test_score(
        model,
        rows,
        is_first,
        cv=splits,
        n_permutations=permutations,
        random_state=seed,
        scoring="balanced_accuracy",
    )
    return TwoSample(float(score), float(p_value))


def mmd_test(
    ours: NDArray[np.floating], theirs: NDArray[np.floating], *, permutations: int = 1000, seed: int = 0
) -> TwoSample:
    """Return the squared maximum mean discrepancy of the rows under an RBF kernel (Gretton et al. 2012).

    The statistic is the unbiased estimate (their lemma 6): 0 in the mean where both come from one source, so that
    it may be below 0. The kernel is exp(-d^2 / 2m), m the median of the squared distances of rows that differ.

    Args:
        ours: (N, E), N at least 2.
        theirs: (M, E), M at least 2.
        permutations: how often the rows are shuffled; the p-value is never below 1 / (P + 1).
        seed: of the shuffling.

    Raises:
        ValueError: too few rows, different widths, or a number that is not finite.
    """
    rows, is_first = _pooled(ours, theirs, 2)
    squared = euclidean_distances(rows, squared=True)
    apart = squared[np.triu_indices(len(rows), 1)]
    apart = apart[apart > 0]
    kernel = np.exp(-squared / (2 * np.median(apart))) if len(apart) else np.ones_like(squared)
    np.fill_diagonal(kernel, 0.0)
    random = np.random.default_rng(seed)
    # The real assignment stands first, and is computed with the others: else rounding could break a tie with it.
    belongs_PN = np.stack([is_first, *(random.permutation(is_first) for _ in range(permutations))])
    found = _mmd(kernel, belongs_PN.astype(np.float64))
    return TwoSample(float(found[0]), float((found >= found[0]).mean()))


def _mmd(kernel_NN: Doubles, first_PN: Doubles) -> Doubles:
    """Return the squared MMD (P,) of each row of assignments (1: first, 0: second); the kernel's diagonal is 0."""
    first, second = first_PN[0].sum(), (1 - first_PN[0]).sum()
    to_first_PN = first_PN @ kernel_NN
    within_first = (to_first_PN * first_PN).sum(axis=1)
    across = to_first_PN.sum(axis=1) - within_first
    within_second = kernel_NN.sum() - within_first - 2 * across
    mmd: Doubles = (
        within_first / (first * (first - 1))
        + within_second / (second * (second - 1))
        - 2 * across / (first * second)
    )
    return mmd


def _pooled(
    ours: NDArray[np.floating], theirs: NDArray[np.floating], least: int
) -> tuple[Doubles, NDArray[np.bool_]]:
    """Return all rows, and which are of the first of the two; which is first depends on what they hold alone."""
    for name, one in (("ours", ours), ("theirs", theirs)):
        if one.ndim != 2 or len(one) < least:
            raise ValueError(f"{name} has the shape {one.shape}: at least {least} rows of numbers are needed")
        if not np.isfinite(one).all():
            raise ValueError(f"{name} has {int((~np.isfinite(one)).sum())} numbers that are not finite")
    if ours.shape[1] != theirs.shape[1]:
        raise ValueError(f"the rows have different widths: {ours.shape[1]} and {theirs.shape[1]}")
    first, second = sorted((ours.astype(np.float64), theirs.astype(np.float64)), key=lambda one: one.tobytes())
    return np.concatenate([first, second]), np.arange(len(first) + len(second)) < len(first)
