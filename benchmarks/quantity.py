"""How many texts the LLM should write: what a student learns from the first 1,200, 2,500, ... of a large pool.

For each run of transfer.py (SmolLM2-135M) its tuned prompt writes the pool, which its annotator labels. A student
of 1 % of the LLM learns from the labelled texts and the first of the pool, with the run's unlabelled texts and
without, and no store; it is judged by training rows that the run never drew. The test split is not looked at.

    python benchmarks/quantity.py [--seeds 1] [--students 2] [--task sst2 ...] [--runs FOLDER] [--work FOLDER]
"""

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from platformdirs import user_cache_dir
from selection import JUDGES, TASKS, joined, make_pool
from transfer import RESULTS
from transfer import WORK as RUNS
from trial_student import deployed, judged, unseen_rows

from hundredth.evaluation.results import Row, write_results
from hundredth.files import read_json, write_json
from hundredth.pipeline.progress import Reporter
from hundredth.pipeline.teach import Recipe
from hundredth.pipeline.transfer import Run, threads

WORK = Path(user_cache_dir("hundredth")) / "quantity"
SIZES = (0, 1_200, 2_500, 5_000, 10_000, 20_000)


def run_seed(run: Run, students: int, work: Path) -> None:
    """Judge every size on one run, as far as that is not done; a cell's file has a value for each student."""
    task, seed = run.data.task.name, run.config.task.seed
    pool = make_pool(run, max(SIZES), work / f"{task}-{seed}")
    order = np.random.default_rng(seed).permutation(len(pool.texts))
    gold, unlabelled = run.knowledge.of(["gold"]), run.knowledge.of(["unlabelled"], augmented=False)
    judge = unseen_rows(run, task, JUDGES)
    # Not taught, but what the vocabulary is pruned to: the same student learns from every size.
    rest = replace(run.knowledge, origins=["user"] * len(run.knowledge))
    cells = [(size, kind) for size in SIZES for kind in ("", "+unlabelled") if size or kind]
    with run.reporter.bar(f"{task}, seed {seed}") as progress:
        for number, (size, kind) in enumerate(cells):
            file = work / f"{task}-{seed}-{size}{kind}.json"
            if file.exists():
                continue
            knowledge = pool.knowledge(gold, order[:size])
            if kind:
                knowledge = joined(knowledge, unlabelled)
            recipe, found = Recipe(("gold", "generated", "unlabelled"), retrieve=False), []
            for one in range(students):
                settings = run.config.student.model_copy(update={"seed": one})
                with deployed(run, run.config.base, joined(knowledge, rest), recipe, settings) as model:
                    found.append(judged(run, model, judge)[0])
            write_json(file, {"score": found, "texts": min(size, len(order))})
            progress(number + 1, len(cells), f"{size}{kind}: {np.mean(found):.3f}")


def gather(work: Path, seeds: list[int], target: Path) -> None:
    """Write the results of all finished cells: the mean over a run's students, a value for each run."""
    rows = []
    for task in TASKS:
        for size in SIZES:
            for kind in ("", "+unlabelled"):
                files = [work / f"{task}-{seed}-{size}{kind}.json" for seed in seeds]
                cells = [read_json(file) for file in files if file.exists()]
                for metric, unit in (("score", "fraction"), ("texts", "count")):
                    values = [float(np.mean(cell[metric])) for cell in cells]
                    rows += [Row(task, f"{size}{kind}", metric, values, unit)] if values else []
    if rows:
        write_results(target, target.stem, seeds, rows)


def main() -> None:
    """Judge whatever has not been judged; write after each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--students", type=int, default=2, help="students of each size and run (%(default)s)")
    parser.add_argument("--task", action="append", choices=TASKS, help="only this task; may be repeated")
    parser.add_argument("--runs", type=Path, default=RUNS, help="where transfer.py keeps its runs (%(default)s)")
    parser.add_argument("--work", type=Path, default=WORK, help="where the cells are kept (%(default)s)")
    options = parser.parse_args()
    if "HUNDREDTH_DATA" not in os.environ:
        sys.exit("set HUNDREDTH_DATA to the folder that holds the benchmark data (glue/, superglue/, senteval/)")
    seeds, target = list(range(options.seeds)), RESULTS / "quantity.json"
    with threads(1):
        for seed in seeds:
            for task in options.task or TASKS:
                run = Run.open(options.runs / f"{task}-{seed}-pruned", Reporter())
                run_seed(run, options.students, options.work)
                gather(options.work, seeds, target)


if __name__ == "__main__":
    main()
