"""The encoder that training starts from: any that sentence-transformers or transformers can load."""

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling

from hundredth.errors import UserError
from hundredth.models import quiet_transformers, resolve_model
from hundredth.ranking.config import EncoderTrainingConfig

Base = str | Path | SentenceTransformer

_POOLINGS = {"cls": "cls", "mean": "mean", "last": "lasttoken"}
_DROPOUT = 0.1
_EXAMPLES = ["A cat sleeps on the warm stove.", "Shares fell in Tokyo."]


def load_base(base: Base, config: EncoderTrainingConfig) -> SentenceTransformer:
    """Load the encoder in float32, with the pooling and the dropout that training needs.

    A SentenceTransformer keeps its own pooling, a bare encoder gets the mean and an LLM the last token, unless
    `config.pooling` says otherwise. Encoders without dropout (ModernBERT, most LLMs) get 0.1 of it where they
    have a place for it, since the two views of a sentence differ by nothing else. A SentenceTransformer that is
    passed in is the one that is trained.

    Raises:
        UserError: nothing is found, or what is found turns no text into a vector.
    """
    if isinstance(base, SentenceTransformer):
        model, name = base, type(base).__name__
    else:
        name = str(base)
        model = _load(name, config)
    _check_tokenizer(model, name)
    if config.pooling is not None:
        places = [i for i, module in enumerate(model) if isinstance(module, Pooling)]
        if not places:
            raise UserError(f"base {name!r} has no pooling to replace: leave out the setting 'pooling'")
        model[places[0]] = Pooling(model[places[0]].embedding_dimension, _POOLINGS[config.pooling])
    _check_output(model, name)
    return model


@contextlib.contextmanager
def plain_attention(model: SentenceTransformer) -> Iterator[None]:
    """Use plain attention inside the block on a CPU: the fused one is slow backwards, above all in bfloat16."""
    inner = getattr(model[0], "model", None)
    before = getattr(getattr(inner, "config", None), "_attn_implementation", None)
    if inner is None or before != "sdpa" or model.device.type != "cpu":
        yield
        return
    inner.set_attn_implementation("eager")
    try:
        yield
    finally:
        inner.set_attn_implementation(before)


def weights_fingerprint(model: SentenceTransformer) -> str:
    """Return the SHA-256 of all weights with their names."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _load(name: str, config: EncoderTrainingConfig) -> SentenceTransformer:
    source = str(resolve_model(name))
    weights = {"dtype": torch.float32}
    with _loading(name), quiet_transformers():
        model = SentenceTransformer(source, model_kwargs=weights)
        settings = {} if model.config is None else model.config.to_dict()
        rates = [key for key, value in settings.items() if _is_dropout(key) and isinstance(value, int | float)]
        wanted = config.dropout
        if wanted is None and not any(settings[key] for key in rates):
            wanted = _DROPOUT
        if wanted is not None and rates:
            changed = dict.fromkeys(rates, wanted)
            model = SentenceTransformer(source, model_kwargs=weights, config_kwargs=changed)
    return model


def _is_dropout(setting: str) -> bool:
    return ("dropout" in setting or "pdrop" in setting) and "classifier" not in setting and "layer" not in setting


def _check_tokenizer(model: SentenceTransformer, name: str) -> None:
    tokenizer = model.tokenizer
    if tokenizer is None or not hasattr(tokenizer, "added_tokens_decoder"):
        raise UserError(f"base {name!r} has no tokenizer of transformers: choose an encoder of texts")
    # transformers makes an empty tokenizer, of special tokens alone, where the files of one are missing.
    if len(tokenizer) <= len(tokenizer.added_tokens_decoder):
        raise UserError(
            f"base {name!r}: its tokenizer knows {len(tokenizer)} special tokens and no words; "
            "is tokenizer.json missing?"
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token


def _check_output(model: SentenceTransformer, name: str) -> None:
    with _loading(name), torch.inference_mode():
        found = model.encode(_EXAMPLES, show_progress_bar=False)
    if not np.isfinite(found).all():
        raise UserError(f"base {name!r} turns a sentence into NaN or infinite numbers: its weights are broken")


@contextlib.contextmanager
def _loading(name: str) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    # What is no encoder fails in transformers' loading or its first pass in whatever way it does.
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RuntimeError,
        IndexError,
        SafetensorError,
    ) as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"base {name!r} cannot be used as an encoder of sentences ({said}); name a local folder, a "
            "package:PACKAGE/PATH or a hub name of a BERT-like model or a decoder LLM"
        ) from error
