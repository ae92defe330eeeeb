"""Why a label was predicted: what came from the model's head, what from which entries, and what if not."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hundredth.runtime.knowledge import Hit
from hundredth.runtime.manifest import Manifest
from hundredth.store import (
    Origin,
    calibrate,
    late_shares,
    late_weights,
    mixture,
    neighbour_weights,
    neighbours_needed,
)

Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class NeighbourShare:
    """An entry that took part; `label` is its gold label, or the likeliest of its soft label.

    `label_without` and its `probability_without` are what would be predicted if the entry were not there.
    """

    id: int
    texts: tuple[str, ...]
    label: str
    origin: Origin
    similarity: float
    share: float
    contribution: float
    label_without: str
    probability_without: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """A prediction taken apart.

    `probability` and `probabilities` (by label) are calibrated. `mixed_probability` is the label's before that,
    p = (1 - lambda) head + lambda sum_k w_k q_k, of which `head_contribution` and the neighbours' contributions are
    the terms: `math.fsum` of them is it, exactly. A share is a contribution as a part of it, so that shares
    together are 1. Neighbours are ordered by similarity. Where labels were added that the head was not taught, the
    terms are those of `hundredth.store.retrieval`, and for such a label only the nearest two entries count.

    Where `decided_by_user` is true, a user's entry was near enough to decide alone: it is the one neighbour, and
    the head's share is 0. `head_label` is what the head alone would say.

    `similarity` is the cosine to the nearest entry, `similarity_quantile` the share of the development texts that
    were not nearer to theirs (see `Nearness`); None where unknown.
    """

    label: str
    probability: float
    probabilities: dict[str, float]
    mixed_probability: float
    head_share: float
    head_contribution: float
    head_label: str
    decided_by_user: bool
    neighbours: tuple[NeighbourShare, ...]
    similarity: float | None
    similarity_quantile: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return the explanation as plain values for JSON."""
        return dataclasses.asdict(self)


def explain(
    manifest: Manifest,
    labels: Sequence[str],
    head: Doubles,
    near: Sequence[Hit],
    deciders: Sequence[Hit],
    nearest: tuple[float | None, float | None],
) -> Explanation:
    """Take apart the prediction from the head's probabilities (T,) and the entries looked up.

    `labels` are all C, of which the head was taught the first T. `near` are the entries nearest to the text, one
    more than `neighbours_needed`: the last one moves up where another is left out. `deciders` are the two first of
    the user's entries that may decide. `nearest` is the similarity and its quantile.
    """
    weight, taught = manifest.retrieval.weight, len(head)
    needed = neighbours_needed(manifest.retrieval.k, len(labels) > taught)
    head = np.pad(head, (0, len(labels) - taught))

    def predict(without: int | None = None) -> Doubles:
        others = [[hit for hit in hits if hit.entry.id != without] for hits in (near, deciders)]
        return _calibrated(_mixed(manifest, head, taught, *others), manifest)

    served = predict()
    best = int(served.argmax())
    hits: Sequence[Hit] = ()
    weights, from_head = np.zeros(0), float(head[best])
    if deciders:
        hits, weights, from_head = deciders[:1], np.ones(1), 0.0
    elif near and (weight > 0 or len(labels) > taught):
        hits = near[:needed]
        weights, left = _shares(manifest, hits, taught, late=best >= taught)
        hits, from_head = hits[: len(weights)], left * from_head
    parts = [float(taken) * float(hit.entry.soft_label[best]) for hit, taken in zip(hits, weights, strict=True)]
    whole = math.fsum([from_head, *parts])
    neighbours = []
    for hit, part in zip(hits, parts, strict=True):
        entry, without = hit.entry, predict(hit.entry.id)
        neighbours.append(
            NeighbourShare(
                id=entry.id,
                texts=entry.texts,
                label=labels[entry.shown_label],
                origin=entry.origin,
                similarity=hit.similarity,
                share=part / whole,
                contribution=part,
                label_without=labels[int(without.argmax())],
                probability_without=float(without.max()),
            )
        )
    return Explanation(
        label=labels[best],
        probability=float(served[best]),
        probabilities=dict(zip(labels, served.tolist(), strict=True)),
        mixed_probability=whole,
        head_share=from_head / whole,
        head_contribution=from_head,
        head_label=labels[int(head.argmax())],
        decided_by_user=bool(deciders),
        neighbours=tuple(neighbours),
        similarity=nearest[0],
        similarity_quantile=nearest[1],
    )


def _mixed(manifest: Manifest, head: Doubles, taught: int, near: Sequence[Hit], deciders: Sequence[Hit]) -> Doubles:
    if deciders:
        return deciders[0].entry.soft_label.astype(np.float64)
    retrieval = manifest.retrieval
    hits = near[: neighbours_needed(retrieval.k, len(head) > taught)]
    if not hits:
        return head
    taken = head[None, :taught], *_stacked(hits)
    mixed: Doubles = mixture(*taken, retrieval.temperature, retrieval.weight, retrieval.k)[0]
    return mixed


def _shares(manifest: Manifest, hits: Sequence[Hit], taught: int, *, late: bool) -> tuple[Doubles, float]:
    """Return the weights of the neighbours' soft labels in the mixture, and of the head: `mixture` taken apart.

    With `late` those of a label that was added, of which only the nearest are asked, else of one that was taught.
    """
    retrieval, (cosines, soft_labels) = manifest.retrieval, _stacked(hits)
    weights: Doubles = neighbour_weights(cosines[:, : retrieval.k], retrieval.temperature)[0]
    if soft_labels.shape[-1] == taught:
        return retrieval.weight * weights, 1 - retrieval.weight
    if late:
        nearest: Doubles = late_weights(cosines)[0]
        return nearest, 0.0
    left = max(1 - float(late_shares(cosines, soft_labels, taught).sum()), 0.0)
    whole = float(weights @ soft_labels[0, : len(weights), :taught].sum(axis=1, dtype=np.float64))
    share = retrieval.weight if whole > 0 else 0.0
    return left * share / (whole or 1.0) * weights, left * (1 - share)


def _stacked(hits: Sequence[Hit]) -> tuple[Doubles, NDArray[np.float32]]:
    """Return the cosines (1, K) and soft labels (1, K, C) of hits."""
    return np.array([[hit.similarity for hit in hits]]), np.stack([hit.entry.soft_label for hit in hits])[None]


def _calibrated(mixed: Doubles, manifest: Manifest) -> Doubles:
    calibrated: Doubles = calibrate(mixed[None], manifest.calibration.temperature)[0]
    return calibrated
