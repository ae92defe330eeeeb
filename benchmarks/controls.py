"""Every control on ten low-resource tasks: what each part of the method is worth, over texts, seeds and tasks.

Each seed draws its own labelled texts and does everything anew, as in transfer.py, with SmolLM2-135M and BERT-tiny,
its vocabulary pruned. It goes on in the folders of transfer.py. When all runs are done, it goes through them once
more and adds the systems for which the LLM writes its texts anew, which take as long as all others together.
With --rl the soft prompt is trained by rewards too, in folders of their own; `full` is measured, `no-ppo`, the LLM
and the student alone. With --table students have all their vocabulary, with as many numbers for a token as before
or with fewer; they are taught what the finished runs with a pruned one have extracted. With --gemma another LLM is
in the place of SmolLM2.
Stopped and started again, it goes on where it was; results are written after every finished run. Reads the data
from HUNDREDTH_DATA.

    python benchmarks/controls.py [--seeds 3] [--task trec ...] [--work FOLDER] [--trial]
                                  [--rl ppo | --table whole | --gemma FILE]
"""

import argparse
import math
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from kept_runs import KeptRun, keep, read_kept
from publish import published_rows
from transfer import EXTRACTION, KINDS, RESULTS, TEST_LIMIT, add_run_options, config_values, run_jobs, share_stages

from hundredth.evaluation.controls import RESULTS as RUN_RESULTS
from hundredth.evaluation.controls import SYSTEMS, evaluate
from hundredth.evaluation.findings import QUESTIONS
from hundredth.evaluation.results import Row, write_results
from hundredth.evaluation.statistics import (
    Difference,
    Resampled,
    difference,
    gap_interval,
    mean_difference,
    resample,
    share_of_gap,
)
from hundredth.files import read_json
from hundredth.pipeline.config import make_config
from hundredth.pipeline.progress import Reporter
from hundredth.pipeline.transfer import transfer

# Labelled texts a class for training (half as many again for choosing); None for all there are.
TASKS: dict[str, int | None] = {
    "cb": None,
    "rte": 50,
    "cola": 50,
    "mrpc": 50,
    "wic": 50,
    "sst2": 50,
    "mr": 50,
    "subj": 50,
    "trec": 20,
    "trec-fine": 10,
}
# What does not depend on whether the prompt is trained by rewards.
BEFORE_RL = ("task", "prompt", "annotator")
# What the LLM has written and annotated for `no-prompt`.
WRITTEN_ANEW = ("evaluation/systems/no-prompt-samples", "evaluation/systems/no-prompt-knowledge")
# Every system against `full`, then what each part of the method is worth.
PAIRS = tuple(
    dict.fromkeys(
        [
            *((name, "full") for name in SYSTEMS if name != "full"),
            *((one.system, one.other) for one in QUESTIONS),
        ]
    )
)
# A run's results with all controls: evaluated once more with fewer systems, its own file holds those alone.
ALL_RESULTS = "evaluation/controls.json"
# Enough to see that every stage works; the numbers mean nothing.
_TRIAL = (
    "task.limit_per_class=4",
    "task.unlabelled_limit=16",
    "sampling.texts=24",
    "augmentation.texts=8",
    "prompt.epochs=4",
    "annotator.members=1",
    "annotator.epochs=1",
    "rl.steps=1",
    "rl.rollout=12",
    "student.min_steps=20",
    "student.epochs=1",
)
_TRIAL_TESTS = 20
# What the runs of the main job have, and what is changed in them instead: the table of tokens, or the algorithm.
PRUNED = KINDS[0]
TABLES = {
    "whole": {"prune_vocabulary": False},
    "factorised": {"prune_vocabulary": False, "factorise_vocabulary": True},
}
ALGORITHMS = ("ppo", "grpo")
# What is measured where the prompt is trained by rewards.
OF_REWARDS = ("llm", "student", "full", "no-ppo")
# Gemma 3 270M as the LLM.
GEMMA = "gemma"
# The task of what is the mean over all.
ALL = "all"


def folder_of(work: Path, task: str, seed: int, variant: str) -> Path:
    """Return the folder of a run; those without reinforcement learning are the ones of transfer.py."""
    return work / f"{task}-{seed}-{f'{PRUNED}-{variant}' if variant in ALGORITHMS else variant}"


