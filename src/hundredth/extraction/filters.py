"""Which texts become knowledge: the filters of METHODS 2.4, each with its count."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from hundredth.tasks.similarity import near_copies


class FilterConfig(BaseModel):
    """What keeps a text out of the knowledge."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    agreement: bool = Field(
        False,
        description="drop a sample whose intended label the annotator does not share; its soft label is kept "
        "otherwise, which teaches more",
    )
    min_confidence: float = Field(
        0.0, ge=0, le=1, description="drop a sample whose most likely label has less probability than this"
    )
    max_similarity: float = Field(
        0.8,
        gt=0,
        le=1,
        description="drop near-copies: texts with this Jaccard similarity of 4-grams or more, in every field",
    )


@dataclass
class Filtered:
    """Which texts are kept (indices, ascending), and how many each filter took out, in the order applied."""

    kept: list[int]
    counts: dict[str, int]


def filter_copies(
    texts: Sequence[tuple[str, ...]], protected: Sequence[tuple[str, ...]], config: FilterConfig
) -> Filtered:
    """Drop near-copies of `protected` (development and training texts) and of earlier texts.

    A pair is a near-copy when both its fields are: many pairs of a task may share one long field.
    """
    of_protected = _copies(texts, protected, config.max_similarity)
    left = np.flatnonzero(~of_protected)
    of_each_other = _copies([texts[i] for i in left.tolist()], None, config.max_similarity)
    kept = [int(i) for i in left[~of_each_other]]
    counts = {
        "near-copies of training or development texts": int(of_protected.sum()),
        "near-copies of each other": int(of_each_other.sum()),
    }
    return Filtered(kept, counts)


def filter_annotated(probabilities: NDArray[np.float32], intended: Sequence[int], config: FilterConfig) -> Filtered:
    """Drop samples on whose label the annotator (`probabilities`, N x C) disagrees or is not sure."""
    disagrees = probabilities.argmax(axis=1) != np.asarray(intended) if len(intended) else np.zeros(0, bool)
    if not config.agreement:
        disagrees = np.zeros_like(disagrees)
    unsure = ~disagrees & (probabilities.max(axis=1, initial=0.0) < config.min_confidence)
    kept = [int(i) for i in np.flatnonzero(~disagrees & ~unsure)]
    counts = {"annotator disagrees": int(disagrees.sum()), "low confidence": int(unsure.sum())}
    return Filtered(kept, counts)


def _copies(
    texts: Sequence[tuple[str, ...]], against: Sequence[tuple[str, ...]] | None, threshold: float
) -> NDArray[np.bool_]:
    if not texts or (against is not None and not against):
        return np.zeros(len(texts), dtype=bool)
    return np.asarray(near_copies(texts, against, threshold), dtype=bool)
