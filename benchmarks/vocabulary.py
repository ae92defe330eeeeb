"""How a student comes down to a hundredth of the LLM: with fewer word pieces, or with fewer numbers for each.

For each run of transfer.py (SmolLM2-135M) BERT-tiny learns all that the run knows with its vocabulary pruned to 1 %
of the LLM's parameters, with its table factorised to the same size, and whole (3.3 %). With its store it is judged
by training rows that the run never drew: their score and their log-likelihood. The test split is not looked at.

    python benchmarks/vocabulary.py [--seeds 1] [--students 2] [--task trec ...] [--runs FOLDER] [--work FOLDER]
"""

from functools import partial
from pathlib import Path

from encoder_parts import BERT_TINY
from knowledge_trials import JUDGES, finish_cells, taught, trial_options, try_all
from trial_student import unseen_rows

from hundredth.pipeline.config import BaseStudentConfig
from hundredth.pipeline.run import Run

BASES = {
    "pruned": BaseStudentConfig(name=BERT_TINY, prune_vocabulary=True),
    "factorised": BaseStudentConfig(name=BERT_TINY, factorise_vocabulary=True),
    "whole": BaseStudentConfig(name=BERT_TINY),
}
METRICS = {"score": "fraction", "log_likelihood": "nats"}


def run_seed(run: Run, students: int, work: Path) -> None:
    """Judge every student on one run, as far as that is not done; a cell has a value for each student."""
    judge = unseen_rows(run, run.data.task.name, JUDGES)

    cell = partial(taught, run, run.knowledge, run.recipe, students, judge)
    finish_cells(run, work, {name: partial(cell, base) for name, base in BASES.items()})


def main() -> None:
    """Judge whatever has not been judged; write after each run."""
    given = trial_options(__doc__, "vocabulary", seeds=1).parse_args()
    try_all(given, lambda run: run_seed(run, given.students, given.work), BASES, METRICS, "vocabulary")


if __name__ == "__main__":
    main()
