"""Entries of a knowledge store in files: what is exported, and what is read of any labelled texts."""

import csv
import json
import math
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO, cast

from hundredth.errors import UserError
from hundredth.runtime import Model
from hundredth.runtime.knowledge import Given
from hundredth.runtime.texts import checked_text, columns_for
from hundredth.store import Entry, Origin
from hundredth.store.history import Said
from hundredth.tables import listed, read_table

_SOFT_LABEL, _ORIGIN, _LIKELIEST = "soft_label", "origin", "likeliest"
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


def read_entries(
    path: Path, fields: Sequence[str], label_column: str = "label", text_columns: Sequence[str] = ()
) -> list[FileRow]:
    """Read the entries of a table: .csv, .tsv, .jsonl or .parquet, with a column of labels and one for each field.

    `text_columns` are those of the fields, in their order, where they are called otherwise. A row with a soft
    label, as an export has it, keeps it and its origin, and need not have a label; any other is the user's.

    Raises:
        UserError: a column is missing, or a row is no entry; the first such line is named.
    """
    columns = columns_for(fields, text_columns, label_column)
    table = read_table(path)
    left_behind = {_FIELDS, _TEXTS, _PROBABILITIES}.issubset(table.columns)
    for name, option in ((label_column, "--label-column"), *((name, "--text-column") for name in columns)):
        if not (left_behind and name in columns):
            table.need(name, option)
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


def write_entries(
    file: TextIO,
    model: Model,
    entries: Iterable[Entry],
    label_column: str = "label",
    *,
    as_csv: bool = False,
) -> int:
    """Write entries of a model as JSON lines, or as CSV with a header; return how many.

    Each has its texts by the names of the fields, its gold label (null, in CSV nothing, where it has none), its
    likeliest label, the probabilities above 0 of its soft label, its origin, its id, and when it was made. Where a
    field has the name of one of these, its text takes the place; so does the gold label.
    """
    fields = model.fields
    if label_column in fields:
        raise UserError(f"the task has a field {label_column!r}: name another column with --label-column")
    table: csv.DictWriter[str] | None = None
    if as_csv:
        names = dict.fromkeys([*fields, label_column, _LIKELIEST, _SOFT_LABEL, _ORIGIN, "id", "created"])
        table = csv.DictWriter(file, list(names))
        table.writeheader()
    count = 0
    for entry in entries:
        labels = model.labels  # may have grown
        soft = {labels[index]: value for index, value in enumerate(entry.soft_label.tolist()) if value > 0}
        gold = {label_column: None if entry.label is None else labels[entry.label]}
        row = {
            **gold,
            _LIKELIEST: labels[int(entry.soft_label.argmax())],
            _SOFT_LABEL: json.dumps(soft, ensure_ascii=False) if as_csv else soft,
            _ORIGIN: entry.origin,
            "id": entry.id,
            "created": entry.created,
        }
        texts = dict(zip(fields, entry.texts, strict=True))
        row = {**texts, **row, **gold, **texts}  # the texts come first, and stay
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
    try:
        return {str(name): float(one) for name, one in value.items()}
    except OverflowError:  # a whole number of hundreds of digits
        raise ValueError(f"a soft label is {reprlib.repr(value)}: give probabilities by label") from None
