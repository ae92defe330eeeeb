"""The texts of `hundredth predict`, from a file or from standard input."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from hundredth.errors import UserError
from hundredth.runtime.texts import checked_text, columns_for
from hundredth.tables import SUFFIXES, check_file, parse_object, read_table

Row = tuple[int, tuple[str, ...]]

_LINES = ".txt"
# How text is decoded: what is not UTF-8 is found line by line, so that the error can name the line.
ERRORS = "surrogateescape"
_UNDECODED = re.compile("[\udc80-\udcff]")


def read_texts(
    source: Path | TextIO, fields: Sequence[str], text_columns: Sequence[str] = (), blank: list[int] | None = None
) -> Iterator[Row]:
    """Yield for each line or row its number, counted from 1, and its texts, in the order of `fields`.

    A .txt file holds one text a line, for tasks of one field. Any other is a table with the fields as columns, and
    is read as a whole, so that a bad row is told before the first answer. Standard input, or any open text file,
    has one text a line for one field, and one JSON object a line for more. `text_columns` are the columns or keys
    of the fields, in their order, where they are called otherwise. The numbers of blank lines, which are passed
    over, are added to `blank`; the reader of tables does not tell of any.

    Raises:
        UserError: it cannot be read, or what a line or row holds is no text; the first such line is named.
    """
    columns = columns_for(fields, text_columns)
    blank = [] if blank is None else blank
    plain = not isinstance(source, Path) or source.suffix.lower() == _LINES
    if plain and len(fields) == 1 and text_columns:
        name = source if isinstance(source, Path) else "standard input"
        raise UserError(f"{name} has one text a line, and no columns: leave --text-column {text_columns[0]} out")
    if not isinstance(source, Path):
        return _streamed(source, fields, columns, "standard input", blank)
    if plain:
        return _lines(source, fields, blank)
    return iter(_table(source, fields, columns))


def _table(path: Path, fields: Sequence[str], columns: Sequence[str]) -> list[Row]:
    check_file(path)
    if path.suffix.lower() not in SUFFIXES:
        known = ", ".join((_LINES, *SUFFIXES))
        raise UserError(f"{path} ends in {path.suffix!r}, which is no kind of file of texts read here: use {known}")
    table = read_table(path)
    for name in columns:
        table.need(name, "--text-column")
    rows = zip(*map(table.column, columns), strict=True)
    return [
        (line, _checked(row, fields, f"{path} line {line}")) for line, row in zip(table.lines, rows, strict=True)
    ]


def _lines(path: Path, fields: Sequence[str], blank: list[int]) -> Iterator[Row]:
    if len(fields) > 1:
        known = ", ".join(SUFFIXES)
        raise UserError(f"{path}: one text a line cannot hold {', '.join(fields)}: use {known}")
    try:
        with path.open(encoding="utf-8-sig", errors=ERRORS, newline="") as file:
            yield from _streamed(file, fields, fields, str(path), blank)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error


def _streamed(
    file: TextIO, fields: Sequence[str], columns: Sequence[str], name: str, blank: list[int]
) -> Iterator[Row]:
    for number, line in enumerate(file, start=1):
        where = f"{name} line {number}"
        if _UNDECODED.search(line):
            raise UserError(f"{where} is not UTF-8: convert it first")
        if not line.strip():
            blank.append(number)
        elif len(fields) == 1:
            yield number, _checked([line.rstrip("\r\n")], fields, where)
        else:
            row = parse_object(line, where)
            yield number, _checked([row.get(column) for column in columns], fields, where)


def _checked(row: Sequence[object], fields: Sequence[str], where: str) -> tuple[str, ...]:
    return tuple(checked_text(value, f"{where}: {field!r}") for value, field in zip(row, fields, strict=True))
