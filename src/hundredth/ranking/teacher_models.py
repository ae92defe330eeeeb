"""One frozen teacher: a sentence encoder, a callable, or a file of embeddings, with a name and an identity.

Letters of the shapes: N texts, d the width of the teacher's embedding.
"""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling as PoolingModule
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from hundredth.encoders import Pooling, check_pooling, encoder_identity, load_encoder, prompt_of, set_pooling
from hundredth.errors import UserError
from hundredth.precision import fast_dtype

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class HFTeacher:
    """A Hugging Face encoder or decoder as a teacher: a folder, .gguf file, `package:PACKAGE/PATH`, or hub name.

    `prompt` stands before every text; `max_length` counts tokens, prompt and special tokens included.
    """

    name: str
    pooling: Pooling = "mean"
    prompt: str = ""
    max_length: int = 128


TeacherSpec = SentenceTransformer | HFTeacher | str | Path | Callable[[list[str]], ArrayLike]


class Teacher(ABC):
    """A teacher that encodes texts.

    `identity` tells it from any other, down to its weights: what it made is kept under it. A callable has
    none, so what it made is kept only as long as the rankings live.
    """

    name: str

    @abstractmethod
    def identity(self) -> dict[str, Any] | None:
        """Return what the embeddings depend on besides the text."""

    @abstractmethod
    def encode(self, texts: list[str]) -> Floats:
        """Return embeddings (N, d), as the teacher makes them."""

    def release(self) -> None:  # noqa: B027 - most teachers hold nothing
        """Let go of the memory that the next encoding can get again."""


class CallableTeacher(Teacher):
    """Any function from texts to embeddings (N, d)."""

    def __init__(self, function: Callable[[list[str]], ArrayLike]) -> None:
        self.name = getattr(function, "__name__", type(function).__name__)
        self._function = function

    def identity(self) -> None:
        """Nothing tells whether a function changed."""
        return

    def encode(self, texts: list[str]) -> Floats:
        """Call the function.

        Raises:
            UserError: what it gives is no array of numbers, as a sparse matrix is none.
        """
        made = self._function(texts)
        try:
            return np.asarray(made.detach().cpu().float() if isinstance(made, Tensor) else made, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise UserError(
                f"teacher {self.name!r}: gave a {type(made).__name__}, which is no array of numbers; embeddings "
                "are a dense (N, d), such as .toarray() makes of a sparse matrix"
            ) from error


class EncoderTeacher(Teacher):
    """A sentence encoder, in evaluation mode, in bfloat16 where the machine gains by it.

    `load` gives the model when it is needed. Texts of like length share a batch of about `batch_tokens` tokens.
    """

    def __init__(self, name: str, load: Callable[[], SentenceTransformer], batch_tokens: int | None) -> None:
        self.name = name
        self._load = load
        self._loaded: SentenceTransformer | None = None
        self._batch_tokens = batch_tokens

    def identity(self) -> dict[str, Any]:
        """Hash the weights, as they are used, and what is done with them."""
        found = encoder_identity(self._model)
        # A static embedding has no longest text, which JSON cannot hold as infinity.
        return {**found, "max_length": None} if found["max_length"] == math.inf else found

    def encode(self, texts: list[str]) -> Floats:
        """Encode batch after batch, longest texts first."""
        model = self._model
        prompt = prompt_of(model)
        most_tokens = self._batch_tokens or _tokens_a_batch(model.device)
        parts, order = [], []
        for batch in _batches(_lengths(model, texts, prompt), most_tokens):
            with torch.inference_mode():
                features = model.preprocess([texts[i] for i in batch], prompt=prompt or None)
                features = {k: v.to(model.device) if isinstance(v, Tensor) else v for k, v in features.items()}
                made = model(features)["sentence_embedding"][:, : model.truncate_dim]
                parts.append(made.cpu().numpy())
            order += batch
        embeddings: Floats = np.concatenate(parts)[np.argsort(order)]
        return embeddings

    def release(self) -> None:
        """Let go of the model; `load` gives it again."""
        self._loaded = None

    @property
    def _model(self) -> SentenceTransformer:
        if self._loaded is None:
            self._loaded = self._load()
        return self._loaded


def open_teacher(spec: TeacherSpec, batch_tokens: int | None) -> Teacher:
    """Make a teacher of what a user names. A model that is passed is copied: it may be trained afterwards.

    Raises:
        UserError: what is passed is no teacher.
    """
    if isinstance(spec, SentenceTransformer):
        frozen = _prepared(copy.deepcopy(spec))
        return EncoderTeacher(_name(spec), lambda: frozen, batch_tokens)
    if isinstance(spec, HFTeacher):
        check_pooling(spec.pooling)
        return EncoderTeacher(spec.name, lambda: _prepared(_hugging_face(spec)), batch_tokens)
    if isinstance(spec, str | Path):
        name = str(spec)
        return EncoderTeacher(name, lambda: _prepared(load_encoder(name, "teacher")), batch_tokens)
    if callable(spec):
        return CallableTeacher(spec)
    raise UserError(
        f"a teacher is a SentenceTransformer, its name, HFTeacher(...), a .npy file or a callable, not {spec!r}"
    )


def _tokens_a_batch(device: torch.device) -> int:
    return 1024 if device.type == "cpu" else 65536


def _lengths(model: SentenceTransformer, texts: list[str], prompt: str) -> list[int]:
    """Count the tokens of each text. Counting them costs little beside what padding by length in letters wastes."""
    if not isinstance(model.tokenizer, PreTrainedTokenizerBase):
        return [len(text) for text in texts]
    found = model.tokenizer([prompt + text for text in texts], truncation=True, verbose=False)
    return [len(ids) for ids in found["input_ids"]]


def _batches(lengths: list[int], most_tokens: int) -> Iterator[list[int]]:
    """Yield positions of texts of like length, longest first: a batch too large for memory shows at once."""
    batch: list[int] = []
    for position in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batch and (len(batch) + 1) * lengths[batch[0]] > most_tokens:
            yield batch
            batch = []
        batch.append(position)
    yield batch


def _prepared(model: SentenceTransformer) -> SentenceTransformer:
    """Turn a model to inference: its transformer in the fast number format, all that follows in float32."""
    model.eval().float()
    model[0].to(fast_dtype(model.device)[0])
    model[0].register_forward_hook(_to_float32)
    return model


def _to_float32(module: torch.nn.Module, inputs: Any, features: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value.float() if isinstance(value, Tensor) and value.is_floating_point() else value
        for key, value in features.items()
    }


def _name(model: SentenceTransformer) -> str:
    return str(getattr(model.config, "_name_or_path", "") or type(model).__name__)


def _hugging_face(spec: HFTeacher) -> SentenceTransformer:
    model = load_encoder(spec.name, "teacher")
    set_pooling(model, spec.pooling, f"teacher {spec.name!r}")
    # Of a SentenceTransformer, what comes after its pooling is left out.
    last = next(i for i, module in enumerate(model) if isinstance(module, PoolingModule))
    prompts = {"teacher": spec.prompt} if spec.prompt else {}
    made = SentenceTransformer(
        modules=list(model)[: last + 1], prompts=prompts, default_prompt_name="teacher" if prompts else None
    )
    made.max_seq_length = min(spec.max_length, made.max_seq_length or spec.max_length)
    return made
