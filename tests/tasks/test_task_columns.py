"""Guessing columns: right where it is clear, said always, refused where it is not."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from hundredth.errors import UserError
from hundredth.tables import Table
from hundredth.tasks.columns import choose_columns


def table(**columns: Sequence[object]) -> Table:
    rows = list(zip(*columns.values(), strict=True))
    return Table(Path("data.csv"), tuple(columns), rows, list(range(2, len(rows) + 2)))


def made_of(*names: str) -> Table:
    return table(**{name: [f"a {name} of {i}" for i in range(6)] for name in names})


LONG = [f"this is a rather long sentence, number {i}, about nothing in particular" for i in range(12)]


@pytest.mark.parametrize(
    ("names", "text", "label"),
    [
        (("text", "label"), ("text",), "label"),
        (("Intent", "Message"), ("Message",), "Intent"),
        (("id", "sentence1", "sentence2", "label"), ("sentence1", "sentence2"), "label"),
        (("hypothesis", "premise", "y"), ("premise", "hypothesis"), "y"),
        (("question", "passage", "class"), ("question", "passage"), "class"),
        (("title", "body", "category"), ("title", "body"), "category"),
        (("idx", "question", "sentence", "label"), ("question", "sentence"), "label"),
        (("review", "sentiment"), ("review",), "sentiment"),
    ],
)
def test_usual_names_are_recognised_and_said(names: tuple[str, ...], text: tuple[str, ...], label: str) -> None:
    notes: list[str] = []
    chosen = choose_columns(made_of(*names), None, None, notes)
    assert (chosen.text, chosen.label) == (text, label)
    assert len(notes) == 1
    assert all(repr(name) in notes[0] for name in (*text, label))
    assert "--text-column" in notes[0]


def test_columns_that_are_named_are_taken_without_a_word() -> None:
    notes: list[str] = []
    chosen = choose_columns(made_of("text", "label", "other"), ("other", "text"), "label", notes)
    assert (chosen.text, chosen.label) == (("other", "text"), "label")
    assert notes == []


def test_a_named_column_leaves_the_guess_to_the_others() -> None:
    """The guess must not hand out the same column twice: the label would be given away by the text."""
    assert choose_columns(made_of("text", "label"), ("label",), "text", []).text == ("label",)
    assert choose_columns(made_of("text", "question", "label"), ("text",), None, []).label == "label"
    assert choose_columns(made_of("text", "message", "label"), None, "message", []).text == ("text",)


def test_without_usual_names_the_content_decides() -> None:
    """The longest strings are the text; the column with few values is the label; numbers are neither."""
    data = table(nr=list(range(12)), what=LONG, kind=["a", "b", "c"] * 4)
    notes: list[str] = []
    chosen = choose_columns(data, None, None, notes)
    assert (chosen.text, chosen.label) == (("what",), "kind")
    assert "'what'" in notes[0]
    assert "'kind'" in notes[0]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (made_of("text", "label", "category"), "the label could be 'label' or 'category'"),
        (made_of("text", "message", "label"), "the text could be 'text' or 'message'"),
        (made_of("premise", "hypothesis", "text", "label"), "the text could be 'premise + hypothesis' or 'text'"),
        (table(a=LONG, b=LONG, label=["x", "y"] * 6), "the text could be 'a' or 'b'"),
        (table(text=LONG, p=["x", "y"] * 6, q=[0, 1, 2] * 4), "the label could be 'p' or 'q'"),
        (table(text=LONG, p=list(range(12))), "no column looks like a label among 'text', 'p'"),
        (table(p=list(range(12)), label=[0, 1] * 6), "no column looks like text among 'p', 'label'"),
        (table(label=["x", "y"] * 6), "no column looks like text among 'label'"),
    ],
)
def test_what_is_not_clear_is_refused_with_the_options_to_use(data: Table, message: str) -> None:
    with pytest.raises(UserError) as caught:
        choose_columns(data, None, None, [])
    assert message in str(caught.value)
    assert "--text-column" in str(caught.value)
    assert "--label-column" in str(caught.value)


def test_unknown_and_repeated_columns_are_refused() -> None:
    data = made_of("text", "label")
    with pytest.raises(UserError, match="no column 'txt'; its columns are 'text', 'label'"):
        choose_columns(data, ("txt",), None, [])
    with pytest.raises(UserError, match="no column 'labl'"):
        choose_columns(data, None, "labl", [])
    with pytest.raises(UserError, match="named twice"):
        choose_columns(data, ("text",), "text", [])
    with pytest.raises(UserError, match="named twice"):
        choose_columns(data, ("text", "text"), "label", [])
