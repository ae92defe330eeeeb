"""SuperGLUE's JSON lines (Wang et al. 2019): one folder a task with train.jsonl and val.jsonl.

SuperGLUE withholds the labels of its test files, so the val file serves as the test split. Three tasks are
not plain classification of texts and are rewritten as such, each by the function that reads it.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hundredth.errors import UserError
from hundredth.tables import read_jsonl
from hundredth.tasks.glue import Labelled, Splits, labelled

_COPA_QUESTIONS = {"cause": "What was the cause?", "effect": "What happened as a result?"}


def read_inference(folder: Path) -> Splits:
    """CB and RTE: a premise and a hypothesis."""
    return _read_plain(folder, ("premise", "hypothesis"))


def read_boolq(folder: Path) -> Splits:
    """BoolQ: a question and a passage that answers it with yes or no."""
    return _read_plain(folder, ("question", "passage"))


def read_copa(folder: Path) -> Splits:
    """COPA: which of two choices is the cause (or the effect) of a premise.

    Field `premise` is the premise and the question asked about it, field `choices` both choices as
    "first / second"; the label is the right one's place, 0 or 1.
    """
    return _read(folder, _copa)


def read_wic(folder: Path) -> Splits:
    """WiC: whether a word has the same meaning in two sentences.

    The word stands between asterisks in both: "Come over to my *place* later."
    """
    return _read(folder, _wic)


def read_wsc(folder: Path) -> Splits:
    """WSC: whether a pronoun refers to a name, given as its place in the text.

    One field: the text with the name in brackets and the pronoun between asterisks: "[Mark] said *he* would".
    """
    return _read(folder, _wsc)


def _copa(row: dict[str, Any]) -> tuple[str, ...]:
    premise = f"{row['premise'].strip()} {_COPA_QUESTIONS[row['question']]}"
    return premise, f"{row['choice1'].strip()} / {row['choice2'].strip()}"


def _wic(row: dict[str, Any]) -> tuple[str, ...]:
    return tuple(
        _marked(row[f"sentence{side}"], row[f"start{side}"], row[f"end{side}"], "*", "*").strip() for side in (1, 2)
    )


def _wsc(row: dict[str, Any]) -> tuple[str, ...]:
    target = row["target"]
    text = " ".join(row["text"].split())
    spans = [
        (*_place(text, target["span1_text"], target["span1_index"]), "[", "]"),
        (*_place(text, target["span2_text"], target["span2_index"]), "*", "*"),
    ]
    for start, end, before, after in sorted(spans, reverse=True):
        text = _marked(text, start, end, before, after)
    return (text,)


def _place(text: str, span: str, index: int) -> tuple[int, int]:
    """Return where `span` stands in `text`, which has single spaces: nearest to the word of that index.

    The index counts words, but some of the data's are off by one, and the words carry punctuation.
    """
    pattern = rf"(?<!\w){re.escape(' '.join(span.split()))}(?!\w)"
    found = [match.span() for match in re.finditer(pattern, text, re.IGNORECASE)]
    if not found:
        raise ValueError(f"{span!r} does not stand in the text")
    return min(found, key=lambda place: abs(text.count(" ", 0, place[0]) - index))


def _marked(text: str, start: int, end: int, before: str, after: str) -> str:
    if not 0 <= start < end <= len(text):
        raise ValueError(f"characters {start} to {end} of a text of {len(text)}")
    return f"{text[:start]}{before}{text[start:end]}{after}{text[end:]}"


def _read_plain(folder: Path, fields: tuple[str, ...]) -> Splits:
    train, val = read_jsonl(folder / "train.jsonl"), read_jsonl(folder / "val.jsonl")
    return labelled(train, fields, "label"), labelled(val, fields, "label")


def _read(folder: Path, rewrite: Callable[[dict[str, Any]], tuple[str, ...]]) -> Splits:
    return _rewritten(folder / "train.jsonl", rewrite), _rewritten(folder / "val.jsonl", rewrite)


def _rewritten(path: Path, rewrite: Callable[[dict[str, Any]], tuple[str, ...]]) -> list[Labelled]:
    table = read_jsonl(path)
    rows: list[Labelled] = []
    for line, cells in zip(table.lines, table.rows, strict=True):
        row = dict(zip(table.columns, cells, strict=True))
        try:
            rows.append((rewrite(row), str(row["label"])))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise UserError(
                f"{path} line {line}: not as SuperGLUE lays this task out ({error!r}); is the file whole?"
            ) from None
    return rows
