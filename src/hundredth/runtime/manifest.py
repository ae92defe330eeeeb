"""hundredth.json: what a model folder holds and how its parts work together."""

import dataclasses
import json
import math
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Self

from hundredth.errors import UserError
from hundredth.files import file_fingerprint, read_json, write_json

MANIFEST = "hundredth.json"
TOKENIZER = "tokenizer.json"
FORMAT_VERSION = 2
_OLDEST_VERSION = 1  # before corrections and the record of the development texts
PRECISIONS = ("int8", "float32")
# More than anybody needs: what goes beyond them is a mistake, or meant to fill the memory.
_MOST_TOKENS = 1 << 20
_MOST_NEIGHBOURS = 1 << 14


@dataclass(frozen=True)
class TaskInfo:
    """The task's name, its text fields and its labels in index order."""

    name: str
    fields: tuple[str, ...]
    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        for name, values in (("fields", self.fields), ("labels", self.labels)):
            _check(bool(values) and len(set(values)) == len(values), f"task.{name}", values, "different names")


@dataclass(frozen=True)
class EncoderInfo:
    """The ONNX file, the fingerprint of it and tokenizer.json, the embedding's width and the tokens it reads."""

    file: str
    fingerprint: str
    dimension: int
    max_length: int
    precision: Literal["int8", "float32"]

    def __post_init__(self) -> None:
        plain = self.file not in ("", ".", "..") and not any(part in self.file for part in ("/", "\\", "\0", ":"))
        _check(plain, "encoder.file", self.file, "the name of a file in the model folder")
        _check(self.dimension >= 1, "encoder.dimension", self.dimension, "at least 1")
        _check(1 <= self.max_length <= _MOST_TOKENS, "encoder.max_length", self.max_length, _span(_MOST_TOKENS))
        _check(self.precision in PRECISIONS, "encoder.precision", self.precision, " or ".join(PRECISIONS))


@dataclass(frozen=True)
class RetrievalInfo:
    """K neighbours, weighed by softmax(cos / temperature), take part with this weight (lambda)."""

    k: int
    temperature: float
    weight: float

    def __post_init__(self) -> None:
        _check(1 <= self.k <= _MOST_NEIGHBOURS, "retrieval.k", self.k, _span(_MOST_NEIGHBOURS))
        _check(_positive(self.temperature), "retrieval.temperature", self.temperature, "a number above 0")
        _check(0 <= self.weight <= 1, "retrieval.weight", self.weight, "a number from 0 to 1")


@dataclass(frozen=True)
class CalibrationInfo:
    """The temperature that makes the mixed probabilities honest."""

    temperature: float

    def __post_init__(self) -> None:
        _check(_positive(self.temperature), "calibration.temperature", self.temperature, "a number above 0")


@dataclass(frozen=True)
class CorrectionInfo:
    """From which cosine on a user's entry decides a text.

    The default is for models that were made without a choice of their own: of short texts with other case or
    punctuation nearly all are nearer than this, and of different texts few.
    """

    similarity: float = 0.98

    def __post_init__(self) -> None:
        _check(0 < self.similarity < 1, "correction.similarity", self.similarity, "a number between 0 and 1")


@dataclass(frozen=True)
class DevInfo:
    """What the development texts say of when to trust the model; empty for a model made before this was kept.

    With the probability threshold `threshold[i]`, `answered[i]` of the `texts` were answered and `wrong[i]` of
    these were wrong; thresholds fall, the last answers all. `similarity` are evenly spaced quantiles, from the
    least to the greatest, of the cosine to the nearest entry of the store; empty without a store.
    """

    texts: int = 0
    threshold: tuple[float, ...] = ()
    answered: tuple[int, ...] = ()
    wrong: tuple[int, ...] = ()
    similarity: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for name, counts in (("answered", self.answered), ("wrong", self.wrong)):
            _check(len(counts) == len(self.threshold), f"dev.{name}", counts, "as long as dev.threshold")
            rising = all(0 <= a <= b <= self.texts for a, b in pairwise((0, *counts)))
            _check(rising, f"dev.{name}", counts, "numbers of texts that never fall")
        falling = all(a > b for a, b in pairwise(self.threshold))
        _check(falling, "dev.threshold", self.threshold, "numbers that fall")
        rising = all(a <= b for a, b in pairwise(self.similarity))
        _check(rising, "dev.similarity", self.similarity, "numbers that never fall")


