"""The commands of `hundredth knowledge` that take files in and give them out.

What is heavy is imported inside the commands, as in `hundredth.cli`.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hundredth.console import plain_errors
from hundredth.errors import UserError
from hundredth.files import atomic_path
from hundredth.folders import model_folder
from hundredth.knowledge_commands import log_options, new_labels_by, opened, shown, who
from hundredth.options import (
    PATH,
    Command,
    argument,
    json_option,
    label_column_option,
    model_argument,
    text_columns_option,
)

if TYPE_CHECKING:
    from hundredth.entry_imports import Sifted
    from hundredth.store import Change

_LONG = 2000  # texts from which on a bar shows how far they are
_LINES, _TABLE = (".jsonl", ".ndjson"), ".csv"


@click.command(cls=Command)
@model_argument
@argument("file", "File of labelled texts: .csv, .tsv, .jsonl or .parquet.", type=PATH, required=False)
@label_column_option
@text_columns_option
@click.option("--dry-run", is_flag=True, help="Say what would be chosen, and change nothing.")
@click.option("--undo", "back", is_flag=True, help="Take the last choice back; without a file.")
@json_option("Print one JSON object a line.")
def tune(
    model: Path,
    file: Path | None,
    label_column: str,
    text_columns: tuple[str, ...],
    dry_run: bool,
    back: bool,
    as_json: bool,
) -> None:
    """Choose K, t, lambda and the calibration anew on labelled texts; nothing is trained.

    \b
    hundredth knowledge tune runs/tickets labelled.csv
    hundredth knowledge tune runs/tickets --undo

    For a model to which much has been added: what was chosen before may give the new entries too little weight.
    The texts should be like those that the model is used on, those that the new entries are about among them; at
    least 20. What is clearly less likely on them than the settings there are is not taken. Not for a label of
    which there are only a few entries: they count in full already, and need no tuning. A model that is in use
    elsewhere has to be loaded again.
    """
    with plain_errors():
        from hundredth import load
        from hundredth.pipeline.tune import tune as tune_model
        from hundredth.pipeline.tuned import untune
        from hundredth.runtime.texts import columns_for
        from hundredth.tasks import Task, Verbalisation, load_labelled

        folder = model_folder(model)
        if back:
            if file is not None or dry_run:
                raise UserError(f"--undo and {'--dry-run' if file is None else file} are both given: leave one out")
            undone = untune(folder)
            click.echo(json.dumps(undone.to_dict()) if as_json else undone.line())
            return
        if file is None:
            raise UserError("no file of labelled texts: name one, or take the last choice back with --undo")
        with load(folder, threads=1) as loaded:  # for the labels, of which some may have been added
            name, fields, labels = loaded.manifest.task.name, loaded.fields, loaded.labels
        columns = columns_for(fields, text_columns, label_column)
        words = Verbalisation.default(columns, labels)
        task = Task(name, columns, labels, words, label_column=label_column)
        found = tune_model(folder, load_labelled(file, task, options=True), save=not dry_run)
        click.echo(json.dumps(found.to_dict()) if as_json else "\n".join(found.lines()))


@click.command("import", cls=Command)
@model_argument
@argument("file", "File of labelled texts: .csv, .tsv, .jsonl or .parquet.", type=PATH)
@label_column_option
@text_columns_option
@click.option("--new-labels", is_flag=True, help="Add the labels that the model does not know; they are for good.")
@click.option("--dry-run", is_flag=True, help="Read and check the file, and change nothing.")
@log_options
def import_entries(
    model: Path,
    file: Path,
    label_column: str,
    text_columns: tuple[str, ...],
    new_labels: bool,
    dry_run: bool,
    by: str | None,
    note: str,
    as_json: bool,
) -> None:
    """Add all labelled texts of a file as one change, which one undo takes back.

    \b
    hundredth knowledge import runs/tickets labelled.csv
    hundredth knowledge import runs/tickets complaints.jsonl --new-labels --dry-run

    What the file says twice and what is known already is left out. A file with a bad row is refused as a whole.
    What `export` wrote is read back as it was, with soft labels and origins; what a new model had no place for, as
    the changes that it was, each with its author and time.
    """
    with opened(model, threads=None) as loaded, new_labels_by("--new-labels"):
        from hundredth.entry_files import read_entries
        from hundredth.entry_imports import added_labels, put, sift

        rows = read_entries(file, loaded.fields, label_column, text_columns)
        found = sift(rows, loaded)
        added = added_labels(file, found.new, loaded.labels, new_labels)
        changes: list[Change] = []
        if found.new and not dry_run:
            with _bar(len(found.new)) as progress:
                changes = put(loaded, model_folder(model), found.new, who(by), note or _name(file), progress)
        if as_json:
            counts = {"added": len(found.new), "repeated": found.repeated, "known": found.known}
            doubts = {"outdated": found.outdated, "disputed": found.disputed, "contradictory": found.contradictory}
            told = {**counts, **doubts, "new_labels": added}
            click.echo(
                json.dumps({"changes": [change.to_dict() for change in changes], **told}, ensure_ascii=False)
            )
            return
        for change in changes:
            click.echo(shown(change, as_json=False))
        for line in _told(found, added, dry_run):
            click.echo(line)


@click.command(cls=Command)
@model_argument
@argument("file", "File to write, .jsonl or .csv; - for standard output.", type=PATH, default="-", required=False)
@click.option("--origin", help="Only entries of an origin: gold, generated, unlabelled or user.")
@label_column_option
def export(model: Path, file: Path, origin: str | None, label_column: str) -> None:
    """Write entries with texts, label, likeliest label, soft label, origin, id and time, for `import` or others.

    \b
    hundredth knowledge export runs/tickets taught.jsonl --origin user
    hundredth knowledge export runs/tickets | head -3
    """
    with opened(model) as loaded:
        from hundredth.entry_files import write_entries

        suffix = file.suffix.lower()
        # A name that is no origin is refused there.
        entries = loaded.store.entries(origin)  # type: ignore[arg-type]
        if str(file) == "-":
            write_entries(sys.stdout, loaded, entries, label_column)
            return
        if suffix not in (*_LINES, _TABLE):
            raise UserError(f"{file} ends in {suffix!r}: write {', '.join(_LINES)} or {_TABLE}")
        with atomic_path(file) as temporary, temporary.open("w", encoding="utf-8", newline="") as out:
            count = write_entries(out, loaded, entries, label_column, as_csv=suffix == _TABLE)
        click.echo(f"{count:,} {_entries(count)}: {file}")


@contextmanager
def _bar(count: int) -> Iterator[Callable[[int], None] | None]:
    """Yield what shows how far so many texts are, on a terminal and where it takes long."""
    if count < _LONG or not sys.stderr.isatty():
        yield None
        return
    with click.progressbar(length=count, label="encoding", file=sys.stderr) as bar:
        yield bar.update


def _told(found: "Sifted", added: Sequence[str], dry_run: bool) -> Iterator[str]:
    would = "would be added" if dry_run else "added"
    parts = [f"{len(found.new):,} {_entries(len(found.new))} {would}"]
    parts += [f"{found.repeated:,} repeated in the file"] if found.repeated else []
    parts += [f"{found.known:,} known already"] if found.known else []
    parts += [f"{found.outdated:,} older than what users said since"] if found.outdated else []
    yield ", ".join(parts)
    if added:
        yield f"new labels: {', '.join(map(repr, added))}"
    if found.disputed:
        texts = "1 text has" if found.disputed == 1 else f"{found.disputed:,} texts have"
        yield f"{texts} entries with another label too: of users' entries the newest decides"
    if found.contradictory:
        rows = "1 row has" if found.contradictory == 1 else f"{found.contradictory:,} rows have"
        yield f"{rows} a soft label that is not of the label: the label counts"


def _entries(count: int) -> str:
    return "entry" if count == 1 else "entries"


def _name(file: Path) -> str:
    """Return a file's name for the log, readable where it is not UTF-8."""
    return os.fsencode(file.name).decode(errors="replace")
