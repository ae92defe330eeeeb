"""Whether several soft prompts write what teaches a student more than as many texts of one.

For each run of transfer.py (SmolLM2-135M) three more prompts are tuned as the run's own was, with other seeds.
Texts of all four, an equal share of each, are taught in place of as many of the run's own prompt, without
near-copies. The run's annotator labels them; a student of 1 % of the LLM learns from them and the labelled texts,
without a store, and is judged by training rows that the run never drew. The test split is not looked at.

    python benchmarks/prompts.py [--seeds 1] [--students 2] [--task sst2 ...] [--runs FOLDER] [--work FOLDER]
"""

from functools import partial
from pathlib import Path
from typing import Any

from knowledge_trials import JUDGES, cell_file, finish_cells, trial_options, try_all
from selection import make_pool, mixture, taught_by, without_copies
from trial_student import unseen_rows

from hundredth.extraction.soft_prompt import SoftPrompt
from hundredth.pipeline.extract import make_prompt
from hundredth.pipeline.run import Run

PROMPTS, TEXTS = 4, 5_000
# By its name: how many prompts write.
CELLS = {"1 prompt": 1, f"{PROMPTS} prompts": PROMPTS}
METRICS = {"score": "fraction", "log_likelihood": "nats", "texts": "count", "agreed": "fraction"}


def tuned(run: Run, seed: int, folder: Path) -> SoftPrompt:
    """Return a prompt that is tuned as the run's own, with another seed."""
    file = folder / "prompt.safetensors"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        config = run.config.prompt.model_copy(update={"seed": seed})
        make_prompt(run.llm, run.data, config, folder, run.reporter)
    return SoftPrompt.load(file)


def run_seed(run: Run, students: int, work: Path) -> None:
    """Judge every cell of one run, as far as that is not done: a cell has a value for each student."""
    if all(cell_file(work, run, name).exists() for name in CELLS):
        return
    task, seed = run.data.task.name, run.config.task.seed
    judge = unseen_rows(run, task, JUDGES)
    folders = [work / f"{task}-{seed}" / str(number) for number in range(PROMPTS)]
    pools = [make_pool(run, TEXTS, folders[0])]
    for number in range(1, PROMPTS):
        own = 1_000 * (number + 1)  # else prompts alike would write the same texts
        other = partial(tuned, run, own + run.config.prompt.seed, folders[number])
        changes = {"seed": own + run.config.sampling.seed}
        pools.append(make_pool(run, TEXTS // PROMPTS, folders[number], other, changes))

    def cell(prompts: int) -> dict[str, Any]:
        pool = without_copies(run, mixture(pools[:prompts], TEXTS // prompts, seed))
        return taught_by(run, pool, students, judge)

    finish_cells(run, work, {name: partial(cell, prompts) for name, prompts in CELLS.items()})


def main() -> None:
    """Judge whatever has not been judged; write after each run."""
    options = trial_options(__doc__, "prompts", seeds=1).parse_args()
    try_all(options, lambda run: run_seed(run, options.students, options.work), CELLS, METRICS, "prompts")


if __name__ == "__main__":
    main()
