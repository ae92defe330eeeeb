"""How a task is put into words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hundredth.errors import UserError
from hundredth.tasks.config import TaskConfig, verbalise
from hundredth.tasks.verbalisation import Verbalisation

line = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=20).filter(lambda t: ":" not in t)


def test_column_and_label_names_become_words() -> None:
    made = Verbalisation.default(("text",), ("card_swallowed", "top-up", "-1"), about="a message to a bank")
    assert made.label_words == ("card swallowed", "top up", "-1")
    assert made.field_names == ("Text",)
    assert "a message to a bank" in made.instruction
    assert made.instruction.endswith("The labels are: card swallowed, top up, -1.")


def test_given_words_take_the_place_of_names_in_the_instruction_too() -> None:
    made = Verbalisation.default(
        ("q",), ("HUM", "LOC"), label_words={"HUM": "a person"}, field_names={"q": "Question"}
    )
    assert made.label_words == ("a person", "LOC")
    assert made.field_names == ("Question",)
    assert made.instruction.endswith("The labels are: a person, LOC.")


def test_words_with_commas_are_listed_with_semicolons() -> None:
    made = Verbalisation.default(("t",), ("1", "2"), label_words={"1": "a, b", "2": "c"})
    assert made.instruction.endswith("The labels are: a, b; c.")


def test_a_long_list_of_labels_is_shortened_and_says_so() -> None:
    made = Verbalisation.default(("text",), [f"l{i}" for i in range(30)])
    assert "Some of the labels are: l0," in made.instruction
    assert "l20" not in made.instruction


@given(line, line)
def test_a_written_pair_is_read_back(first: str, second: str) -> None:
    made = Verbalisation.default(("premise", "hypothesis"), ("yes", "no"))
    assert made.parse(made.target((first, second))) == (first, second)
    assert made.context(1) + made.target((first, second)) == f"\nLabel: no\nPremise: {first}\nHypothesis: {second}"
    assert made.question((first, second)) == [f"Premise: {first}", f"\nHypothesis: {second}"]


@pytest.mark.parametrize(
    "text", ["", "only one field", "one\nHypothesis:", "\nHypothesis: two", "a\nb\nHypothesis: c"]
)
def test_a_text_with_a_field_missing_is_not_read(text: str) -> None:
    assert Verbalisation.default(("premise", "hypothesis"), ("yes", "no")).parse(text) is None


def test_options_take_their_place_before_the_words_of_a_benchmark() -> None:
    config = TaskConfig(label_words={"a": "alpha"}, field_names={"t": "Text"}, instruction="Write.")
    made = verbalise(config, ("t",), ("a", "b"), "a text", words={"a": "first", "b": "second"}, names={"t": "T"})
    assert made == Verbalisation("Write.", ("alpha", "second"), ("Text",))


@pytest.mark.parametrize(
    ("config", "labels", "message"),
    [
        (TaskConfig(label_words={"c": "x"}), ("a", "b"), "label_words names 'c', but the task has 'a', 'b'"),
        (TaskConfig(field_names={"txt": "x"}), ("a", "b"), "field_names names 'txt', but the task has 'text'"),
        (TaskConfig(), ("top_up", "top-up"), "'top_up', 'top-up' would all be shown to an LLM as 'top up'"),
        (TaskConfig(label_words={"a": "B"}), ("a", "b"), "'a', 'b' would all be shown to an LLM as 'b'"),
        (TaskConfig(), ("_", "b"), "'_' has no words to show an LLM: set some under label_words"),
    ],
)
def test_words_that_do_not_fit_are_refused(config: TaskConfig, labels: tuple[str, ...], message: str) -> None:
    """Two labels with one phrase would be indistinguishable to the LLM, and every soft label of them noise."""
    with pytest.raises(UserError) as caught:
        verbalise(config, ("text",), labels, "")
    assert message in str(caught.value)
