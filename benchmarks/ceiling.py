"""What a student of this size can learn at all: fine-tuned on more and more labelled texts, up to all there are.

For each run of transfer.py its student (BERT-tiny, cut down to 1 % of SmolLM2-135M) is fine-tuned on labelled
rows of the benchmark's training pool, without an LLM and without a store. What hundredth hands over should be
read beside this: no method lifts a student far above what it learns from people's labels without end. It is
judged by the test split, as nothing is chosen here: rows of SST-2's pool are parts of each other's sentences,
so that others of them would know too much.

    python benchmarks/ceiling.py [--seeds 1] [--students 2] [--task sst2 ...] [--runs FOLDER] [--work FOLDER]
"""

import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from knowledge_trials import finish_cells, taught, trial_options, try_all
from transfer import TEST_LIMIT

from hundredth.pipeline.knowledge import Knowledge
from hundredth.pipeline.run import Run
from hundredth.pipeline.teach import Recipe
from hundredth.tasks import Example, cap, labels_of, read_benchmark
from hundredth.tasks.rows import key_of

SIZES = (500, 1_500, 5_000, 15_000)
ALL = "all"
CELLS = (*map(str, SIZES), ALL)
_RECIPE = Recipe(("gold",), distil=False, retrieve=False)


def labelled(examples: list[Example], classes: int) -> Knowledge:
    """Return labelled texts as knowledge of which the LLM has said nothing."""
    labels = np.array(labels_of(examples))
    return Knowledge(
        [one.texts for one in examples],
        ["gold"] * len(examples),
        labels,
        np.eye(classes, dtype=np.float32)[labels],
        np.zeros((len(examples), 1), dtype=np.float32),
        np.zeros(len(examples), dtype=np.bool_),
    )


def run_seed(run: Run, students: int, work: Path) -> None:
    """Judge every size on one run, as far as that is not done: a cell has a value for each student."""
    task, seed = run.data.task.name, run.config.task.seed
    judge = cap(run.data.test, TEST_LIMIT, 0)
    held = {key_of(one.texts) for one in [*run.data.dev, *run.data.test]}
    pool = read_benchmark(Path(os.environ["HUNDREDTH_DATA"]), task).pool
    rows = [one for one in pool if key_of(one.texts) not in held]
    order = np.random.default_rng(seed).permutation(len(rows))
    sizes = {str(size): size for size in SIZES if size < len(rows)} | {ALL: len(rows)}

    def cell(size: int) -> dict[str, Any]:
        knowledge = labelled([rows[i] for i in order[:size].tolist()], len(run.data.task.labels))
        return {**taught(run, knowledge, _RECIPE, students, judge), "texts": size}

    finish_cells(run, work, {name: partial(cell, size) for name, size in sizes.items()})


def main() -> None:
    """Judge whatever has not been judged; write after each run."""
    options = trial_options(__doc__, "ceiling", seeds=1).parse_args()
    metrics = {"score": "fraction", "log_likelihood": "nats", "texts": "count"}
    try_all(options, lambda run: run_seed(run, options.students, options.work), CELLS, metrics, "ceiling")


if __name__ == "__main__":
    main()
