"""What a labelling task is: its text fields, its labels, its examples."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from hundredth.tasks.verbalisation import Verbalisation


@dataclass(frozen=True, slots=True)
class Example:
    """One text (one string per field of the task) and the index of its label, if it has one."""

    texts: tuple[str, ...]
    label: int | None = None


@dataclass(frozen=True)
class Task:
    """A labelling task: `fields` names the text columns, `labels` the classes in index order.

    `metric` names the task's main score: "accuracy", "macro_f1", "f1" (of the second of two labels) or "matthews".
    `label_column` is the labels' column in files of this task.
    """

    name: str
    fields: tuple[str, ...]
    labels: tuple[str, ...]
    verbalisation: Verbalisation
    metric: str = "accuracy"
    label_column: str = "label"


@dataclass(frozen=True)
class TaskData:
    """A task with its splits. `notes` says what was guessed, dropped or counted while reading.

    `test` is filled only by benchmark readers that come with a labelled test split.
    """

    task: Task
    train: list[Example]
    dev: list[Example]
    unlabelled: list[Example] = field(default_factory=list)
    test: list[Example] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def labels_of(examples: Sequence[Example]) -> list[int]:
    """Return the label indices; every example must have one."""
    labels = [example.label for example in examples]
    if any(label is None for label in labels):
        raise ValueError("an example without a label where labels are needed")
    return [label for label in labels if label is not None]


def counts_per_label(examples: Sequence[Example], labels: Sequence[str]) -> dict[str, int]:
    """Return how many examples each label has, in the order of `labels`."""
    counts = Counter(example.label for example in examples)
    return {name: counts[index] for index, name in enumerate(labels)}
