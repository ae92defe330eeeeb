import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hundredth.errors import UserError
from hundredth.store import calibrate, mix, neighbour_distribution, neighbour_weights

shapes = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=6)
cosines = hnp.arrays(np.float32, shapes, elements=st.floats(-1, 1, width=32))
temperatures = st.floats(1e-6, 1e3)


@st.composite
def distributions(draw, rows=None, width=None):
    rows = rows or draw(st.integers(1, 5))
    width = width or draw(st.integers(1, 6))
    values = draw(hnp.arrays(np.float64, (rows, width), elements=st.floats(0, 1)))
    values[:, draw(st.integers(0, width - 1))] += 0.1
    return values / values.sum(axis=1, keepdims=True)


@given(cosines, temperatures)
def test_weights_are_a_distribution_that_follows_the_order_of_the_similarities(similarities, temperature):
    weights = neighbour_weights(similarities, temperature)
    assert np.allclose(weights.sum(axis=1), 1)
    assert (weights >= 0).all()
    order = np.argsort(similarities, axis=1)
    assert (np.diff(np.take_along_axis(weights, order, axis=1), axis=1) >= 0).all()


@given(cosines, st.floats(0.01, 10), st.floats(-1, 1))
def test_weights_do_not_change_when_all_similarities_shift(similarities, temperature, shift):
    moved = neighbour_weights(similarities.astype(np.float64) + shift, temperature)
    assert np.allclose(neighbour_weights(similarities, temperature), moved, atol=1e-6)


def test_weights_are_the_softmax_of_cosine_over_temperature():
    weights = neighbour_weights(np.array([[0.9, 0.8, -0.1]], dtype=np.float32), 0.05)
    powers = np.exp(np.array([0.9, 0.8, -0.1]) / 0.05)
    assert np.allclose(weights, powers / powers.sum(), atol=1e-6)


@given(cosines, temperatures)
def test_padding_weighs_nothing_and_changes_no_other_weight(similarities, temperature):
    padded = np.pad(similarities, ((0, 0), (0, 3)), constant_values=-np.inf)
    weights = neighbour_weights(padded, temperature)
    assert (weights[:, -3:] == 0).all()
    assert np.allclose(weights[:, :-3], neighbour_weights(similarities, temperature))


def test_a_row_without_neighbours_gets_zero_weights_and_takes_the_head_alone():
    """Silent otherwise: NaN, or a probability that no longer sums to 1."""
    weights = neighbour_weights(np.full((1, 4), -np.inf, dtype=np.float32), 0.05)
    assert (weights == 0).all()
    retrieved = neighbour_distribution(weights, np.zeros((1, 4, 3), dtype=np.float32))
    head = np.array([[0.2, 0.5, 0.3]])
    assert np.array_equal(mix(head, retrieved, 0.7), head)


@given(st.data(), st.floats(0, 1))
def test_a_mixture_stays_a_distribution_between_its_two_parts(data, weight):
    head = data.draw(distributions())
    retrieved = data.draw(distributions(*head.shape))
    mixed = mix(head, retrieved, weight)
    assert np.allclose(mixed.sum(axis=1), 1)
    assert (mixed >= np.minimum(head, retrieved) - 1e-12).all()
    assert (mixed <= np.maximum(head, retrieved) + 1e-12).all()


def test_the_neighbours_distribution_is_the_weighted_mean_of_their_soft_labels():
    weights = np.array([[0.75, 0.25]])
    soft_labels = np.array([[[1.0, 0.0], [0.2, 0.8]]])
    assert np.allclose(neighbour_distribution(weights, soft_labels), [[0.8, 0.2]])


@given(distributions(), st.floats(0.05, 20))
def test_calibration_keeps_the_order_and_the_sum_and_zeros(probabilities, temperature):
    calibrated = calibrate(probabilities, temperature)
    assert np.allclose(calibrated.sum(axis=1), 1)
    assert (calibrated[probabilities == 0] == 0).all()
    order = np.argsort(probabilities, axis=1)
    assert (np.diff(np.take_along_axis(calibrated, order, axis=1), axis=1) >= 0).all()


@given(distributions(), st.floats(0.2, 5))
def test_calibration_is_undone_by_the_inverse_temperature(probabilities, temperature):
    there_and_back = calibrate(calibrate(probabilities, temperature), 1 / temperature)
    assert np.allclose(there_and_back, probabilities, atol=1e-9)


def test_calibration_by_two_takes_square_roots():
    assert np.allclose(calibrate(np.array([[0.81, 0.09, 0.1]]), 2.0)[0], np.sqrt([0.81, 0.09, 0.1]) / 1.516228)


@pytest.mark.parametrize("temperature", [1e-300, 1e300])
def test_extreme_temperatures_give_the_best_alone_or_all_alike(temperature):
    calibrated = calibrate(np.array([[0.5, 0.3, 0.2]]), temperature)[0]
    weights = neighbour_weights(np.array([[0.5, 0.3, 0.2]]), temperature)[0]
    expected = [1, 0, 0] if temperature < 1 else [1 / 3] * 3
    assert np.allclose(calibrated, expected)
    assert np.allclose(weights, expected)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_a_temperature_that_is_not_a_number_above_zero_is_refused(temperature):
    with pytest.raises(UserError, match=str(temperature)):
        neighbour_weights(np.zeros((1, 1)), temperature)
    with pytest.raises(UserError, match=str(temperature)):
        calibrate(np.ones((1, 1)), temperature)


@pytest.mark.parametrize(
    ("row", "message"), [([0.0, 0.0], "all zeros"), ([np.nan, 1.0], "finite"), ([-0.1, 1.1], "negative")]
)
def test_what_is_no_distribution_is_not_calibrated(row, message):
    with pytest.raises(UserError, match=message):
        calibrate(np.array([row]), 1.0)


def test_a_retrieval_weight_outside_zero_to_one_is_refused():
    with pytest.raises(UserError, match=r"1\.5"):
        mix(np.ones((1, 1)), np.ones((1, 1)), 1.5)
