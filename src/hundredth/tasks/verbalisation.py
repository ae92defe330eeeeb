"""How a task is written for an LLM: the one place where label words and field names become text.

Generation asks the LLM for a text of a given label:

    <instruction>                      (the soft prompt starts from it and takes its place)
    Label: <label words>
    <Field>: <text> ... <Field>: <text><end of text>

Classification shows the same fields without the label. Everything here is shown in the run's config under
`task.verbalisation` and can be edited there.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LABEL_PREFIX = "Label:"
ANSWER_PREFIX = f"\n{LABEL_PREFIX}"
_MOST_LISTED = 20


@dataclass(frozen=True)
class Verbalisation:
    """The words for a task: one instruction, one phrase per label, one name per field."""

    instruction: str
    label_words: tuple[str, ...]
    field_names: tuple[str, ...]

    @classmethod
    def default(
        cls,
        fields: Sequence[str],
        labels: Sequence[str],
        about: str = "",
        label_words: Mapping[str, str] | None = None,
        field_names: Mapping[str, str] | None = None,
    ) -> "Verbalisation":
        """Make a verbalisation from column and label names: `card_swallowed` becomes "card swallowed".

        `label_words` and `field_names` give the words for some of the labels and fields in their place.
        """
        given_names, given_words = field_names or {}, label_words or {}
        names = tuple(_one_line(given_names.get(field, _words(field).capitalize())) for field in fields)
        words = tuple(_one_line(given_words.get(label, _words(label))) for label in labels)
        subject = about or "the same kind"
        # With commas inside them, words would run together in a list separated by commas.
        separator = "; " if any("," in phrase for phrase in words) else ", "
        opening = "The labels are" if len(words) <= _MOST_LISTED else "Some of the labels are"
        instruction = (
            f"Write a new, realistic example of {subject} with the given label. "
            f"{opening}: {separator.join(words[:_MOST_LISTED])}."
        )
        return cls(instruction=instruction, label_words=words, field_names=names)

    def context(self, label: int) -> str:
        """Return what stands before a generated text: the label line and the first field's name."""
        return f"\n{LABEL_PREFIX} {self.label_words[label]}\n{self.field_names[0]}:"

    def target(self, texts: Sequence[str]) -> str:
        """Return the text that the LLM learns to write after `context`, without the end-of-text token."""
        return "".join(f"{heading}{text}" for heading, text in self.target_parts(texts))

    def target_parts(self, texts: Sequence[str]) -> list[tuple[str, str]]:
        """Return the parts that make up `target`: for each field what stands before it, and its text."""
        headings = ["", *(f"\n{name}:" for name in self.field_names[1:])]
        return [(heading, f" {_one_line(text)}") for heading, text in zip(headings, texts, strict=True)]

    def parse(self, generated: str) -> tuple[str, ...] | None:
        """Read the fields back from a generated text, the inverse of `target`; None when one is missing."""
        texts: list[str] = []
        rest = generated
        for name in self.field_names[1:]:
            head, found, rest = rest.partition(f"\n{name}:")
            if not found:
                return None
            texts.append(head.strip())
        texts.append(rest.strip())
        if any(not text or "\n" in text for text in texts):
            return None
        return tuple(texts)

    def question(self, texts: Sequence[str]) -> list[str]:
        """Return the fields' lines as the annotator reads them; `ANSWER_PREFIX` follows, then the label."""
        lines = (f"{name}: {_one_line(text)}" for name, text in zip(self.field_names, texts, strict=True))
        return [line if number == 0 else f"\n{line}" for number, line in enumerate(lines)]


def _words(name: str) -> str:
    # A hyphen joins words only between two of them: "-1" is a number.
    return " ".join(re.sub(r"(?<=\w)-+(?=\w)|_", " ", name).split())


def _one_line(text: str) -> str:
    return " ".join(text.split())
