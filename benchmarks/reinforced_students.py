"""Whether a student learns more from what a reinforced prompt writes than from what the tuned one writes.

For each run of transfer.py (SmolLM2-135M) texts are written with its tuned prompt and with those that
benchmarks/reinforcement.py has made of it, as many with each. The run's annotator labels them; students of 1 % of
the LLM learn from them and the labelled texts, without a store, and are judged by training rows that the run never
drew. The test split is not looked at.

    python benchmarks/reinforced_students.py [--seeds 3] [--students 3] [--task mr ...] [--runs FOLDER]
"""

from functools import partial
from pathlib import Path
from typing import Any

from knowledge_trials import JUDGES, finish_cells, trial_options, try_all
from reinforcement import WORK as PROMPTS
from reinforcement import folder_of
from selection import make_pool, taught_by
from trial_student import unseen_rows

from hundredth.extraction.soft_prompt import SoftPrompt
from hundredth.pipeline.run import Run

TEXTS = 2_500
CELLS = ("tuned", "ppo")
METRICS = {"score": "fraction", "log_likelihood": "nats", "texts": "count", "agreed": "fraction"}


def run_seed(run: Run, students: int, prompts: Path, work: Path) -> None:
    """Judge every cell of one run, as far as that is not done: a cell has a value for each student."""
    task, seed = run.data.task.name, run.config.task.seed
    judge = unseen_rows(run, task, JUDGES)

    def cell(system: str) -> dict[str, Any]:
        # Of the tuned prompt reinforcement.py keeps a copy, beside those that have learnt.
        file = folder_of(prompts, task, seed, system) / "prompt.safetensors"
        pool = make_pool(run, TEXTS, work / f"{task}-{seed}-{system}", partial(SoftPrompt.load, file))
        return taught_by(run, pool, students, judge)

    finish_cells(run, work, {system: partial(cell, system) for system in CELLS})


def main() -> None:
    """Judge whatever has not been judged; write after each run."""
    parser = trial_options(__doc__, "reinforced-students", seeds=3)
    parser.add_argument("--prompts", type=Path, default=PROMPTS, help="what reinforcement.py left (%(default)s)")
    options = parser.parse_args()

    def do(run: Run) -> None:
        run_seed(run, options.students, options.prompts, options.work)

    try_all(options, do, CELLS, METRICS, "reinforced-students")


if __name__ == "__main__":
    main()
