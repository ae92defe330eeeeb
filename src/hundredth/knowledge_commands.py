"""The commands of `hundredth knowledge`: see, add, correct and delete what a model looks up, and take it back.

What is heavy is imported inside the commands, as in `hundredth.cli`.
"""

import getpass
import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hundredth.console import one_line, plain_errors
from hundredth.errors import UnknownLabelError, UserError
from hundredth.folders import model_folder
from hundredth.options import (
    Function,
    Group,
    argument,
    json_option,
    model_argument,
)

if TYPE_CHECKING:
    from hundredth.runtime import Model
    from hundredth.store import Change, Entry

_json_option = json_option("Print one JSON object a line.")
_texts_argument = argument(
    "texts", "The text: one argument a field of the task.", metavar="TEXT...", nargs=-1, required=True
)
_label_option = click.option("--label", required=True, help="Its label, a name that the model knows.")
_new_label_option = click.option(
    "--new-label", is_flag=True, help="Add the label if the model does not know it; it is for good."
)


def log_options(command: Function) -> Function:
    """Declare who makes a change and why, and how the change is shown."""
    by = click.option("--by", help="Who does this, for the log; the name of your login by default.")
    note = click.option("--note", default="", show_default=False, help="Why, for the log.")
    return by(note(_json_option(command)))


@click.group(cls=Group)
def knowledge() -> None:
    """See and edit the knowledge of a model."""


@knowledge.command("list")
@model_argument
@click.option(
    "--search", multiple=True, help="Show the entries nearest to this text; give it once a field of the task."
)
@click.option("--origin", help="Only those of an origin: gold, generated, unlabelled or user.")
@click.option(
    "--least-sure",
    is_flag=True,
    help="Only what no person labelled, the least certain labels first.",
)
@click.option("--limit", type=click.IntRange(min=1), default=20, help="Show at most this many.")
@_json_option
def list_entries(
    model: Path, search: tuple[str, ...], origin: str | None, least_sure: bool, limit: int, as_json: bool
) -> None:
    """Show entries: id, label, origin and text, with tabs between; found by a text, their similarity first.

    \b
    hundredth knowledge list runs/tickets --origin user
    hundredth knowledge list runs/tickets --search "the machine ate my card" --limit 5
    hundredth knowledge list runs/tickets --least-sure --origin unlabelled

    With --least-sure the probability of the label comes first.
    """
    with opened(model) as loaded:
        if search and origin is not None:
            raise UserError(f"--search and --origin {origin} are both given: leave one out")
        if search and least_sure:
            raise UserError("--search and --least-sure are both given: leave one out")
        found: Iterable[tuple[Entry, dict[str, float]]]
        # A name that is no origin is refused by the store.
        if search:
            found = [(hit.entry, {"similarity": hit.similarity}) for hit in loaded.store.search(search, limit)]
        elif least_sure:
            page = loaded.store.find(origin=origin, limit=limit, least_sure=True)  # type: ignore[arg-type]
            found = [(entry, {"probability": float(entry.soft_label.max())}) for entry in page.entries]
        else:
            entries = loaded.store.entries(origin)  # type: ignore[arg-type]
            found = ((entry, {}) for entry in islice(entries, min(limit, sys.maxsize)))
        for entry, number in found:
            click.echo(_entry_as_json(loaded, entry, number) if as_json else _entry(loaded, entry, number))


@knowledge.command("labels")
@model_argument
@_json_option
def list_labels(model: Path, as_json: bool) -> None:
    """Show the labels, how many entries each has, and whether it was taught to the model or added since.

    \b
    hundredth knowledge labels runs/tickets

    An entry without a label of its own counts by its likeliest.
    """
    with opened(model) as loaded:
        found = Counter(entry.shown_label for entry in loaded.store.entries())
        taught = len(loaded.manifest.task.labels)
        for index, label in enumerate(loaded.labels):
            seen = {"label": label, "entries": found[index], "added": index >= taught}
            line = f"{label}\t{found[index]}\t{'added' if index >= taught else 'taught'}"
            click.echo(json.dumps(seen, ensure_ascii=False) if as_json else line)


