import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hundredth.evaluation.statistics import deviation, paired_bootstrap, share_of_gap, weighted_scores
from hundredth.tasks.metrics import METRICS, score


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40), st.sampled_from(METRICS))
def test_weighted_scores_with_equal_weights_are_the_tasks_metrics(pairs, metric):
    gold, predicted = (np.array(column) for column in zip(*pairs, strict=True))
    ours = weighted_scores(metric, gold, predicted, np.ones((1, len(gold))))
    assert ours[0] == pytest.approx(score(metric, gold.tolist(), predicted.tolist()), abs=1e-9)


@pytest.mark.parametrize("metric", METRICS)
def test_a_weight_of_two_counts_a_text_twice(metric):
    """A draw with replacement that forgot repeats would make every interval too narrow, and look plausible."""
    gold, predicted = np.array([0, 0, 1, 2, 1]), np.array([0, 1, 1, 2, 0])
    weights = np.array([[2, 0, 1, 3, 1]])
    drawn = np.repeat(np.arange(5), weights[0])
    expected = score(metric, gold[drawn].tolist(), predicted[drawn].tolist())
    assert weighted_scores(metric, gold, predicted, weights)[0] == pytest.approx(expected)


def test_a_system_does_not_differ_from_itself():
    gold = np.arange(50) % 3
    ours = np.where(np.arange(50) % 7 == 0, 0, gold)[None]
    difference = paired_bootstrap("accuracy", gold, ours, ours)
    assert (difference.mean, difference.low, difference.high) == (0, 0, 0)
    assert not difference.is_clear


def test_the_interval_has_the_width_of_the_paired_differences():
    """An unpaired bootstrap would be several times as wide here: both systems fail on the same half."""
    generator = np.random.default_rng(0)
    gold = np.zeros(400, dtype=int)
    theirs = np.arange(400) % 2
    ours = np.where(generator.random(400) < 0.1, 0, theirs)
    gains = (ours == 0).astype(float) - (theirs == 0)
    difference = paired_bootstrap("accuracy", gold, ours[None], theirs[None], draws=4000)
    half = 1.96 * gains.std() / 20
    assert difference.mean == pytest.approx(gains.mean())
    assert difference.low == pytest.approx(gains.mean() - half, abs=0.006)
    assert difference.high == pytest.approx(gains.mean() + half, abs=0.006)
    assert difference.is_clear


def test_seeds_are_averaged_and_may_differ_in_number():
    gold = np.array([0, 1, 0, 1])
    ours = np.array([[0, 1, 0, 1], [0, 1, 1, 0]])
    theirs = np.array([[0, 0, 0, 0]])
    assert paired_bootstrap("accuracy", gold, ours, theirs).mean == pytest.approx(0.75 - 0.5)


def test_the_same_seed_draws_the_same_interval():
    generator = np.random.default_rng(1)
    gold, ours, theirs = (generator.integers(0, 3, size=60) for _ in range(3))
    first, again = (paired_bootstrap("macro_f1", gold, ours[None], theirs[None]) for _ in range(2))
    assert first == again


@pytest.mark.parametrize(
    ("ours", "theirs"), [(np.zeros((1, 3)), np.zeros((1, 4))), (np.zeros((0, 4)), np.zeros((1, 4)))]
)
def test_predictions_that_do_not_fit_are_refused(ours, theirs):
    with pytest.raises(ValueError, match="do not fit 4 labels"):
        paired_bootstrap("accuracy", np.zeros(4, dtype=int), ours.astype(int), theirs.astype(int))


def test_the_deviation_is_that_of_a_sample():
    assert deviation([0.2, 0.4]) == pytest.approx(0.02**0.5)
    assert deviation([0.2]) is None


def test_the_gap_is_shared_only_where_there_is_one():
    assert share_of_gap(0.85, student=0.8, llm=0.9) == pytest.approx(0.5)
    assert share_of_gap(0.7, student=0.8, llm=0.9) == pytest.approx(-1)
    assert share_of_gap(0.85, student=0.8, llm=0.805) is None
    assert share_of_gap(0.85, student=0.8, llm=0.7) is None
