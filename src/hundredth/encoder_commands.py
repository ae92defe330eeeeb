"""The commands of `hundredth encoder`: training sentence encoders by ranking, and evaluating them.

What is heavy is imported inside the commands, as in `hundredth.cli`.
"""

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import click

from hundredth.console import plain_errors
from hundredth.files import read_json
from hundredth.options import PATH, Group, argument, json_option, quiet_option, set_option, threads_option

_out_option = click.option("--out", type=PATH, required=True, help="Folder to write the encoder to.")
_column_option = click.option(
    "--column",
    help="Column of the sentences in tables and datasets; by default the only one of texts, else the one called "
    "sentence, text, sentences or texts.",
)


@click.group(cls=Group)
def encoder() -> None:
    """Train and evaluate sentence encoders."""


@encoder.command()
@argument(
    "corpus",
    "Sentences: .txt or .txt.gz, one a line; .csv, .tsv, .jsonl, .parquet; datasets.",
    nargs=-1,
    required=True,
)
@click.option(
    "--base", required=True, help="Encoder or LLM to start from: folder, package:PACKAGE/PATH, or hub name."
)
@_out_option
@click.option(
    "--teacher", multiple=True, help="Encoder whose rankings to learn, or a .npy of embeddings; any number."
)
@click.option(
    "--weight",
    type=float,
    multiple=True,
    help="Weight of each teacher, in their order, with sum 1; alike by default.",
)
@click.option("--dev", type=PATH, help="Scored pairs to choose the best step by: .csv, .tsv or .jsonl.")
@click.option(
    "--senteval", type=PATH, help="Folder in SentEval's layout: choose the best step by STS-B's dev pairs."
)
@click.option(
    "--method", default="rankcse", help="rankcse, listnet or listmle; without teachers simcse or consistency."
)
@_column_option
@click.option("--negatives", help="Column with a hard negative of each sentence; none by default.")
@click.option("--batch-size", type=int, help="Sentences a step, over all processes.")
@click.option("--epochs", type=int, help="Passes over the corpus.")
@click.option("--steps", type=int, help="Optimizer steps, in place of --epochs.")
@click.option("--learning-rate", type=float, help="Peak rate; chosen by the encoder's width.")
@click.option("--seed", type=int, help="Seed of the order, the dropout and the held-out sentences.")
@set_option("NAME=VALUE")
@click.option("--cache", type=PATH, help="Folder that keeps the teachers' embeddings.")
@threads_option("CPU threads; 0 for torch's own choice.")
@json_option("Print what came out as one JSON object.")
@quiet_option
def train(
    corpus: tuple[str, ...],
    base: str,
    out: Path,
    teacher: tuple[str, ...],
    weight: tuple[float, ...],
    dev: Path | None,
    senteval: Path | None,
    method: str,
    column: str | None,
    negatives: str | None,
    batch_size: int | None,
    epochs: int | None,
    steps: int | None,
    learning_rate: float | None,
    seed: int | None,
    settings: tuple[str, ...],
    cache: Path | None,
    threads: int,
    as_json: bool,
    quiet: bool,
) -> None:
    """Train a sentence encoder that ranks sentences as its teachers do (RankCSE), from sentences without labels.

    \b
    hundredth encoder train sentences.txt.gz --base bert-base-uncased \\
        --teacher all-MiniLM-L6-v2 --teacher all-mpnet-base-v2 --weight 0.4 --weight 0.6 --out runs/encoder
    hundredth encoder train sentences.txt --base models/bert-tiny --method simcse --out runs/simcse
    hundredth encoder train wiki.parquet --base ... --teacher ... --senteval senteval --out runs/encoder \\
        --set pooling=cls --set projection=mlp
    hundredth encoder train nli.tsv --base ... --method simcse --column premise --negatives contradiction --out ...
    torchrun --nproc-per-node 2 -m hundredth encoder train ... --out runs/encoder

    A training that was stopped goes on with the same command. The best step is chosen by --dev or --senteval, else
    by how the encoder ranks held-out sentences beside the teachers; without teachers the last step is taken.
    """
    with plain_errors(out, resumable=True):
        from hundredth.hub import give_up_early_without_hub, names_dataset

        # Before anything is imported that asks once whether there is a hub.
        models = [base, *(one for one in teacher if not one.endswith(".npy"))]
        give_up_early_without_hub([*models, *filter(names_dataset, corpus)])

        import torch

        from hundredth.pipeline.encoder import development_pairs
        from hundredth.pipeline.progress import Reporter
        from hundredth.ranking.config import make_training_config
        from hundredth.ranking.training import this_process, train_encoder
        from hundredth.ranking.workplace import RECORD

        values = {
            "batch_size": batch_size,
            "epochs": epochs,
            "steps": steps,
            "learning_rate": learning_rate,
            "seed": seed,
        }
        if threads:
            torch.set_num_threads(threads)
        train_encoder(
            base,
            corpus,
            out,
            teachers=teacher,
            weights=weight or None,
            config=make_training_config(method, values, settings),
            dev=development_pairs(dev, senteval),
            column=column,
            negatives=negatives,
            cache=cache,
            reporter=Reporter(quiet),
        )
        processes = this_process()
        if processes.is_main_process:
            result = read_json(out / RECORD)["result"]
            click.echo(json.dumps({"encoder": str(out), **result}) if as_json else _trained(out, result))
        processes.destroy_process_group()


