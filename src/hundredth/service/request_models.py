"""What comes in: checked before anything is done with it."""

from typing import Annotated, Any

from pydantic import BaseModel, Field, SkipValidation, model_validator

from hundredth.service.examples import LABEL, NEW_LABEL, TEXT, shown
from hundredth.store.checks import LONGEST_NAME

# Its form depends on the model's fields: the runtime checks it, and says what is wrong with which text.
Text = SkipValidation[str | list[str] | dict[str, str]]
LARGEST_ID = 2**63 - 1  # of SQLite
_LONGEST_NOTE = 2000  # characters
_MOST_HITS = 100
_Label = Annotated[str, Field(max_length=LONGEST_NAME)]


class PredictRequest(BaseModel):
    """One `text` or several `texts`, and when not to answer: below a probability, or above a share of errors."""

    model_config = shown(
        {"texts": [TEXT, "where is my refund"], "abstain_below": 0.5},
        {"text": TEXT},
        oneOf=[{"required": ["text"]}, {"required": ["texts"]}],
    )

    text: Text = Field("", description="A text: a string, strings in the order of the fields, or strings by field.")
    texts: list[Text] = Field([], description="Several texts.")
    abstain_below: float | None = Field(None, ge=0, le=1, allow_inf_nan=False)
    max_error: float | None = Field(None, gt=0, lt=1, allow_inf_nan=False)

    @model_validator(mode="after")
    def _one_of_the_two(self) -> "PredictRequest":
        if ("text" in self.model_fields_set) == ("texts" in self.model_fields_set):
            raise ValueError("give either text or texts")
        return self

    def given(self) -> list[Any]:
        """Return the texts, one or more."""
        return [self.text] if "text" in self.model_fields_set else list(self.texts)


class TextRequest(BaseModel):
    """A text."""

    model_config = shown({"text": TEXT})

    text: Text


class SearchRequest(BaseModel):
    """A text, and how many of the entries nearest to it are wanted."""

    model_config = shown({"text": TEXT, "k": 5})

    text: Text
    k: int = Field(10, ge=1, le=_MOST_HITS)


class AddRequest(BaseModel):
    """Texts with a label each, and why they are added; labels may be new to the model if `new_labels` says so."""

    model_config = shown(
        {"texts": ["my card is stuck"], "labels": [LABEL], "note": "ticket 17"},
        {"texts": ["my card melted", "the card broke in two"], "labels": [NEW_LABEL] * 2, "new_labels": True},
    )

    texts: list[Text] = Field(min_length=1)
    labels: list[_Label] = Field(min_length=1)
    new_labels: bool = Field(False, description="Add the labels that the model does not know; they are for good.")
    note: str = Field("", max_length=_LONGEST_NOTE)


class CorrectRequest(BaseModel):
    """A text, what its label is, and why; the label may be new to the model if `new_label` says so."""

    model_config = shown(
        {"text": "the machine ate my card", "label": LABEL, "note": "ticket 17"},
        {"text": "my card melted", "label": NEW_LABEL, "new_label": True},
    )

    text: Text
    label: _Label
    new_label: bool = Field(False, description="Add the label if the model does not know it; it is for good.")
    note: str = Field("", max_length=_LONGEST_NOTE)


class UndoRequest(BaseModel):
    """The id of a change, as the log has it."""

    model_config = shown({"change": 4})

    change: int = Field(ge=1, le=LARGEST_ID)
