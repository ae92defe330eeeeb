"""The texts of `hundredth predict`, from a file or from standard input."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from hundredth.errors import UserError
from hundredth.runtime.texts import checked_text
from hundredth.tables import SUFFIXES, check_file, parse_object, read_table

_LINES = ".txt"


def read_texts(source: Path | TextIO, fields: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield one tuple of texts, in the order of `fields`, for each line or row.

    A .txt file holds one text a line, for tasks of one field. Any other is a table with the fields as columns, and
    is read as a whole, so that a bad row is told before the first answer. Standard input, or any open text file,
    has one text a line for one field, and one JSON object a line for more.

    Raises:
        UserError: it cannot be read, or what a line or row holds is no text; the first such line is named.
    """
    if not isinstance(source, Path):
        return _streamed(source, fields, "standard input")
    if source.suffix.lower() == _LINES:
        return _lines(source, fields)
    return iter(_table(source, fields))


def _table(path: Path, fields: Sequence[str]) -> list[tuple[str, ...]]:
    check_file(path)
    if path.suffix.lower() not in SUFFIXES:
        known = ", ".join((_LINES, *SUFFIXES))
        raise UserError(f"{path} ends in {path.suffix!r}, which is no kind of file of texts read here: use {known}")
    table = read_table(path)
    columns = [table.column(field) for field in fields]
    rows = zip(*columns, strict=True)
    return [_checked(row, fields, f"{path} line {line}") for line, row in zip(table.lines, rows, strict=True)]


def _lines(path: Path, fields: Sequence[str]) -> Iterator[tuple[str, ...]]:
    if len(fields) > 1:
        known = ", ".join(SUFFIXES)
        raise UserError(f"{path}: one text a line cannot hold {', '.join(fields)}: use {known}")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from _streamed(file, fields, str(path))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error


def _streamed(file: TextIO, fields: Sequence[str], name: str) -> Iterator[tuple[str, ...]]:
    try:
        for number, line in enumerate(file, start=1):
            where = f"{name} line {number}"
            if len(fields) == 1:
                yield _checked([line.rstrip("\r\n")], fields, where)
            elif line.strip():
                row = parse_object(line, where)
                yield _checked([row.get(field) for field in fields], fields, where)
    except UnicodeDecodeError as error:
        raise UserError(f"{name} is not UTF-8 ({error.reason} at byte {error.start}): convert it first") from error


def _checked(row: Sequence[object], fields: Sequence[str], where: str) -> tuple[str, ...]:
    return tuple(checked_text(value, f"{where}: {field!r}") for value, field in zip(row, fields, strict=True))
