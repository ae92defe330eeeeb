"""Guessing which columns hold the text and the label; always said, and refused when it is not clear."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hundredth.errors import UserError
from hundredth.tables import Table, listed

LABEL_NAMES = ("label", "labels", "intent", "class", "category", "target", "y", "sentiment", "topic")
TEXT_PAIRS = (
    ("sentence1", "sentence2"),
    ("sentence_1", "sentence_2"),
    ("text1", "text2"),
    ("text_1", "text_2"),
    ("text_a", "text_b"),
    ("premise", "hypothesis"),
    ("question", "passage"),
    ("question", "sentence"),
    ("question", "answer"),
    ("question1", "question2"),
    ("title", "body"),
    ("title", "text"),
    ("title", "description"),
    ("subject", "body"),
)
TEXT_NAMES = (
    "text",
    "sentence",
    "message",
    "utterance",
    "content",
    "body",
    "review",
    "question",
    "query",
    "comment",
    "tweet",
    "document",
    "description",
    "title",
)
_ADVICE = "say which with --text-column and --label-column"
_LONGEST_LABEL = 80


@dataclass(frozen=True)
class Columns:
    """The columns of a task's file."""

    text: tuple[str, ...]
    label: str


def choose_columns(table: Table, text: Sequence[str] | None, label: str | None, notes: list[str]) -> Columns:
    """Take the columns that are named and guess the others, by name, else by content, saying which."""
    for name in [*(text or ()), *([label] if label is not None else [])]:
        table.column(name)
    if text is not None and (len(set(text)) < len(text) or label in text):
        raise UserError(f"a column is named twice: text {listed(text)}, label {label!r}; each has one part only")
    label_found = label if label is not None else _label_named(table, text or ())
    text_found = tuple(text) if text is not None else _guess_text(table, label_found)
    if label_found is None:
        label_found = _label_by_content(table, text_found)
    guessed = [f"text {listed(text_found)}"] if text is None else []
    guessed += [f"label {label_found!r}"] if label is None else []
    if guessed:
        notes.append(
            f"{table.path.name}: guessed {' and '.join(guessed)} among the columns {listed(table.columns)}; "
            "to choose others use --text-column and --label-column"
        )
    return Columns(text=text_found, label=label_found)


def refuse_rows_as_header(table: Table, columns: Columns) -> None:
    """Refuse names that occur in their own column: they are the first row of a CSV or TSV file without a header.

    A name that is known for what it is, such as "text", may occur: somebody may have written it.
    """
    if table.path.suffix.lower() not in (".csv", ".tsv"):
        return
    known = {*LABEL_NAMES, *TEXT_NAMES, *(name for pair in TEXT_PAIRS for name in pair)}
    for name in (*columns.text, columns.label):
        if name.lower() in known:
            continue
        for line, value in zip(table.lines, table.column(name), strict=True):
            if str(value).strip() == name:
                raise UserError(
                    f"{table.path}: the first line must name the columns, for example 'text,label'; here "
                    f"{name[:40]!r} is the name of a column, and on line {line} a value in it: add a line of "
                    "names, or give the column another name"
                )


def is_missing(value: object) -> bool:
    """Return whether a cell holds nothing: null, NaN (also spelt out, as CSV has it), or only spaces."""
    if isinstance(value, str):
        return value.strip() in ("", "NaN", "nan")
    return value is None or (isinstance(value, float) and math.isnan(value))


def _label_named(table: Table, text: Sequence[str]) -> str | None:
    found = [name for name in table.columns if name.strip().lower() in LABEL_NAMES and name not in text]
    if len(found) > 1:
        raise UserError(f"{table.path}: the label could be {_either(found)}; {_ADVICE}")
    return found[0] if found else None


def _guess_text(table: Table, label: str | None) -> tuple[str, ...]:
    by_name = {name.strip().lower(): name for name in table.columns if name != label}
    found = [(by_name[a], by_name[b]) for a, b in TEXT_PAIRS if a in by_name and b in by_name]
    paired = {name for pair in found for name in pair}
    choices: list[tuple[str, ...]] = [*found]
    choices += [(by_name[n],) for n in TEXT_NAMES if n in by_name and by_name[n] not in paired]
    if len(choices) == 1:
        return choices[0]
    if choices:
        shown = _either([" + ".join(choice) for choice in choices])
        raise UserError(f"{table.path}: the text could be {shown}; {_ADVICE}")
    return (_text_by_content(table, label),)


def _text_by_content(table: Table, label: str | None) -> str:
    lengths: dict[str, float] = {}
    for name in table.columns:
        values = [value for value in table.column(name) if not is_missing(value)]
        words = [value for value in values if isinstance(value, str) and not _is_number(value)]
        if name != label and values and len(words) > len(values) / 2:
            lengths[name] = sum(map(len, words)) / len(words)
    ordered = sorted(lengths, key=lambda name: -lengths[name])
    if not ordered:
        raise UserError(f"{table.path}: no column looks like text among {listed(table.columns)}; {_ADVICE}")
    if len(ordered) > 1 and lengths[ordered[1]] > lengths[ordered[0]] / 2:
        close = [name for name in ordered if lengths[name] > lengths[ordered[0]] / 2]
        raise UserError(f"{table.path}: the text could be {_either(close)}; {_ADVICE}")
    return ordered[0]


def _label_by_content(table: Table, text: tuple[str, ...]) -> str:
    """Return the one other column whose values repeat: two or more, each on three rows or more on average."""
    found: list[str] = []
    for name in table.columns:
        values = [str(value) for value in table.column(name) if not is_missing(value)]
        repeats = 2 <= len(set(values)) <= len(values) / 3
        if name not in text and repeats and max(map(len, values)) <= _LONGEST_LABEL:
            found.append(name)
    if len(found) > 1:
        raise UserError(f"{table.path}: the label could be {_either(found)}; {_ADVICE}")
    if not found:
        raise UserError(f"{table.path}: no column looks like a label among {listed(table.columns)}; {_ADVICE}")
    return found[0]


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _either(names: list[str]) -> str:
    return " or ".join(repr(name) for name in names)
