"""Logistic regression on embeddings, its L2 chosen inside the training data: by folds, or by a development split.

Letters of the shapes: N texts, d the embeddings' width.
"""

import warnings
from collections import Counter
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from hundredth.errors import UserError
from hundredth.evaluation.encoders.embeddings import Floats

Labels = NDArray[np.int64]
Rows = tuple[Floats, Labels]

# sklearn's C, the inverse strength of L2, for embeddings whose components have a mean square of 1. SentEval's own
# grid for sklearn is 1/4 to 8 in steps of 2 (1/2 to 32 for TREC and MRPC), for embeddings as they are. Accuracy is
# flat in C, so fewer and larger steps do; small raw encoders ask for the weak end, strong ones for the other.
GRID = (2**-9, 2**-6, 2**-3, 1.0, 8.0)
FOLDS = 10

# Its steps go on until no component of the mean gradient is above this: tighter ones change no prediction.
_TOLERANCE = 1e-4
_MOST_STEPS = 500


class Classifier:
    """A logistic regression (multinomial for more than two labels) on scaled embeddings, solved by L-BFGS."""

    def __init__(self, scale: float, model: LogisticRegression) -> None:
        self._scale, self._model = scale, model

    def predict(self, features: Floats) -> Labels:
        """Return the label of each row of (N, d)."""
        predicted: Labels = self._model.predict(features * np.float32(self._scale))
        return predicted

    def accuracy(self, features: Floats, labels: Labels) -> float:
        """Return the share of rows of (N, d) whose label is predicted."""
        return float(np.mean(self.predict(features) == labels))


def fit_path(
    features: Floats, labels: Labels, grid: tuple[float, ...] = GRID
) -> Iterator[tuple[float, Classifier]]:
    """Yield a classifier for each C of `grid`, which rises, each fit beginning where the one before it ended.

    A classifier is to be used before the next is asked for: they share their weights.
    """
    scale = _scale(features)
    scaled = features * np.float32(scale)
    model = LogisticRegression(solver="lbfgs", tol=_TOLERANCE, max_iter=_MOST_STEPS, warm_start=True)
    for c in grid:
        model.set_params(C=c)
        with warnings.catch_warnings():
            # Where the steps run out, at the weakest L2 of an encoder of low rank, the score has long settled.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(scaled, labels)
        yield c, Classifier(scale, model)


def choose_c(features: Floats, labels: Labels, seed: int) -> float:
    """Return the C with the best mean accuracy over ten folds of (N, d); of equal ones the strongest L2."""
    scores = np.zeros(len(GRID))
    for train, held in _folds(labels, seed):
        path = fit_path(features[train], labels[train])
        scores += [one.accuracy(features[held], labels[held]) for _, one in path]
    return GRID[int(scores.argmax())]


def cross_validate(features: Floats, labels: Labels, seed: int) -> tuple[list[float], list[float]]:
    """Return the accuracy of each of ten folds, and the C that was chosen by ten folds inside its training part.

    As SentEval's InnerKFoldClassifier.

    Raises:
        UserError: a label has fewer rows than the two levels of folds need.
    """
    accuracies, chosen = [], []
    for train, held in _folds(labels, seed):
        classifier, c = fit_and_choose(features[train], labels[train], None, seed)
        accuracies.append(classifier.accuracy(features[held], labels[held]))
        chosen.append(c)
    return accuracies, chosen


def fit_and_choose(features: Floats, labels: Labels, dev: Rows | None, seed: int) -> tuple[Classifier, float]:
    """Return a classifier of all rows (N, d) and its C, chosen on `dev`, or without it by ten folds of the rows.

    As SentEval's SplitClassifier and KFoldClassifier.

    Raises:
        UserError: a label has fewer rows than folds.
    """
    if dev is None:
        c = choose_c(features, labels, seed)
    else:
        scores = [one.accuracy(*dev) for _, one in fit_path(features, labels)]
        c = GRID[int(np.argmax(scores))]
    return next(fit_path(features, labels, (c,)))[1], c


def _folds(labels: Labels, seed: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    counts = Counter(labels.tolist())
    if len(counts) < 2 or min(counts.values()) < FOLDS:
        sizes = ", ".join(str(count) for count in sorted(counts.values()))
        raise UserError(f"its labels have {sizes} rows to train on: {FOLDS} folds need 2 labels of {FOLDS} or more")
    yield from StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(labels, labels)


def _scale(features: Floats) -> float:
    """Return the one number that gives the components of the training rows a mean square of 1."""
    mean_square = float(np.mean(np.square(features, dtype=np.float64)))
    return mean_square**-0.5 if mean_square > 0 else 1.0
