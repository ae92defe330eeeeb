"""Reading the texts of `hundredth predict` from a file or from standard input."""

import csv
import json
import reprlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

from hundredth.errors import UserError

_LONGEST_CELL = 1 << 30  # the csv module stops at 128 KiB by default


def read_texts(source: Path | TextIO, fields: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield one tuple of texts, in the order of `fields`, for each line or row.

    A .txt file holds one text a line (tasks of one field only); .csv, .tsv (with a header) and .jsonl hold the
    fields by name. Standard input, or any open text file, reads as .txt for one field and as .jsonl for more.
    """
    if not isinstance(source, Path):
        suffix = ".txt" if len(fields) == 1 else ".jsonl"
        yield from _read(source, suffix, fields, "standard input")
        return
    try:
        with source.open(encoding="utf-8-sig", newline="") as file:
            yield from _read(file, source.suffix.lower(), fields, str(source))
    except OSError as error:
        raise UserError(f"{source} cannot be read: {error.strerror or error}") from error


def _read(file: TextIO, suffix: str, fields: Sequence[str], name: str) -> Iterator[tuple[str, ...]]:
    try:
        if suffix == ".txt":
            yield from _lines(file, fields, name)
        elif suffix in (".csv", ".tsv"):
            yield from _table(file, "," if suffix == ".csv" else "\t", fields, name)
        elif suffix == ".jsonl":
            yield from _objects(file, fields, name)
        else:
            raise UserError(f"{name}: a file of texts must end in .txt, .csv, .tsv or .jsonl, not {suffix!r}")
    except UnicodeDecodeError as error:
        raise UserError(f"{name} is not UTF-8 ({error.reason} at byte {error.start}): convert it first") from error


def _lines(file: TextIO, fields: Sequence[str], name: str) -> Iterator[tuple[str, ...]]:
    if len(fields) != 1:
        raise UserError(f"{name}: one text a line cannot hold {', '.join(fields)}: use .csv, .tsv or .jsonl")
    for number, line in enumerate(file, start=1):
        text = line.rstrip("\r\n")
        yield (_filled(text, name, number, fields[0]),)


def _table(file: TextIO, separator: str, fields: Sequence[str], name: str) -> Iterator[tuple[str, ...]]:
    csv.field_size_limit(_LONGEST_CELL)
    rows = csv.DictReader(file, delimiter=separator)
    missing = [field for field in fields if field not in (rows.fieldnames or ())]
    if missing:
        columns = ", ".join(rows.fieldnames or ()) or "none"
        raise UserError(f"{name} has no column {missing[0]!r}: its columns are {columns}")
    try:
        for row in rows:
            yield tuple(_filled(row[field], name, rows.line_num, field) for field in fields)
    except csv.Error as error:
        raise UserError(f"{name}, line {rows.line_num}: {error}") from error


def _objects(file: Iterable[str], fields: Sequence[str], name: str) -> Iterator[tuple[str, ...]]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(f"{name}, line {number} is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise UserError(f"{name}, line {number} is not a JSON object with {', '.join(fields)}")
        yield tuple(_filled(row.get(field), name, number, field) for field in fields)


def _filled(value: object, name: str, number: int, field: str) -> str:
    if not isinstance(value, str):
        raise UserError(f"{name}, line {number}: {field!r} is {reprlib.repr(value)}, it must be a text")
    if not value.strip():
        raise UserError(f"{name}, line {number}: {field!r} is empty: remove the line, or give it words")
    return value
