"""Scores against values worked out by hand."""

import math
from typing import get_args

import pytest

from hundredth.errors import UserError
from hundredth.tasks.config import TaskConfig
from hundredth.tasks.metrics import METRICS, MetricName, accuracy, f1, macro_f1, matthews, score

GOLD = [0, 0, 0, 1, 1, 1, 1, 1]
PREDICTED = [0, 0, 1, 1, 1, 1, 0, 1]  # class 0: 2 right, 1 missed, 1 false; class 1: 4 right, 1 missed, 1 false


def test_scores_are_fractions_worked_out_by_hand() -> None:
    assert accuracy(GOLD, PREDICTED) == pytest.approx(6 / 8)
    assert macro_f1(GOLD, PREDICTED) == pytest.approx((4 / 6 + 8 / 10) / 2)
    assert f1(GOLD, PREDICTED) == pytest.approx(8 / 10)
    assert matthews(GOLD, PREDICTED) == pytest.approx((4 * 2 - 1 * 1) / math.sqrt(5 * 5 * 3 * 3))


def test_a_constant_prediction_has_no_correlation() -> None:
    """The formula divides zero by zero there; a NaN would silently win or lose every comparison."""
    assert matthews(GOLD, [1] * 8) == 0.0
    assert matthews([1] * 8, PREDICTED) == 0.0


def test_a_class_that_is_never_predicted_counts_as_zero_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    assert macro_f1([0, 0, 1], [0, 0, 0]) == pytest.approx((4 / 5 + 0) / 2)
    assert f1([0, 0, 1], [0, 0, 0]) == f1([0, 0], [0, 0]) == 0
    assert not recwarn.list


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_goes_by_its_name_and_is_an_option(metric: str) -> None:
    assert score(metric, GOLD, GOLD) == 1.0
    assert TaskConfig.model_validate({"metric": metric}).metric == metric
    assert metric in get_args(MetricName)


def test_an_unknown_metric_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match="unknown metric 'f2': choose one of accuracy, macro_f1, f1, matthews"):
        score("f2", GOLD, PREDICTED)


@pytest.mark.parametrize("metric", METRICS)
def test_lists_of_different_lengths_or_none_are_refused(metric: str) -> None:
    with pytest.raises(ValueError, match="8 gold labels but 1 predictions"):
        score(metric, GOLD, [0])
    with pytest.raises(ValueError, match="no examples"):
        score(metric, [], [])
