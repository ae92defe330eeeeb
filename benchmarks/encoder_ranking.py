"""What each objective makes of a small encoder, from the same start, sentences and steps: SimCSE to full RankCSE.

Bases: BERT-tiny (2 layers, 4.4M parameters) and the first 3 layers of all-MiniLM-L6-v2. A run trains 500 steps of
128 sentences: the same 64,000 of Wikipedia for every run, in an order and with dropout of its seed, so that each
teacher encodes them once. The best step is chosen by STS-B dev, as in the paper.
Teachers: MiniLM, and all-mpnet-base-v2 beside it (1/3 and 2/3) where the packages that bring it are installed.

MiniLM and mpnet have seen labelled pairs. The label-free teacher has not: the first layer of SmolLM2-135M, whitened
by sentences of the corpus (`hundredth encoder whiten`), unless `--label-free NAME` gives another.

With --ablations other settings of full RankCSE on BERT-tiny with MiniLM are tried instead, judged by STS-B dev
alone. Reads the data from HUNDREDTH_DATA. Stopped and started again, it goes on where it was; results are written
after every finished run, beside those of other machines. With --missing only what the results lack is run.

    python benchmarks/encoder_ranking.py [--jobs 2] [--transfer] [--ablations] [--missing] [--label-free NAME]
"""

import argparse
import os
import sys
import threading
import traceback
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path

import torch
from encoder_parts import BERT_TINY, CACHE, MINILM, SMOLLM2, draw_sentences, first_layers, mpnet
from encoder_runs import (
    BASES,
    DRAW,
    MORE_SEEDS,
    RATES,
    SEEDS,
    START,
    SYSTEMS,
    WEIGHTS,
    Run,
    ablation_runs,
    main_runs,
)
from publish import Key, in_order, publish, published

from hundredth.evaluation.encoders.evaluate import MAIN, evaluate_encoders
from hundredth.files import read_json
from hundredth.pipeline.encoder import development_pairs
from hundredth.ranking import train_encoder, whiten_encoder
from hundredth.ranking.config import make_training_config

# Outside the checkout, so that hours of work outlive it.
WORK = CACHE / "encoders"
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Setup:
    """What all runs share; it goes to the processes that do them. `teachers` are those that can be had, by name."""

    data: Path
    work: Path
    sentences: int
    steps: int
    transfer: bool
    teachers: dict[str, str]


def train(run: Run, setup: Setup) -> None:
    """Train the encoder of a run, or find it trained."""
    corpus = draw_sentences(
        setup.data, setup.sentences, DRAW, setup.work / "sentences" / f"{setup.sentences}-{DRAW}.txt"
    )
    values = {"steps": setup.steps, "learning_rate": RATES[run.base], "seed": run.seed}
    train_encoder(
        base_name(run.base, setup.work),
        corpus,
        setup.work / run.name / "encoder",
        teachers=[setup.teachers[name] for name in run.teachers],
        weights=WEIGHTS.get(run.teachers),
        config=make_training_config(run.system, values, run.changes),
        dev=development_pairs(None, setup.data),
    )


def train_and_test(run: Run, setup: Setup) -> None:
    """Train the encoder of a run and measure it on the test sets, the transfer tasks with three seeds at most."""
    encoder = base_name(run.base, setup.work)
    if run.system != START:
        train(run, setup)
        encoder = str(setup.work / run.name / "encoder")
    for group in MAIN if setup.transfer and run.seed < SEEDS else ("sts",):
        out = setup.work / run.name / group
        evaluate_encoders({run.system: encoder}, setup.data, [group], out=out, pooling="mean")


def base_name(base: str, work: Path) -> str:
    """Return what a base is loaded by."""
    return BERT_TINY if base == "bert-tiny" else str(first_layers(MINILM, 3, work / "minilm-3"))


def whitened(data: Path, work: Path) -> str:
    """Return the folder of the label-free teacher, made once."""
    folder = work / "whitened"
    if not folder.exists():
        sentences = draw_sentences(data, 10_000, DRAW, work / "sentences" / f"10000-{DRAW}.txt")
        whiten_encoder(SMOLLM2, sentences, folder, layers=1)
    return str(folder)


def test_scores(folder: Path) -> dict[str, float]:
    """Return what a run was measured at, by metric: the averages, and one a task; nothing before that."""
    found = {}
    for group, main in MAIN.items():
        file = folder / group / "results.json"
        for row in read_json(file)["rows"] if file.exists() else []:
            if row["metric"] == main:
                found[row["task"]] = row["values"][0]
            elif row["metric"] == f"{group}_avg":
                found[row["metric"]] = row["values"][0]
    return found


