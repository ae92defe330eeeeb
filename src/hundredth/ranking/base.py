"""The encoder that training starts from: any that sentence-transformers or transformers can load."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from hundredth.encoders import check_tokenizer, encoder_errors, load_encoder, set_pooling
from hundredth.errors import UserError
from hundredth.ranking.config import EncoderTrainingConfig

Base = str | Path | SentenceTransformer

_DROPOUT = 0.1
_EXAMPLES = ["A cat sleeps on the warm stove.", "Shares fell in Tokyo."]


def load_base(base: Base, config: EncoderTrainingConfig) -> SentenceTransformer:
    """Load the encoder in float32, with the pooling and the dropout that training needs.

    A SentenceTransformer keeps its own pooling, a bare encoder gets the mean and an LLM the last token, unless
    `config.pooling` says otherwise. Encoders without dropout (ModernBERT, most LLMs) get 0.1 of it where they
    have a place for it, since the two views of a sentence differ by nothing else. A SentenceTransformer that is
    passed in is the one that is trained.

    Raises:
        UserError: nothing is found, what is found turns no text into a vector, or `config.dropout` is set for a
            model in memory.
    """
    if isinstance(base, SentenceTransformer):
        if config.dropout is not None:
            raise UserError(
                f"dropout is {config.dropout:g}, but a model in memory keeps its own: leave it out, or pass the "
                "model's name or folder"
            )
        model, name = base, type(base).__name__
        check_tokenizer(f"base {name!r}", model.tokenizer)
    else:
        name = str(base)
        model = _load(name, config)
    if not hasattr(model.tokenizer, "added_tokens_decoder"):
        raise UserError(f"base {name!r} has no tokenizer of transformers: choose an encoder of texts")
    if config.pooling is not None:
        set_pooling(model, config.pooling, f"base {name!r}")
    _check_output(model, name)
    return model


@contextlib.contextmanager
def restored_on_failure(base: Base) -> Iterator[None]:
    """Give a model in memory its weights back where training it in the block is stopped or fails.

    The same call then is the same training, which goes on where it was.
    """
    if not isinstance(base, SentenceTransformer):
        yield
        return
    before = {name: weight.detach().cpu().clone() for name, weight in base.state_dict().items()}
    try:
        yield
    except BaseException:
        base.load_state_dict(before)
        raise


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


def _load(name: str, config: EncoderTrainingConfig) -> SentenceTransformer:
    model = load_encoder(name, "base")
    settings = {} if model.config is None else model.config.to_dict()
    rates = [key for key, value in settings.items() if _is_dropout(key) and isinstance(value, int | float)]
    wanted = config.dropout
    if wanted is None and not any(settings[key] for key in rates):
        wanted = _DROPOUT
    if wanted is None or not rates:
        return model
    return load_encoder(name, "base", dict.fromkeys(rates, wanted))


def _is_dropout(setting: str) -> bool:
    """Whether it is a rate of the encoder's own dropout: not of a head that it has not, nor of whole layers."""
    elsewhere = ("classif", "summary", "qa_", "layer")
    return ("dropout" in setting or "pdrop" in setting) and not any(part in setting for part in elsewhere)


def _check_output(model: SentenceTransformer, name: str) -> None:
    with encoder_errors("base", name), torch.inference_mode():
        found = model.encode(_EXAMPLES, show_progress_bar=False)
    if not np.isfinite(found).all():
        raise UserError(f"base {name!r} turns a sentence into NaN or infinite numbers: its weights are broken")
