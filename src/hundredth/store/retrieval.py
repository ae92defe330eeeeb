"""How neighbours become a prediction (METHODS section 2, step 6), in float64.

    w = softmax(cos / t),  p_ret = sum_k w_k q_k,  p = (1 - lambda) head + lambda p_ret

A label that was added to the store after the student was trained is unknown to the head, which would vote against
it with all its weight. What the nearest two neighbours say of such labels, m in all, counts in full; head and
neighbours share the rest, p = (1 - m) ((1 - lambda) head + lambda p_ret), with p_ret over the other labels alone.
Two, whatever K is: there may be few entries of a new label, which would be lost among many neighbours.

Pure numpy functions: training chooses K, t and lambda with these very functions, so that what is chosen is
what is served. Letters of the shapes: B texts, k neighbours, C labels, T of them taught to the head: the first.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hundredth.errors import UserError

Floats = NDArray[np.floating[Any]]
Doubles = NDArray[np.float64]

_LATE_K, _LATE_TEMPERATURE = 2, 0.05  # chosen on development texts of TREC with 5 to 100 entries of a new class
_LOWEST = np.finfo(np.float64).min


def neighbour_weights(similarities: Floats, temperature: float) -> Doubles:
    """Return softmax(similarities / temperature) along each row, (B, k).

    `similarities` (B, k) are cosines; padding is -inf and weighs 0. A row without any neighbour is all zeros.
    """
    _check_temperature(temperature)
    cosines = np.asarray(similarities, dtype=np.float64)
    return softmax(cosines, temperature)


def neighbour_distribution(weights: Floats, soft_labels: Floats) -> Doubles:
    """Return p_ret = sum_k w_k q_k, (B, C), from weights (B, k) and the neighbours' soft labels (B, k, C)."""
    mixed: Doubles = np.einsum(
        "bk,bkc->bc", np.asarray(weights, dtype=np.float64), np.asarray(soft_labels, dtype=np.float64)
    )
    return mixed


def late_shares(similarities: Floats, soft_labels: Floats, taught: int) -> Doubles:
    """Return what the nearest entries say of the labels from T = `taught` on, (B, C - T).

    `similarities` (B, k) are cosines, best first, and `soft_labels` (B, k, C) those of the same entries.
    """
    weights = late_weights(similarities)
    near = weights.shape[-1]
    return neighbour_distribution(weights, soft_labels[..., :near, taught:])


def late_weights(similarities: Floats) -> Doubles:
    """Return the weights that the nearest of k entries have in what is said of added labels, (B, 2) or (B, 1)."""
    return neighbour_weights(similarities[..., :_LATE_K], _LATE_TEMPERATURE)


def neighbours_needed(k: int, late: bool) -> int:
    """Return how many neighbours a prediction with K = `k` takes, `late` where labels were added."""
    return max(k, _LATE_K) if late else k


def mix(head: Floats, retrieved: Floats, weight: float, late: Floats | None = None) -> Doubles:
    """Return p = (1 - weight) head + weight retrieved, (B, C), from head (B, T) and retrieved (B, C).

    Where labels were added, C is above T, `late` (B, C - T) is what `late_shares` returns, and p is as told above.
    A row of `retrieved` that is all zeros (no neighbour, as in an empty store) takes the head alone.
    """
    if not 0.0 <= weight <= 1.0:
        raise UserError(f"the retrieval weight is {weight}: choose one from 0 (head alone) to 1 (store alone)")
    there = np.asarray(retrieved, dtype=np.float64)
    if late is not None:
        there = there[..., : np.shape(head)[-1]]
        whole = there.sum(axis=-1, keepdims=True)
        there = there / np.where(whole > 0, whole, 1.0)
    share = weight * there.any(axis=-1, keepdims=True)
    mixed: Doubles = (1.0 - share) * np.asarray(head, dtype=np.float64) + share * there
    if late is None:
        return mixed
    # Soft labels sum to 1 but for rounding.
    left = np.maximum(1.0 - late.sum(axis=-1, keepdims=True), 0.0)
    return np.concatenate([left * mixed, late], axis=-1)


def mixture(
    head: Floats, similarities: Floats, soft_labels: Floats, temperature: float, weight: float, k: int | None = None
) -> Doubles:
    """Return what head (B, T) and K neighbours say together, (B, C), before any calibration.

    `similarities` (B, N) are the neighbours' cosines, best first, `soft_labels` (B, N, C) what they say, of which
    the first K = `k` take part, by default all; N is `neighbours_needed`.
    """
    taught = np.shape(head)[-1]
    weights = neighbour_weights(similarities[..., :k], temperature)
    retrieved = neighbour_distribution(weights, soft_labels[..., :k, :])
    late = late_shares(similarities, soft_labels, taught) if soft_labels.shape[-1] > taught else None
    return mix(head, retrieved, weight, late)


def decide(mixed: Floats, decided: Floats) -> Doubles:
    """Return `decided` (B, C) where a user's entry is near enough to decide, else `mixed` (B, C).

    A row of `decided` that is all zeros is no decision. What a user says of a text holds for it whatever the
    weight of the store is: a mixture would let the head outvote the person who corrects it.
    """
    word = np.asarray(decided, dtype=np.float64)
    return np.where(word.any(axis=-1, keepdims=True), word, np.asarray(mixed, dtype=np.float64))


def calibrate(probabilities: Floats, temperature: float) -> Doubles:
    """Return softmax(log(probabilities) / temperature) along each row, (B, C): temperature scaling.

    A probability of 0 stays 0. The order of the labels never changes; above 1 the rows become flatter.
    """
    _check_temperature(temperature)
    values = np.asarray(probabilities, dtype=np.float64)
    top = values.max(axis=-1, keepdims=True)
    if values.size and not (values.min() >= 0 and top.max() < np.inf):
        raise UserError("cannot calibrate: a probability is negative or not finite")
    if not top.all():
        raise UserError("cannot calibrate: a row of probabilities is all zeros")
    # The same as a power; the largest is 1, so that not all of a row become too small for a number.
    powers = (values / top) ** (1 / temperature)
    result: Doubles = powers / powers.sum(axis=-1, keepdims=True)
    return result


def _check_temperature(temperature: float) -> None:
    if not 0 < temperature < math.inf:
        raise UserError(f"the temperature is {temperature}: choose a finite number above 0, such as 0.05 or 1")


def softmax(scores: Floats, temperature: float = 1.0) -> Doubles:
    """Softmax of scores / temperature where -inf means absent; a row of nothing but -inf becomes zeros."""
    if scores.shape[-1] == 0:
        return np.zeros(scores.shape)
    values = np.asarray(scores, dtype=np.float64)
    # In a row of nothing but -inf the lowest number is subtracted, as -inf from itself is no number.
    top = np.maximum(values.max(axis=-1, keepdims=True), _LOWEST)
    # Subtract before dividing: at a tiny temperature the quotients alone would overflow to inf - inf.
    with np.errstate(over="ignore"):
        powers = np.exp((values - top) / temperature)
    # A sum is at least exp(0), of the top, or else 0.
    result: Doubles = powers / np.maximum(powers.sum(axis=-1, keepdims=True), 1.0)
    return result
