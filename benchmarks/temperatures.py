"""At which temperature the LLM should write: what a student learns from cool, plain, hot and mixed texts.

For each run of transfer.py (SmolLM2-135M) its tuned prompt writes as many texts at each temperature, which its
annotator labels; `mixed` has a third of each. A student of 1 % of the LLM learns from the labelled texts and these,
without a store, and is judged by training rows that the run never drew. The test split is not looked at.

    python benchmarks/temperatures.py [--seeds 1] [--students 2] [--task sst2 ...] [--runs FOLDER] [--work FOLDER]
"""

from functools import partial
from pathlib import Path

from knowledge_trials import JUDGES, finish_cells, trial_options, try_all
from selection import make_pool, mixture, taught_by
from trial_student import unseen_rows

from hundredth.pipeline.run import Run

TEMPERATURES = (0.7, 1.0, 1.3)
TEXTS = 5_000
MIXED = "mixed"
CELLS = (*map(str, TEMPERATURES), MIXED)


def run_seed(run: Run, students: int, work: Path) -> None:
    """Judge every temperature on one run, as far as that is not done: a cell has a value for each student."""
    task, seed = run.data.task.name, run.config.task.seed
    made = {
        str(one): make_pool(run, TEXTS, work / f"{task}-{seed}" / str(one), changes={"temperature": one})
        for one in TEMPERATURES
    }
    # As many together as the smallest pool has.
    share = min(len(one.texts) for one in made.values()) // len(made)
    pools = {**made, MIXED: mixture(list(made.values()), share, seed)}
    judge = unseen_rows(run, task, JUDGES)
    finish_cells(run, work, {name: partial(taught_by, run, pool, students, judge) for name, pool in pools.items()})


def main() -> None:
    """Judge whatever has not been judged; write after each run."""
    options = trial_options(__doc__, "temperatures", seeds=1).parse_args()
    metrics = {"score": "fraction", "texts": "count", "agreed": "fraction"}
    try_all(options, lambda run: run_seed(run, options.students, options.work), CELLS, metrics, "temperatures")


if __name__ == "__main__":
    main()
