"""What a caller may pass as texts, brought to one form: a tuple with one string per field of the task."""

import reprlib
from collections.abc import Iterable, Mapping, Sequence

from hundredth.characters import is_unicode
from hundredth.errors import UserError

Text = str | Sequence[str] | Mapping[str, str]


def columns_for(fields: Sequence[str], given: Sequence[str], label_column: str | None = None) -> tuple[str, ...]:
    """Return the columns of the fields, in their order: those `given`, one for each, or those named as they are.

    Raises:
        UserError: they are not one for each, or the column of labels is among them.
    """
    if given and len(given) != len(fields):
        raise UserError(f"{_quoted(given)} are not one column for each field: this task reads {_quoted(fields)}")
    columns = tuple(given or fields)
    if label_column in columns:
        raise UserError(f"{label_column!r} cannot be the column of both texts and labels: see --label-column")
    return columns


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))


def as_fields(texts: Sequence[Text], fields: Sequence[str]) -> list[tuple[str, ...]]:
    """Return each text as a tuple in the order of `fields`; refuses empty text, naming its position."""
    if isinstance(texts, str | Mapping):
        raise UserError("a single text was given: pass a list of texts, such as [text]")
    if not isinstance(texts, Iterable):
        raise UserError(f"{reprlib.repr(texts)} was given for the texts: pass a list of them")
    return [_one(text, fields, position) for position, text in enumerate(texts)]


def _one(text: Text, fields: Sequence[str], position: int) -> tuple[str, ...]:
    values: tuple[object, ...]
    if isinstance(text, str):
        values = (text,)
    elif isinstance(text, Mapping):
        missing = [field for field in fields if field not in text]
        if missing:
            raise UserError(f"text {position} has no field {missing[0]!r}: this task reads {', '.join(fields)}")
        values = tuple(text[field] for field in fields)
    elif isinstance(text, Sequence):
        values = tuple(text)
    else:
        raise UserError(f"text {position} is {reprlib.repr(text)}: it must be a string, or one string per field")
    if len(values) != len(fields):
        raise UserError(
            f"text {position} has {len(values)} fields: this task reads {len(fields)} ({', '.join(fields)})"
        )
    return tuple(
        checked_text(value, f"text {position}" + (f", field {field!r}," if len(fields) > 1 else ""))
        for value, field in zip(values, fields, strict=True)
    )


def checked_text(value: object, where: str) -> str:
    """Return a text that can be encoded; UserError says of anything else what it is, and `where`."""
    if not isinstance(value, str):
        raise UserError(f"{where} is {reprlib.repr(value)}: it must be a string")
    if not value.strip():
        raise UserError(f"{where} is empty: remove it, or give it words")
    if not is_unicode(value):
        raise UserError(f"{where} holds half of a surrogate pair, which is no character")
    return value
