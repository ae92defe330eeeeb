"""Reading CSV, TSV, JSON Lines and Parquet into rows, with errors that name the file and the line."""

import codecs
import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hundredth.errors import MissingExtraError, UserError

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".pq")
# The csv module refuses fields above 128 KB unless told; this is the largest limit every platform takes.
_FIELD_LIMIT = 2**31 - 1


@dataclass(frozen=True)
class Table:
    """A file's rows. Cells are str, int, float, bool, None or, from JSON, nested values; text files give str.

    `lines` holds the number of each row's first line in the file (Parquet: of the row), counted from 1.
    """

    path: Path
    columns: tuple[str, ...]
    rows: list[tuple[object, ...]]
    lines: list[int]

    def column(self, name: str) -> list[object]:
        """Return the cells of the column `name`; UserError lists the columns when there is none."""
        self.need(name)
        index = self.columns.index(name)
        return [row[index] for row in self.rows]

    def need(self, name: str, option: str = "") -> None:
        """Raise UserError when there is no column `name`, which lists those there are and points to `option`."""
        if name not in self.columns:
            see = f": see {option}" if option else ""
            raise UserError(f"{self.path} has no column {name!r}; its columns are {listed(self.columns)}{see}")


def listed(names: Sequence[str], most: int = 20) -> str:
    """Return the names quoted and separated by commas, at most `most` of them."""
    shown = ", ".join(repr(name) for name in names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def read_table(path: Path) -> Table:
    """Read a file by its suffix; UserError when it is missing, empty, damaged or of another kind."""
    check_file(path)
    suffix = path.suffix.lower()
    if suffix == ".csv":
        table = read_csv(path)
    elif suffix == ".tsv":
        table = read_tsv(path)
    elif suffix in (".jsonl", ".ndjson"):
        table = read_jsonl(path)
    elif suffix in (".parquet", ".pq"):
        table = read_parquet(path)
    else:
        raise UserError(
            f"{path} ends in {suffix!r}, which is no kind of table read here: use {', '.join(SUFFIXES)}"
        )
    if not table.rows:
        raise UserError(f"{path} has no rows" + (", only a header" if table.columns else ""))
    return table


def check_file(path: Path) -> None:
    """Raise UserError unless `path` is a file with something in it."""
    if path.is_dir():
        raise UserError(f"{path} is a folder: name a file in it")
    if not path.exists():
        raise UserError(f"{path} does not exist (looked in {path.absolute().parent})")
    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty")


def read_text(path: Path, encoding: str = "utf-8") -> str:
    """Read a whole file, dropping a byte-order mark; UserError names the place that is not UTF-8, or NUL."""
    check_file(path)
    data = path.read_bytes()
    if encoding != "utf-8":
        return data.decode(encoding)
    data = data.removeprefix(b"\xef\xbb\xbf")
    if not data:
        raise UserError(f"{path} is empty")
    order = _utf_16(data)
    if order is not None:
        raise UserError(
            f"{path} is UTF-16, not UTF-8: convert it first, for example with 'iconv -f UTF-16{order} -t UTF-8'"
        )
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        place = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        raise UserError(
            f"{path} is not UTF-8: line {line}, byte {place} of the line is 0x{data[error.start]:02x}; "
            "convert the file first, for example with 'iconv -f WINDOWS-1252 -t UTF-8'"
        ) from None
    nul = text.find("\0")
    if nul >= 0:
        line = text.count("\n", 0, nul) + 1
        raise UserError(f"{path} line {line}: holds a NUL byte, which is no part of a text: remove it")
    return text


def _utf_16(data: bytes) -> str | None:
    """Return the byte order to name to iconv (none behind a mark, which tells it) if this is UTF-16, else None."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return ""
    # Without a mark it is told by the letters of English, of which one byte is 0, always on the same side.
    first, second = data[:1000:2].count(0), data[1:1000:2].count(0)
    if 4 * max(first, second) < len(data[:1000]) or 10 * min(first, second) > max(first, second):
        return None
    return "LE" if second > first else "BE"


def read_lines(path: Path, encoding: str = "utf-8") -> list[str]:
    """Read a file's lines without their ends. Only line feeds end a line: texts may hold other separators."""
    lines = [line.removesuffix("\r") for line in read_text(path, encoding).split("\n")]
    if lines[-1] == "":
        lines.pop()
    return lines


def read_csv(path: Path) -> Table:
    """Read comma-separated values in Excel's dialect; a row of another width than the header is an error."""
    rows: list[tuple[object, ...]] = []
    lines: list[int] = []
    columns: tuple[str, ...] | None = None
    text = read_text(path)
    reader = csv.reader(io.StringIO(text, newline=""), dialect="excel", strict=True)
    before = csv.field_size_limit(_FIELD_LIMIT)
    start = 1
    try:
        for row in reader:
            if row and columns is None:
                columns = _header(path, row)
            elif row and columns is not None:
                _check_width(path, start, len(row), len(columns), "; a text with commas must stand in quotes")
                rows.append(tuple(row))
                lines.append(start)
            start = reader.line_num + 1
    except csv.Error as error:
        raise UserError(
            f"{path} line {start}: not valid CSV ({error}); quotes inside a quoted text are written twice"
        ) from None
    finally:
        csv.field_size_limit(before)
    return Table(path, columns or (), rows, lines)


def read_tsv(path: Path, columns: tuple[str, ...] | None = None) -> Table:
    """Read tab-separated values without quoting; `columns` names them for a file without a header."""
    lines = read_lines(path)
    first = 0 if columns is not None else 1
    names = columns if columns is not None else _header(path, lines[0].split("\t"), split_by_commas=False)
    rows: list[tuple[object, ...]] = []
    numbers: list[int] = []
    for number, line in enumerate(lines[first:], start=first + 1):
        if line or len(names) == 1:
            cells = line.split("\t")
            _check_width(path, number, len(cells), len(names), "; a text may not hold tabs or line breaks")
            rows.append(tuple(cells))
            numbers.append(number)
    return Table(path, names, rows, numbers)


def read_jsonl(path: Path) -> Table:
    """Read one JSON object a line; the columns are the keys of all of them, and a missing key is None."""
    objects: list[dict[str, Any]] = []
    numbers: list[int] = []
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        objects.append(parse_object(line, f"{path} line {number}"))
        numbers.append(number)
    columns = tuple(dict.fromkeys(key for value in objects for key in value))
    rows = [tuple(value.get(name) for name in columns) for value in objects]
    return Table(path, columns, rows, numbers)


def parse_object(line: str, where: str) -> dict[str, Any]:
    """Read the JSON object on a line; UserError says `where` there is none."""
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(
            f"{where}: not valid JSON ({error.msg}, column {error.colno}); "
            "JSON Lines holds one whole object on each line"
        ) from None
    except RecursionError:
        raise UserError(f"{where}: JSON nested too deeply to read") from None
    except ValueError:  # Python's limit
        raise UserError(f"{where}: JSON with a number of too many digits to read") from None
    if not isinstance(value, dict):
        raise UserError(f"{where}: a JSON {type(value).__name__}, where an object is needed")
    return value


def read_parquet(path: Path) -> Table:
    """Read a Parquet file; label numbers become names where the file carries them, as Hugging Face's do."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtraError("reading Parquet", "train", "pyarrow") from None
    try:
        # Through memory: a partitioned folder or a path with '=' must not add columns of its own.
        arrow = pyarrow.parquet.read_table(io.BytesIO(path.read_bytes()))
        columns = tuple(arrow.column_names)
        cells = [column.to_pylist() for column in arrow.columns]
    except (pyarrow.ArrowException, ValueError, OSError) as error:
        raise UserError(f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}") from None
    _check_distinct(path, columns)
    names = _class_names((arrow.schema.metadata or {}).get(b"huggingface"))
    for index, column in enumerate(columns):
        if column in names:
            cells[index] = [_class_name(path, column, value, names[column]) for value in cells[index]]
    rows = list(zip(*cells, strict=True))
    return Table(path, columns, rows, list(range(1, len(rows) + 1)))


def _class_names(metadata: bytes | None) -> dict[str, list[str]]:
    """Return the class names in the metadata that Hugging Face's datasets writes, by column."""
    if metadata is None:
        return {}
    try:
        features = json.loads(metadata)["info"]["features"]
        return {
            name: [str(label) for label in feature["names"]]
            for name, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and "names" in feature
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}  # another writer's metadata: the label numbers stay as they are


def _class_name(path: Path, column: str, value: object, names: list[str]) -> str | None:
    if value is None or value == -1:  # datasets writes -1 where a test split's labels are withheld
        return None
    if not isinstance(value, int) or not 0 <= value < len(names):
        raise UserError(f"{path}: column {column!r} holds {value!r}, but the file names {len(names)} classes")
    return names[value]


def _header(path: Path, row: list[str], *, split_by_commas: bool = True) -> tuple[str, ...]:
    # A table saved together with its row numbers has a first column without a name.
    columns = tuple(name.strip() or f"column_{number}" for number, name in enumerate(row, start=1))
    if row[0].strip().lower().startswith("sep="):
        raise UserError(f"{path} begins with a line 'sep=', which only Excel reads: remove that line")
    if split_by_commas and len(columns) == 1:
        for mark, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "vertical bars")):
            if mark in columns[0]:
                raise UserError(
                    f"{path} seems to be separated by {name} (header {columns[0]!r}): "
                    "save it with commas, or with tabs as .tsv"
                )
    _check_distinct(path, columns)
    return columns


def _check_distinct(path: Path, columns: tuple[str, ...]) -> None:
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise UserError(f"{path} has more than one column named {listed(twice)}: rename them")


def _check_width(path: Path, line: int, found: int, wanted: int, advice: str) -> None:
    if found != wanted:
        raise UserError(f"{path} line {line}: {found} columns, but the header has {wanted}{advice}")
