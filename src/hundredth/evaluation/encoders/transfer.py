"""SentEval's transfer tasks (Conneau and Kiela 2018): a logistic regression on frozen embeddings.

Its strength of L2 is chosen inside the training data, as there. Two things differ: SentEval's classifier is a
network of one layer under Adam with early stopping, this is the same model solved to its optimum; and the
embeddings are first scaled by one number, so that a strength means the same for an encoder that normalises its
vectors as for one that does not (see `GRID`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import f1_score

from hundredth.errors import UserError
from hundredth.evaluation.encoders.embeddings import Embed, Floats
from hundredth.evaluation.encoders.regression import Labels, cross_validate, fit_and_choose
from hundredth.tables import read_tsv
from hundredth.tasks.benchmarks import BENCHMARKS
from hundredth.tasks.glue import Labelled, labelled
from hundredth.tasks.sts import senteval_folder

TRANSFER_TASKS = ("mr", "cr", "subj", "mpqa", "sst2", "trec", "mrpc")

_CROSS_VALIDATED = ("mr", "cr", "subj", "mpqa")


@dataclass(frozen=True)
class Transfer:
    """A transfer task. Without `test` all of it is cross-validated; without `dev` L2 is chosen by folds of `train`.

    Rows are (texts, label): one text, or a pair for MRPC.
    """

    train: list[Labelled]
    dev: list[Labelled]
    test: list[Labelled]
    seed: int

    def content(self) -> Any:
        """Return what the task consists of, for its fingerprint."""
        return [self.train, self.dev, self.test, self.seed]

    def measure(self, embed: Embed) -> dict[str, Any]:
        """Return `accuracy` (x 100), for pairs also `f1` (of the label "1"), and each C that was chosen."""
        names = sorted({label for _, label in self.train})
        train = _features(embed, self.train), _labels(self.train, names)
        if not self.test:
            accuracies, chosen = cross_validate(*train, seed=self.seed)
            return {"accuracy": 100 * float(np.mean(accuracies)), "c": chosen, "texts": len(self.train)}
        dev = (_features(embed, self.dev), _labels(self.dev, names)) if self.dev else None
        classifier, c = fit_and_choose(*train, dev, seed=self.seed)
        predicted, gold = classifier.predict(_features(embed, self.test)), _labels(self.test, names)
        found = {"accuracy": 100 * float(np.mean(predicted == gold)), "c": [c], "texts": len(self.test)}
        if len(self.test[0][0]) == 2:
            found["f1"] = 100 * float(f1_score(gold, predicted, pos_label=1))
        return found


def read_transfer(root: Path, task: str, seed: int) -> Transfer:
    """Read one of `TRANSFER_TASKS` from a folder in SentEval's layout, with SentEval's own splits.

    Raises:
        MissingTaskError: the task is not there.
        UserError: `root` is no folder, or a file is not as SentEval lays it out.
    """
    source = BENCHMARKS[task].sources[0]
    folder = senteval_folder(root, source.folder, source.marker)
    train, test = source.read(folder)
    dev: list[Labelled] = []
    if task == "sst2":
        dev = labelled(read_tsv(folder / "sentiment-dev", columns=("text", "label")), ("text",), "label")
    counts = {"training": len(train)} if task in _CROSS_VALIDATED else {"training": len(train), "test": len(test)}
    for split, count in counts.items():
        if not count:
            raise UserError(f"{folder} has no {split} rows: is it whole?")
    strange = sorted({label for _, label in [*dev, *test]} - {label for _, label in train})
    if strange:
        raise UserError(f"{folder}: the label {strange[0]!r} is not among its training rows: is it whole?")
    return Transfer(train, dev, test, seed)


def pair_features(first: Floats, second: Floats) -> Floats:
    """Return |u - v| and u * v side by side, (N, 2 d), of embeddings (N, d) and (N, d)."""
    return np.concatenate([np.abs(first - second), first * second], axis=1)


def _features(embed: Embed, rows: Sequence[Labelled]) -> Floats:
    both = embed([text for side in zip(*(texts for texts, _ in rows), strict=True) for text in side])
    return both if len(both) == len(rows) else pair_features(both[: len(rows)], both[len(rows) :])


def _labels(rows: Sequence[Labelled], names: Sequence[str]) -> Labels:
    index = {name: number for number, name in enumerate(names)}
    return np.array([index[label] for _, label in rows], dtype=np.int64)
