"""Entries of a knowledge store in files: what is exported, and what is read and added of any labelled texts."""

import csv
import json
import math
import reprlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO, cast

import numpy as np

from hundredth.errors import UserError
from hundredth.runtime import Model
from hundredth.runtime.knowledge import Given, unknown_label
from hundredth.runtime.texts import checked_text
from hundredth.store import Change, Entry, Origin
from hundredth.store.checks import check_label_name
from hundredth.store.history import Said, repeating
from hundredth.tables import listed, read_table

_SOFT_LABEL, _ORIGIN = "soft_label", "origin"
# What a run that makes a model anew leaves behind has its texts beside the names of their fields.
_FIELDS, _TEXTS, _PROBABILITIES, _CHANGE = "fields", "texts", "probabilities", "change"

Cells = Mapping[str, object]
Key = tuple[tuple[str, ...], str | None]


@dataclass(frozen=True)
class FileRow:
    """An entry to be, with the line of the file where it begins, and what change it was due to, if that is told."""

    line: int
    given: Given
    said: Said | None = None

    @property
    def key(self) -> Key:
        """What tells it from others: its texts and its gold label."""
        return self.given.texts, self.given.label


@dataclass(frozen=True)
class Sifted:
    """The rows of a file that are `new` to a store, and how many are not.

    `repeated` say what an earlier row says, `known` what an entry says. Of the texts of the new ones, `disputed`
    have another label too, in the file or in the store.
    """

    new: list[FileRow]
    repeated: int
    known: int
    disputed: int


def read_entries(
    path: Path, fields: Sequence[str], label_column: str = "label", text_columns: Sequence[str] = ()
) -> list[FileRow]:
    """Read the entries of a table: .csv, .tsv, .jsonl or .parquet, with a column of labels and one for each field.

    `text_columns` are those of the fields, in their order, where they are called otherwise. A row with a soft
    label, as an export has it, keeps it and its origin, and need not have a label; any other is the user's.

    Raises:
        UserError: a column is missing, or a row is no entry; the first such line is named.
    """
    columns = tuple(text_columns or fields)
    if len(columns) != len(fields):
        raise UserError(f"{listed(columns)} are not one column for each field: this task reads {listed(fields)}")
    if label_column in columns:
        raise UserError(f"{label_column!r} cannot be the column of both texts and labels: see --label-column")
    table = read_table(path)
    left_behind = {_FIELDS, _TEXTS, _PROBABILITIES}.issubset(table.columns)
    for name, option in ((label_column, "--label-column"), *((name, "--text-column") for name in columns)):
        if name not in table.columns and not (left_behind and name in columns):
            raise UserError(f"{path} has no column {name!r}; its columns are {listed(table.columns)}: see {option}")
    rows = []
    for line, row in zip(table.lines, table.rows, strict=True):
        cells = dict(zip(table.columns, row, strict=True))
        said = None
        try:
            if left_behind:
                given = _left_behind(cells, fields, label_column)
                said = _said(cells.get(_CHANGE))
            else:
                given = _flat(cells, fields, columns, label_column)
        except (ValueError, UserError) as error:
            raise UserError(f"{path} line {line}: {error}") from None
        rows.append(FileRow(line, given, said))
    return rows


def added_labels(path: Path, rows: Iterable[FileRow], known: Sequence[str], allowed: bool) -> list[str]:
    """Return the labels of the rows that are not among those `known`, in the order of the rows.

    Raises:
        UnknownLabelError: there are some, and that is not `allowed`.
        UserError: one is no name for a label.
    """
    found: dict[str, None] = {}
    for row in rows:
        for name in row.given.labels:
            if name in known or name in found:
                continue
            try:
                if not allowed:
                    raise unknown_label(name, known)
                check_label_name(name)
            except UserError as error:
                raise type(error)(f"{path} line {row.line}: {error}") from None
            found[name] = None
    return list(found)


def sift(rows: Sequence[FileRow], model: Model) -> Sifted:
    """Tell the rows that are new to a model's knowledge from the others."""
    texts = {row.given.texts for row in rows}
    there: set[Key] = set()
    said: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for entry in model.store.entries():
        if entry.texts in texts:
            there.add((entry.texts, _gold(entry, model.labels)))
            said[entry.texts].add(model.labels[entry.shown_label])
    new: dict[Key, FileRow] = {}
    known = repeated = 0
    for row in rows:
        said[row.given.texts].add(row.given.shown_label)
        if row.key in there:
            known += 1
        elif row.key in new:
            repeated += 1
        else:
            new[row.key] = row
    disputed = sum(len(said[fields]) > 1 for fields in {row.given.texts for row in new.values()})
    return Sifted(list(new.values()), repeated, known, disputed)


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
        model.store.put(plain, new_labels=True, by=by, note=note, progress=progress)
        made.append(model.log(1)[0])
    return made