def run_one(
    task: str, seed: int, variant: str, work: Path, *, llm: Path | None, trial: bool, rewritten: bool
) -> None:
    """Do one task with one seed, with all controls; only with `rewritten` those with texts of their own."""
    folder, reporter = folder_of(work, task, seed, variant), Reporter()
    values = config_values(task, TASKS[task], os.environ["HUNDREDTH_DATA"], pruned=True)
    if variant in TABLES:
        values["base"] |= TABLES[variant]
        share_stages(folder_of(work, task, seed, PRUNED), folder, (*EXTRACTION, *WRITTEN_ANEW))
    elif variant in ALGORITHMS:
        values["rl"] = {"algorithm": variant}
        share_stages(folder_of(work, task, seed, PRUNED), folder, BEFORE_RL)
    elif llm is not None:
        values |= {"llm": {"name": str(llm)}, "annotator": {"method": "auto"}}
    limit = _TRIAL_TESTS if trial else TEST_LIMIT
    transfer(make_config(values, overrides=_TRIAL if trial else (), seed=seed), folder, reporter)
    systems = list(OF_REWARDS) if variant in ALGORITHMS else ["all"] if rewritten else None
    evaluate(folder, None, systems=systems, seeds=(0,), reporter=reporter, threads=1, limit=limit)
    if rewritten or not (folder / ALL_RESULTS).exists():
        shutil.copy(folder / RUN_RESULTS, folder / ALL_RESULTS)


def gather(work: Path, seeds: list[int], variant: str, target: Path) -> None:
    """Write the results of every finished run: values in the order of the seeds, then what the controls show.

    A row of the metric `difference` has the system "A - B", and for task "all" the mean over the tasks; beside it
    stand `difference_low` and `difference_high`, its 95 % interval, and what that rests on. `gap_closed` likewise.
    What is gathered of a run is kept beside the results, in a folder of their name, where those of other machines
    lie too. Of a task that the results have with more seeds than there are kept runs of it, theirs stay.
    """
    kept = target.with_suffix("")
    rows = []
    for task in TASKS:
        for seed in seeds:
            folder = folder_of(work, task, seed, variant)
            if (folder / ALL_RESULTS).exists():
                numbers = [Row(**row) for row in read_json(folder / ALL_RESULTS)["rows"]]
                keep(folder, numbers, kept / f"{task}-{seed}.json")
        runs = read_kept(kept, task)
        published = [row for row in published_rows(target) if row.task == task]
        known = max((len(row.values) for row in published if row.metric == "score"), default=0)
        rows += task_rows(task, runs) if len(runs) >= max(known, 1) else published
    for ours, theirs in PAIRS:
        name = f"{ours} - {theirs}"
        apart = [found for task in TASKS if (found := read_difference(rows, task, name)) is not None]
        if apart:
            rows += difference_rows(ALL, name, mean_difference(apart))
            rows.append(Row(ALL, name, "tasks", [len(apart)], "count"))
    if rows:
        most = max(len(row.values) for row in rows)
        write_results(target, target.stem, list(range(max(most, len(seeds)))), rows)


def task_rows(task: str, runs: Mapping[int, KeptRun]) -> list[Row]:
    """Return what a task's runs, by seed, give: every value, the differences, the shares of the gap."""
    values: dict[tuple[str, str, str], dict[int, float]] = {}
    for seed, run in runs.items():
        for row in run.rows:
            [values.setdefault((row.system, row.metric, row.unit), {})[seed]] = row.values
    rows = []
    for (system, metric, unit), found in values.items():
        seeds = list(found)
        named = None if seeds == list(range(len(seeds))) else seeds
        rows.append(Row(task, system, metric, list(found.values()), unit, named))
    alike = list(runs.values())
    for ours, theirs in PAIRS:
        if drawn := resampled(task, alike, (ours, theirs)):
            rows += difference_rows(task, f"{ours} - {theirs}", difference(*drawn))
    for name in SYSTEMS:
        if name not in ("student", "llm") and (drawn := resampled(task, alike, (name, "student", "llm"))):
            rows += gap_rows(task, name, *drawn)
    return rows


