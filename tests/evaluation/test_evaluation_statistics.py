import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hundredth.evaluation import statistics
from hundredth.evaluation.statistics import (
    Resampled,
    deviation,
    difference,
    gap_interval,
    mean_difference,
    resample,
    share_of_gap,
    weighted_scores,
)
from hundredth.tasks.metrics import METRICS, score


def bootstrap(metric, gold, ours, theirs, **options):
    found = resample(metric, gold, {"ours": ours, "theirs": theirs}, **options)
    return difference(found["ours"], found["theirs"])


@settings(deadline=None)  # the first call imports scikit-learn
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
    found = bootstrap("accuracy", gold, ours, ours)
    assert (found.mean, found.low, found.high) == (0, 0, 0)
    assert not found.is_clear


def test_the_interval_has_the_width_of_the_paired_differences():
    """An unpaired bootstrap would be several times as wide here: both systems fail on the same half."""
    generator = np.random.default_rng(0)
    gold = np.zeros(400, dtype=int)
    theirs = np.arange(400) % 2
    ours = np.where(generator.random(400) < 0.1, 0, theirs)
    gains = (ours == 0).astype(float) - (theirs == 0)
    found = bootstrap("accuracy", gold, ours[None], theirs[None], draws=4000)
    half = 1.96 * gains.std() / 20
    assert found.mean == pytest.approx(gains.mean())
    assert found.low == pytest.approx(gains.mean() - half, abs=0.006)
    assert found.high == pytest.approx(gains.mean() + half, abs=0.006)
    assert found.is_clear


def test_the_interval_holds_the_chance_in_the_seeds():
    """Texts alone would give an interval of no width at all: every text is right or wrong as the seed is."""
    gold = np.zeros(50, dtype=int)
    theirs = np.ones((4, 50), dtype=int)
    ours = np.repeat([[0], [0], [1], [1]], 50, axis=1)
    found = bootstrap("accuracy", gold, ours, theirs, draws=4000)
    assert found.mean == 0.5
    # Of 1, 1, 0, 0 the standard error is sqrt(1/3 / 4), and Student's quantile with three degrees is 3.182.
    half = 3.182 * (1 / 12) ** 0.5
    assert (found.low, found.high) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-3)
    assert found.seeds == 4


@pytest.mark.parametrize("deviation_of_a_seed", [0.0, 0.05])
def test_equally_good_systems_are_seldom_told_apart(deviation_of_a_seed):
    """Percentiles of drawn seeds took three lucky seeds for a gain in one case of five."""
    generator, clear = np.random.default_rng(7), 0
    gold = np.zeros(200, dtype=int)
    for _ in range(200):
        hard = generator.normal(size=200)  # for both systems
        shift_S = generator.normal(0, deviation_of_a_seed / 0.24, size=(2, 3))
        wrong = 0.84 + shift_S[..., None] - hard + generator.normal(0, 0.5, size=(2, 3, 200)) < 0
        clear += bootstrap("accuracy", gold, *wrong.astype(int), draws=300).is_clear
    assert clear / 200 < 0.1


def test_the_mean_over_tasks_has_the_errors_of_all():
    def pair(*gains):
        scores = np.array(gains)
        return Resampled(scores, np.repeat(scores[:, None], 5, axis=1)), Resampled(np.zeros(3), np.zeros((3, 5)))

    found = mean_difference([difference(*pair(0.1, 0.2, 0.3))] * 2)
    # Each task: variance 0.01 / 3 with two degrees; the mean of both a quarter of the sum, with four: 2.776.
    half = 2.776 * (0.01 / 3 / 2) ** 0.5
    assert (found.mean, found.low, found.high) == pytest.approx((0.2, 0.2 - half, 0.2 + half), abs=1e-4)
    assert found.seeds == 3
    alone = difference(*pair(0.1, 0.2, 0.3))
    assert alone.high - alone.mean == pytest.approx(4.303 * (0.01 / 3) ** 0.5, abs=1e-4)


def test_chance_that_texts_and_seeds_share_is_counted_once():
    """Every seed right on other texts, drawn freely: counted twice the interval would be wider by the root of 2."""
    generator = np.random.default_rng(3)
    gold = np.zeros(300, dtype=int)
    ours = (generator.random((40, 300)) < 0.3).astype(int)
    theirs = np.zeros((1, 300), dtype=int)
    found = bootstrap("accuracy", gold, ours, theirs)
    assert found.high - found.mean == pytest.approx(1.96 * (0.21 / (40 * 300)) ** 0.5, rel=0.25)


