"""A task's scores, all as fractions."""

from collections.abc import Sequence
from typing import Literal, get_args

from hundredth.errors import UserError

MetricName = Literal["accuracy", "macro_f1", "f1", "matthews"]
METRICS: tuple[str, ...] = get_args(MetricName)


def accuracy(gold: Sequence[int], predicted: Sequence[int]) -> float:
    """Return the share of examples whose label is predicted, in [0, 1]."""
    from sklearn.metrics import accuracy_score

    _check(gold, predicted)
    return float(accuracy_score(gold, predicted))


def macro_f1(gold: Sequence[int], predicted: Sequence[int]) -> float:
    """Return the mean of the classes' F1, in [0, 1], over the classes in `gold` or `predicted`."""
    from sklearn.metrics import f1_score

    _check(gold, predicted)
    return float(f1_score(gold, predicted, average="macro", zero_division=0))


def f1(gold: Sequence[int], predicted: Sequence[int]) -> float:
    """Return the F1 of the positive class, label 1, in [0, 1]: for tasks of two labels, the second of them."""
    from sklearn.metrics import f1_score

    _check(gold, predicted)
    return float(f1_score(gold, predicted, labels=[1], average="macro", zero_division=0))


def matthews(gold: Sequence[int], predicted: Sequence[int]) -> float:
    """Return the Matthews correlation, in [-1, 1]; 0 when either side has one class only."""
    from sklearn.metrics import matthews_corrcoef

    _check(gold, predicted)
    if len(set(gold)) == 1 or len(set(predicted)) == 1:
        return 0.0
    return float(matthews_corrcoef(gold, predicted))


def score(metric: str, gold: Sequence[int], predicted: Sequence[int]) -> float:
    """Return the score named `metric`; UserError for a name that is not in METRICS."""
    if metric == "accuracy":
        return accuracy(gold, predicted)
    if metric == "macro_f1":
        return macro_f1(gold, predicted)
    if metric == "f1":
        return f1(gold, predicted)
    if metric == "matthews":
        return matthews(gold, predicted)
    raise UserError(f"unknown metric {metric!r}: choose one of {', '.join(METRICS)}")


def _check(gold: Sequence[int], predicted: Sequence[int]) -> None:
    if len(gold) != len(predicted):
        raise ValueError(f"{len(gold)} gold labels but {len(predicted)} predictions")
    if len(gold) == 0:
        raise ValueError("no examples to score")
