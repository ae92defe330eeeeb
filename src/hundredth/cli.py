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
from typing import TYPE_CHECKING

import click

from hundredth import console
from hundredth.console import plain_errors
from hundredth.encoder_commands import encoder
from hundredth.errors import UserError
from hundredth.folders import model_folder
from hundredth.knowledge_commands import knowledge
from hundredth.knowledge_files import export, import_entries, tune
from hundredth.options import (
    PATH,
    Command,
    Group,
    argument,
    engine_option,
    json_option,
    model_argument,
    text_columns_option,
)
from hundredth.run_commands import evaluate, transfer
from hundredth.service_commands import serve

if TYPE_CHECKING:
    from hundredth.runtime import Model
    from hundredth.runtime.engines import EngineName

_CHUNK = 256  # texts predicted at a time: the first answers come soon, and one text a line is streamed


def main() -> None:
    """Run the command line."""
    if not sys.warnoptions:
        # Libraries tell developers in this way what will change: nothing that a user could act on.
        warnings.simplefilter("ignore", FutureWarning)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # pipes have another encoding on Windows
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    app()


@click.group("hundredth", cls=Group, context_settings={"show_default": True})
@click.version_option(package_name="hundredth", message="%(package)s %(version)s", help="Print the version.")
def app() -> None:
    """Hand an LLM's knowledge of your task to a model one hundredth its size.

    \b
    hundredth transfer tickets.csv --llm LLM --student ENCODER --out runs/tickets
    hundredth predict runs/tickets "my card was swallowed"
    hundredth evaluate runs/tickets tickets-test.csv
    """


@click.command(cls=Command)
@model_argument
@argument("texts", "Texts to label.", nargs=-1)
@click.option(
    "--file", type=PATH, help="File of texts: .txt (one a line), or .csv, .tsv, .jsonl, .parquet with the columns."
)
@text_columns_option
@json_option("Print one JSON object a text.")
@click.option("--explain", is_flag=True, help="Say which stored texts decided it.")
@click.option("--abstain-below", type=float, help="Give no label where its probability is below this.")
@click.option(
    "--max-error", type=float, help="Give no label where more than this share would be wrong, by the dev texts."
)
@click.option("--threads", type=int, help="CPU threads; all by default.")
@engine_option
def predict(
    model: Path,
    texts: tuple[str, ...],
    file: Path | None,
    text_columns: tuple[str, ...],
    as_json: bool,
    explain: bool,
    abstain_below: float | None,
    max_error: float | None,
    threads: int | None,
    engine: "EngineName",
) -> None:
    """Label texts: prints label, probability and text, with tabs between, a line a text.

    \b
    hundredth predict runs/tickets "my card was swallowed" "where is my refund"
    hundredth predict runs/tickets --file mails.csv --json > labels.jsonl
    cat mails.txt | hundredth predict runs/tickets
    hundredth predict runs/tickets --explain "my card was swallowed"
    hundredth predict runs/tickets --file mails.csv --max-error 0.05

    A text without an answer gets the label "-", in JSON null. JSON has the text too, and its line. Blank lines are
    passed over, and counted on standard error.
    For a task of more than one field use --file, or pipe JSON lines such as {"premise": ..., "hypothesis": ...}.
    """
    with plain_errors():
        from hundredth import load

        with load(model_folder(model), threads, engine) as loaded:
            blank: list[int] = []
            found = _texts(loaded, texts, file, text_columns, blank)
            least = _threshold(loaded, abstain_below, max_error)
            if explain:
                lines_of = console.explained_as_json if as_json else console.explained
            else:
                lines_of = console.labelled_as_json if as_json else console.labelled
            empty = True
            while chunk := list(islice(found, _CHUNK)):
                empty = False
                click.echo("\n".join(lines_of(loaded, chunk, least)))
            if empty:
                raise UserError(f"{file or 'standard input'} holds no text")
            if blank:
                lines = "1 blank line was" if len(blank) == 1 else f"{len(blank):,} blank lines were"
                click.echo(f"{lines} passed over", err=True)


def _threshold(model: "Model", abstain_below: float | None, max_error: float | None) -> float:
    try:
        return model.threshold(abstain_below=abstain_below, max_error=max_error)
    except UserError as error:
        said = str(error).replace("abstain_below", "--abstain-below").replace("max_error", "--max-error")
        raise UserError(said) from None


def _texts(
    model: "Model", given: Sequence[str], file: Path | None, text_columns: Sequence[str], blank: list[int]
) -> Iterator[console.Numbered]:
    from hundredth.text_files import ERRORS, read_texts

    fields = ", ".join(model.fields)
    if given and file is not None:
        raise UserError(f"texts are given and --file {file} too: leave one out")
    if given and len(model.fields) > 1:
        raise UserError(f"this task reads {fields}: use --file, or pipe JSON lines with these keys")
    if given and text_columns:
        raise UserError(f"texts are given and --text-column {text_columns[0]} too: leave one out")
    if given:
        return iter([(number, (text,)) for number, text in enumerate(given, start=1)])
    if file is not None:
        return read_texts(file, model.fields, text_columns, blank)
    if sys.stdin.isatty():
        raise UserError("no texts: give them as arguments, with --file, or pipe them in")
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8-sig", errors=ERRORS)
    return read_texts(sys.stdin, model.fields, text_columns, blank)


for of_files in (tune, import_entries, export):
    knowledge.add_command(of_files)
for command in (serve, transfer, predict, evaluate, encoder, knowledge):
    app.add_command(command)
