"""How many texts the LLM should write: what a student learns from the first 1,200, 2,500, ... of a large pool.

For each run of transfer.py (SmolLM2-135M) its tuned prompt writes the pool, which its annotator labels. A student
of 1 % of the LLM learns from the labelled texts and the first of the pool, with the run's unlabelled texts and
without, and no store; it is judged by training rows that the run never drew. The test split is not looked at.

    python benchmarks/quantity.py [--seeds 1] [--students 2] [--task sst2 ...] [--runs FOLDER] [--work FOLDER]
"""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from knowledge_trials import JUDGES, finish_cells, taught, trial_options, try_all
from selection import joined, make_pool, untaught
from trial_student import unseen_rows

from hundredth.pipeline.run import Run
from hundredth.pipeline.teach import Recipe

SIZES = (0, 1_200, 2_500, 5_000, 10_000, 20_000)
# By its name: how many written texts, and whether the unlabelled ones are beside them.
CELLS = {f"{size}{kind}": (size, bool(kind)) for size in SIZES for kind in ("", "+unlabelled") if size or kind}
METRICS = {"score": "fraction", "texts": "count"}


def run_seed(run: Run, students: int, work: Path) -> None:
    """Judge every size on one run, as far as that is not done; a cell has a value for each student."""
    task, seed = run.data.task.name, run.config.task.seed
    pool = make_pool(run, max(SIZES), work / f"{task}-{seed}")
    order = np.random.default_rng(seed).permutation(len(pool.texts))
    gold, unlabelled = run.knowledge.of(["gold"]), run.knowledge.of(["unlabelled"], augmented=False)
    judge = unseen_rows(run, task, JUDGES)
    recipe = Recipe(("gold", "generated", "unlabelled"), retrieve=False)

    def cell(size: int, with_unlabelled: bool) -> dict[str, Any]:
        knowledge = pool.knowledge(gold, order[:size])
        if with_unlabelled:
            knowledge = joined(knowledge, unlabelled)
        found = taught(run, joined(knowledge, untaught(run)), recipe, students, judge)
        return {**found, "texts": min(size, len(order))}

    finish_cells(run, work, {name: partial(cell, *what) for name, what in CELLS.items()})


def main() -> None:
    """Judge whatever has not been judged; write after each run."""
    options = trial_options(__doc__, "quantity", seeds=1).parse_args()
    try_all(options, lambda run: run_seed(run, options.students, options.work), CELLS, METRICS, "quantity")


if __name__ == "__main__":
    main()
