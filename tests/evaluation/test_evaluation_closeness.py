"""The two-sample tests: level where the two are alike, power where they are not, and what they refuse."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hundredth.evaluation.closeness import TwoSample, classifier_test, mmd_test

Rows = NDArray[np.float64]
Test = Callable[..., TwoSample]

both = pytest.mark.parametrize("test", [classifier_test, mmd_test], ids=lambda test: test.__name__)


def drawn(seed: int, rows: int, shift: float = 0.0, scale: float = 1.0, width: int = 3) -> Rows:
    return np.random.default_rng(seed).normal(shift, scale, (rows, width))


@pytest.mark.parametrize(
    ("test", "repetitions", "most"),
    [(partial(classifier_test, folds=2), 20, 6), (mmd_test, 300, 48)],
    ids=["c2st", "mmd"],
)
def test_rows_of_one_source_are_told_apart_as_seldom_as_the_level_says(
    test: Test, repetitions: int, most: int
) -> None:
    """Silent otherwise: a test that is too bold calls every generated text unlike the real ones."""
    p_values = np.array(
        [
            test(drawn(2 * number, 20), drawn(2 * number + 1, 25), permutations=9).p_value
            for number in range(repetitions)
        ]
    )
    # A binomial of 10 % is above `most` less than three times in a thousand.
    assert (p_values <= 0.1).sum() <= most
    assert abs(p_values.mean() - 0.55) < 4 * (1 / 12 / repetitions) ** 0.5


@both
def test_rows_that_are_shifted_are_told_apart(test: Test) -> None:
    found = test(drawn(0, 60), drawn(1, 60, shift=1.0), permutations=19)
    assert found.p_value == pytest.approx(0.05)
    assert found.statistic > (0.7 if test is classifier_test else 0.1)


def test_mmd_sees_a_spread_that_a_straight_line_cannot() -> None:
    ours, theirs = drawn(0, 80), drawn(1, 80, scale=3.0)
    assert mmd_test(ours, theirs, permutations=99).p_value == pytest.approx(0.01)
    assert classifier_test(ours, theirs, permutations=19).statistic < 0.65


@both
def test_which_comes_first_does_not_matter(test: Test) -> None:
    ours, theirs = drawn(0, 20), drawn(1, 30, shift=0.4)
    assert test(ours, theirs, permutations=19) == test(theirs, ours, permutations=19)


@both
def test_the_seed_decides(test: Test) -> None:
    ours, theirs = drawn(0, 20), drawn(1, 20, shift=0.2)
    found = [test(ours, theirs, permutations=9, seed=seed) for seed in (0, 0, 1, 2)]
    assert found[0] == found[1]
    assert len(set(found)) > 1


@both
def test_the_same_rows_are_not_told_apart(test: Test) -> None:
    rows = drawn(0, 20)
    assert test(rows, rows, permutations=19).p_value > 0.5
    assert test(np.ones((8, 2)), np.ones((6, 2)), permutations=19).p_value == 1.0


def test_the_accuracy_of_guessing_is_a_half_whatever_their_numbers() -> None:
    """Silent otherwise: nine rows in ten of one kind, and guessing looks like telling them apart."""
    assert classifier_test(np.ones((90, 2)), np.ones((10, 2)), permutations=19).statistic == 0.5


@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(2, 6))
@settings(max_examples=40, deadline=None)
def test_mmd_is_what_its_definition_says(seed: int, ours: int, theirs: int) -> None:
    one, other = drawn(seed, ours), drawn(seed + 1, theirs, shift=0.5)
    pooled = np.concatenate([one, other])
    distances = [
        float(np.linalg.norm(pooled[i] - pooled[j])) for i in range(len(pooled)) for j in range(i + 1, len(pooled))
    ]
    scale = float(np.median(np.square(distances)))

    def kernel(a: Rows, b: Rows) -> float:
        return float(np.exp(-np.sum((a - b) ** 2) / (2 * scale)))

    def within(rows: Rows) -> float:
        return float(
            np.mean([kernel(rows[i], rows[j]) for i in range(len(rows)) for j in range(len(rows)) if i != j])
        )

    expected = within(one) + within(other) - 2 * float(np.mean([kernel(a, b) for a in one for b in other]))
    assert mmd_test(one, other, permutations=1).statistic == pytest.approx(expected, abs=1e-9)


@both
@pytest.mark.parametrize(
    ("ours", "theirs", "said"),
    [
        (np.ones((1, 3)), np.ones((9, 3)), r"shape \(1, 3\): at least [25] rows"),
        (np.ones((9, 3)), np.ones(9), r"theirs has the shape \(9,\)"),
        (np.ones((9, 3)), np.ones((9, 4)), "different widths: 3 and 4"),
        (np.full((9, 3), np.nan), np.ones((9, 3)), "ours has 27 numbers that are not finite"),
    ],
    ids=["few", "flat", "width", "nan"],
)
def test_what_cannot_be_compared_is_refused(test: Test, ours: Rows, theirs: Rows, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        test(ours, theirs)
