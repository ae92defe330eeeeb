"""The commands of `hundredth knowledge`: see, add, correct and delete what a model looks up, and take it back.

What is heavy is imported inside the commands, as in `hundredth.cli`.
"""

import getpass
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hundredth.console import model_folder, one_line, plain_errors
from hundredth.errors import UserError

if TYPE_CHECKING:
    from hundredth.runtime import Model
    from hundredth.store import Change, Entry

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="See and edit the knowledge of a model.")

_Model = Annotated[Path, typer.Argument(metavar="MODEL", help="Folder of a model, or of the run that made it.")]
_Texts = Annotated[list[str], typer.Argument(metavar="TEXT...", help="The text: one argument a field of the task.")]
_Label = Annotated[str, typer.Option(help="Its label, a name that the model knows.")]
_By = Annotated[str | None, typer.Option(help="Who does this, for the log; the name of your login by default.")]
_Note = Annotated[str, typer.Option(help="Why, for the log.")]
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]


@app.command("list")
def list_entries(
    model: _Model,
    search: Annotated[
        list[str] | None,
        typer.Option(help="Show the entries nearest to this text; give it once a field of the task."),
    ] = None,
    origin: Annotated[
        str | None, typer.Option(help="Only those of an origin: gold, generated, unlabelled or user.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Show at most this many.")] = 20,
    as_json: _Json = False,
) -> None:
    """Show entries: id, label, origin and text, with tabs between; found by a text, their similarity first.

    \b
    hundredth knowledge list runs/tickets --origin user
    hundredth knowledge list runs/tickets --search "the machine ate my card" --limit 5
    """
    with _opened(model) as loaded:
        if search and origin is not None:
            raise UserError(f"--search and --origin {origin} are both given: leave one out")
        found: list[tuple[Entry, float | None]]
        if search:
            found = [(hit.entry, hit.similarity) for hit in loaded.store.search(tuple(search), limit)]
        else:
            # A name that is no origin is refused there.
            entries = loaded.store.entries(origin)  # type: ignore[arg-type]
            found = [(entry, None) for entry in islice(entries, limit)]
        for entry, similarity in found:
            typer.echo(_entry_as_json(loaded, entry, similarity) if as_json else _entry(loaded, entry, similarity))


@app.command()
def add(
    model: _Model, texts: _Texts, label: _Label, by: _By = None, note: _Note = "", as_json: _Json = False
) -> None:
    """Add a text with its label; the next prediction knows of it.

    \b
    hundredth knowledge add runs/tickets "my card is stuck in the machine" --label card_swallowed
    """
    with _opened(model) as loaded:
        loaded.store.add([tuple(texts)], [label], by=_who(by), note=note)
        typer.echo(_shown(loaded.log(1)[0], as_json))


@app.command()
def correct(
    model: _Model, texts: _Texts, label: _Label, by: _By = None, note: _Note = "", as_json: _Json = False
) -> None:
    """Say what the label of a text is: it holds at once for the text and for all nearly identical ones.

    \b
    hundredth knowledge correct runs/tickets "the machine ate my card" --label card_swallowed --note "ticket 17"

    What the model's knowledge said otherwise about this very text is replaced.
    """
    with _opened(model) as loaded:
        typer.echo(_shown(loaded.correct(tuple(texts), label, by=_who(by), note=note), as_json))


@app.command()
def delete(
    model: _Model,
    ids: Annotated[list[int], typer.Argument(metavar="ID...", help="Ids of entries, as `list` shows them.")],
    by: _By = None,
    note: _Note = "",
    as_json: _Json = False,
) -> None:
    """Delete entries. The log keeps them, so that this can be undone.

    \b
    hundredth knowledge delete runs/tickets 17 23
    """
    with _opened(model) as loaded:
        typer.echo(_shown(loaded.forget(ids, by=_who(by), note=note), as_json))


