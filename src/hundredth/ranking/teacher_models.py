"""One frozen teacher: a sentence encoder, a callable, or a file of embeddings, with a name and an identity.

Letters of the shapes: N texts, d the width of the teacher's embedding.
"""

import contextlib
import copy
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from tokenizers import Tokenizer
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from hundredth.errors import UserError
from hundredth.files import fingerprint
from hundredth.models import quiet_transformers, resolve_model

Floats = NDArray[np.float32]

_POOLINGS = {"cls": "cls", "mean": "mean", "last": "lasttoken"}
# Of a configuration: where it was read from and by what, which change nothing of what the model computes.
_NOT_THE_MODEL = ("_name_or_path", "transformers_version", "dtype")


@dataclass(frozen=True)
class HFTeacher:
    """A Hugging Face encoder or decoder as a teacher: a folder, .gguf file, `package:PACKAGE/PATH`, or hub name.

    `prompt` stands before every text; `max_length` counts tokens, prompt and special tokens included.
    """

    name: str
    pooling: Literal["cls", "mean", "last"] = "mean"
    prompt: str = ""
    max_length: int = 128


TeacherSpec = SentenceTransformer | HFTeacher | str | Path | Callable[[list[str]], ArrayLike]


class Teacher:
    """A teacher that encodes texts.

    `identity` tells it from any other, down to its weights: what it made is kept under it. A callable has
    none, so what it made is kept only as long as the rankings live.
    """

    name: str

    def identity(self) -> dict[str, Any] | None:
        """Return what the embeddings depend on besides the text."""
        raise NotImplementedError

    def encode(self, texts: list[str]) -> Floats:
        """Return embeddings (N, d), as the teacher makes them."""
        raise NotImplementedError

    def release(self) -> None:
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
        """Call the function."""
        made = self._function(texts)
        return np.asarray(made.detach().cpu().float() if isinstance(made, Tensor) else made, dtype=np.float32)


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
        return _identity(self._model)

    def encode(self, texts: list[str]) -> Floats:
        """Encode batch after batch, longest texts first."""
        model = self._model
        prompt = _prompt(model)
        most_tokens = self._batch_tokens or _tokens_a_batch(model.device)
        parts, order = [], []
        for batch in _batches(_lengths(model, texts, prompt), most_tokens):
            with torch.inference_mode():
                features = model.preprocess([texts[i] for i in batch], prompt=prompt)
                features = {k: v.to(model.device) if isinstance(v, Tensor) else v for k, v in features.items()}
                parts.append(model(features)["sentence_embedding"].cpu().numpy())
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
        if spec.pooling not in _POOLINGS:
            raise UserError(f"teacher {spec.name!r}: pooling is {spec.pooling!r}; choose cls, mean or last")
        return EncoderTeacher(spec.name, lambda: _prepared(_hugging_face(spec)), batch_tokens)
    if isinstance(spec, str | Path):
        name = str(spec)
        return EncoderTeacher(name, lambda: _prepared(_sentence_transformer(name)), batch_tokens)
    if callable(spec):
        return CallableTeacher(spec)
    raise UserError(
        f"a teacher is a SentenceTransformer, its name, HFTeacher(...), a .npy file or a callable, not {spec!r}"
    )


def fast_dtype(device: torch.device) -> torch.dtype:
    """Return the number format in which this machine multiplies matrices fastest without much loss."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    if device.type != "cpu":
        return torch.float32
    probes = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    found = any(getattr(torch.cpu, probe, lambda: False)() for probe in probes)
    return torch.bfloat16 if found else torch.float32


def _tokens_a_batch(device: torch.device) -> int:
    return 1024 if device.type == "cpu" else 65536


def _lengths(model: SentenceTransformer, texts: list[str], prompt: str | None) -> list[int]:
    """Count the tokens of each text. Counting them costs little beside what padding by length in letters wastes."""
    if not isinstance(model.tokenizer, PreTrainedTokenizerBase):
        return [len(text) for text in texts]
    found = model.tokenizer([(prompt or "") + text for text in texts], truncation=True, verbose=False)
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
    model[0].to(fast_dtype(model.device))
    model[0].register_forward_hook(_to_float32)
    return model


def _to_float32(module: torch.nn.Module, inputs: Any, features: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value.float() if isinstance(value, Tensor) and value.is_floating_point() else value
        for key, value in features.items()
    }


def _name(model: SentenceTransformer) -> str:
    return str(getattr(model.config, "_name_or_path", "") or type(model).__name__)


def _prompt(model: SentenceTransformer) -> str | None:
    return model.prompts.get(model.default_prompt_name) if model.default_prompt_name else None


def _sentence_transformer(name: str) -> SentenceTransformer:
    with _loading(name), quiet_transformers():
        return SentenceTransformer(str(resolve_model(name)))


def _hugging_face(spec: HFTeacher) -> SentenceTransformer:
    found = resolve_model(spec.name)
    packed: dict[str, Any] = {}
    if isinstance(found, Path) and found.suffix == ".gguf":
        found, packed = found.parent, {"gguf_file": found.name}
    with _loading(spec.name), quiet_transformers():
        transformer = Transformer(
            str(found),
            model_kwargs={**packed},
            config_kwargs={**packed},
            processor_kwargs={**packed},
            max_seq_length=spec.max_length,
        )
        if transformer.tokenizer.pad_token is None:
            transformer.tokenizer.pad_token = transformer.tokenizer.eos_token
        pooling = Pooling(transformer.get_embedding_dimension(), _POOLINGS[spec.pooling])
        prompts = {"teacher": spec.prompt} if spec.prompt else {}
        return SentenceTransformer(
            modules=[transformer, pooling], prompts=prompts, default_prompt_name="teacher" if prompts else None
        )


@contextlib.contextmanager
def _loading(name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"teacher {name!r} could not be loaded as a sentence encoder ({first_line}); name a local folder, a "
            "package:PACKAGE/PATH, or check the name and the network"
        ) from error


def _identity(model: SentenceTransformer) -> dict[str, Any]:
    digest = hashlib.sha256()
    for key, value in sorted(model.state_dict().items()):
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    config = {} if model.config is None else model.config.to_dict()
    return {
        "weights": digest.hexdigest(),
        "tokenizer": _tokenizer_hash(model.tokenizer),
        "config": {key: value for key, value in config.items() if key not in _NOT_THE_MODEL},
        "modules": [[type(module).__name__, cast(Any, module).get_config_dict()] for module in model],
        "prompt": _prompt(model) or "",
        "max_length": model.max_seq_length,
    }


def _tokenizer_hash(tokenizer: Any) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not isinstance(backend, Tokenizer):
        return fingerprint(tokenizer.get_vocab())
    # What calls leave behind on it is not the tokenizer's own.
    return fingerprint({**json.loads(backend.to_str()), "padding": None, "truncation": None})
