"""Pairs of texts with a score of their likeness: what the best step of a training is chosen by."""

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hundredth.characters import is_unicode
from hundredth.errors import UserError

_COLUMNS = (("sentence1", "sentence2"), ("text1", "text2"), ("first", "second"), ("premise", "hypothesis"))
_SCORES = ("score", "similarity", "label")
_FIELD_LIMIT = 2**31 - 1


@dataclass(frozen=True)
class ScoredPairs:
    """Text i of `first` beside text i of `second`, and how alike they are: `scores` (N,), higher is more alike.

    Only the order of the scores matters, not their scale.

    Raises:
        UserError: the lengths differ, fewer than 3 pairs, a text with half of a surrogate pair, a score that is no
            number, or scores all equal, which rank nothing.
    """

    first: list[str]
    second: list[str]
    scores: NDArray[np.float64]

    def __post_init__(self) -> None:
        sizes = len(self.first), len(self.second), len(self.scores)
        if len(set(sizes)) > 1:
            raise UserError(f"scored pairs: {sizes[0]} and {sizes[1]} texts, but {sizes[2]} scores")
        if sizes[0] < 3:
            raise UserError(f"scored pairs: {sizes[0]} of them, but a ranking needs at least 3")
        broken = next((text for text in (*self.first, *self.second) if not is_unicode(text)), None)
        if broken is not None:
            raise UserError(
                f"scored pairs: the text {broken[:60]!r} holds half of a surrogate pair, which is no character"
            )
        if not np.isfinite(self.scores).all():
            raise UserError("scored pairs: a score is NaN or infinite")
        if np.ptp(self.scores) == 0:
            raise UserError(f"scored pairs: all scores are {self.scores[0]:g}, so that they rank nothing")


def read_scored_pairs(path: Path) -> ScoredPairs:
    """Read two texts and a score a row from .csv, .tsv or .jsonl.

    The columns are sentence1, sentence2 (or text1, text2; first, second) and score (or similarity, label). A .csv
    or .tsv without such a header holds the three in this order.

    Raises:
        UserError: the file is missing, of another kind, not UTF-8, or has no such columns; names the line.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist (looked in {path.absolute().parent})")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8: byte {error.start} is 0x{error.object[error.start]:02x}") from None
    suffix = path.suffix.lower()
    if suffix in (".jsonl", ".ndjson"):
        rows = list(_objects(path, text))
    elif suffix in (".csv", ".tsv"):
        rows = list(_cells(path, text, suffix == ".csv"))
    else:
        raise UserError(f"{path} ends in {suffix!r}, which is no kind of scored pairs: use .csv, .tsv or .jsonl")
    if not rows:
        raise UserError(f"{path} holds no pairs")
    scores = np.array([score for _, _, score in rows], dtype=np.float64)
    return ScoredPairs([one for one, _, _ in rows], [two for _, two, _ in rows], scores)


def _cells(path: Path, text: str, quoted: bool) -> Iterator[tuple[str, str, float]]:
    before = csv.field_size_limit(_FIELD_LIMIT)
    try:
        if quoted:
            table = [
                (number, row) for number, row in enumerate(csv.reader(io.StringIO(text, newline="")), 1) if row
            ]
        else:
            lines = text.split("\n")
            table = [(number, line.removesuffix("\r").split("\t")) for number, line in enumerate(lines, 1) if line]
    except csv.Error as error:
        raise UserError(f"{path} is not valid CSV: {error}") from None
    finally:
        csv.field_size_limit(before)
    if not table:
        return
    header = [name.strip().lower() for name in table[0][1]]
    found = _columns(header)
    if found is None and len(header) == 3 and _number(table[0][1][2]) is not None:
        places, body = (0, 1, 2), table
    elif found is None:
        raise UserError(_no_columns(path, header))
    else:
        places, body = (header.index(found[0]), header.index(found[1]), header.index(found[2])), table[1:]
    for number, row in body:
        if len(row) <= max(places):
            raise UserError(f"{path} line {number}: {len(row)} columns, where {max(places) + 1} are needed")
        first, second, score = (row[place] for place in places)
        yield _row(path, number, first, second, score)


def _objects(path: Path, text: str) -> Iterator[tuple[str, str, float]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{path} line {number}: not valid JSON ({error.msg})") from None
        found = _columns(list(value)) if isinstance(value, dict) else None
        if found is None:
            raise UserError(_no_columns(path, list(value) if isinstance(value, dict) else []))
        first, second, score = (value[name] for name in found)
        yield _row(path, number, first, second, score)


def _columns(names: Sequence[str]) -> tuple[str, str, str] | None:
    pair = next((pair for pair in _COLUMNS if set(pair) <= set(names)), None)
    score = next((name for name in _SCORES if name in names), None)
    return None if pair is None or score is None else (*pair, score)


def _no_columns(path: Path, names: Sequence[str]) -> str:
    return (
        f"{path} has the columns {', '.join(names) or 'none'}: scored pairs need sentence1, sentence2 and score "
        "(or text1, text2 and similarity)"
    )


def _row(path: Path, number: int, first: object, second: object, score: object) -> tuple[str, str, float]:
    value = _number(score)
    if value is None:
        raise UserError(f"{path} line {number}: the score {score!r} is no number")
    if not isinstance(first, str) or not isinstance(second, str) or not first.strip() or not second.strip():
        raise UserError(f"{path} line {number}: a text of the pair is empty")
    if not is_unicode(first) or not is_unicode(second):
        raise UserError(f"{path} line {number}: a text holds half of a surrogate pair, which is no character")
    return first, second, value


def _number(value: object) -> float | None:
    if not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