@app.command()
def undo(
    model: _Model,
    change: Annotated[int, typer.Argument(metavar="CHANGE", help="Id of a change, as `log` shows it.")],
    by: _By = None,
    note: _Note = "",
    as_json: _Json = False,
) -> None:
    """Take a change back: the entries that it touched are as they were before it. An undo can be undone.

    \b
    hundredth knowledge log runs/tickets
    hundredth knowledge undo runs/tickets 4
    """
    with _opened(model) as loaded:
        typer.echo(_shown(loaded.undo(change, by=_who(by), note=note), as_json))


@app.command()
def log(
    model: _Model,
    limit: Annotated[int, typer.Option(min=1, help="Show at most this many changes.")] = 20,
    as_json: _Json = False,
) -> None:
    """Show who changed what, when and why, the latest first; + are entries put in, - those taken out.

    \b
    hundredth knowledge log runs/tickets --limit 5
    """
    with _opened(model) as loaded:
        for change in loaded.log(limit):
            typer.echo(_shown(change, as_json))


@app.command()
def tune(
    model: _Model,
    file: Annotated[Path, typer.Argument(help="File of labelled texts: .csv, .tsv, .jsonl or .parquet.")],
    label_column: Annotated[str, typer.Option(help="Column of the label.")] = "label",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be chosen, and change nothing.")
    ] = False,
    as_json: _Json = False,
) -> None:
    """Choose K, t, lambda and the calibration anew on labelled texts; nothing is trained.

    \b
    hundredth knowledge tune runs/tickets labelled.csv

    For a model to which much has been added: what was chosen before may give the new entries too little weight.
    The texts should be like those that the model is used on, those that the new entries are about among them. A
    model that is in use elsewhere has to be loaded again.
    """
    with plain_errors():
        from hundredth.pipeline.tune import tune as tune_model
        from hundredth.runtime import Manifest
        from hundredth.tasks import Task, Verbalisation, load_labelled

        folder = model_folder(model)
        info = Manifest.read(folder).task
        words = Verbalisation.default(info.fields, info.labels)
        task = Task(info.name, info.fields, info.labels, words, label_column=label_column)
        found = tune_model(folder, load_labelled(file, task), save=not dry_run)
        typer.echo(json.dumps(found.to_dict()) if as_json else "\n".join(found.lines()))


@contextmanager
def _opened(path: Path) -> "Iterator[Model]":
    with plain_errors():
        from hundredth import load

        with load(model_folder(path), threads=1) as loaded:
            yield loaded


def _who(by: str | None) -> str:
    if by is not None:
        return by
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no login, as in many containers
        return f"user {os.getuid()}" if hasattr(os, "getuid") else ""


def _entry(model: "Model", entry: "Entry", similarity: float | None) -> str:
    shown = [] if similarity is None else [f"{similarity:.3f}"]
    return "\t".join([*shown, str(entry.id), _label(model, entry), entry.origin, *map(one_line, entry.texts)])


def _entry_as_json(model: "Model", entry: "Entry", similarity: float | None) -> str:
    shown = {
        "id": entry.id,
        "texts": entry.texts,
        "label": _label(model, entry),
        "probabilities": dict(zip(model.labels, entry.soft_label.tolist(), strict=True)),
        "origin": entry.origin,
        "created": entry.created,
    }
    if similarity is not None:
        shown["similarity"] = similarity
    return json.dumps(shown, ensure_ascii=False)


def _label(model: "Model", entry: "Entry") -> str:
    return model.labels[entry.shown_label]


def _shown(change: "Change", as_json: bool) -> str:
    if as_json:
        return json.dumps(change.to_dict(), ensure_ascii=False)
    what = f"undo {change.undoes}" if change.undoes is not None else change.kind
    told = change.to_dict()
    ids = [
        sign + (str(first) if first == last else f"{first}..{last}")
        for sign, name in (("+", "added"), ("-", "removed"))
        for first, last in told[name]
    ]
    undone = ["(undone)"] if change.undone else []
    return "\t".join([str(change.id), change.at, what, change.by, *ids, one_line(change.note), *undone]).rstrip(
        "\t"
    )
