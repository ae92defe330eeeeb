"""Draws: disjoint, of the right size, the same for the same seed."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hundredth.tasks.schema import Example
from hundredth.tasks.splits import cap, draw_per_class, stratified_split

labels = st.lists(st.integers(0, 4), min_size=1, max_size=60)
seeds = st.integers(0, 1000)


def examples_of(of: list[int]) -> list[Example]:
    return [Example((f"text {number}",), label) for number, label in enumerate(of)]


def is_partition(parts: tuple[list[Example], list[Example]], whole: list[Example]) -> bool:
    order = {example: number for number, example in enumerate(whole)}
    sorted_parts = all(part == sorted(part, key=order.__getitem__) for part in parts)
    return sorted_parts and sorted([*parts[0], *parts[1]], key=order.__getitem__) == whole


@given(labels, st.integers(1, 20), seeds, st.integers(0, 3))
def test_a_draw_takes_n_of_each_class_and_leaves_the_rest(of: list[int], n: int, seed: int, spare: int) -> None:
    examples = examples_of(of)
    drawn, rest = draw_per_class(examples, n, seed, spare)
    assert is_partition((drawn, rest), examples)
    taken = Counter(example.label for example in drawn)
    for label, there in Counter(of).items():
        assert taken[label] == max(1, min(n, there - spare))


@given(labels, st.integers(1, 10), seeds)
def test_a_smaller_draw_is_part_of_a_larger_one(of: list[int], n: int, seed: int) -> None:
    """Learning curves over n compare sets that grow, not different sets."""
    examples = examples_of(of)
    assert set(draw_per_class(examples, n, seed)[0]) <= set(draw_per_class(examples, n + 1, seed)[0])


@given(labels, st.floats(0.01, 0.99), seeds)
def test_a_stratified_split_holds_the_fraction_of_each_class_back(of: list[int], share: float, seed: int) -> None:
    examples = examples_of(of)
    kept, held = stratified_split(examples, share, seed)
    assert is_partition((kept, held), examples)
    back = Counter(example.label for example in held)
    for label, there in Counter(of).items():
        assert back[label] == min(max(1, round(there * share)), there - 1)


@given(labels, st.integers(1, 80), seeds)
def test_a_cap_draws_n_in_the_order_of_the_input(of: list[int], n: int, seed: int) -> None:
    examples = examples_of(of)
    drawn = cap(examples, n, seed)
    assert len(drawn) == min(n, len(examples))
    assert drawn == [example for example in examples if example in set(drawn)]
    assert drawn == cap(examples, n, seed)


def test_draws_are_the_same_on_every_machine() -> None:
    """Numbers pinned on purpose: a changed draw silently makes old and new results incomparable."""
    examples = examples_of([0, 1] * 10)
    assert [int(e.texts[0][5:]) for e in draw_per_class(examples, 2, seed=0)[0]] == [6, 11, 15, 16]
    assert [int(e.texts[0][5:]) for e in stratified_split(examples, 0.2, seed=0)[1]] == [6, 11, 15, 16]
    assert [int(e.texts[0][5:]) for e in cap(examples, 4, seed=0)] == [1, 11, 13, 19]


def test_another_seed_draws_others() -> None:
    examples = examples_of([0, 1] * 50)
    draws = {tuple(draw_per_class(examples, 5, seed)[0]) for seed in range(10)}
    assert len(draws) == 10


def test_a_class_added_changes_no_draw_of_the_others() -> None:
    before = examples_of([0, 1] * 20)
    after = [*before, *(Example((f"new {i}",), 2) for i in range(20))]
    drawn = [example for example in draw_per_class(after, 4, seed=3)[0] if example.label != 2]
    assert drawn == draw_per_class(before, 4, seed=3)[0]


def test_impossible_draws_are_refused() -> None:
    with pytest.raises(ValueError, match="without a label"):
        draw_per_class([Example(("a",))], 1, seed=0)
    with pytest.raises(ValueError, match="at least 1, not 0"):
        draw_per_class(examples_of([0]), 0, seed=0)
    with pytest.raises(ValueError, match="at least 1, not 0"):
        cap(examples_of([0]), 0, seed=0)
    with pytest.raises(ValueError, match=r"between 0 and 1, not 1\.0"):
        stratified_split(examples_of([0]), 1.0, seed=0)
