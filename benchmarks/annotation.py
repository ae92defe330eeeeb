"""What the LLM's wrong labels cost: a student of unlabelled texts, with the LLM's labels and with the true ones.

The cells for each run of transfer.py (SmolLM2-135M) are the labelled texts with the unlabelled ones as the LLM
labels them (`llm`), with its likeliest labels alone (`hard`), with soft labels in which a wrong class has changed
places with the true one (`righted`), and with the true labels alone (`true`); and with the true labels of a hundred
alone, those of which the LLM is least sure (`asked`) or any (`asked-any`), as if a person had been asked for them.
Texts that were recombined from these keep the LLM's labels throughout. A student of 1 % of the LLM, with its store,
is judged by training rows that the run never drew. The test split is not looked at.

    python benchmarks/annotation.py [--seeds 1] [--students 3] [--task trec ...] [--runs FOLDER] [--work FOLDER]
"""

import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from knowledge_trials import JUDGES, finish_cells, taught, trial_options, try_all
from numpy.typing import NDArray
from trial_student import unseen_rows

from hundredth.pipeline.run import Run
from hundredth.pipeline.teach import Recipe
from hundredth.tasks import read_benchmark
from hundredth.tasks.rows import key_of

CELLS = ("llm", "hard", "righted", "true", "asked", "asked-any")
ASKED = 100


def true_labels(run: Run) -> NDArray[np.int64]:
    """Return the true label of each text (N,) of the run's unlabelled ones, -1 for every other text."""
    pool = read_benchmark(Path(os.environ["HUNDREDTH_DATA"]), run.data.task.name).pool
    known = {key_of(one.texts): one.label for one in pool}
    knowledge = run.knowledge
    return np.array(
        [
            known[key_of(texts)] if origin == "unlabelled" and not made else -1
            for texts, origin, made in zip(
                knowledge.texts, knowledge.origins, knowledge.augmented.tolist(), strict=True
            )
        ]
    )


def righted(soft: NDArray[np.float32], true: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return soft labels (N, C) with the two values exchanged that make the true label (N,) the likeliest."""
    out, rows = soft.copy(), np.arange(len(soft))
    likeliest = soft.argmax(axis=1)
    out[rows, likeliest], out[rows, true] = soft[rows, true], soft[rows, likeliest]
    return out


def run_seed(run: Run, students: int, work: Path) -> None:
    """Judge every labelling on one run, as far as that is not done: a cell has a value for each student."""
    judge, true = unseen_rows(run, run.data.task.name, JUDGES), true_labels(run)
    knowledge, known = run.knowledge, true >= 0
    soft = knowledge.soft_labels
    labellings = {cell: soft.copy() for cell in CELLS}
    certain = np.eye(soft.shape[1], dtype=np.float32)
    labellings["hard"][known] = certain[soft[known].argmax(axis=1)]
    labellings["righted"][known] = righted(soft[known], true[known])
    labellings["true"][known] = certain[true[known]]
    (places,) = np.nonzero(known)
    unsure = places[np.argsort(soft[places].max(axis=1), kind="stable")[:ASKED]]
    drawn = np.random.default_rng(run.config.student.seed).choice(places, ASKED, replace=False)
    for name, some in (("asked", unsure), ("asked-any", drawn)):
        labellings[name][some] = certain[true[some]]
    recipe = Recipe(("gold", "unlabelled"))

    def cell(name: str) -> dict[str, Any]:
        found = taught(run, replace(knowledge, soft_labels=labellings[name]), recipe, students, judge)
        return {**found, "right": float((labellings[name][known].argmax(axis=1) == true[known]).mean())}

    finish_cells(run, work, {name: partial(cell, name) for name in CELLS})


def main() -> None:
    """Judge whatever has not been judged; write after each run."""
    options = trial_options(__doc__, "annotation", seeds=1)
    options.set_defaults(students=3)
    metrics = {"score": "fraction", "log_likelihood": "nats", "right": "fraction"}
    given = options.parse_args()
    try_all(given, lambda run: run_seed(run, given.students, given.work), CELLS, metrics, "annotation")


if __name__ == "__main__":
    main()
