"""The one config of a run: every stage's settings, gathered, validated before anything starts, saved with it."""

import re
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hundredth import seeds
from hundredth.errors import UserError
from hundredth.extraction.annotation import AnnotatorConfig
from hundredth.extraction.augmentation import AugmentationConfig
from hundredth.extraction.filters import FilterConfig
from hundredth.extraction.llm import DType
from hundredth.extraction.rl_config import RLConfig
from hundredth.extraction.sampling import SamplingConfig
from hundredth.extraction.tuning import PromptConfig
from hundredth.student.selection import RetrievalGrid
from hundredth.student.training import StudentConfig
from hundredth.tasks.config import TaskConfig
from hundredth.tasks.schema import Task


class LLMConfig(BaseModel):
    """Which LLM the knowledge comes from."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(description="local folder, .gguf file, package:PACKAGE/PATH, or hub name")
    dtype: DType = Field("auto", description="number format of the weights; auto chooses it from the machine")


class BaseStudentConfig(BaseModel):
    """Which encoder the student starts from, and how far it is cut down."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(description="local folder, package:PACKAGE/PATH, or hub name of a BERT-like encoder")
    prune_vocabulary: bool = Field(False, description="cut the vocabulary down to the task's own word pieces")
    factorise_vocabulary: bool = Field(
        False, description="keep every token, but with fewer numbers, which a matrix brings to the encoder's width"
    )
    target_share: float = Field(
        0.01, gt=0, le=1, description="with either of these: the student's parameters over the LLM's"
    )

    @model_validator(mode="after")
    def _one_way_at_most(self) -> Self:
        if self.prune_vocabulary and self.factorise_vocabulary:
            raise ValueError("prune_vocabulary and factorise_vocabulary are both set: leave one out")
        return self

    def decisive(self) -> dict[str, Any]:
        """Return what a student depends on: as before there was a choice, where it is not taken."""
        return self.model_dump(exclude=None if self.factorise_vocabulary else {"factorise_vocabulary"})


class ModelConfig(BaseModel):
    """How the trained student is exported and its retrieval chosen."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    precision: Literal["int8", "float32"] = Field("int8", description="number format of the exported encoder")
    retrieval: RetrievalGrid = Field(
        default_factory=RetrievalGrid, description="the values of K, t and lambda to choose from on dev"
    )


class RunConfig(BaseModel):
    """Everything that decides a run's result."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    task: TaskConfig
    llm: LLMConfig
    base: BaseStudentConfig
    prompt: PromptConfig = PromptConfig()
    rl: RLConfig = RLConfig()
    sampling: SamplingConfig = SamplingConfig()
    annotator: AnnotatorConfig = AnnotatorConfig()
    filters: FilterConfig = FilterConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    student: StudentConfig = StudentConfig()
    model: ModelConfig = ModelConfig()
    threads: int = Field(0, ge=0, description="CPU threads; 0 for all cores that this process may use")


_MISSING = {
    "task": "no data is named: --data FILE, or task.data in the file of --config",
    "llm": "no LLM is named: --llm NAME, or llm.name in the file of --config",
    "base": "no encoder is named to start the student from: --student NAME, or base.name in the file of --config",
}
# One that stands behind an even number of quotes, and so not between two.
_DOT = re.compile(r'\.(?=[^"]*(?:"[^"]*"[^"]*)*$)')
_SEEDED = ("task", "prompt", "rl", "sampling", "annotator", "augmentation", "student")


def make_config(
    values: dict[str, Any], file: Path | None = None, overrides: tuple[str, ...] = (), seed: int | None = None
) -> RunConfig:
    """Put a run's config together: a YAML `file`, over it the `seed` of all stages, `values`, `overrides`.

    `values` is nested like the config and leaves out what is not set; an override reads PATH=VALUE, such as
    `student.epochs=20`, its value in YAML. A name with a dot stands between double quotes.

    Raises:
        UserError: the file or an override cannot be read, a setting is unknown, missing or out of range, or rewards
            are asked for (not in the file, which may be of another run) that nothing learns from.
    """
    merged: dict[str, Any] = _read_yaml(file) if file is not None else {}
    asked: dict[str, Any] = {}
    if seed is not None:
        if not 0 <= seed <= seeds.MOST:
            raise UserError(f"--seed {seed}: a seed is a whole number from 0 to {seeds.MOST}")
        _merge(asked, {section: {"seed": seed} for section in _SEEDED})
    _merge(asked, values)
    for override in overrides:
        _merge(asked, _nested(override))
    _merge(merged, asked)
    try:
        config = RunConfig.model_validate(merged)
    except ValidationError as error:
        raise UserError(_explain(error)) from error
    if config.rl.algorithm == "none" and isinstance(rl := asked.get("rl"), dict) and rl.get("rewards"):
        raise UserError(
            f"config: rl.rewards={rl['rewards']!r}: nothing learns from them without rl.algorithm (--rl ppo or "
            "--rl grpo)"
        )
    return config


def save_config(config: RunConfig) -> str:
    """Return the config as YAML that `make_config` reads back."""
    text: str = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    return text


def words_in_use(task: Task) -> str:
    """Return, as comments for the end of a config file, the words in which the LLM is shown the task.

    They are comments, because a config is also used for data with other labels; moved to `task:`, they can be
    edited.
    """
    words = task.verbalisation
    shown = {
        "instruction": words.instruction,
        "label_words": dict(zip(task.labels, words.label_words, strict=True)),
        "field_names": dict(zip(task.fields, words.field_names, strict=True)),
    }
    text = yaml.safe_dump({"task": shown}, sort_keys=False, allow_unicode=True, width=10_000)
    lines = "".join(f"# {line}\n" for line in text.splitlines())
    return f"\n# What the LLM is shown; to change it, set it under task: above.\n{lines}"


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"config {file} does not exist (looked in {file.absolute().parent})") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"config {file}: cannot be read as YAML ({str(error).splitlines()[0]})") from error
    if not isinstance(values, dict):
        raise UserError(f"config {file}: holds a {type(values).__name__}, not sections such as 'task:' and 'llm:'")
    return values


def _nested(override: str) -> dict[str, Any]:
    path, found, text = override.partition("=")
    if not found or not path.strip():
        raise UserError(f"--set {override!r}: write PATH=VALUE, for example --set student.epochs=20")
    try:
        value: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"--set {override!r}: the value cannot be read ({str(error).splitlines()[0]})") from error
    for part in reversed(_DOT.split(path.strip())):
        value = {part.removeprefix('"').removesuffix('"'): value}
    assert isinstance(value, dict)
    return value


def _merge(into: dict[str, Any], values: dict[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, dict):
            # A section of its own even where there is none yet: the caller's must not change.
            section = into.get(key)
            into[key] = dict(section) if isinstance(section, dict) else {}
            _merge(into[key], value)
        else:
            into[key] = value


def _explain(error: ValidationError) -> str:
    lines = []
    for one in error.errors():
        path = ".".join(str(part) for part in one["loc"])
        if one["type"] == "missing":
            lines.append(_MISSING.get(path.removesuffix(".name"), f"{path} is missing"))
        elif one["type"] == "extra_forbidden":
            lines.append(f"there is no setting {path}")
        else:
            lines.append(f"{path}={one['input']!r}: {one['msg'][0].lower()}{one['msg'][1:]}")
    return "config: " + "; ".join(lines)
