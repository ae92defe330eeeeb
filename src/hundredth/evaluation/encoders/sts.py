"""Semantic textual similarity: how an encoder's cosines rank pairs of sentences, against people's scores."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from hundredth.errors import UserError
from hundredth.evaluation.encoders.embeddings import Embed, Floats
from hundredth.tasks.sts import StsSubset

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Sts:
    """An STS task in the "all" setting: its subsets are put together and correlated once."""

    subsets: Sequence[StsSubset]

    def content(self) -> Any:
        """Return what the task consists of, for its fingerprint."""
        return [[one.name, one.first, one.second, one.scores.tolist()] for one in self.subsets]

    def measure(self, embed: Embed) -> dict[str, Any]:
        """Return `spearman` (x 100) over all pairs, that of each subset, and the number of pairs.

        Raises:
            UserError: all pairs have one gold score, or the encoder gives them one cosine.
        """
        sides = (
            [text for one in self.subsets for text in one.first],
            [text for one in self.subsets for text in one.second],
        )
        gold = np.concatenate([one.scores for one in self.subsets])
        both = embed([*sides[0], *sides[1]])
        cosines = cosine(both[: len(gold)], both[len(gold) :])
        if not np.ptp(gold):
            raise UserError(f"all {len(gold)} pairs have the gold score {gold[0]:g}: there is no order to compare")
        overall = spearman(cosines, gold)
        if overall is None:
            raise UserError(f"the encoder gives all {len(gold)} pairs the same cosine: it has collapsed")
        ends = np.cumsum([len(one.scores) for one in self.subsets])
        by_subset = zip(self.subsets, np.split(cosines, ends[:-1]), strict=True)
        parts = {one.name: spearman(found, one.scores) for one, found in by_subset}
        return {
            "spearman": 100 * overall,
            "subsets": {name: None if part is None else 100 * part for name, part in parts.items()},
            "pairs": len(gold),
        }


def cosine(first: Floats, second: Floats) -> Doubles:
    """Return the cosine of each pair of rows of (N, d) and (N, d), in float64; 0 beside a vector of zeros."""
    first_ND, second_ND = first.astype(np.float64), second.astype(np.float64)
    # The root of the product, not the product of the roots: equal sentences come out at 1, all in one tie.
    norms_N = np.sqrt((first_ND**2).sum(axis=1) * (second_ND**2).sum(axis=1))
    products_N = (first_ND * second_ND).sum(axis=1)
    cosines_N: Doubles = np.divide(products_N, norms_N, out=np.zeros_like(products_N), where=norms_N > 0)
    return cosines_N


def spearman(ours: Doubles, gold: Doubles) -> float | None:
    """Return Spearman's rank correlation in [-1, 1], ties at their mean rank; None where a side is constant."""
    ranks = [rankdata(values) - (len(values) + 1) / 2 for values in (ours, gold)]
    spread = float(np.sqrt((ranks[0] ** 2).sum() * (ranks[1] ** 2).sum()))
    return float((ranks[0] * ranks[1]).sum()) / spread if spread > 0 else None
