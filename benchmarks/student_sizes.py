"""What students of other sizes make of the same knowledge: is it the student, or what it is taught, that limits?

For each run of transfer.py (SmolLM2-135M) students of several sizes learn from its labelled texts alone, from those
and the texts that the LLM wrote, and from all that it has, in the same number of steps; the last two with a store
and without, as what a small student cannot keep in its weights it could look up. They are judged by training rows
that the run never drew, as is the LLM's annotator; the test split is not looked at.

    python benchmarks/student_sizes.py [--seeds 1] [--students 1] [--task trec ...] [--base NAME ...] [--runs ...]
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from encoder_parts import BERT_TINY, MINILM, first_layers
from knowledge_trials import JUDGES, finish_cells, taught, trial_options, try_all
from trial_student import unseen_rows

from hundredth.extraction.ensemble import load_annotator
from hundredth.pipeline.config import BaseStudentConfig
from hundredth.pipeline.run import Run
from hundredth.pipeline.teach import Recipe, training_steps
from hundredth.store import Origin
from hundredth.tasks import Example, score
from hundredth.tasks.schema import labels_of

# By their parameters with a label or two: the first two are about the smallest, as special tokens and single
# characters, some 2,000, stay in every vocabulary. The share of the LLM's to which the vocabulary is pruned, and
# how many layers are kept: None for all.
BASES: dict[str, tuple[str, float | None, int | None]] = {
    "bert-tiny, one layer, 0.5M": (BERT_TINY, 0.004, 1),
    "bert-tiny, 0.8M": (BERT_TINY, 0.006, None),
    "bert-tiny, 1.3M": (BERT_TINY, 0.01, None),
    "bert-tiny, 4.4M": (BERT_TINY, None, None),
    "minilm, 22.7M": (MINILM, None, None),
}
_GENERATED: tuple[Origin, ...] = ("gold", "generated")
_ALL: tuple[Origin, ...] = (*_GENERATED, "unlabelled")
RECIPES = {
    "gold": Recipe(("gold",), distil=False, retrieve=False),
    "generated, no store": Recipe(_GENERATED, retrieve=False),
    "generated": Recipe(_GENERATED),
    "all, no store": Recipe(_ALL, retrieve=False),
    "all": Recipe(_ALL),
}
LLM = "llm"
CELLS = (LLM, *(f"{base}: {recipe}" for base, recipe in product(BASES, RECIPES)))
METRICS = {"score": "fraction", "seconds": "s"}


def base_of(name: str, work: Path) -> BaseStudentConfig:
    """Return what students of this size start from."""
    encoder, share, layers = BASES[name]
    if layers is not None:
        encoder = str(first_layers(encoder, layers, work / f"bert-tiny-{layers}"))
    return BaseStudentConfig(name=encoder, prune_vocabulary=share is not None, target_share=share or 1.0)


def label_by_llm(run: Run, judge: list[Example]) -> list[float]:
    """Return the score of the annotator."""
    with run.reporter.bar("labelling with the LLM") as progress:
        annotator = load_annotator(run.llm, run.data.task.verbalisation, run.root / "annotator")
        try:
            found = annotator.annotate([one.texts for one in judge], progress).probabilities
        finally:
            annotator.remove_adapters()
    return [score(run.data.task.metric, labels_of(judge), np.asarray(found).argmax(axis=1).tolist())]


def run_seed(run: Run, students: int, bases: Sequence[str], work: Path) -> None:
    """Judge students of these sizes on one run, as far as that is not done; a cell has a value for each student."""
    judge = unseen_rows(run, run.data.task.name, JUDGES)
    steps = training_steps(run.recipe, run.knowledge, run.config.student)

    def llm() -> dict[str, list[float]]:
        return {"score": label_by_llm(run, judge)}

    # The learning rate is the one that fits the width.
    changes = {"min_steps": steps, "learning_rate": None}

    def student(base: str, recipe: str) -> dict[str, list[float]]:
        return taught(run, run.knowledge, RECIPES[recipe], students, judge, base_of(base, work), changes)

    def timed(make: Callable[[], dict[str, list[float]]]) -> dict[str, Any]:
        started = time.monotonic()
        return {**make(), "seconds": round(time.monotonic() - started)}

    makers = {LLM: llm} | {
        f"{one}: {other}": partial(student, one, other) for one, other in product(bases, RECIPES)
    }
    finish_cells(run, work, {name: partial(timed, make) for name, make in makers.items()})


def main() -> None:
    """Judge whatever has not been judged; write after each run."""
    parser = trial_options(__doc__, "student-sizes", seeds=1)
    parser.add_argument("--base", action="append", choices=list(BASES), help="only this size; may be repeated")
    options = parser.parse_args()
    bases = options.base or list(BASES)
    try_all(
        options, lambda run: run_seed(run, options.students, bases, options.work), CELLS, METRICS, "student-sizes"
    )


if __name__ == "__main__":
    main()