def write_entries(
    file: TextIO,
    model: Model,
    entries: Iterable[Entry],
    label_column: str = "label",
    *,
    as_csv: bool = False,
) -> int:
    """Write entries of a model as JSON lines, or as CSV with a header; return how many.

    Each has its texts by the names of the fields, its gold label (null, in CSV nothing, where it has none), the
    probabilities above 0 of its soft label, its origin, its id, and when it was made. Where a field has the name of
    one of these, its text takes the place.
    """
    fields = model.fields
    if label_column in fields:
        raise UserError(f"the task has a field {label_column!r}: name another column with --label-column")
    table: csv.DictWriter[str] | None = None
    if as_csv:
        names = dict.fromkeys([*fields, label_column, _SOFT_LABEL, _ORIGIN, "id", "created"])
        table = csv.DictWriter(file, list(names))
        table.writeheader()
    count = 0
    for entry in entries:
        labels = model.labels  # may have grown
        soft = {labels[index]: value for index, value in enumerate(entry.soft_label.tolist()) if value > 0}
        row = {
            label_column: _gold(entry, labels),
            _SOFT_LABEL: json.dumps(soft, ensure_ascii=False) if as_csv else soft,
            _ORIGIN: entry.origin,
            "id": entry.id,
            "created": entry.created,
        }
        texts = dict(zip(fields, entry.texts, strict=True))
        row = {**texts, **row, **texts}  # the texts come first, and stay
        if table is None:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
        else:
            table.writerow(row)
        count += 1
    return count


def _flat(cells: Cells, fields: Sequence[str], columns: Sequence[str], label_column: str) -> Given:
    taken = {*columns, label_column}
    soft_label = None if _SOFT_LABEL in taken else _soft_label(cells.get(_SOFT_LABEL))
    origin = None if _ORIGIN in taken else cells.get(_ORIGIN)
    texts = {field: cells[column] for field, column in zip(fields, columns, strict=True)}
    return _given(texts, cells[label_column], soft_label, origin)


def _left_behind(cells: Cells, fields: Sequence[str], label_column: str) -> Given:
    names, values = cells[_FIELDS], cells[_TEXTS]
    if not isinstance(names, list) or not isinstance(values, list) or len(names) != len(values):
        raise ValueError(f"{_FIELDS} and {_TEXTS} are not lists of the same length")
    one = len(fields) == len(names) == 1  # however it is called
    by_name = {fields[0]: values[0]} if one else dict(zip(map(str, names), values, strict=True))
    if set(by_name) != set(fields):
        raise ValueError(f"it has the fields {listed([*by_name])}: this task reads {listed(fields)}")
    texts = {field: by_name[field] for field in fields}
    return _given(texts, cells[label_column], _soft_label(cells[_PROBABILITIES]), cells.get(_ORIGIN))


def _said(change: object) -> Said | None:
    try:
        return None if change is None else Said.from_dict(change)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"its change cannot be read ({type(error).__name__}: {error})") from None


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


def _given(
    texts: Mapping[str, object], label: object, soft_label: dict[str, float] | None, origin: object
) -> Given:
    checked = tuple(checked_text(value, repr(field)) for field, value in texts.items())
    name = _label(label)
    if soft_label is None:
        return Given(checked, name)
    return Given(checked, name, soft_label, "user" if origin is None else cast(Origin, origin))


def _label(value: object) -> str | None:
    """Return a label's name as the data of a new task are read: numbers are names too, spaces count once."""
    if isinstance(value, float):
        value = int(value) if value.is_integer() else None if math.isnan(value) else value
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if not isinstance(value, str | int):
        raise ValueError(f"its label is {reprlib.repr(value)}, which is no name")
    return " ".join(str(value).split())


def _soft_label(value: object) -> dict[str, float] | None:
    if value is None or value == "":
        return None
    if isinstance(value, str):  # in CSV
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise ValueError(f"its soft label {reprlib.repr(value)} is not JSON") from None
    if not isinstance(value, dict) or not all(isinstance(one, int | float) for one in value.values()):
        raise ValueError(f"a soft label is {reprlib.repr(value)}: give probabilities by label")
    return {str(name): float(one) for name, one in value.items()}


def _gold(entry: Entry, labels: Sequence[str]) -> str | None:
    return None if entry.label is None else labels[entry.label]
