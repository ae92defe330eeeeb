"""How neighbours become a prediction (METHODS section 2, step 6), in float64.

    w = softmax(cos / t),  p_ret = sum_k w_k q_k,  p = (1 - lambda) head + lambda p_ret

A label that was added to the store after the student was trained is unknown to the head, which would vote against
it with all its weight. What the neighbours say of such labels, m in all, counts in full; head and neighbours share
the rest: p = p_ret for them, and (1 - lambda) (1 - m) head + lambda p_ret for the others.

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


def mix(head: Floats, retrieved: Floats, weight: float) -> Doubles:
    """Return p = (1 - weight) head + weight retrieved, (B, C), from head (B, T) and retrieved (B, C).

    Of labels from T on, what is retrieved counts in full, and the head has the less to say: see above. A row of
    `retrieved` that is all zeros (no neighbour, as in an empty store) takes the head alone.
    """
    if not 0.0 <= weight <= 1.0:
        raise UserError(f"the retrieval weight is {weight}: choose one from 0 (head alone) to 1 (store alone)")
    there = np.asarray(retrieved, dtype=np.float64)
    share = weight * there.any(axis=-1, keepdims=True)
    from_head = (1.0 - share) * np.asarray(head, dtype=np.float64)
    taught = from_head.shape[-1]
    if taught == there.shape[-1]:
        mixed: Doubles = from_head + share * there
        return mixed
    late = there[..., taught:]
    # Soft labels sum to 1 but for rounding.
    left = np.maximum(1.0 - late.sum(axis=-1, keepdims=True), 0.0)
    known = from_head * left + share * there[..., :taught]
    return np.concatenate([known, late], axis=-1)


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
    if values.size and not (values.min() >= 0 and values.max() < np.inf):
        raise UserError("cannot calibrate: a probability is negative or not finite")
    top = values.max(axis=-1, keepdims=True)
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
