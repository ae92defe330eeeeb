"""Choosing K, t, lambda and the calibration temperature."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from hundredth.errors import UserError
from hundredth.store.retrieval import calibrate, mix, neighbour_distribution, neighbour_weights
from hundredth.student.selection import (
    RetrievalGrid,
    choose_calibration,
    choose_correction,
    choose_retrieval,
    expected_calibration_error,
)

GRID = RetrievalGrid(k=(1, 3, 8), temperature=(0.05, 0.5), weight=(0.0, 0.5, 1.0))


def one_hot(labels: np.ndarray, classes: int, sure: float = 0.9) -> np.ndarray:
    probabilities = np.full((*labels.shape, classes), (1 - sure) / (classes - 1))
    np.put_along_axis(probabilities, labels[..., None], sure, axis=-1)
    return probabilities


def scene(seed: int = 0, texts: int = 40, neighbours: int = 8, classes: int = 3) -> tuple[np.ndarray, ...]:
    """Gold labels, the cosines of neighbours (best first), and a head that knows nothing."""
    generator = np.random.default_rng(seed)
    gold = generator.integers(0, classes, texts)
    similarities = -np.sort(-generator.uniform(0.2, 0.95, (texts, neighbours)), axis=1)
    head = np.full((texts, classes), 1 / classes)
    return generator, gold, similarities, head


def test_neighbours_that_know_the_label_are_trusted() -> None:
    _, gold, similarities, head = scene()
    soft = one_hot(np.repeat(gold[:, None], 8, axis=1), 3)
    choice = choose_retrieval(head, gold, similarities, soft, GRID)
    assert choice.weight == 1.0
    assert choice.accuracy == 1.0
    assert choice.score > math.log(0.9)


def test_neighbours_that_mislead_are_left_out_and_the_weight_0_is_reported() -> None:
    generator, gold, similarities, _ = scene()
    head = one_hot(gold, 3, 0.8)
    soft = one_hot(generator.integers(0, 3, (40, 8)), 3)
    choice = choose_retrieval(head, gold, similarities, soft, GRID)
    assert choice.weight == 0.0
    assert choice.score > math.log(0.8)
    # The rest is still the best that the store can do, for a user who turns the weight up.
    used = [trial for trial in choice.table if trial.weight > 0]
    best = max(used, key=lambda trial: trial.log_likelihood)
    assert (choice.k, choice.temperature) == (best.k, best.temperature)


def test_neighbours_that_are_right_but_flatten_the_mixture_are_used() -> None:
    """Silent otherwise: judged before calibration, lambda 0 would win although the neighbours know more."""
    generator, gold, similarities, _ = scene(texts=200)
    guessed = np.where(generator.random(200) < 0.6, gold, (gold + 1) % 3)
    head = one_hot(guessed, 3, 0.6)
    right = np.where(generator.random((200, 8)) < 0.8, gold[:, None], (gold[:, None] + 1) % 3)
    soft = one_hot(right, 3, 0.45)
    choice = choose_retrieval(head, gold, similarities, soft, GRID)
    assert choice.weight > 0
    assert choice.accuracy > np.mean(guessed == gold)


@pytest.mark.parametrize(("better", "trusted"), [(3, False), (30, True)])
def test_a_store_that_is_better_by_chance_alone_is_not_trusted(better: int, trusted: bool) -> None:
    """Neighbours that know `better` of 40 texts that the head does not, and miss two that it knows."""
    _, gold, similarities, _ = scene()
    wrong, texts = (gold + 1) % 3, np.arange(40)
    head = one_hot(np.where(texts < better, wrong, gold), 3)
    said = np.where((texts >= better) & (texts < better + 2), wrong, gold)
    soft = one_hot(np.repeat(said[:, None], 8, axis=1), 3)
    grid = RetrievalGrid(k=(3,), weight=(0.0, 1.0), preferred=0.0)
    choice = choose_retrieval(head, gold, similarities, soft, grid)
    likeliest = max(choice.table, key=lambda trial: trial.log_likelihood)
    assert likeliest.weight > 0
    assert (choice.weight > 0) is trusted


def test_only_the_nearest_are_asked_when_the_far_ones_mislead() -> None:
    _, gold, similarities, head = scene()
    labels = np.repeat(gold[:, None], 8, axis=1)
    labels[:, 1:] = (labels[:, 1:] + 1) % 3
    choice = choose_retrieval(head, gold, similarities, one_hot(labels, 3), GRID)
    assert choice.k == 1


def test_many_are_asked_when_each_is_right_a_little_more_often_than_not() -> None:
    generator, gold, similarities, head = scene(texts=200)
    right = generator.random((200, 8)) < 0.6
    labels = np.where(right, gold[:, None], (gold[:, None] + generator.integers(1, 3, (200, 8))) % 3)
    choice = choose_retrieval(head, gold, similarities, one_hot(labels, 3), GRID)
    assert choice.k == 8
    assert choice.temperature == 0.5


def test_the_table_holds_every_setting_with_the_served_formulas() -> None:
    """Silent otherwise: a setting that is judged by other formulas than those that serve it."""
    generator, gold, similarities, _ = scene()
    head = generator.dirichlet(np.ones(3), 40)
    soft = generator.dirichlet(np.ones(3), (40, 8))
    choice = choose_retrieval(head, gold, similarities, soft, GRID)
    assert len(choice.table) == 3 * 2 * 3
    for trial in choice.table:
        retrieved = neighbour_distribution(
            neighbour_weights(similarities[:, : trial.k], trial.temperature), soft[:, : trial.k]
        )
        mixed = mix(head, retrieved, trial.weight)
        served = calibrate(mixed, choose_calibration(mixed, gold))
        assert trial.log_likelihood == pytest.approx(np.log(served[np.arange(40), gold]).mean())
        assert trial.accuracy == np.mean(mixed.argmax(axis=1) == gold)
    assert choice.score == max(trial.log_likelihood for trial in choice.table)


def test_where_the_score_is_equal_the_weight_nearest_the_preferred_one_wins() -> None:
    _, gold, similarities, _ = scene()
    head = one_hot(gold, 3)
    soft = np.repeat(head[:, None], 8, axis=1)
    for preferred, weight in ((0.0, 0.0), (0.3, 0.5), (0.9, 1.0)):
        grid = GRID.model_copy(update={"preferred": preferred})
        assert choose_retrieval(head, gold, similarities, soft, grid).weight == weight


def test_a_store_with_fewer_entries_than_some_k_limits_k() -> None:
    _, gold, similarities, head = scene(neighbours=4)
    soft = one_hot(np.repeat(gold[:, None], 4, axis=1), 3)
    choice = choose_retrieval(head, gold, similarities, soft, GRID)
    assert {trial.k for trial in choice.table} == {1, 3}
    with pytest.raises(UserError, match=r"every K of \(8,\) is above the 4 neighbours"):
        choose_retrieval(head, gold, similarities, soft, RetrievalGrid(k=(8,)))


def test_missing_neighbours_leave_the_head_alone() -> None:
    _, gold, similarities, _ = scene()
    head = one_hot(gold, 3)
    choice = choose_retrieval(head, gold, np.full_like(similarities, -np.inf), np.zeros((40, 8, 3)), GRID)
    assert all(trial.log_likelihood == pytest.approx(choice.score) for trial in choice.table)


def test_one_label_without_any_chance_does_not_decide_alone() -> None:
    """Silent otherwise: a single probability of 0 makes the score minus infinity for every weight but one."""
    _, gold, similarities, head = scene()
    labels = np.repeat(gold[:, None], 8, axis=1)
    labels[0] = (gold[0] + 1) % 3
    choice = choose_retrieval(head, gold, similarities, one_hot(labels, 3, sure=1.0), GRID)
    assert all(math.isfinite(trial.log_likelihood) for trial in choice.table)
    assert choice.weight > 0


def test_the_default_grid_is_tried_when_none_is_given() -> None:
    _, gold, similarities, head = scene()
    soft = one_hot(np.repeat(gold[:, None], 8, axis=1), 3)
    choice = choose_retrieval(head, gold, similarities, soft)
    default = RetrievalGrid()
    assert len(choice.table) == 4 * len(default.temperature) * len(default.weight)


@pytest.mark.parametrize(
    "values",
    [
        {"weight": (0.5, 1.0)},
        {"weight": (0.0, 1.5)},
        {"k": (0,)},
        {"k": ()},
        {"temperature": (0.0,)},
        {"lambda": 1},
    ],
)
def test_a_grid_that_makes_no_sense_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        RetrievalGrid(**values)  # type: ignore[arg-type]


def test_inputs_that_do_not_fit_are_refused() -> None:
    _, gold, similarities, head = scene()
    soft = np.zeros((40, 8, 3))
    with pytest.raises(UserError, match="no labelled texts"):
        choose_retrieval(head[:0], gold[:0], similarities[:0], soft[:0])
    with pytest.raises(UserError, match=r"\(39,\) labels do not fit"):
        choose_retrieval(head, gold[1:], similarities, soft)
    with pytest.raises(UserError, match="neighbours do not fit 40 texts of 3 classes"):
        choose_retrieval(head, gold, similarities, soft[:, :5])
    with pytest.raises(UserError, match="labels from 0 to 5 do not fit 3 classes"):
        choose_retrieval(head, np.where(gold == 2, 5, gold), similarities, soft)
    with pytest.raises(UserError, match="its training has failed"):
        choose_retrieval(np.full_like(head, np.nan), gold, similarities, soft)


# --- Calibration ----------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=15)
@given(
    seed=st.integers(min_value=0, max_value=1000),
    temperature=st.floats(min_value=0.3, max_value=4.0),
    classes=st.integers(min_value=2, max_value=5),
)
def test_the_temperature_that_spoilt_the_probabilities_is_found(
    seed: int, temperature: float, classes: int
) -> None:
    generator = np.random.default_rng(seed)
    honest = generator.dirichlet(np.ones(classes), 20_000)
    gold = np.array([generator.choice(classes, p=row) for row in honest[:4000]])
    spoilt = calibrate(honest[:4000], 1 / temperature)
    assert choose_calibration(spoilt, gold) == pytest.approx(temperature, rel=0.15)


def test_the_temperature_found_is_the_best_on_a_fine_grid() -> None:
    generator = np.random.default_rng(0)
    gold = generator.integers(0, 3, 50)
    probabilities = one_hot(np.where(generator.random(50) < 0.7, gold, (gold + 1) % 3), 3, 0.97)
    found = choose_calibration(probabilities, gold)
    target = np.full((50, 3), 1 / 52 / 2)
    target[np.arange(50), gold] = 51 / 52

    def loss(temperature: float) -> float:
        return float(-np.mean(np.sum(target * np.log(calibrate(probabilities, temperature)), axis=1)))

    assert found > 1.5
    assert loss(found) <= min(loss(value) for value in np.geomspace(0.05, 20, 2000)) + 1e-7


def test_a_few_texts_that_all_are_right_do_not_make_it_certain() -> None:
    """Silent otherwise: with plain likelihood, 20 right answers ask for the smallest temperature there is."""
    generator = np.random.default_rng(1)
    gold = generator.integers(0, 2, 20)
    probabilities = one_hot(gold, 2, 0.8)
    calibrated = calibrate(probabilities, choose_calibration(probabilities, gold))
    assert calibrated.max() == pytest.approx(21 / 22, abs=1e-3)


def test_calibration_never_raises_the_loss_and_leaves_certainty_alone() -> None:
    gold = np.array([0, 1, 1, 0])
    certain = one_hot(np.array([0, 1, 1, 1]), 2, 1.0)
    assert choose_calibration(certain, gold) == 1.0
    assert choose_calibration(np.full((4, 2), 0.5), gold) == 1.0
    assert choose_calibration(np.ones((4, 1)), np.zeros(4, dtype=int)) == 1.0


def test_the_calibration_error_has_the_hand_computed_value() -> None:
    probabilities = np.array([[0.95, 0.05], [0.94, 0.06], [0.35, 0.65], [0.4, 0.6]])
    gold = np.array([0, 1, 1, 1])
    # Two bins of 0.1: (0.9, 1.0] with accuracy 1/2, (0.6, 0.7] and (0.5, 0.6] with accuracy 1.
    expected = (abs(1 - (0.95 + 0.94)) + abs(1 - 0.65) + abs(1 - 0.6)) / 4
    assert expected_calibration_error(probabilities, gold, bins=10) == pytest.approx(expected)


def test_the_calibration_error_is_0_for_the_certain_and_right_and_1_for_the_certain_and_wrong() -> None:
    certain = one_hot(np.array([0, 1, 2]), 3, 1.0)
    assert expected_calibration_error(certain, np.array([0, 1, 2])) == 0.0
    assert expected_calibration_error(certain, np.array([1, 2, 0])) == 1.0
    with pytest.raises(UserError, match="at least 1 bin, not 0"):
        expected_calibration_error(certain, np.array([0, 1, 2]), bins=0)


def test_calibration_lowers_the_calibration_error_of_an_overconfident_student() -> None:
    generator = np.random.default_rng(2)
    honest = generator.dirichlet(np.ones(3) * 2, 3000)
    gold = np.array([generator.choice(3, p=row) for row in honest])
    overconfident = calibrate(honest, 0.3)
    calibrated = calibrate(overconfident, choose_calibration(overconfident, gold))
    assert expected_calibration_error(overconfident, gold) > 0.1
    assert expected_calibration_error(calibrated, gold) < 0.04


@pytest.mark.parametrize(
    ("nearest", "expected"),
    [
        (np.linspace(0.0, 0.9, 100), 0.95),  # keys far apart: copies may be as far as they are
        (np.concatenate([np.full(90, 0.9), np.full(10, 0.97)]), 0.97),
        (np.full(100, 0.9999), 0.99),  # keys close together: a copy must still count as one
        (np.array([-np.inf]), 0.95),  # a single entry has no other
    ],
)
def test_a_correction_reaches_as_far_as_different_texts_are_rare(nearest: np.ndarray, expected: float) -> None:
    assert choose_correction(nearest) == pytest.approx(expected)
    assert choose_correction(np.append(nearest, -np.inf)) == pytest.approx(expected)