@encoder.command()
@argument("corpus", "Sentences to whiten by, in files or datasets as for train.", nargs=-1, required=True)
@click.option("--base", required=True, help="LLM or encoder: folder, .gguf, package:PACKAGE/PATH, or hub name.")
@_out_option
@click.option("--layers", type=click.IntRange(min=1), help="Keep only so many of the first layers.")
@click.option("--dimensions", type=click.IntRange(min=1), default=128, help="Numbers of an embedding.")
@click.option(
    "--sif",
    type=float,
    default=1e-4,
    help="Smooth inverse frequency: a token of this share counts half of a rare one; 0: all alike.",
)
@click.option("--sentences", type=click.IntRange(min=2), default=10_000, help="How many sentences to whiten by.")
@_column_option
@threads_option("CPU threads; 0 for torch's own choice.")
@quiet_option
def whiten(
    corpus: tuple[str, ...],
    base: str,
    out: Path,
    layers: int | None,
    dimensions: int,
    sif: float,
    sentences: int,
    column: str | None,
    threads: int,
    quiet: bool,
) -> None:
    """Make an encoder without labels and without training: a model's first layers, their mean, whitened.

    \b
    hundredth encoder whiten sentences.txt.gz --base HuggingFaceTB/SmolLM2-135M --layers 1 --out runs/whitened
    hundredth encoder train sentences.txt.gz --base ... --teacher runs/whitened --out runs/encoder

    It makes a teacher for train where none that has seen labels may be used, in seconds.
    """
    with plain_errors(out):
        from hundredth.hub import give_up_early_without_hub, names_dataset

        give_up_early_without_hub([base, *filter(names_dataset, corpus)])

        import torch

        from hundredth.pipeline.progress import Reporter
        from hundredth.ranking.whitening import whiten_encoder

        if threads:
            torch.set_num_threads(threads)
        whiten_encoder(
            base,
            corpus,
            out,
            layers=layers,
            dimensions=dimensions,
            sif=sif,
            sentences=sentences,
            column=column,
            reporter=Reporter(quiet),
        )
        click.echo(f"encoder   {out}")


@encoder.command()
@argument("encoders", "Folder, package:PACKAGE/PATH, or hub name.", metavar="ENCODER...", nargs=-1, required=True)
@click.option("--data", type=PATH, required=True, help="Folder in SentEval's layout.")
@click.option(
    "--tasks",
    default="all",
    help="Tasks or groups of them (sts, transfer, geometry), with commas; all: those in DATA.",
)
@click.option("--out", type=PATH, help="Folder for results.json and plots; a stopped evaluation goes on there.")
@click.option("--pooling", help="cls, mean or last: reads an encoder that is no SentenceTransformer in this way.")
@click.option(
    "--seed", type=click.IntRange(0, 2**31 - 1), default=1111, help="Seed of the folds; SentEval's own by default."
)
@threads_option("CPU threads; 0 for all.")
@json_option("Print the results as one JSON object.")
@quiet_option
def evaluate(
    encoders: tuple[str, ...],
    data: Path,
    tasks: str,
    out: Path | None,
    pooling: str | None,
    seed: int,
    threads: int,
    as_json: bool,
    quiet: bool,
) -> None:
    """Measure sentence encoders side by side: STS, SentEval's transfer tasks, alignment and uniformity.

    \b
    hundredth encoder evaluate runs/encoder --data senteval
    hundredth encoder evaluate runs/encoder all-MiniLM-L6-v2 --data senteval --tasks sts --out runs/sts
    hundredth encoder evaluate bert-base-uncased --pooling mean --data senteval --tasks stsb,mr,trec

    STS12 to STS16, STS-B, SICK-R: Spearman of the cosines, all subsets of a task together. MR, CR, SUBJ, MPQA,
    SST-2, TREC, MRPC: accuracy of a logistic regression on the frozen embeddings.
    """
    with plain_errors(out, resumable=out is not None):
        from hundredth.hub import give_up_early_without_hub

        give_up_early_without_hub(encoders)

        from rich.console import Console

        from hundredth.evaluation.encoders.encoder import encoder_labels
        from hundredth.evaluation.encoders.evaluate import RESULTS, evaluate_encoders
        from hundredth.evaluation.encoders.plots import write_plots
        from hundredth.evaluation.encoders.table import encoder_tables
        from hundredth.pipeline.progress import Reporter
        from hundredth.pipeline.transfer import threads as torch_threads

        named = dict(zip(encoder_labels(encoders), encoders, strict=True))
        wanted = [name.strip() for name in tasks.split(",") if name.strip()]
        with torch_threads(threads):
            evaluation = evaluate_encoders(
                named, data, wanted, out=out, pooling=pooling, seed=seed, reporter=Reporter(quiet)
            )
        written = [out / RESULTS, *write_plots(evaluation, out)] if out is not None else []
        if as_json:
            found = {"encoders": named, **evaluation.to_dict(), "files": [str(path) for path in written]}
            click.echo(json.dumps(found, ensure_ascii=False))
            return
        console = Console(width=None if sys.stdout.isatty() else 160)
        for table in encoder_tables(evaluation):
            console.print(table, "")
        for path in written:
            click.echo(f"written  {path}")


def _trained(out: Path, result: dict[str, Any]) -> str:
    """Say what came out of a training, and what to do with it next."""
    chosen = result["chosen_by"]
    if chosen is None:
        score = "not measured: the weights are those of the last step"
    else:
        name = chosen["metric"].replace("_", " ")
        score = f"{name} {chosen['best']:.2f} at step {chosen['step']:,}, {chosen['start']:.2f} before training"
    return "\n".join(
        [
            f"encoder   {out}",
            f"score     {score}",
            f"trained   {result['steps']:,} steps on {result['corpus']['sentences']:,} sentences",
            "next",
            f"  hundredth encoder evaluate {shlex.quote(str(out))} --data SENTEVAL",
        ]
    )
