"""The command line: thin commands over the Python API, and errors said in one line.

What is heavy is imported inside the commands, so that `hundredth predict` runs without the training stack and
`--help` at once.
"""

import io
import sys
import warnings
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hundredth import console
from hundredth.console import plain_errors
from hundredth.encoder_commands import app as encoder_app
from hundredth.errors import UserError
from hundredth.knowledge_commands import app as knowledge_app
from hundredth.service_commands import serve

if TYPE_CHECKING:
    from hundredth.runtime import Model

_CHUNK = 256  # texts predicted at a time: the first answers come soon, and a file of any length is streamed

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
app.add_typer(encoder_app, name="encoder")
app.add_typer(knowledge_app, name="knowledge")
app.command()(serve)


def main() -> None:
    """Run the command line."""
    if not sys.warnoptions:
        # Libraries tell developers in this way what will change: nothing that a user could act on.
        warnings.simplefilter("ignore", FutureWarning)
    app()


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"hundredth {version('hundredth')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Hand an LLM's knowledge of your task to a model one hundredth its size.

    \b
    hundredth transfer tickets.csv --llm LLM --student ENCODER --out runs/tickets
    hundredth predict runs/tickets "my card was swallowed"
    hundredth evaluate runs/tickets tickets-test.csv
    """


@app.command()
def transfer(
    data: Annotated[
        Path | None, typer.Argument(help="File of labelled texts: .csv, .tsv, .jsonl or .parquet.")
    ] = None,
    llm: Annotated[
        str | None, typer.Option(help="The LLM: folder, .gguf file, package:PACKAGE/PATH, or hub name.")
    ] = None,
    student: Annotated[
        str | None, typer.Option(help="BERT-like encoder to start from: folder, package:..., or hub name.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run; the model comes to lie in OUT/model.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="Benchmark task to read from DATA, such as trec or rte.")] = None,
    data_folder: Annotated[Path | None, typer.Option("--data", help="The same as DATA.")] = None,
    dev: Annotated[Path | None, typer.Option(help="File of development examples; else drawn from DATA.")] = None,
    unlabelled: Annotated[Path | None, typer.Option(help="File of texts without labels; .txt: one a line.")] = None,
    unlabelled_limit: Annotated[int | None, typer.Option(help="Draw this many unlabelled texts.")] = None,
    text_column: Annotated[
        list[str] | None, typer.Option(help="Column of the text; give it twice for a pair of texts.")
    ] = None,
    label_column: Annotated[str | None, typer.Option(help="Column of the label.")] = None,
    about: Annotated[
        str | None, typer.Option(help="What the texts are, for the LLM: 'a message to a bank'.")
    ] = None,
    limit_per_class: Annotated[int | None, typer.Option(help="Train on this many examples a class.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every stage.")] = None,
    rl: Annotated[
        str | None, typer.Option(metavar="ppo|grpo|none", help="Train the soft prompt further by rewards.")
    ] = None,
    reward: Annotated[
        list[str] | None,
        typer.Option(metavar="MODULE:FUNCTION[@WEIGHT]", help="Reward of your own for --rl; may be repeated."),
    ] = None,
    prune_vocabulary: Annotated[
        bool | None,
        typer.Option(
            "--prune-vocabulary/--no-prune-vocabulary",
            help="Cut the student's vocabulary down until it is a hundredth of the LLM.",
        ),
    ] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads; 0 for all.")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file of settings, such as OUT/run.yaml.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Any other setting.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing of the progress.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what came out as one JSON object.")] = False,
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
                    "text_columns": text_column or None,
                    "label_column": label_column,
                    "about": about,
                    "limit_per_class": limit_per_class,
                },
                "llm": {"name": llm},
                "rl": {"algorithm": rl, "rewards": reward or None},
                "base": {"name": student, "prune_vocabulary": prune_vocabulary},
                "threads": threads,
            }
        )
        from hundredth.hub import give_up_early_without_hub
        from hundredth.pipeline.config import make_config
        from hundredth.pipeline.progress import Reporter
        from hundredth.pipeline.transfer import transfer as run_transfer

        made = make_config(values, config, tuple(settings or ()), seed)
        give_up_early_without_hub([made.llm.name, made.base.name])
        run = run_transfer(made, out, Reporter(quiet))
        typer.echo(console.run_as_json(run) if as_json else console.run_as_text(run))


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="Folder of a model, or of the run that made it.")],
    texts: Annotated[list[str] | None, typer.Argument(help="Texts to label.")] = None,
    file: Annotated[
        Path | None, typer.Option(help="File of texts: .txt (one a line), or .csv, .tsv, .jsonl with the columns.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a text.")] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Say which stored texts decided it.")] = False,
    abstain_below: Annotated[
        float | None, typer.Option(help="Give no label where its probability is below this.")
    ] = None,
    max_error: Annotated[
        float | None,
        typer.Option(help="Give no label where more than this share would be wrong, by the dev texts."),
    ] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads; all by default.")] = None,
) -> None:
    """Label texts: prints label, probability and text, with tabs between, a line a text.

    \b
    hundredth predict runs/tickets "my card was swallowed" "where is my refund"
    hundredth predict runs/tickets --file mails.csv --json > labels.jsonl
    cat mails.txt | hundredth predict runs/tickets
    hundredth predict runs/tickets --explain "my card was swallowed"
    hundredth predict runs/tickets --file mails.csv --max-error 0.05

    A text without an answer gets the label "-", in JSON null.
    For a task of more than one field use --file, or pipe JSON lines such as {"premise": ..., "hypothesis": ...}.
    """
    with plain_errors():
        from hundredth import load

        with load(console.model_folder(model), threads) as loaded:
            found = _texts(loaded, texts or [], file)
            least = loaded.threshold(abstain_below=abstain_below, max_error=max_error)
            if explain:
                lines_of = console.explained_as_json if as_json else console.explained
            else:
                lines_of = console.labelled_as_json if as_json else console.labelled
            empty = True
            while chunk := list(islice(found, _CHUNK)):
                empty = False
                typer.echo("\n".join(lines_of(loaded, chunk, least)))
            if empty:
                raise UserError(f"{file or 'standard input'} holds no text")


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    test: Annotated[
        Path | None,
        typer.Argument(help="File of labelled texts that the run has not seen; a benchmark has its own."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Train each system this many times.")] = 3,
    system: Annotated[
        list[str] | None, typer.Option(help="Evaluate this system only; more than once, these; 'all' for all.")
    ] = None,
    all_controls: Annotated[
        bool,
        typer.Option("--controls", help="Evaluate every system, also those for which the LLM writes anew (slow)."),
    ] = False,
    limit: Annotated[int | None, typer.Option(help="Test on at most this many texts.")] = None,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0 for all.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as one JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing of the progress.")] = False,
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
        from hundredth.evaluation.controls import evaluate as run_evaluation
        from hundredth.evaluation.report import write_report
        from hundredth.hub import give_up_early_without_hub
        from hundredth.pipeline.progress import Reporter
        from hundredth.pipeline.transfer import Run
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
            systems=["all"] if all_controls else system or None,
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


def _texts(model: "Model", given: Sequence[str], file: Path | None) -> Iterator[tuple[str, ...]]:
    from hundredth.runtime import read_texts

    fields = ", ".join(model.fields)
    if given and file is not None:
        raise UserError(f"texts are given and --file {file} too: leave one out")
    if given and len(model.fields) > 1:
        raise UserError(f"this task reads {fields}: use --file, or pipe JSON lines with these keys")
    if given:
        return iter([(text,) for text in given])
    if file is not None:
        return read_texts(file, model.fields)
    if sys.stdin.isatty():
        raise UserError("no texts: give them as arguments, with --file, or pipe them in")
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8-sig", errors="strict")
    return read_texts(sys.stdin, model.fields)
