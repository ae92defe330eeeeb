"""What benchmarks/late_knowledge.py works with: a finished run, models made from parts of it, and their scores."""

import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from transfer import TEST_LIMIT

from hundredth.evaluation.results import Row
from hundredth.pipeline.knowledge import Knowledge
from hundredth.pipeline.progress import Reporter
from hundredth.pipeline.run import Run
from hundredth.pipeline.teach import Recipe, make_model, make_student
from hundredth.pipeline.tune import tune
from hundredth.runtime import load
from hundredth.tasks import BENCHMARKS, Example, Task, cap, labels_of, read_benchmark
from hundredth.tasks.rows import key_of

Ints = NDArray[np.int64]
Entries = list[tuple[tuple[str, ...], str]]

RECIPE = Recipe(("gold", "unlabelled"))


@dataclass(frozen=True)
class Bench:
    """A finished run of a benchmark task, and a folder for what is made from it."""

    run: Run
    folder: Path

    @cached_property
    def rows(self) -> list[Example]:
        """All labelled rows of the task's training file."""
        return read_benchmark(Path(os.environ["HUNDREDTH_DATA"]), self.run.data.task.name).pool

    @cached_property
    def fine(self) -> dict[tuple[str, ...], str]:
        """TREC's fine class of each text, such as "NUM:date", which no student here is told."""
        names = [label.name for label in BENCHMARKS["trec-fine"].labels]
        found = read_benchmark(Path(os.environ["HUNDREDTH_DATA"]), "trec-fine")
        return {key_of(one.texts): names[one.label or 0] for one in [*found.pool, *found.test]}

    @cached_property
    def knowledge(self) -> Knowledge:
        """Gold and unlabelled texts, whole ones."""
        return self.run.knowledge.of(RECIPE.origins, augmented=False)

    @cached_property
    def test(self) -> list[Example]:
        """The test texts, always the same ones."""
        return cap(self.run.data.test, TEST_LIMIT, 0)

    def of(self, texts: tuple[str, ...], name: str) -> bool:
        """Whether a text is of a class, coarse or fine, by TREC's own label."""
        return self.fine[key_of(texts)].startswith(name)

    def model(self, knowledge: Knowledge, dev: list[Example], task: Task | None = None) -> Path:
        """Teach a student, deploy it with its settings chosen on `dev`, and return the model's folder.

        `task` has other labels than the run's; `knowledge` and `dev` are of it.
        """
        run, config, quiet = self.run, self.run.config, Reporter(quiet=True)
        made = Path(tempfile.mkdtemp(dir=self.folder))
        for path in (student := made / "student", model := made / "model"):
            path.mkdir()
        size, task = run.llm_size["parameters"], task or run.data.task
        make_student(config.base, config.student, task, knowledge, RECIPE, size, student, quiet)
        make_model(student, config.model, config.student.max_length, task, dev, knowledge, RECIPE, {}, model)
        return model

    def with_entries(self, model: Path, entries: Entries) -> Path:
        """Return a copy of a model with entries added as a user adds them, and what labels of theirs it lacked."""
        copy = Path(shutil.copytree(model, Path(tempfile.mkdtemp(dir=self.folder)) / "model"))
        with load(copy) as loaded:
            for label in dict.fromkeys(label for _, label in entries if label not in loaded.labels):
                loaded.add_label(label)
            loaded.store.add([texts for texts, _ in entries], [label for _, label in entries])
        return copy

    def predicted(self, model: Path) -> Ints:
        """Return the labels that a model gives the test texts, as the run counts them."""
        known = self.run.data.task.labels
        with load(model) as loaded:
            return np.array([known.index(label) for label in loaded.predict([one.texts for one in self.test])])

    def scores(self, task: str, system: str, predicted: Ints, new: NDArray[np.bool_] | None = None) -> list[Row]:
        """Return the accuracy, and those on the texts that are `new` and on the others."""
        right = predicted == np.array(labels_of(self.test))
        found = {"accuracy": right.mean()}
        if new is not None:
            found |= {"accuracy_new": right[new].mean(), "accuracy_others": right[~new].mean()}
        return [Row(task, system, name, [float(value)], "fraction") for name, value in found.items()]

    def served_and_tuned(
        self, task: str, state: str, model: Path, new: NDArray[np.bool_] | None = None
    ) -> list[Row]:
        """Measure a model as it is and after its retrieval was chosen anew; the model is changed."""
        rows = self.scores(task, f"{state}, served", self.predicted(model), new)
        with load(model) as loaded:
            labels = loaded.labels
        after = tune(model, relabelled(self.run.data.dev, self.run.data.task.labels, labels)).after
        rows.append(Row(task, f"{state}, tuned", "weight", [after.weight], "fraction"))
        return rows + self.scores(task, f"{state}, tuned", self.predicted(model), new)


def without_label(knowledge: Knowledge, index: int) -> Knowledge:
    """Return the knowledge as an LLM would give it that does not know of a label; no text may have it as gold."""
    soft = np.delete(knowledge.soft_labels, index, axis=1)
    labels = knowledge.labels - (knowledge.labels > index)
    return replace(knowledge, labels=labels, soft_labels=soft / soft.sum(axis=1, keepdims=True))


def relabelled(examples: list[Example], old: Sequence[str], new: Sequence[str]) -> list[Example]:
    """Return the examples with labels counted anew, those left out whose label is not there any more."""
    names = [old[label] for label in labels_of(examples)]
    return [
        Example(one.texts, list(new).index(name)) for one, name in zip(examples, names, strict=True) if name in new
    ]
