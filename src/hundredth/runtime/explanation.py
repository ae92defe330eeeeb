"""Why a label was predicted: how much of its probability came from the model's head and from which entries."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from hundredth.store import Origin


@dataclass(frozen=True, slots=True)
class NeighbourShare:
    """An entry that took part; `label` is its gold label, or the likeliest of its soft label."""

    id: int
    texts: tuple[str, ...]
    label: str
    origin: Origin
    similarity: float
    share: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """A prediction taken apart.

    `probability` and `probabilities` (by label) are calibrated. `head_share` and the neighbours' shares are
    parts of the label's mixed probability before calibration, p = (1 - lambda) head + lambda sum_k w_k q_k:
    together they are 1. Neighbours are ordered by similarity.
    """

    label: str
    probability: float
    probabilities: dict[str, float]
    head_share: float
    neighbours: tuple[NeighbourShare, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the explanation as plain values for JSON."""
        return dataclasses.asdict(self)
