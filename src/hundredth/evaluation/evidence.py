"""What the report shows beside the numbers: confusions, labels, wrong texts, knowledge kept and left out."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hundredth.evaluation.outcome import Evaluation
from hundredth.extraction.filters import filter_copies
from hundredth.pipeline.knowledge import read_jsonl
from hundredth.pipeline.run import Run
from hundredth.runtime import Explanation, load
from hundredth.store import Origin

Texts = tuple[str, ...]

_GENERATED: tuple[Origin, ...] = ("generated",)


@dataclass(frozen=True)
class LabelScore:
    """Precision, recall and F1 of one label, means over the seeds; `texts` of the test set have it."""

    label: str
    texts: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class WrongText:
    """A test text that the run's own model labels wrongly, with how it came to that."""

    texts: Texts
    gold: str
    gold_probability: float
    explanation: Explanation


@dataclass(frozen=True)
class KnownText:
    """A text that the LLM wrote: the label meant for it, what the annotator thinks, or why it was left out."""

    texts: Texts
    label: str
    probability: float | None = None
    reason: str = ""


def confusion(evaluation: Evaluation, system: str) -> NDArray[np.float64]:
    """Return how often each label (row) is predicted as each (column): counts (C, C), mean over the seeds."""
    mean: NDArray[np.float64] = _confusions(evaluation, system).mean(axis=0)
    return mean


def _confusions(evaluation: Evaluation, system: str) -> NDArray[np.float64]:
    """Return the counts of each seed (S, C, C)."""
    classes = len(evaluation.task.labels)
    predictions = evaluation.predictions(system)
    counts = np.zeros((len(predictions), classes, classes))
    for of_seed, one in zip(counts, predictions, strict=True):
        np.add.at(of_seed, (evaluation.gold, one), 1)
    return counts


def label_scores(evaluation: Evaluation, system: str) -> list[LabelScore]:
    """Return each label's precision, recall and F1, the lowest F1 first; labels without test texts are last."""
    counts = _confusions(evaluation, system)
    right, gold, predicted = counts.diagonal(axis1=1, axis2=2), counts.sum(axis=2), counts.sum(axis=1)
    # Each a mean over the seeds of what is 0 where a label is never met.
    precision, recall, f1 = (
        np.divide(part, whole, out=np.zeros_like(whole), where=whole > 0).mean(axis=0)
        for part, whole in ((right, predicted), (right, gold), (2 * right, gold + predicted))
    )
    out = [
        LabelScore(label, round(gold[0, c]), float(precision[c]), float(recall[c]), float(f1[c]))
        for c, label in enumerate(evaluation.task.labels)
    ]
    return sorted(out, key=lambda one: (one.texts == 0, one.f1))


def most_wrong(evaluation: Evaluation, most: int = 8) -> tuple[list[WrongText], int]:
    """Return the test texts to whose gold label the run's own model gives the least, and how many are wrong."""
    gold = evaluation.gold
    with load(evaluation.run.root / "model") as model:
        probabilities = model.predict_proba([example.texts for example in evaluation.test])
        of_gold = probabilities[np.arange(len(gold)), gold]
        wrong = np.flatnonzero(probabilities.argmax(axis=1) != gold)
        worst = wrong[np.argsort(of_gold[wrong], kind="stable")][:most]
        found = [
            WrongText(
                evaluation.test[i].texts,
                model.labels[int(gold[i])],
                float(of_gold[i]),
                model.explain(evaluation.test[i].texts),
            )
            for i in worst.tolist()
        ]
    return found, len(wrong)


def kept_texts(run: Run, most: int = 3) -> list[tuple[str, list[KnownText]]]:
    """Return up to `most` generated texts of each label that are in the knowledge, as they were drawn."""
    knowledge = run.knowledge.of(_GENERATED, augmented=False)
    labels = run.data.task.labels
    of_label: dict[str, list[KnownText]] = {label: [] for label in labels}
    for texts, soft in zip(knowledge.texts, knowledge.soft_labels, strict=True):
        best = int(soft.argmax())
        if len(of_label[labels[best]]) < most:
            of_label[labels[best]].append(KnownText(texts, labels[best], float(soft[best])))
    return [(label, texts) for label, texts in of_label.items() if texts]


def left_out_texts(run: Run, most: int = 4) -> list[KnownText]:
    """Return up to `most` generated texts that each kind of filter took out of the knowledge."""
    rows = read_jsonl(run.root / "samples" / "samples.jsonl")
    written = [tuple(row["texts"]) for row in rows]
    protected = [example.texts for example in [*run.data.train, *run.data.dev]]
    different = set(filter_copies(written, protected, run.config.filters).kept)
    kept = set(run.knowledge.of(_GENERATED, augmented=False).texts)
    found: list[KnownText] = []
    counts: Counter[str] = Counter()
    for number, row in enumerate(rows):
        if number in different and written[number] in kept:
            continue
        reason = "the annotator disagrees or is not sure" if number in different else "a near-copy"
        counts[reason] += 1
        if counts[reason] <= most:
            label = run.data.task.labels[int(row["label"])]
            found.append(KnownText(written[number], label, None, reason))
    return sorted(found, key=lambda one: one.reason, reverse=True)