@knowledge.command()
@model_argument
@_texts_argument
@_label_option
@_new_label_option
@log_options
def add(
    model: Path, texts: tuple[str, ...], label: str, new_label: bool, by: str | None, note: str, as_json: bool
) -> None:
    """Add a text with its label; the next prediction knows of it.

    \b
    hundredth knowledge add runs/tickets "my card is stuck in the machine" --label card_swallowed
    hundredth knowledge add runs/tickets "my card melted" --label card_damaged --new-label
    """
    with opened(model) as loaded, new_labels_by("--new-label"):
        from hundredth.runtime.knowledge import Given

        change = loaded.store.put([Given(texts, label)], new_labels=new_label, by=who(by), note=note)
        assert change is not None
        click.echo(shown(change, as_json))


@knowledge.command()
@model_argument
@_texts_argument
@_label_option
@_new_label_option
@log_options
def correct(
    model: Path, texts: tuple[str, ...], label: str, new_label: bool, by: str | None, note: str, as_json: bool
) -> None:
    """Say what the label of a text is: it holds at once for the text and for all nearly identical ones.

    \b
    hundredth knowledge correct runs/tickets "the machine ate my card" --label card_swallowed --note "ticket 17"

    What the model's knowledge said otherwise about this very text is replaced.
    """
    with opened(model) as loaded, new_labels_by("--new-label"):
        change = loaded.correct(texts, label, new_label=new_label, by=who(by), note=note)
        click.echo(shown(change, as_json))


@knowledge.command()
@model_argument
@argument("ids", "Ids of entries, as `list` shows them.", metavar="ID...", type=int, nargs=-1, required=True)
@log_options
def delete(model: Path, ids: tuple[int, ...], by: str | None, note: str, as_json: bool) -> None:
    """Delete entries. The log keeps them, so that this can be undone.

    \b
    hundredth knowledge delete runs/tickets 17 23
    """
    with opened(model) as loaded:
        click.echo(shown(loaded.forget(ids, by=who(by), note=note), as_json))


@knowledge.command()
@model_argument
@argument("change", "Id of a change, as `log` shows it.", type=int)
@log_options
def undo(model: Path, change: int, by: str | None, note: str, as_json: bool) -> None:
    """Take a change back: the entries that it touched are as they were before it. An undo can be undone.

    \b
    hundredth knowledge log runs/tickets
    hundredth knowledge undo runs/tickets 4
    """
    with opened(model) as loaded:
        click.echo(shown(loaded.undo(change, by=who(by), note=note), as_json))


@knowledge.command()
@model_argument
@click.option("--limit", type=click.IntRange(min=1), default=20, help="Show at most this many changes.")
@_json_option
def log(model: Path, limit: int, as_json: bool) -> None:
    """Show who changed what, when and why, the latest first; + are entries put in, - those taken out.

    \b
    hundredth knowledge log runs/tickets --limit 5
    """
    with opened(model) as loaded:
        for change in loaded.log(limit):
            click.echo(shown(change, as_json))


@contextmanager
def opened(path: Path, threads: int | None = 1) -> "Iterator[Model]":
    """Load a model for the block, with plain errors; `threads` are all where it is None."""
    with plain_errors():
        from hundredth import load

        with load(model_folder(path), threads) as loaded:
            yield loaded


@contextmanager
def new_labels_by(option: str) -> Iterator[None]:
    """Say of a label that the model does not know which option adds it."""
    try:
        yield
    except UnknownLabelError as error:
        raise UserError(f"{error}: {option} does that") from None


def who(by: str | None) -> str:
    """Return who makes a change: the name given, or that of the login."""
    if by is not None:
        return by
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no login, as in many containers
        return f"user {os.getuid()}" if hasattr(os, "getuid") else ""


def _entry(model: "Model", entry: "Entry", number: dict[str, float]) -> str:
    shown = [f"{value:.3f}" for value in number.values()]
    return "\t".join([*shown, str(entry.id), _label(model, entry), entry.origin, *map(one_line, entry.texts)])


def _entry_as_json(model: "Model", entry: "Entry", number: dict[str, float]) -> str:
    shown = {
        "id": entry.id,
        "texts": entry.texts,
        "label": _label(model, entry),
        # Another process may just have added a label.
        "probabilities": dict(zip(model.labels[: len(entry.soft_label)], entry.soft_label.tolist(), strict=True)),
        "origin": entry.origin,
        "created": entry.created,
        **number,
    }
    return json.dumps(shown, ensure_ascii=False)


def _label(model: "Model", entry: "Entry") -> str:
    return model.labels[entry.shown_label]


def shown(change: "Change", as_json: bool) -> str:
    """Return a change as a line."""
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
    return "\t".join(
        [str(change.id), change.at, what, one_line(change.by), *ids, one_line(change.note), *undone]
    ).rstrip("\t")
