"""The commands that make a run and measure it: `hundredth transfer` and `hundredth evaluate`.

What is heavy is imported inside them, as in `hundredth.cli`.
"""

from pathlib import Path
from typing import Any

import click

from hundredth import console
from hundredth.console import plain_errors
from hundredth.errors import UserError
from hundredth.options import PATH, Command, argument, json_option, quiet_option, set_option, threads_option


@click.command(cls=Command)
@argument("data", "File of labelled texts: .csv, .tsv, .jsonl or .parquet.", type=PATH, required=False)
@click.option("--llm", help="The LLM: folder, .gguf file, package:PACKAGE/PATH, or hub name.")
@click.option("--student", help="BERT-like encoder to start from: folder, package:..., or hub name.")
@click.option("--out", type=PATH, help="Folder of the run; the model comes to lie in OUT/model.")
@click.option("--task", help="Benchmark task to read from DATA, such as trec or rte.")
@click.option("--data", "data_folder", type=PATH, help="The same as DATA.")
@click.option("--dev", type=PATH, help="File of development examples; else drawn from DATA.")
@click.option("--unlabelled", type=PATH, help="File of texts without labels; .txt: one a line.")
@click.option("--unlabelled-limit", type=int, help="Draw this many unlabelled texts.")
@click.option("--text-column", multiple=True, help="Column of the text; give it twice for a pair of texts.")
@click.option("--label-column", help="Column of the label.")
@click.option("--about", help="What the texts are, for the LLM: 'a message to a bank'.")
@click.option("--limit-per-class", type=int, help="Train on this many examples a class.")
@click.option("--seed", type=int, help="Seed of every stage.")
@click.option("--rl", metavar="ppo|grpo|none", help="Train the soft prompt further by rewards.")
@click.option(
    "--reward",
    metavar="MODULE:FUNCTION[@WEIGHT]",
    multiple=True,
    help="Reward of your own for --rl; may be repeated.",
)
@click.option(
    "--prune-vocabulary/--no-prune-vocabulary",
    default=None,
    help="Cut the student's vocabulary down until it is a hundredth of the LLM.",
)
@click.option(
    "--factorise-vocabulary/--no-factorise-vocabulary",
    default=None,
    help="Come down to that size with every token, each with fewer numbers.",
)
@click.option("--threads", type=int, help="CPU threads; 0 for all.")
@click.option("--config", type=PATH, help="YAML file of settings, such as OUT/run.yaml.")
@set_option("PATH=VALUE")
@quiet_option
@json_option("Print what came out as one JSON object.")
def transfer(
    data: Path | None,
    llm: str | None,
    student: str | None,
    out: Path | None,
    task: str | None,
    data_folder: Path | None,
    dev: Path | None,
    unlabelled: Path | None,
    unlabelled_limit: int | None,
    text_column: tuple[str, ...],
    label_column: str | None,
    about: str | None,
    limit_per_class: int | None,
    seed: int | None,
    rl: str | None,
    reward: tuple[str, ...],
    prune_vocabulary: bool | None,
    factorise_vocabulary: bool | None,
    threads: int | None,
    config: Path | None,
    settings: tuple[str, ...],
    quiet: bool,
    as_json: bool,
) -> None:
    """Make a small model for a labelling task from a few labelled texts and an LLM.

    \b
    hundredth transfer tickets.csv --llm HuggingFaceTB/SmolLM2-135M-Instruct \\
        --student prajjwal1/bert-tiny --out runs/tickets
    hundredth transfer nli.csv --text-column premise --text-column hypothesis \\
        --llm models/llama --student models/bert-tiny --out runs/nli
    hundredth transfer --task trec --data senteval --limit-per-class 16 ... --out runs/trec
    hundredth transfer tickets.csv ... --rl ppo --reward mine:polite@0.5 --out runs/polite
    hundredth transfer --config runs/tickets/run.yaml --set student.epochs=20 --out runs/longer

    A run that was stopped, or whose settings or data have changed, goes on with the same command: what is
    already there and still fits is kept. OUT/run.yaml lists every setting.
    """
    with plain_errors(out, resumable=True):
        if out is None:
            raise UserError("no folder to write to: name one with --out, such as --out runs/tickets")
        if data is not None and data_folder is not None:
            raise UserError(f"the data is named twice, {data} and --data {data_folder}: leave one out")
        values = _without_none(
            {
                "task": {
                    "data": data or data_folder,
                    "task": task,
                    "dev": dev,
                    "unlabelled": unlabelled,
                    "unlabelled_limit": unlabelled_limit,
                    "text_columns": list(text_column) or None,
                    "label_column": label_column,
                    "about": about,
                    "limit_per_class": limit_per_class,
                },
                "llm": {"name": llm},
                "rl": {"algorithm": rl, "rewards": list(reward) or None},
                "base": {
                    "name": student,
                    "prune_vocabulary": prune_vocabulary,
                    "factorise_vocabulary": factorise_vocabulary,
                },
                "threads": threads,
            }
        )
        from hundredth.hub import give_up_early_without_hub
        from hundredth.pipeline.config import make_config
        from hundredth.pipeline.progress import Reporter
        from hundredth.pipeline.transfer import transfer as run_transfer

        made = make_config(values, config, settings, seed)
        give_up_early_without_hub([made.llm.name, made.base.name])
        run = run_transfer(made, out, Reporter(quiet))
        click.echo(console.run_as_json(run) if as_json else console.run_as_text(run))