@dataclass(frozen=True)
class Manifest:
    """The content of hundredth.json; `provenance` is free: how and from what the model was made."""

    task: TaskInfo
    encoder: EncoderInfo
    retrieval: RetrievalInfo
    calibration: CalibrationInfo
    correction: CorrectionInfo = field(default_factory=CorrectionInfo)
    dev: DevInfo = field(default_factory=DevInfo)
    provenance: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Write hundredth.json into the model folder, atomically: to be done last, when the rest is whole."""
        write_json(folder / MANIFEST, {"format_version": FORMAT_VERSION, **dataclasses.asdict(self)})

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read and check hundredth.json; raises UserError naming the entry that is missing or wrong."""
        path = folder / MANIFEST
        try:
            content = read_json(path)
        except FileNotFoundError:
            raise UserError(f"{folder} is not a model folder: it has no {MANIFEST}; check the path") from None
        except (ValueError, OSError, RecursionError) as error:
            raise UserError(f"{path} cannot be read as JSON: {error}") from error
        try:
            return cls._parse(content)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None

    @classmethod
    def _parse(cls, content: Any) -> Self:
        if not isinstance(content, dict) or "format_version" not in content:
            raise UserError("format_version is missing: not the description of a model")
        version = content["format_version"]
        if version not in (_OLDEST_VERSION, FORMAT_VERSION) or isinstance(version, bool):
            raise UserError(
                f"format_version is {version!r}, this hundredth reads {_OLDEST_VERSION} and {FORMAT_VERSION}: "
                "use the version of hundredth that wrote the model"
            )
        names = ["task", "encoder", "retrieval", "calibration", "provenance"]
        if version == FORMAT_VERSION:
            names += ["correction", "dev"]
        _check_names(content, ("format_version", *names), "", version)
        parts = {name: content[name] for name in names}
        for name, part in parts.items():
            _check(isinstance(part, dict), name, part, "an object")
        return cls(
            task=TaskInfo(**_typed(parts["task"], TaskInfo, "task")),
            encoder=EncoderInfo(**_typed(parts["encoder"], EncoderInfo, "encoder")),
            retrieval=RetrievalInfo(**_typed(parts["retrieval"], RetrievalInfo, "retrieval")),
            calibration=CalibrationInfo(**_typed(parts["calibration"], CalibrationInfo, "calibration")),
            provenance=parts["provenance"],
            **_newer(parts),
        )

    def check_files(self, folder: Path) -> None:
        """Refuse an encoder or tokenizer that is missing or is not the one described."""
        paths = (folder / self.encoder.file, folder / TOKENIZER)
        for path in paths:
            if not path.is_file():
                raise UserError(f"{path} is missing: copy the whole model folder, or export the model again")
        found = file_fingerprint(*paths)
        if found != self.encoder.fingerprint:
            raise UserError(
                f"{folder / MANIFEST}: encoder.fingerprint is {_shown(self.encoder.fingerprint)}, but "
                f"{self.encoder.file} and {TOKENIZER} have {_shown(found)}: these files are not from one export"
            )

    def check_store(self, labels: tuple[str, ...], dimension: int, encoder: str) -> None:
        """Refuse a knowledge store that was made for other labels or by another encoder."""
        pairs: tuple[tuple[str, object, object], ...] = (
            ("encoder.fingerprint", self.encoder.fingerprint, encoder),
            ("encoder.dimension", self.encoder.dimension, dimension),
            ("task.labels", self.task.labels, labels),
        )
        for name, mine, theirs in pairs:
            if mine != theirs:
                raise UserError(
                    f"{name} is {_shown(mine)} in {MANIFEST}, but the knowledge in store.db was made for "
                    f"{_shown(theirs)}: these files are not from one export"
                )


def _newer(parts: dict[str, Any]) -> dict[str, Any]:
    """Return the parts that version 1 did not have; its models get their defaults."""
    kinds = {"correction": CorrectionInfo, "dev": DevInfo}
    return {name: kind(**_typed(parts[name], kind, name)) for name, kind in kinds.items() if name in parts}


def _typed(part: dict[str, Any], kind: type, prefix: str) -> dict[str, Any]:
    """Return the values of `part` as the dataclass `kind` declares them, each of the right JSON type."""
    declared = {item.name: item.type for item in dataclasses.fields(kind)}
    _check_names(part, tuple(declared), f"{prefix}.")
    values: dict[str, Any] = {}
    for name, expected in declared.items():
        value, where = part[name], f"{prefix}.{name}"
        if expected is int:
            _check(isinstance(value, int) and not isinstance(value, bool), where, value, "a whole number")
        elif expected is float:
            number = isinstance(value, int | float) and not isinstance(value, bool) and _finite(value)
            _check(number, where, value, "a number")
            value = float(value)
        elif expected in (tuple[float, ...], tuple[int, ...]):
            kinds = (int,) if expected == tuple[int, ...] else (int, float)
            plain = isinstance(value, list) and all(type(one) in kinds and _finite(one) for one in value)
            _check(plain, where, value, "a list of whole numbers" if kinds == (int,) else "a list of numbers")
            value = tuple(value)
        elif expected == tuple[str, ...]:
            texts = isinstance(value, list) and all(isinstance(item, str) for item in value)
            _check(texts, where, value, "a list of texts")
            value = tuple(value)
        else:
            _check(isinstance(value, str), where, value, "a text")
        values[name] = value
    return values


def _check_names(
    part: dict[str, Any], expected: tuple[str, ...], prefix: str, version: int = FORMAT_VERSION
) -> None:
    for name in expected:
        if name not in part:
            raise UserError(f"{prefix}{name} is missing")
    for name in part:
        if name not in expected:
            raise UserError(f"{prefix}{name} is not known in format version {version}: remove it")


def _check(good: bool, name: str, value: object, expected: str) -> None:
    if not good:
        raise UserError(f"{name} is {_shown(value)}: it must be {expected}")


def _span(most: int) -> str:
    return f"a number from 1 to {most:,}"


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:77] + "..."


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number larger than any float
        return False


def _positive(value: float) -> bool:
    return math.isfinite(value) and value > 0