def dev_score(folder: Path) -> dict[str, float]:
    """Return the best score on STS-B dev; nothing before the training has ended."""
    file = folder / "encoder" / "training.json"
    return {"stsb_dev": read_json(file)["result"]["chosen_by"]["best"]} if file.exists() else {}


def gather(runs: Sequence[Run], work: Path, results: Path, *, ablations: bool) -> None:
    """Write the results of every finished run, in the order of all `runs`."""
    found: dict[Key, dict[int, float]] = {}
    for run in runs:
        folder = work / run.name
        for metric, value in (dev_score(folder) if ablations else test_scores(folder)).items():
            found.setdefault(_key(run, metric, ablations), {})[run.seed] = value
    order = in_order(_key(run, "", ablations)[:2] for run in runs)
    publish(results / results_name(ablations), found, order)


def results_name(ablations: bool) -> str:
    """Return the name of the file of results."""
    return f"encoder-{'ablations' if ablations else 'ranking'}.json"


def lacking(runs: Sequence[Run], target: Path, *, transfer: bool, ablations: bool) -> list[Run]:
    """Return the runs of which a file of results lacks something."""
    there = published(target)

    def lacks(run: Run) -> bool:
        wanted = ["stsb_dev"] if ablations else ["sts_avg"]
        if transfer and not ablations and run.seed < SEEDS:
            wanted.append("transfer_avg")
        return any(run.seed not in there.get(_key(run, metric, ablations), {}) for metric in wanted)

    return [run for run in runs if lacks(run)]


def _key(run: Run, metric: str, ablations: bool) -> Key:
    system = " ".join(run.changes) or "defaults" if ablations else run.system
    unit = "Spearman x 100" if metric.startswith(("sts", "sickr")) else "x 100"
    return run.task, system, metric, unit


def _start() -> None:
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End when the benchmark was killed: nobody would write down what comes out."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def main() -> None:
    """Do everything that is not finished yet, several runs at a time, one thread each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time (%(default)s)")
    parser.add_argument("--work", type=Path, default=WORK, help="where the runs are kept (%(default)s)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the JSON goes (%(default)s)")
    parser.add_argument("--base", action="append", choices=BASES, help="only this base; may be repeated")
    names = list(dict.fromkeys(system for system, _ in SYSTEMS))
    parser.add_argument("--system", action="append", choices=names, help="only this system; may be repeated")
    parser.add_argument("--seeds", type=int, default=MORE_SEEDS, help="at most so many seeds (%(default)s)")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--sentences", type=int, default=64_000)
    parser.add_argument(
        "--transfer", action="store_true", help="the transfer tasks as well, with three seeds at most"
    )
    parser.add_argument("--label-free", metavar="NAME", help="teacher without labels: folder, package:... or hub")
    parser.add_argument("--ablations", action="store_true", help="other settings, by STS-B dev")
    parser.add_argument("--missing", action="store_true", help="only what the results lack")
    options = parser.parse_args()
    if "HUNDREDTH_DATA" not in os.environ:
        sys.exit("set HUNDREDTH_DATA to the folder that holds the benchmark data (senteval/, wiki/)")
    os.environ.update(OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")
    label_free = options.label_free or whitened(Path(os.environ["HUNDREDTH_DATA"]), options.work.absolute())
    teachers = {"minilm": MINILM, "mpnet": mpnet(), "label-free": label_free}
    had = {name: str(path) for name, path in teachers.items() if path is not None}
    for name in teachers.keys() - had.keys():
        print(f"no teacher {name}: the systems that need it are left out", flush=True)
    work = options.work.absolute()
    setup = Setup(Path(os.environ["HUNDREDTH_DATA"]), work, options.sentences, options.steps, options.transfer, had)
    if options.ablations:
        runs, all_runs = ablation_runs(options.seeds), ablation_runs(SEEDS)
    else:
        runs = main_runs(options.base or BASES, options.system or names, had, options.seeds)
        all_runs = main_runs(BASES, names, teachers, MORE_SEEDS)
    if options.missing:
        target = options.results / results_name(options.ablations)
        runs = lacking(runs, target, transfer=options.transfer, ablations=options.ablations)
    for base in {run.base for run in runs}:
        base_name(base, work)
    do = train if options.ablations else train_and_test
    with ProcessPoolExecutor(options.jobs, get_context("spawn"), _start) as pool:
        waiting = {pool.submit(do, run, setup): run for run in runs}
        try:
            for done in as_completed(waiting):
                error = done.exception()
                print(f"{waiting[done].name}: {'done' if error is None else 'failed'}", flush=True)
                if error is not None:
                    traceback.print_exception(error)
                # Also those that were finished earlier, and are left out now.
                gather(all_runs, work, options.results, ablations=options.ablations)
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
            raise


if __name__ == "__main__":
    main()