def resampled(task: str, runs: Sequence[KeptRun], systems: Sequence[str]) -> list[Resampled]:
    """Draw the texts of a task, the same for all `systems`, from the runs that have them all; [] if none."""
    runs = [one for one in runs if all(name in one.predicted for name in systems)]
    if not runs:
        return []
    if any(one.tests != runs[0].tests for one in runs):
        sys.exit(f"the runs of {task} have different test texts: remove those of other data")
    predictions = {name: np.stack([one.predicted[name] for one in runs]) for name in systems}
    drawn = resample(runs[0].metric, runs[0].gold, predictions, seed=list(TASKS).index(task))
    return [drawn[name] for name in systems]


def difference_rows(task: str, name: str, found: Difference) -> list[Row]:
    """Return a difference, with its interval and with what `read_difference` makes it of again."""
    values = {
        "difference": found.mean,
        "difference_low": found.low,
        "difference_high": found.high,
        "difference_variance": found.variance,
        "difference_of_seeds": found.of_seeds,
        "difference_seeds": found.seeds,
    }
    units = {"difference_seeds": "count"}
    return [Row(task, name, metric, [value], units.get(metric, "fraction")) for metric, value in values.items()]


def read_difference(rows: Sequence[Row], task: str, name: str) -> Difference | None:
    """Return a task's difference from its rows; None where it was not measured."""
    found = {row.metric: row.values[0] for row in rows if (row.task, row.system) == (task, name)}
    if not found:
        return None
    seeds = int(found["difference_seeds"])
    parts = found["difference"], found["difference_variance"], found["difference_of_seeds"]
    return Difference(*parts, seeds - 1 if seeds > 1 else math.inf, seeds)


def gap_rows(task: str, name: str, one: Resampled, student: Resampled, llm: Resampled) -> list[Row]:
    """Return the share of the way from `student` to `llm` that a system has come; nothing where there is no way."""
    share = share_of_gap(one.score, student.score, llm.score)
    if share is None:
        return []
    between = gap_interval(one, student, llm)
    values = {"gap_closed": share}
    if between is not None:
        values |= {"gap_closed_low": between[0], "gap_closed_high": between[1]}
    return [Row(task, name, metric, [value], "fraction") for metric, value in values.items()]


def main() -> None:
    """Run everything that is not finished yet, several at a time, one thread each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_run_options(parser, TASKS)
    changed = parser.add_mutually_exclusive_group()
    changed.add_argument(
        "--rl", dest="variant", choices=ALGORITHMS, default=PRUNED, help="reinforce the soft prompt"
    )
    changed.add_argument("--table", dest="variant", choices=TABLES, default=PRUNED, help="of the students' tokens")
    changed.add_argument("--gemma", type=Path, metavar="FILE", help="Gemma 3 270M as the LLM, a .gguf file")
    parser.add_argument("--trial", action="store_true", help="tiny runs in WORK/trial, to see that all works")
    parser.add_argument("--gather", action="store_true", help="run nothing: write what the finished runs give")
    parser.add_argument("--one", type=int, metavar="SEED", help=argparse.SUPPRESS)
    parser.add_argument("--rewritten", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if "HUNDREDTH_DATA" not in os.environ:
        sys.exit("set HUNDREDTH_DATA to the folder that holds the benchmark data (glue/, superglue/, senteval/)")
    tasks = options.task or list(TASKS)
    variant = options.variant if options.gemma is None else GEMMA
    if options.one is not None:
        for task in tasks:
            one = (task, options.one, variant, options.work)
            run_one(*one, llm=options.gemma, trial=options.trial, rewritten=options.rewritten)
        return
    work = options.work / "trial" if options.trial else options.work
    name = "controls" if variant == PRUNED else f"controls-{variant}"
    target = (work if options.trial else RESULTS) / f"{name}.json"
    seeds = list(range(options.seeds))
    more = ["--rl", variant] if variant in ALGORITHMS else ["--table", variant] if variant in TABLES else []
    more += ["--gemma", str(options.gemma)] if variant == GEMMA else []
    more += ["--trial"] if options.trial else []
    passes = () if options.gather else ([],) if variant in (*ALGORITHMS, GEMMA) else ([], ["--rewritten"])
    for last in passes:
        jobs = {
            folder_of(work, task, seed, variant).name: ["--task", task, "--one", str(seed), *more, *last]
            for seed in seeds
            for task in tasks
        }
        run_jobs(Path(__file__), jobs, options.jobs, work, lambda: gather(work, seeds, variant, target))
    gather(work, seeds, variant, target)


if __name__ == "__main__":
    main()