@click.command(cls=Command)
@argument("run", "Folder of a finished run.", type=PATH)
@argument(
    "test",
    "File of labelled texts that the run has not seen; a benchmark has its own.",
    type=PATH,
    required=False,
)
@click.option("--seeds", type=click.IntRange(min=1), default=3, help="Train each system this many times.")
@click.option("--system", multiple=True, help="Evaluate this system only; more than once, these; 'all' for all.")
@click.option(
    "--controls",
    "all_controls",
    is_flag=True,
    help="Evaluate every system, also those for which the LLM writes anew (slow).",
)
@click.option("--limit", type=int, help="Test on at most this many texts.")
@threads_option("CPU threads; 0 for all.")
@json_option("Print the results as one JSON object.")
@quiet_option
def evaluate(
    run: Path,
    test: Path | None,
    seeds: int,
    system: tuple[str, ...],
    all_controls: bool,
    limit: int | None,
    threads: int,
    as_json: bool,
    quiet: bool,
) -> None:
    """Measure a run's model beside its controls on texts that it has not seen; writes a report to look at.

    \b
    hundredth evaluate runs/tickets tickets-test.csv
    hundredth evaluate runs/tickets tickets-test.csv --controls
    hundredth evaluate runs/tickets tickets-test.csv --seeds 1 --system full --system student

    The controls are the LLM itself, and the same small model with less and less of the method: they show what
    each part is worth, and a line says it for each. An evaluation that was stopped goes on with the same command.
    """
    with plain_errors(run, resumable=True):
        if (run / "hundredth.json").exists() and not (run / "run.yaml").exists():
            made_by = run.absolute().parent
            of = f", {made_by}" if (made_by / "run.yaml").exists() else ""
            raise UserError(f"{run} is a model: name the folder of the run that made it{of}")
        from hundredth.evaluation.controls import evaluate as run_evaluation
        from hundredth.evaluation.report import write_report
        from hundredth.hub import give_up_early_without_hub
        from hundredth.pipeline.progress import Reporter
        from hundredth.pipeline.run import Run
        from hundredth.tasks import load_labelled

        if all_controls and system:
            raise UserError(f"--controls and --system {system[0]} are both given: leave one out")
        reporter = Reporter(quiet)
        opened = Run.open(run, reporter)
        give_up_early_without_hub([opened.config.llm.name, opened.config.base.name])
        notes: list[str] = []
        task, longest = opened.data.task, opened.config.task.max_characters
        examples = load_labelled(test, task, max_characters=longest, notes=notes) if test is not None else None
        for note in notes:
            reporter.say(f"  {note}")
        evaluation = run_evaluation(
            run,
            examples,
            systems=["all"] if all_controls else list(system) or None,
            seeds=range(seeds),
            reporter=reporter,
            threads=threads,
            limit=limit,
        )
        write_report(evaluation)
        console.show_evaluation(evaluation, as_json)


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    nested = {key: _without_none(value) if isinstance(value, dict) else value for key, value in values.items()}
    return {key: value for key, value in nested.items() if value is not None and (value != {} or key == "task")}
