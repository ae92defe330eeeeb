"""Alignment and uniformity against values worked out by hand or pair by pair."""

import math

import numpy as np
import pytest

from hundredth.errors import UserError
from hundredth.evaluation.encoders.geometry import Geometry, alignment, uniformity
from hundredth.tasks.sts import StsSubset

AXES = {"east": (1, 0), "north": (0, 1), "west": (-1, 0), "nowhere": (0, 0)}


def embed(texts):
    return 7 * np.array([AXES[text] for text in texts], dtype=np.float32)


def pairs(first, second, scores):
    return Geometry(StsSubset("stsb", first, second, np.array(scores)))


def units(count, width):
    vectors = np.random.default_rng(count).normal(size=(count, width))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_only_pairs_scored_above_four_are_positive():
    """East to north is 2 in squared distance, east to west 4; the pair scored 4.0 is not counted."""
    found = pairs(["east", "east", "east"], ["north", "west", "east"], [4.2, 4.0, 4.4]).measure(embed)
    assert found["pairs"] == 2
    assert found["alignment"] == pytest.approx((2 + 0) / 2)


def test_every_distinct_sentence_counts_once_in_the_uniformity():
    found = pairs(["east", "east"], ["north", "west"], [5.0, 0.0]).measure(embed)
    assert found["sentences"] == 3
    assert found["uniformity"] == pytest.approx(math.log((2 * math.exp(-4) + math.exp(-8)) / 3))


@pytest.mark.parametrize("count", [2, 257, 600])
def test_uniformity_in_blocks_is_that_of_all_pairs(count):
    vectors = units(count, 5)
    gaps = vectors[:, None].astype(float) - vectors[None].astype(float)
    potential = np.exp(-2 * (gaps**2).sum(axis=2))[np.triu_indices(count, k=1)]
    assert uniformity(vectors) == pytest.approx(float(np.log(potential.mean())), abs=1e-5)


def test_uniformity_is_zero_for_one_point_and_lower_the_more_is_filled():
    same = np.tile(units(1, 8), (50, 1))
    assert uniformity(same) == pytest.approx(0, abs=1e-5)
    assert alignment(same, same) == 0
    assert uniformity(units(500, 64)) < uniformity(units(500, 2)) < -0.5


def test_a_vector_of_zeros_has_no_place_on_the_sphere():
    with pytest.raises(UserError, match="1 sentences a vector of zeros"):
        pairs(["east", "east"], ["nowhere", "west"], [5.0, 5.0]).measure(embed)


def test_data_without_positive_pairs_is_refused():
    with pytest.raises(UserError, match="no pair scored above 4"):
        pairs(["east", "east"], ["north", "west"], [4.0, 1.0]).measure(embed)
