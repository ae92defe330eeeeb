"""The paper's recipe in full, for a GPU: a raw encoder, then SimCSE and RankCSE on a million sentences.

The raw encoder is BERT with 4 layers of 256, trained by masked-LM alone on the same Wikipedia sentences
(encoder_pretrain.py). Each objective starts from it and sees every sentence once, 128 at a time, 32 tokens long;
the best of the steps is chosen by STS-B dev every 125 steps. Teachers as in encoder_ranking.py, MiniLM and mpnet
where the packages that bring them are installed.

Reported are STS and the sentences a second, development scores included. Reads the data from HUNDREDTH_DATA.
Stopped and started again, it goes on where it was; results are written after every finished run. On a CPU it takes
days with the defaults: give fewer --sentences and --epochs.

    python benchmarks/encoder_recipe.py [--sentences 1000000] [--epochs 10] [--seeds 3] [--work FOLDER]
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from encoder_parts import CACHE, MINILM, draw_sentences, mpnet
from encoder_pretrain import RECORD, Pretraining, pretrain
from encoder_ranking import test_scores, whitened
from encoder_runs import DRAW, START, SYSTEMS, WEIGHTS, Run

from hundredth.evaluation.encoders.evaluate import evaluate_encoders
from hundredth.evaluation.results import Row, write_results
from hundredth.files import read_json
from hundredth.pipeline.encoder import development_pairs
from hundredth.pipeline.progress import Reporter
from hundredth.ranking import train_encoder
from hundredth.ranking.config import make_training_config

RESULTS = Path(__file__).parent / "results" / "encoder-recipe.json"
RAW = "raw"
OBJECTIVES = ("simcse", "rankcse")


def train_and_test(run: Run, work: Path, corpus: Path, data: Path, teachers: Mapping[str, str]) -> None:
    """Train an encoder by one objective from the raw one and measure it, as far as that is not done."""
    folder = work / run.name
    train_encoder(
        str(work / RAW),
        corpus,
        folder / "encoder",
        teachers=[teachers[name] for name in run.teachers],
        weights=WEIGHTS.get(run.teachers),
        config=make_training_config(run.system, {"seed": run.seed}),
        dev=development_pairs(None, data),
        reporter=Reporter(),
    )
    evaluate_encoders({run.system: str(folder / "encoder")}, data, ["sts"], out=folder / "sts", pooling="mean")


def sentences_per_second(folder: Path) -> float:
    """Return how many sentences a training has gone through in a second."""
    told = read_json(folder / "encoder" / "training.json")
    batch: int = told["settings"]["config"]["batch_size"]
    return float(told["result"]["steps"] * batch / told["result"]["seconds"])


def gather(work: Path, runs: Sequence[Run], seeds: Sequence[int], target: Path) -> None:
    """Write the results of every finished run: a row's values are in the order of the seeds."""
    rows: dict[tuple[str, str, str], list[float]] = {}
    if (work / RAW / RECORD).exists():
        made = read_json(work / RAW / RECORD)
        for name in ("layers", "width", "parameters", "sentences", "steps", "loss", "sentences_per_s"):
            rows[RAW, "masked-lm", name] = [made[name]]
    for run in runs:
        scores = test_scores(work / run.name)
        if scores and run.system != START:
            scores["sentences_per_s"] = sentences_per_second(work / run.name)
        for metric, value in scores.items():
            rows.setdefault((run.task, run.system, metric), []).append(value)
    units = {"loss": "nats/token", "sentences_per_s": "sentences/s"}
    units |= dict.fromkeys(("layers", "width", "parameters", "sentences", "steps"), "count")
    written = [Row(*key, values, units.get(key[2], "Spearman x 100")) for key, values in rows.items()]
    write_results(target, target.stem, list(seeds), written)


def main() -> None:
    """Do whatever is not done yet, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sentences", type=int, default=1_000_000, help="of Wikipedia (%(default)s)")
    parser.add_argument("--epochs", type=int, default=Pretraining.epochs, help="of masked-LM (%(default)s)")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=CACHE / "recipe", help="where runs are kept (%(default)s)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the JSON goes (%(default)s)")
    options = parser.parse_args()
    if "HUNDREDTH_DATA" not in os.environ:
        sys.exit("set HUNDREDTH_DATA to the folder that holds the benchmark data (senteval/, wiki/)")
    data, work = Path(os.environ["HUNDREDTH_DATA"]), options.work.absolute()
    corpus = draw_sentences(data, options.sentences, DRAW, work / "sentences" / f"{options.sentences}-{DRAW}.txt")
    had = {"minilm": MINILM, "mpnet": mpnet(), "label-free": whitened(data, work)}
    teachers = {name: str(path) for name, path in had.items() if path is not None}
    seeds = range(options.seeds)
    start = Run(RAW, START, (), 0)
    runs = [
        Run(RAW, system, of, seed)
        for seed in seeds
        for system, of in SYSTEMS
        if system in OBJECTIVES and set(of) <= set(teachers)
    ]
    pretrain(corpus, work / RAW, Pretraining(epochs=options.epochs))
    evaluate_encoders({START: str(work / RAW)}, data, ["sts"], out=work / start.name / "sts", pooling="mean")
    for run in runs:
        train_and_test(run, work, corpus, data, teachers)
        gather(work, [start, *runs], seeds, options.results)


if __name__ == "__main__":
    main()
