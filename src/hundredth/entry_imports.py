"""Adding to a model what files say: which rows are new to it, and which change each becomes."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from hundredth.entry_files import FileRow, Key
from hundredth.errors import UserError
from hundredth.runtime import Model
from hundredth.runtime.knowledge import Given, unknown_label
from hundredth.store import Change, Entry
from hundredth.store.checks import check_label_name
from hundredth.store.history import Said, repeating


@dataclass(frozen=True)
class Sifted:
    """The rows of a file that are `new` to a store, and how many are not.

    `repeated` say what an earlier row says, `known` what an entry says; what is `outdated` is due to a change that
    is older than what users have said of the text since. Of the texts of the new ones, `disputed` have another
    label too, in the file or in the store; of the new ones themselves, `contradictory` have a soft label that is
    not of their label.
    """

    new: list[FileRow]
    repeated: int
    known: int
    outdated: int
    disputed: int
    contradictory: int


def added_labels(path: Path, rows: Iterable[FileRow], known: Sequence[str], allowed: bool) -> list[str]:
    """Return the labels of the rows that are not among those `known`, in the order of the rows.

    Raises:
        UnknownLabelError: there are some, and that is not `allowed`.
        UserError: one is no name for a label, or differs from another by case or white space alone.
    """
    found: dict[str, None] = {}
    for row in rows:
        for name in row.given.labels:
            if name in known or name in found:
                continue
            try:
                if not allowed:
                    raise unknown_label(name, known)
                check_label_name(name, [*known, *found])
            except UserError as error:
                raise type(error)(f"{path} line {row.line}: {error}") from None
            found[name] = None
    return list(found)


def sift(rows: Sequence[FileRow], model: Model) -> Sifted:
    """Tell the rows that are new to a model's knowledge from the others."""
    texts = {row.given.texts for row in rows}
    there: set[Key] = set()
    said: dict[tuple[str, ...], set[str]] = defaultdict(set)
    last: dict[tuple[str, ...], datetime] = {}
    for entry in model.store.entries():
        if entry.texts in texts:
            there.add((entry.texts, None if entry.label is None else model.labels[entry.label]))
            said[entry.texts].add(model.labels[entry.shown_label])
            if entry.origin == "user":
                at = _time(entry.created)
                last[entry.texts] = max(at, last.get(entry.texts, at))
    new: dict[Key, FileRow] = {}
    known = repeated = outdated = 0
    for row in rows:
        if row.key in there:
            known += 1
        elif row.said is not None and row.given.texts in last and _time(row.said.at) < last[row.given.texts]:
            outdated += 1
            continue
        elif row.key in new:
            repeated += 1
        else:
            new[row.key] = row
        said[row.given.texts].add(row.given.shown_label)
    disputed = sum(len(said[fields]) > 1 for fields in {row.given.texts for row in new.values()})
    contradictory = sum(row.given.contradictory for row in new.values())
    return Sifted(list(new.values()), repeated, known, outdated, disputed, contradictory)


def put(
    model: Model,
    folder: Path,
    rows: Iterable[FileRow],
    by: str,
    note: str,
    progress: Callable[[int], object] | None = None,
) -> list[Change]:
    """Add rows to the model in `folder`, with labels that it does not know; return the changes.

    Rows that tell the change that they were due to are added by that change again, with its author and time; all
    others, and new labels, by one of `by` and `note`. `progress` is told how many more of the texts are encoded.
    """
    made: list[Change] = []
    plain: list[Given] = []
    again: dict[Said, list[Given]] = defaultdict(list)
    for row in rows:
        (plain if row.said is None else again[row.said]).append(row.given)
    keys = {}
    for said, entries in again.items():
        keys[said] = model.embed([one.texts for one in entries])[0]
        if progress is not None:
            progress(len(entries))
    if again:
        names = (name for entries in again.values() for one in entries for name in one.labels)
        model.store.add_labels(dict.fromkeys(names), by=by, note=note)
        with repeating(folder) as store:
            for said in sorted(again):
                added = _entries(again[said], said.at, store.labels)
                made.append(store.repeat(said.kind, said.at, said.by, said.note, [], added, keys[said]))
    if plain:
        change = model.store.put(plain, new_labels=True, by=by, note=note, progress=progress)
        assert change is not None
        made.append(change)
    return made


def _entries(rows: Sequence[Given], created: str, labels: Sequence[str]) -> list[Entry]:
    return [
        Entry(
            0,
            one.texts,
            np.array(one.row(labels), np.float32),
            None if one.label is None else labels.index(one.label),
            one.origin,
            created,
        )
        for one in rows
    ]


def _time(at: str) -> datetime:
    """Read a time of a log; one without a zone is UTC, and what is none comes before all."""
    try:
        time = datetime.fromisoformat(at)
    except ValueError:
        time = datetime.min
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)
