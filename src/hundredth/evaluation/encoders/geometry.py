"""Alignment and uniformity of an encoder's embeddings on the sphere (Wang and Isola 2020)."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from hundredth.errors import UserError
from hundredth.evaluation.encoders.embeddings import Embed, Floats
from hundredth.tasks.sts import StsSubset

_POSITIVE = 4.0
_BLOCK = 256


@dataclass(frozen=True)
class Geometry:
    """Measured as SimCSE does on the whole of STS-B: pairs scored above 4 are positive, every sentence counts."""

    pairs: StsSubset

    def content(self) -> Any:
        """Return what the measure rests on, for its fingerprint."""
        return [self.pairs.first, self.pairs.second, self.pairs.scores.tolist()]

    def measure(self, embed: Embed) -> dict[str, Any]:
        """Return `alignment`, `uniformity`, and the numbers of positive pairs and of distinct sentences."""
        positive = np.flatnonzero(self.pairs.scores > _POSITIVE)
        if not len(positive):
            raise UserError(f"STS-B holds no pair scored above {_POSITIVE:g}: is it whole?")
        sentences = list(dict.fromkeys([*self.pairs.first, *self.pairs.second]))
        unit_ND = _unit(embed(sentences))
        row = {sentence: index for index, sentence in enumerate(sentences)}
        first, second = ([row[side[i]] for i in positive] for side in (self.pairs.first, self.pairs.second))
        return {
            "alignment": alignment(unit_ND[first], unit_ND[second]),
            "uniformity": uniformity(unit_ND),
            "pairs": len(positive),
            "sentences": len(sentences),
        }


def alignment(first: Floats, second: Floats) -> float:
    """Return the mean squared distance of positive pairs of unit vectors, (N, d) and (N, d).

    From 0 to 4, less is better. Source: Wang and Isola 2020, with alpha = 2.
    """
    return float(np.square(first.astype(np.float64) - second.astype(np.float64)).sum(axis=1).mean())


def uniformity(units: Floats) -> float:
    """Return log mean exp(-2 ||u - v||^2) over all pairs of two rows of unit vectors (N, d).

    From -8 to 0, less is better. Source: Wang and Isola 2020, with t = 2. Taken in blocks: memory grows with N,
    not with its square.
    """
    count = len(units)
    if count < 2:
        raise ValueError(f"uniformity is about pairs of vectors, not {count} vector")
    total = 0.0
    for start in range(0, count, _BLOCK):
        # Rows of this block against all that follow them; a row with itself is left out.
        similarity = units[start : start + _BLOCK] @ units[start:].T
        potential = np.exp(4 * similarity.astype(np.float64) - 4)
        total += float(np.triu(potential, k=1).sum())
    return float(np.log(total / (count * (count - 1) / 2)))


def _unit(vectors: Floats) -> Floats:
    norms_N = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not norms_N.all():
        raise UserError(
            f"the encoder gives {int((norms_N == 0).sum())} sentences a vector of zeros: it has no direction"
        )
    units_ND: Floats = vectors / norms_N
    return units_ND
