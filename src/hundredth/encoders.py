"""Sentence encoders, as training, teachers and evaluation load them: whole, in float32, and told apart.

An encoder is a SentenceTransformer, or any encoder or decoder of transformers with a pooling on top.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling as PoolingModule
from sentence_transformers.sentence_transformer.modules import Transformer
from sentence_transformers.util import load_file_path
from tokenizers import Tokenizer
from transformers import PreTrainedModel

from hundredth.errors import UserError
from hundredth.files import fingerprint, read_json
from hundredth.gguf_files import unpacked
from hundredth.models import check_complete, quiet_transformers, resolve_model

Pooling = Literal["cls", "mean", "last"]
# What sentence-transformers calls the ways in which token states become one vector.
POOLINGS: dict[str, Literal["cls", "mean", "lasttoken"]] = {"cls": "cls", "mean": "mean", "last": "lasttoken"}

# Of a configuration: where it was read from, by what, and how it was stored, which change no embedding.
_NOT_THE_MODEL = ("_name_or_path", "transformers_version", "dtype")


def load_encoder(
    name: str, role: str = "encoder", settings: Mapping[str, Any] | None = None
) -> SentenceTransformer:
    """Load an encoder in float32 and in evaluation mode.

    A model that is no SentenceTransformer is read with the mean of its token states, a decoder at its last token;
    `set_pooling` changes it. It reads texts as they are, also where it has a template for chats.

    Args:
        name: what `hundredth.models.resolve_model` takes: folder, .gguf file, package:PACKAGE/PATH, or hub name.
        role: what the encoder is called in errors.
        settings: changes to its configuration, such as its dropout.

    Raises:
        UserError: there is nothing to load, or weights of the encoder or words of its tokenizer are not in its
            folder (they would be random).
    """
    source = str(unpacked(resolve_model(name)))
    with encoder_errors(role, name), quiet_transformers():
        # Half-precision scores would create ties, and a checkpoint may be stored in half precision.
        dtype = {"dtype": torch.float32}
        model = SentenceTransformer(source, model_kwargs=dtype, config_kwargs=dict(settings or {}))
        _check_weights(f"{role} {name!r}", model)
        if not has_own_pooling(model):
            _read_plain_texts(model)
    check_tokenizer(f"{role} {name!r}", model.tokenizer)
    return model.float().eval()


def has_own_pooling(model: SentenceTransformer) -> bool:
    """Tell whether a loaded encoder came as a SentenceTransformer, not as a model with a pooling put on top."""
    return bool(model.module_kwargs)


def check_pooling(pooling: str) -> None:
    """Refuse the name of a pooling that there is not."""
    if pooling not in POOLINGS:
        raise UserError(f"there is no pooling {pooling!r}: choose one of {', '.join(POOLINGS)}")


def set_pooling(model: SentenceTransformer, pooling: str, what: str) -> None:
    """Replace the pooling of an encoder, which errors call `what`, by "cls", "mean" or "last".

    Raises:
        UserError: there is no such pooling, or none to replace.
    """
    check_pooling(pooling)
    places = [i for i, module in enumerate(model) if isinstance(module, PoolingModule)]
    if not places:
        raise UserError(f"{what} has no pooling to replace: leave out the pooling {pooling!r}")
    model[places[0]] = PoolingModule(model[places[0]].embedding_dimension, POOLINGS[pooling])


def check_tokenizer(what: str, tokenizer: Any) -> None:
    """Refuse a tokenizer without words, and give one that cannot pad, as with many decoders, a padding token.

    Raises:
        UserError: it knows no words.
    """
    # transformers makes an empty tokenizer, of special tokens alone, where the files of one are missing.
    special = getattr(tokenizer, "added_tokens_decoder", None)
    if special is None:  # not one of transformers, but of static embeddings, say
        return
    if len(tokenizer) <= len(special):
        raise UserError(
            f"{what}: its tokenizer knows {len(tokenizer)} special tokens and no words; is tokenizer.json missing?"
        )
    if tokenizer.pad_token is None:  # whichever it is, what pads is masked
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token


def encoder_fingerprint(model: SentenceTransformer) -> str:
    """Return the SHA-256 of all that decides an encoder's embeddings."""
    return fingerprint(encoder_identity(model))


