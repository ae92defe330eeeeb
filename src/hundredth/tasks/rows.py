"""From a table's cells to clean texts and label names; what is dropped or cut is counted in the notes."""

from collections.abc import Iterable, Sequence

from hundredth.characters import is_unicode
from hundredth.errors import UserError
from hundredth.tables import Table, listed
from hundredth.tasks.columns import is_missing

Row = tuple[tuple[str, ...], str]


def key_of(texts: Sequence[str]) -> tuple[str, ...]:
    """Return what two texts share when they differ in case and spacing only."""
    return tuple(" ".join(text.casefold().split()) for text in texts)


def label_order(labels: Iterable[str]) -> tuple[str, ...]:
    """Return the labels by number when all are whole numbers, else alphabetically."""
    names = sorted(labels)
    try:
        return tuple(sorted(names, key=int))
    except ValueError:
        return tuple(names)


def read_label_rows(
    table: Table, fields: Sequence[str], label_column: str, max_characters: int, notes: list[str]
) -> list[Row]:
    """Return the rows that have a text in every field and a label; UserError when none has."""
    labels = table.column(label_column)
    if all(is_missing(label) for label in labels):
        raise UserError(f"{table.path}: column {label_column!r} holds no label in any of {len(labels)} rows")
    texts = _texts(table, fields, max_characters, notes)
    rows: list[Row] = []
    unlabelled = 0
    for index, label in enumerate(labels):
        if is_missing(label):
            unlabelled += 1
            continue
        found = texts[index]
        if found is not None:
            rows.append((found, _label(table, label_column, index, label)))
    if unlabelled:
        notes.append(f"{table.path.name}: dropped {unlabelled} rows without a label in {label_column!r}")
    if not rows:
        raise UserError(f"{table.path}: no row has both a text and a label")
    return rows


def read_text_rows(
    table: Table, fields: Sequence[str], max_characters: int, notes: list[str]
) -> list[tuple[str, ...]]:
    """Return the texts of the rows that have one in every field; UserError when none has."""
    return [texts for texts in _texts(table, fields, max_characters, notes) if texts is not None]


def _texts(
    table: Table, fields: Sequence[str], max_characters: int, notes: list[str]
) -> list[tuple[str, ...] | None]:
    """Return each row's texts, None for a row with an empty one."""
    columns = {field: table.column(field) for field in fields}
    texts: list[tuple[str, ...] | None] = []
    empty = cut = 0
    for index in range(len(table.rows)):
        if any(is_missing(column[index]) for column in columns.values()):
            empty += 1
            texts.append(None)
            continue
        whole = [_text(table, field, index, column[index]) for field, column in columns.items()]
        cut += any(len(text) > max_characters for text in whole)
        texts.append(tuple(text[:max_characters].rstrip() for text in whole))
    if empty == len(texts):
        raise UserError(f"{table.path}: every row is empty in {listed(fields)}; choose with --text-column")
    if empty:
        notes.append(f"{table.path.name}: dropped {empty} rows with an empty text")
    if cut:
        notes.append(f"{table.path.name}: cut {cut} rows to {max_characters} characters a text")
    return texts


def _text(table: Table, field: str, index: int, value: object) -> str:
    if not isinstance(value, str | int | float):
        raise UserError(_unfit(table, field, index, value, "a text"))
    return _whole(table, field, index, str(value).strip())


def _label(table: Table, column: str, index: int, value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # whole numbers become floats in tools that mark missing values by NaN
    if not isinstance(value, str | int):
        raise UserError(_unfit(table, column, index, value, "a label"))
    return _whole(table, column, index, " ".join(str(value).split()))


def _whole(table: Table, column: str, index: int, text: str) -> str:
    """Refuse what is no text: JSON may hold half a character, which cannot be written as UTF-8, or NUL."""
    if not is_unicode(text):
        raise UserError(
            f"{table.path} line {table.lines[index]}: column {column!r} holds half of a surrogate pair, "
            "which is no character; mend the text where it was written"
        )
    if "\0" in text:
        raise UserError(
            f"{table.path} line {table.lines[index]}: column {column!r} holds a NUL character, which is no part of "
            "a text: remove it"
        )
    return text


def _unfit(table: Table, column: str, index: int, value: object, wanted: str) -> str:
    return (
        f"{table.path} line {table.lines[index]}: column {column!r} holds {str(value)[:40]!r} "
        f"({type(value).__name__}), which is not {wanted}; choose with --text-column and --label-column"
    )
