"""What a larger student makes of the same knowledge: is it the student, or what it is taught, that limits?

For each run of transfer.py (SmolLM2-135M) students of several sizes learn from its labelled texts alone, from those
and the texts that the LLM wrote, and from all that it has, in the same number of steps. They are judged by training
rows that the run never drew, as is the LLM's annotator; the test split is not looked at.

    python benchmarks/student_sizes.py [--seeds 1] [--students 1] [--task trec ...] [--runs FOLDER] [--work FOLDER]
"""

import time
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from encoder_parts import BERT_TINY, MINILM
from knowledge_trials import JUDGES, finish_cells, taught, trial_options, try_all
from trial_student import unseen_rows

from hundredth.extraction.ensemble import load_annotator
from hundredth.pipeline.config import BaseStudentConfig
from hundredth.pipeline.run import Run
from hundredth.pipeline.teach import Recipe, training_steps
from hundredth.tasks import Example, score
from hundredth.tasks.schema import labels_of

# By their parameters with a label or two; the first has its vocabulary pruned.
BASES = {
    "bert-tiny, 1.3M": BaseStudentConfig(name=BERT_TINY, prune_vocabulary=True),
    "bert-tiny, 4.4M": BaseStudentConfig(name=BERT_TINY),
    "minilm, 22.7M": BaseStudentConfig(name=MINILM),
}
RECIPES = {
    "gold": Recipe(("gold",), distil=False, retrieve=False),
    "generated": Recipe(("gold", "generated")),
    "all": Recipe(("gold", "generated", "unlabelled")),
}
LLM = "llm"
STUDENTS = tuple(product(BASES, RECIPES))
CELLS = (LLM, *(f"{base}: {recipe}" for base, recipe in STUDENTS))
METRICS = {"score": "fraction", "seconds": "s"}


def label_by_llm(run: Run, judge: list[Example]) -> list[float]:
    """Return the score of the annotator."""
    with run.reporter.bar("labelling with the LLM") as progress:
        annotator = load_annotator(run.llm, run.data.task.verbalisation, run.root / "annotator")
        try:
            found = annotator.annotate([one.texts for one in judge], progress).probabilities
        finally:
            annotator.remove_adapters()
    return [score(run.data.task.metric, labels_of(judge), np.asarray(found).argmax(axis=1).tolist())]


def run_seed(run: Run, students: int, work: Path) -> None:
    """Judge every student on one run, as far as that is not done; a cell has a value for each student."""
    judge = unseen_rows(run, run.data.task.name, JUDGES)
    steps = training_steps(run.recipe, run.knowledge, run.config.student)

    def llm() -> dict[str, list[float]]:
        return {"score": label_by_llm(run, judge)}

    # The learning rate is the one that fits the width.
    changes = {"min_steps": steps, "learning_rate": None}

    def student(base: str, recipe: str) -> dict[str, list[float]]:
        return taught(run, run.knowledge, RECIPES[recipe], students, judge, BASES[base], changes)

    def timed(make: Callable[[], dict[str, list[float]]]) -> dict[str, Any]:
        started = time.monotonic()
        return {**make(), "seconds": round(time.monotonic() - started)}

    makers = {LLM: llm} | {f"{one}: {other}": partial(student, one, other) for one, other in STUDENTS}
    finish_cells(run, work, {name: partial(timed, make) for name, make in makers.items()})


def main() -> None:
    """Judge whatever has not been judged; write after each run."""
    options = trial_options(__doc__, "student-sizes", seeds=1).parse_args()
    try_all(options, lambda run: run_seed(run, options.students, options.work), CELLS, METRICS, "student-sizes")


if __name__ == "__main__":
    main()