def encoder_identity(model: SentenceTransformer) -> dict[str, Any]:
    """Return what decides an encoder's embeddings, as JSON holds it: weights, settings and tokenizer.

    Neither where the model was loaded from nor its use so far is part of it, its number format is.
    """
    weights = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        # A model's own pooler is read by no pooling here, and it is random where its checkpoint has none.
        if ".pooler." in name:
            continue
        weights.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        weights.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return {
        "weights": weights.hexdigest(),
        "tokenizer": _tokenizer_hash(model.tokenizer),
        "config": [_config(one) for one in model.modules() if isinstance(one, PreTrainedModel)],
        "modules": [str(module) for module in model],
        "prompt": prompt_of(model),
        "max_length": model.max_seq_length,
        "truncate_dim": model.truncate_dim,
    }


def prompt_of(model: SentenceTransformer) -> str:
    """Return what stands before every text unless a caller says otherwise."""
    return (model.prompts.get(model.default_prompt_name) or "") if model.default_prompt_name else ""


@contextmanager
def encoder_errors(role: str, name: str) -> Iterator[None]:
    """Say in one line that what is used in the block is no encoder.

    What is wrong with a folder comes out as nearly any exception, depending on which of its files it is in.
    """
    try:
        yield
    except UserError:
        raise
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RuntimeError,
        IndexError,
        ImportError,
        SafetensorError,
    ) as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"{role} {name!r} cannot be loaded as an encoder of sentences ({said}); name a local folder, a .gguf "
            "file, a package:PACKAGE/PATH or a hub name, which needs a network"
        ) from error


def _read_plain_texts(model: SentenceTransformer) -> None:
    """Leave the chat template out: as a message to an assistant, most of a short text's tokens are not its own."""
    first = model[0]
    if isinstance(first, Transformer) and "text" in first.modality_config:
        first.modality_config = {name: way for name, way in first.modality_config.items() if name != "message"}
        first.input_formatter.supported_modalities = list(first.modality_config)


def _check_weights(what: str, model: SentenceTransformer) -> None:
    for module, folder in zip(model, _folders(model), strict=False):
        if not isinstance(module, Transformer):
            continue
        inner = module.model
        # Loaded again by names and shapes alone: sentence-transformers keeps the report of its loading to itself.
        _, report = type(inner).from_pretrained(
            inner.config._name_or_path,
            config=inner.config,
            subfolder=folder,
            device_map="meta",
            output_loading_info=True,
        )
        check_complete(what, report)


def _folders(model: SentenceTransformer) -> list[str]:
    """Return the folder of each module inside the encoder's own."""
    if not has_own_pooling(model) or model.config is None:
        return [""]
    path = load_file_path(model.config._name_or_path, "modules.json")
    return [""] if path is None else [str(one["path"]) for one in read_json(Path(path))]


def _config(model: PreTrainedModel) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads(model.config.to_json_string(use_diff=False))
    return {key: value for key, value in settings.items() if key not in _NOT_THE_MODEL}


def _tokenizer_hash(tokenizer: Any) -> str:
    side = getattr(tokenizer, "truncation_side", "right")
    # Only where it is not the usual one, so that the hashes of all others stay what they were without it.
    unusual = [] if side == "right" else [f"truncation_side={side}"]
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not isinstance(backend, Tokenizer):
        return fingerprint([type(tokenizer).__name__, tokenizer.get_vocab(), *unusual])
    # What calls leave behind on it is not the tokenizer's own.
    own = {**json.loads(backend.to_str()), "padding": None, "truncation": None}
    return fingerprint([own, getattr(tokenizer, "chat_template", None), *unusual])