def test_other_numbers_of_seeds_are_refused():
    gold = np.zeros(9, dtype=int)
    with pytest.raises(ValueError, match="2 and 3 seeds cannot be paired"):
        bootstrap("accuracy", gold, np.zeros((2, 9), dtype=int), np.zeros((3, 9), dtype=int))


def test_seeds_that_are_lucky_for_both_are_paired():
    gold = np.zeros(50, dtype=int)
    lucky = np.repeat([[0], [0], [1], [1]], 50, axis=1)
    found = bootstrap("accuracy", gold, lucky, lucky.copy())
    assert (found.low, found.high) == (0, 0)


def test_a_large_test_set_is_drawn_in_blocks(monkeypatch):
    gold = np.arange(90) % 3
    predicted = np.where(np.arange(90) % 4 == 0, 0, gold)[None]
    monkeypatch.setattr(statistics, "_AT_ONCE", 700)
    found = resample("macro_f1", gold, {"one": predicted}, draws=30)["one"]
    assert found.draws.shape == (1, 30)
    assert found.draws.std() > 0
    assert found.draws.mean() == pytest.approx(found.score, abs=0.05)


def test_one_seed_is_held_against_every_seed_of_the_other():
    gold = np.array([0, 1, 0, 1])
    ours = np.array([[0, 1, 0, 1], [0, 1, 1, 0]])
    theirs = np.array([[0, 0, 0, 0]])
    assert bootstrap("accuracy", gold, ours, theirs).mean == pytest.approx(0.75 - 0.5)


def test_the_same_seed_draws_the_same_interval():
    generator = np.random.default_rng(1)
    gold, ours, theirs = (generator.integers(0, 3, size=60) for _ in range(3))
    first, again = (bootstrap("macro_f1", gold, ours[None], theirs[None]) for _ in range(2))
    assert first == again


@pytest.mark.parametrize(
    ("ours", "texts"), [(np.zeros((1, 3)), 4), (np.zeros((0, 4)), 4), (np.zeros(4), 4), (np.zeros((1, 0)), 0)]
)
def test_predictions_that_do_not_fit_are_refused(ours, texts):
    with pytest.raises(ValueError, match=f"of ours do not fit {texts} labels"):
        resample("accuracy", np.zeros(texts, dtype=int), {"ours": ours.astype(int)})


def test_the_deviation_is_that_of_a_sample():
    assert deviation([0.2, 0.4]) == pytest.approx(0.02**0.5)
    assert deviation([0.2]) is None


def test_the_gap_is_shared_only_where_there_is_one():
    assert share_of_gap(0.85, student=0.8, llm=0.9) == pytest.approx(0.5)
    assert share_of_gap(0.7, student=0.8, llm=0.9) == pytest.approx(-1)
    assert share_of_gap(0.85, student=0.8, llm=0.805) is None
    assert share_of_gap(0.85, student=0.8, llm=0.7) is None


def rows_right(texts, *right):
    """Predictions that are right on the first so many of the texts, all of label 0."""
    return np.stack([np.where(np.arange(texts) < number, 0, 1) for number in right])


def test_the_share_of_the_gap_has_an_interval_where_the_gap_is_clear():
    gold = np.zeros(1000, dtype=int)
    right = {"llm": 900, "student": 600, "full": 800}
    found = resample("accuracy", gold, {name: rows_right(1000, number) for name, number in right.items()})
    low, high = gap_interval(found["full"], found["student"], found["llm"])
    assert low < 2 / 3 < high
    # Of 300 texts in the gap 200 are right: a binomial's width.
    assert high - low == pytest.approx(2 * 1.96 * (2 / 9 / 300) ** 0.5, rel=0.1)
    assert gap_interval(found["llm"], found["student"], found["llm"]) == (1, 1)


def test_of_a_gap_that_may_be_nothing_there_is_no_interval():
    """Silent otherwise: a share of a gap of nothing is any number, and its percentiles look like any others."""
    gold = np.zeros(100, dtype=int)
    right = {"llm": 83, "student": 80, "full": 82}
    found = resample("accuracy", gold, {name: rows_right(100, number) for name, number in right.items()})
    assert gap_interval(found["full"], found["student"], found["llm"]) is None
