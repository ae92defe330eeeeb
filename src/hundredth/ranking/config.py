"""The settings of encoder training, and the objectives that the literature has names for."""

from collections.abc import Sequence
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hundredth.encoders import Pooling
from hundredth.errors import UserError
from hundredth.seeds import Seed

Precision = Literal["auto", "bf16", "float32"]


class EncoderTrainingConfig(BaseModel):
    """How an encoder is trained: the terms of the loss, the batches, the schedule, the choice of the best step."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    contrastive_weight: float = Field(1.0, ge=0, description="weight of the contrastive term (SimCSE)")
    consistency_weight: float = Field(1.0, ge=0, description="beta, weight of the ranking consistency")
    ranking_weight: float = Field(1.0, ge=0, description="gamma, weight of the teachers' rankings")
    listwise: Literal["listnet", "listmle"] = Field("listnet", description="how rankings are compared")
    temperature: float = Field(0.05, gt=0, description="tau1, of the contrastive and the consistency term")
    student_temperature: float = Field(0.05, gt=0, description="tau2, of the student's scores in the ranking term")
    teacher_temperature: float = Field(0.025, gt=0, description="tau3, of the teachers' scores; ListNet only")
    exclude_diagonal: bool = Field(True, description="leave each sentence out of its own ranking")
    listmle_reduction: Literal["mean", "sum"] = Field(
        "sum", description="over the positions of a list; ListMLE only"
    )
    pooling: Pooling | None = Field(
        None,
        description="how token states become one vector; by default the base's own, else mean (an LLM: last)",
    )
    projection: Literal["mlp"] | None = Field(
        None,
        description="mlp: train through a dense layer with tanh, dropped at the end (SimCSE's head on cls)",
    )
    dropout: float | None = Field(None, ge=0, lt=1, description="of the encoder; by default the base's own, or 0.1")
    max_length: int = Field(32, ge=2, description="most tokens of a sentence in training; later the encoder's own")
    batch_size: int = Field(128, ge=2, description="sentences a step, over all processes")
    mini_batch_size: int | None = Field(
        None, ge=1, description="sentences through the model at a time, for batches larger than memory"
    )
    epochs: int = Field(1, ge=1, description="passes over the corpus, where `steps` is not set")
    steps: int | None = Field(None, ge=1, description="optimizer steps, in place of `epochs`")
    learning_rate: float | None = Field(
        None, gt=0, description="peak learning rate of AdamW; by default 3e-5 x 768 / the width of the embedding"
    )
    warmup: float = Field(0.05, ge=0, lt=1, description="share of the steps in which the learning rate rises")
    weight_decay: float = Field(0.0, ge=0, description="AdamW's weight decay")
    max_gradient: float = Field(1.0, gt=0, description="longest gradient; longer ones are scaled down")
    precision: Precision = Field("auto", description="of the matrix products; auto chooses it from the machine")
    evaluate_every: int = Field(125, ge=1, description="steps between two looks at the development score")
    held_out: int = Field(
        512, ge=0, description="sentences kept back for the choice of the best step where there are no scored pairs"
    )
    checkpoint_every: int = Field(500, ge=1, description="steps between two states that a killed run goes on from")
    seed: Seed = Field(0, description="order of the sentences, dropout, projection, held-out sentences")

    def loss_options(self) -> dict[str, Any]:
        """Return the settings that `RankCSELoss` takes under the same names."""
        return self.model_dump(include=_LOSS_OPTIONS)


_LOSS_OPTIONS = {
    "contrastive_weight",
    "consistency_weight",
    "ranking_weight",
    "temperature",
    "student_temperature",
    "teacher_temperature",
    "exclude_diagonal",
    "listmle_reduction",
    "projection",
    "mini_batch_size",
}

# What each objective changes of the defaults; all of them keep the contrastive term.
METHODS: dict[str, dict[str, Any]] = {
    "rankcse": {},
    "simcse": {"consistency_weight": 0.0, "ranking_weight": 0.0},
    "consistency": {"ranking_weight": 0.0},
    "listnet": {"consistency_weight": 0.0},
    "listmle": {"consistency_weight": 0.0, "listwise": "listmle"},
}


def make_training_config(
    method: str = "rankcse", values: dict[str, Any] | None = None, overrides: Sequence[str] = ()
) -> EncoderTrainingConfig:
    """Put the settings together: those of a method, over them `values`, over them `overrides`.

    `values` leaves out, as None, what is not set; an override reads NAME=VALUE, its value in YAML.

    Raises:
        UserError: a method or setting that does not exist, or a value out of range.
    """
    if method not in METHODS:
        raise UserError(f"there is no method {method!r}: choose from {', '.join(METHODS)}")
    merged = {**METHODS[method], **{key: value for key, value in (values or {}).items() if value is not None}}
    for override in overrides:
        name, found, text = override.partition("=")
        if not found or not name.strip():
            raise UserError(f"--set {override!r}: write NAME=VALUE, for example --set max_length=64")
        try:
            # "null" is a value here: it puts a setting back to what is chosen from the base.
            merged[name.strip()] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            said = str(error).splitlines()[0]
            raise UserError(f"--set {override!r}: the value cannot be read ({said})") from error
    try:
        return EncoderTrainingConfig.model_validate(merged)
    except ValidationError as error:
        raise UserError(f"settings: {'; '.join(_explain(one) for one in error.errors())}") from error


def _explain(error: Any) -> str:
    name = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"there is no setting {name}; the settings are {', '.join(EncoderTrainingConfig.model_fields)}"
    return f"{name}={error['input']!r}: {error['msg'].lower()}"
