"""Draws from labelled examples: deterministic in the seed, and the same with every version of every library.

The order of a draw comes from `random.Random.random()`, which Python promises to keep for a given seed. Each
class has its own stream, so that adding a class changes no other class's draw, and a draw of n examples is
part of the draw of n + 1. Every result keeps the order of the input.
"""

from collections.abc import Iterable, Sequence
from random import Random

from hundredth.tasks.schema import Example


def draw_per_class(
    examples: Sequence[Example], n: int, seed: int, spare: int = 0
) -> tuple[list[Example], list[Example]]:
    """Draw `n` examples of each class; return them and the rest.

    A class with fewer than `n + spare` gives what it has less `spare`, but at least one.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, not {n}")
    drawn: set[int] = set()
    for order in _shuffled_by_class(examples, seed):
        drawn.update(order[: max(1, min(n, len(order) - spare))])
    return _parted(examples, drawn)


def stratified_split(
    examples: Sequence[Example], fraction: float, seed: int
) -> tuple[list[Example], list[Example]]:
    """Hold `fraction` of each class back; return what stays and what is held back.

    The number held back is rounded, but a class of two or more has at least one example on both sides, and a
    class of one stays.
    """
    if not 0.0 < fraction < 1.0:
        raise ValueError(f"fraction must be between 0 and 1, not {fraction}")
    held: set[int] = set()
    for order in _shuffled_by_class(examples, seed):
        wanted = max(1, round(len(order) * fraction))
        held.update(order[: min(wanted, len(order) - 1)])
    drawn, rest = _parted(examples, held)
    return rest, drawn


def cap(examples: Sequence[Example], n: int, seed: int) -> list[Example]:
    """Draw `n` examples whatever their class, for a test set of fixed size; all when there are fewer."""
    if n < 1:
        raise ValueError(f"n must be at least 1, not {n}")
    order = _shuffled(range(len(examples)), f"cap:{seed}")
    return [examples[index] for index in sorted(order[:n])]


def _shuffled_by_class(examples: Sequence[Example], seed: int) -> list[list[int]]:
    members: dict[int, list[int]] = {}
    for index, example in enumerate(examples):
        if example.label is None:
            raise ValueError("an example without a label where labels are needed")
        members.setdefault(example.label, []).append(index)
    return [_shuffled(indices, f"{seed}:{label}") for label, indices in members.items()]


def _shuffled(indices: Iterable[int], seed: str) -> list[int]:
    random = Random(seed)
    return sorted(indices, key=lambda _: random.random())


def _parted(examples: Sequence[Example], drawn: set[int]) -> tuple[list[Example], list[Example]]:
    inside = [example for index, example in enumerate(examples) if index in drawn]
    outside = [example for index, example in enumerate(examples) if index not in drawn]
    return inside, outside
