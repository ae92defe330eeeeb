"""What the benchmarks share that try knowledge on students: their options, runs, students and finished cells.

A cell is one mixture of knowledge on one run of transfer.py, in WORK/TASK-SEED-NAME.json.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from platformdirs import user_cache_dir
from publish import Key, in_order, publish
from transfer import RESULTS
from transfer import WORK as RUNS
from trial_student import deployed, judged

from hundredth.files import read_json, write_json
from hundredth.pipeline.config import BaseStudentConfig
from hundredth.pipeline.knowledge import Knowledge
from hundredth.pipeline.progress import Reporter
from hundredth.pipeline.run import Run
from hundredth.pipeline.teach import Recipe
from hundredth.pipeline.transfer import threads
from hundredth.tasks import Example

TASKS = ("trec", "sst2", "subj")
# Training rows that no run drew, by which a student is judged.
JUDGES = 1500


def trial_options(about: str | None, name: str, seeds: int) -> argparse.ArgumentParser:
    """Return the options of a benchmark that keeps its cells in the folder `name` of the cache."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=seeds)
    parser.add_argument("--students", type=int, default=2, help="students of each cell (%(default)s)")
    parser.add_argument("--task", action="append", choices=TASKS, help="only this task; may be repeated")
    parser.add_argument("--runs", type=Path, default=RUNS, help="where transfer.py keeps its runs (%(default)s)")
    work = Path(user_cache_dir("hundredth")) / name
    parser.add_argument("--work", type=Path, default=work, help="where the cells are kept (%(default)s)")
    return parser


def try_all(
    options: argparse.Namespace,
    do: Callable[[Run], None],
    names: Iterable[str],
    metrics: Mapping[str, str],
    target: str,
) -> None:
    """Let `do` finish the cells of every run, and write all finished ones to RESULTS/TARGET.json after each."""
    if "HUNDREDTH_DATA" not in os.environ:
        sys.exit("set HUNDREDTH_DATA to the folder that holds the benchmark data (glue/, superglue/, senteval/)")
    seeds, cells = list(range(options.seeds)), tuple(names)
    with threads(1):
        for seed in seeds:
            for task in options.task or TASKS:
                do(Run.open(options.runs / f"{task}-{seed}-pruned", Reporter()))
                gather(options.work, seeds, cells, metrics, RESULTS / f"{target}.json")


def finish_cells(run: Run, work: Path, cells: Mapping[str, Callable[[], Mapping[str, Any]]]) -> None:
    """Write what each cell of a run gives, its `score` among it, as far as there is no file of it yet."""
    task, seed = run.data.task.name, run.config.task.seed
    with run.reporter.bar(f"{task}, seed {seed}") as progress:
        for number, (cell, make) in enumerate(cells.items()):
            file = work / f"{task}-{seed}-{cell}.json"
            if file.exists():
                continue
            made = make()
            write_json(file, made)
            progress(number + 1, len(cells), f"{cell}: {np.mean(made['score']):.3f}")


def taught(
    run: Run,
    knowledge: Knowledge,
    recipe: Recipe,
    students: int,
    judge: list[Example],
    base: BaseStudentConfig | None = None,
) -> list[tuple[float, float]]:
    """Return the score and the log-likelihood of so many students, of the run's base by default, so taught."""
    found = []
    for seed in range(students):
        settings = run.config.student.model_copy(update={"seed": seed})
        with deployed(run, base or run.config.base, knowledge, recipe, settings) as model:
            found.append(judged(run, model, judge))
    return found


def gather(work: Path, seeds: list[int], names: Iterable[str], metrics: Mapping[str, str], target: Path) -> None:
    """Write the `metrics`, with their units, of all finished cells: means over the students, a value a run."""
    cells = list(product(TASKS, names))
    found: dict[Key, dict[int, float]] = {}
    for (task, name), seed in product(cells, seeds):
        file = work / f"{task}-{seed}-{name}.json"
        if file.exists():
            cell = read_json(file)
            for metric, unit in metrics.items():
                found.setdefault((task, name, metric, unit), {})[seed] = float(np.mean(cell[metric]))
    publish(target, found, in_order(cells))
