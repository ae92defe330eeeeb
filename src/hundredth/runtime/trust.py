"""When to trust a prediction: a threshold for an error that was asked for, and how near the knowledge is.

Both rest on the development texts, which the manifest keeps a record of. Letters of the shapes: N texts, C labels.
"""

from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hundredth.errors import UserError
from hundredth.runtime.manifest import DevInfo

Floats = NDArray[np.floating[Any]]
Doubles = NDArray[np.float64]

_POINTS = 200  # of the curve that is kept, whatever the number of texts
_QUANTILES = 41


@dataclass(frozen=True, slots=True, eq=False)
class Nearness:
    """How near each text is to what the model knows; both (N,).

    `similarity` is the cosine to the nearest entry. `quantile` is the share of the development texts that were
    not nearer to theirs: 0 says that the text is farther from the knowledge than all of them, and may be none
    that the model is meant for. NaN where there is no entry, or no record of the development texts.
    """

    similarity: Doubles
    quantile: Doubles


def risk_coverage(
    confidence: Floats, right: NDArray[np.bool_]
) -> tuple[Doubles, NDArray[np.int64], NDArray[np.int64]]:
    """Return thresholds, falling, and how many of N texts each answers and gets wrong: the risk-coverage curve.

    `confidence` (N,) are the probabilities of the predicted labels; a text is answered from the threshold on, so
    that texts that are equally sure come together. Source: El-Yaniv and Wiener 2010.
    """
    order = np.argsort(-confidence, kind="stable")
    ordered = confidence[order].astype(np.float64)
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)) if len(ordered) else order
    wrong = np.cumsum(~right[order])
    return ordered[last], last + 1, wrong[last].astype(np.int64)


def dev_record(probabilities: Floats, gold: NDArray[np.integer[Any]], similarity: Floats | None) -> DevInfo:
    """Return what the manifest keeps of the development texts.

    `probabilities` (N, C) are as served, `gold` (N,), `similarity` (N,) to the nearest entry or None.
    """
    right = probabilities.argmax(axis=1) == gold
    threshold, answered, wrong = risk_coverage(probabilities.max(axis=1), right)
    kept = np.unique(np.linspace(0, len(threshold) - 1, min(len(threshold), _POINTS)).round().astype(int))
    quantiles = [] if similarity is None else np.quantile(similarity, np.linspace(0, 1, _QUANTILES)).tolist()
    return DevInfo(
        len(gold),
        tuple(threshold[kept].tolist()),
        tuple(answered[kept].tolist()),
        tuple(wrong[kept].tolist()),
        tuple(quantiles),
    )


def is_number(value: object) -> bool:
    """Whether it is a number, numpy's among them."""
    return isinstance(value, Real) and not isinstance(value, bool)


def threshold_for(dev: DevInfo, max_error: float) -> float:
    """Return the lowest probability at which at most this share of answers is expected to be wrong.

    The share that is expected after w of n answers were wrong is (w + 1) / (n + 2), Laplace's rule: a handful
    of texts that all are right are no proof of perfection.

    Raises:
        UserError: `max_error` is no share, or the development texts cannot show so small an error.
    """
    if not (is_number(max_error) and 0 < max_error < 1):
        raise UserError(f"max_error is {max_error!r}: give a share between 0 and 1, such as 0.05")
    if not dev.threshold:
        raise UserError(
            "this model keeps no record of its development texts: `hundredth knowledge tune` makes one from "
            "labelled texts; or make the model anew with this version of hundredth, or use abstain_below"
        )
    expected = (np.array(dev.wrong) + 1) / (np.array(dev.answered) + 2)
    good = np.flatnonzero(expected <= max_error)
    if not len(good):
        raise UserError(
            f"max_error is {max_error:g}, but {dev.texts} development texts show no error below "
            f"{expected.min():.3f} at any threshold: ask for that much, or make the model with more of them"
        )
    return dev.threshold[int(good[-1])]


def quantile_of(dev: DevInfo, similarity: Floats) -> Doubles:
    """Return the share of the development texts whose nearest entry is not nearer, (N,); NaN where unknown."""
    if not dev.similarity:
        return np.full(len(similarity), np.nan)
    values = np.asarray(similarity, dtype=np.float64)
    found: Doubles = np.interp(values, dev.similarity, np.linspace(0, 1, len(dev.similarity)))
    return np.where(np.isfinite(values), found, np.nan)
