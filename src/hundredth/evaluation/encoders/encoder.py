"""The encoders that are evaluated: loaded in float32, told apart by their weights, named for people."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling as PoolingModule
from sentence_transformers.sentence_transformer.modules import Transformer
from sentence_transformers.util import is_sentence_transformer_model
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModel, PreTrainedModel

from hundredth.errors import UserError
from hundredth.models import PACKAGE_PREFIX, quiet_transformers, resolve_model

# What sentence-transformers calls the poolings that a plain model may be read with.
POOLINGS: dict[str, Literal["cls", "mean", "lasttoken"]] = {"cls": "cls", "mean": "mean", "last": "lasttoken"}

# Of a configuration: where it was read from, by what, and how it was stored, which change no embedding.
_NOT_THE_MODEL = ("_name_or_path", "transformers_version", "dtype")
_PLAIN_NAMES = ("model", "encoder", "")  # folders named so say nothing of what is in them


def load_encoder(name: str, pooling: str | None = None) -> SentenceTransformer:
    """Load an encoder in float32: a SentenceTransformer, or any Hugging Face model with a pooling.

    Args:
        name: what `hundredth.models.resolve_model` takes: folder, package:PACKAGE/PATH, or hub name.
        pooling: "cls", "mean" or "last", how the token states of a model that is no SentenceTransformer become
            one vector; a SentenceTransformer keeps its own pooling.

    Raises:
        UserError: there is nothing to load, the pooling is unknown or missing where one is needed, or weights of
            the encoder or words of its tokenizer are not in its folder (they would be random).
    """
    if pooling is not None and pooling not in POOLINGS:
        raise UserError(f"there is no pooling {pooling!r}: choose one of {', '.join(POOLINGS)}")
    source = str(resolve_model(name))
    try:
        with quiet_transformers():
            if is_sentence_transformer_model(source):
                model = SentenceTransformer(source)
            else:
                model = _pooled(name, source, pooling)
    # What is wrong with a folder comes out as nearly any exception, depending on which of its files it is in.
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        raise UserError(
            f"cannot load the encoder {name!r}: {_first_line(error)} "
            "(a name that is no local folder is looked up on the hub, which needs a network)"
        ) from error
    _check_tokenizer(name, model.tokenizer)
    # Half-precision scores would create ties, and a checkpoint may be stored in half precision.
    return model.float().eval()


def encoder_fingerprint(model: SentenceTransformer) -> str:
    """Return the SHA-256 of all that decides an encoder's embeddings: weights, settings and tokenizer."""
    configs = [one.config.to_dict() for one in model.modules() if isinstance(one, PreTrainedModel)]
    for config in configs:
        for setting in _NOT_THE_MODEL:
            config.pop(setting, None)
    prompts = [model.prompts, model.default_prompt_name]
    settings = [str(model), model.max_seq_length, model.truncate_dim, prompts, configs]
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode("utf-8"))
    digest.update(_tokenizer_text(model.tokenizer).encode("utf-8"))
    for name, tensor in model.state_dict().items():
        # A model's own pooler is read by no pooling here, and it is random where its checkpoint has none.
        if ".pooler." in name:
            continue
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def encoder_labels(names: Sequence[str]) -> list[str]:
    """Return a short label for each encoder: the end of its name, as much as tells it from the others.

    Raises:
        UserError: an encoder is named twice.
    """
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"the encoder {twice[0]!r} is named twice: leave one out")
    parts = [PurePath(name.removeprefix(PACKAGE_PREFIX)).parts for name in names]
    lengths = [2 if len(one) > 1 and one[-1] in _PLAIN_NAMES else 1 for one in parts]
    while True:
        labels = ["/".join(one[-length:]) for one, length in zip(parts, lengths, strict=True)]
        clashing = [i for i, label in enumerate(labels) if labels.count(label) > 1 and lengths[i] < len(parts[i])]
        if not clashing:
            return labels if len(set(labels)) == len(labels) else list(names)
        for i in clashing:
            lengths[i] += 1


def _pooled(name: str, source: str, pooling: str | None) -> SentenceTransformer:
    AutoConfig.from_pretrained(source)  # nothing to load, or no hub to find it on, is said before anything else
    if pooling is None:
        raise UserError(
            f"encoder {name!r} is no SentenceTransformer (it has no modules.json): to read it as a plain "
            f"transformers model say how its token states are pooled, --pooling {', '.join(POOLINGS)}"
        )
    _, report = AutoModel.from_pretrained(source, output_loading_info=True)
    missing = sorted(key for key in report["missing_keys"] if "pooler" not in key)
    if missing:
        raise UserError(
            f"encoder {name!r}: {len(missing)} of its weights are not in its checkpoint (the first is "
            f"{missing[0]!r}); they would be random: use a complete checkpoint"
        )
    transformer = Transformer(source)
    tokenizer = transformer.tokenizer
    if tokenizer.pad_token is None:  # as with many decoders; what pads is masked
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    pooler = PoolingModule(transformer.get_embedding_dimension(), pooling_mode=POOLINGS[pooling])
    return SentenceTransformer(modules=[transformer, pooler])


def _check_tokenizer(name: str, tokenizer: Any) -> None:
    # transformers makes an empty tokenizer, of special tokens alone, where the files of one are missing.
    special = getattr(tokenizer, "added_tokens_decoder", None)
    if special is not None and len(tokenizer) <= len(special):
        raise UserError(
            f"encoder {name!r}: its tokenizer knows {len(tokenizer)} special tokens and no words; is "
            "tokenizer.json missing?"
        )


def _tokenizer_text(tokenizer: Any) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if isinstance(backend, Tokenizer):
        copy = Tokenizer.from_str(backend.to_str())
        # Calls leave their padding and truncation on a tokenizer.
        copy.no_padding()
        copy.no_truncation()
        return copy.to_str()
    return json.dumps([type(tokenizer).__name__, tokenizer.get_vocab()], sort_keys=True)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
