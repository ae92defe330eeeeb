"""What the benchmarks share that try knowledge on students: their options, runs, students and finished cells.

A cell is one mixture of knowledge on one run of transfer.py or controls.py, in WORK/TASK-SEED-NAME.json.
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

# The runs of the first three are made by transfer.py, those of the others by controls.py.
USUAL = ("trec", "sst2", "subj")
TASKS = (*USUAL, "mr", "trec-fine")
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
            for task in options.task or USUAL:
                do(Run.open(options.runs / f"{task}-{seed}-pruned", Reporter()))
                gather(options.work, seeds, cells, metrics, RESULTS / f"{target}.json")


def cell_file(work: Path, run: Run, cell: str) -> Path:
    """Return where what a cell of a run gives is kept."""
    return work / f"{run.data.task.name}-{run.config.task.seed}-{cell}.json"


def finish_cells(run: Run, work: Path, cells: Mapping[str, Callable[[], Mapping[str, Any]]]) -> None:
    """Write what each cell of a run gives, its `score` among it, as far as there is no file of it yet."""
    with run.reporter.bar(f"{run.data.task.name}, seed {run.config.task.seed}") as progress:
        for number, (cell, make) in enumerate(cells.items()):
            file = cell_file(work, run, cell)
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
    changes: Mapping[str, Any] | None = None,
) -> dict[str, list[float]]:
    """Return `score` and `log_likelihood` of so many students so taught, a value for each.

    By default they are of the run's base and have the run's settings; `changes` are to these.
    """
    found: dict[str, list[float]] = {"score": [], "log_likelihood": []}
    for seed in range(students):
        settings = run.config.student.model_copy(update={"seed": seed, **(changes or {})})
        with deployed(run, base or run.config.base, knowledge, recipe, settings) as model:
            reached, likelihood = judged(run, model, judge)
        found["score"].append(reached)
        found["log_likelihood"].append(likelihood)
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
