"""The options that say which task is learnt and how its data is read."""

from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator

from hundredth.errors import UserError
from hundredth.seeds import Seed
from hundredth.tables import listed
from hundredth.tasks.metrics import MetricName
from hundredth.tasks.verbalisation import Verbalisation


class TaskConfig(BaseModel):
    """Where the labelled examples come from, how they are split, and how the task is put into words."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    data: Path | None = Field(
        default=None,
        description="File of labelled examples (.csv, .tsv, .jsonl, .parquet), or the folder of a benchmark.",
    )
    task: str | None = Field(
        default=None, description="Benchmark task to read from the folder `data`, such as trec, sst2 or rte."
    )
    dev: Path | None = Field(
        default=None, description="File of development examples; without it they are drawn from `data`."
    )
    unlabelled: Path | None = Field(
        default=None, description="File of texts without labels; .txt holds one text a line."
    )
    text_columns: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="Columns that hold the text; guessed and said when left out."
    )
    label_column: str | None = Field(
        default=None, description="Column that holds the label; guessed and said when left out."
    )
    about: str = Field(
        default="",
        description="Phrase for the kind of text, such as 'a message to a bank', used in the instruction.",
    )
    instruction: str | None = Field(
        default=None,
        description="What the LLM is asked to write, in place of the instruction made from `about`.",
    )
    label_words: dict[str, str] = Field(
        default_factory=dict,
        description="Words for a label, by label; the others come from the label's name.",
    )
    field_names: dict[str, str] = Field(
        default_factory=dict, description="Name shown for a text column, by column."
    )
    limit_per_class: int | None = Field(
        default=None, ge=1, description="Train on this many examples of each class, drawn with `seed`."
    )
    dev_fraction: float = Field(
        default=0.2,
        gt=0.0,
        lt=1.0,
        description="Share of each class held back for development without `dev` and `limit_per_class`.",
    )
    unlabelled_limit: int | None = Field(
        default=None,
        ge=1,
        description="Draw this many unlabelled texts; for a benchmark, from training rows not drawn.",
    )
    max_characters: int = Field(
        default=20_000, ge=1, description="Longer texts are cut to this many characters, and counted."
    )
    seed: Seed = Field(default=0, description="Seed of every draw from the data.")
    metric: MetricName | None = Field(
        default=None,
        description="The task's main score; accuracy unless a benchmark has another; f1 is of the second label.",
    )

    @field_validator("instruction")
    @classmethod
    def _asks(cls, instruction: str | None) -> str | None:
        if instruction is not None and not instruction.strip():
            raise ValueError("write what the LLM is asked, or leave it out")
        return instruction

    @field_validator("label_words", "field_names", mode="before")
    @classmethod
    def _as_text(cls, given: object) -> object:
        """Take numbers for what they are written as: YAML has no other way to read 1 without quotes."""
        if not isinstance(given, dict):
            return given
        if any(isinstance(one, bool) for pair in given.items() for one in pair):
            raise ValueError("to YAML yes, no, on, off, true and false are no words: put it in quotes")
        return {_written(key): _written(value) for key, value in given.items()}


def _written(value: object) -> object:
    return str(value) if isinstance(value, int | float) else value


def verbalise(
    config: TaskConfig,
    fields: tuple[str, ...],
    labels: tuple[str, ...],
    about: str,
    words: dict[str, str] | None = None,
    names: dict[str, str] | None = None,
) -> Verbalisation:
    """Put a task into words: those of `config`, else `words` and `names`, else the labels' and fields' names.

    UserError for words of a label or field that the task does not have, and for two with the same words.
    """
    for option, given, known in (
        ("label_words", config.label_words, labels),
        ("field_names", config.field_names, fields),
    ):
        strangers = [key for key in given if key not in known]
        if strangers:
            raise UserError(f"{option} names {listed(strangers, 5)}, but the task has {listed(known)}")
    made = Verbalisation.default(
        fields,
        labels,
        about,
        label_words={**(words or {}), **config.label_words},
        field_names={**(names or {}), **config.field_names},
    )
    for option, keys, phrases in (
        ("label_words", labels, made.label_words),
        ("field_names", fields, made.field_names),
    ):
        by_phrase: dict[str, list[str]] = {}
        for key, phrase in zip(keys, phrases, strict=True):
            by_phrase.setdefault(phrase.casefold(), []).append(key)
        for phrase, sharing in by_phrase.items():
            if not phrase:
                raise UserError(f"{sharing[0]!r} has no words to show an LLM: set some under {option}")
            if len(sharing) > 1:
                raise UserError(
                    f"{listed(sharing)} would all be shown to an LLM as {phrase!r}: set words under {option}"
                )
    return made if config.instruction is None else replace(made, instruction=config.instruction)
