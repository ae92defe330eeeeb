"""The student: a small pretrained encoder with one embedding per text and a linear classifier on top.

Shape legend: B texts in the batch, L tokens, d width of the encoder, C classes.
"""

import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import (
    MODEL_FOR_MASKED_LM_MAPPING,
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from hundredth.errors import UserError
from hundredth.files import atomic_path, read_json, write_json, write_text
from hundredth.models import check_complete, quiet_transformers, resolve_model

Pooling = Literal["mean", "cls"]

_WEIGHTS = "model.safetensors"
_CONFIG = "config.json"
_TOKENIZER = "tokenizer.json"
# Our own settings live under this key of config.json, beside the encoder's ordinary configuration.
_SECTION = "hundredth_student"
_FORMAT_VERSION = 1
_SMALLEST_NORM = 1e-12
_SPECIAL_TOKENS = ("unk_token", "sep_token", "pad_token", "cls_token", "mask_token", "bos_token", "eos_token")


class FactorisedTable(nn.Module):
    """Token embeddings of width d from r numbers a token: rows (V, r) times a basis (r, d), plus a bias (d,)."""

    def __init__(self, tokens: int, rank: int, width: int) -> None:
        super().__init__()
        self.rows = nn.Embedding(tokens, rank)
        self.basis = nn.Parameter(torch.empty(rank, width))
        self.bias = nn.Parameter(torch.empty(width))

    def forward(self, input_ids: Tensor) -> Tensor:
        """Return the embeddings (B, L, d) of token ids (B, L)."""
        rows_BLr: Tensor = self.rows(input_ids)
        return rows_BLr @ self.basis + self.bias


class StudentEncoder(nn.Module):
    """A BERT-like encoder, pooling, and a linear classifier on the pooled vector.

    `encoder` is any transformers encoder whose output has `last_hidden_state` (B, L, d). The embedding is the
    pooled vector at unit length, the key by which the store is searched; the classifier reads the pooled
    vector before it is normalised, since its length carries how sure the encoder is.
    """

    def __init__(
        self, encoder: PreTrainedModel, num_labels: int, pooling: Pooling = "mean", dropout: float = 0.1
    ) -> None:
        super().__init__()
        if pooling not in ("mean", "cls"):
            raise UserError(f"unknown pooling {pooling!r}: choose 'mean' or 'cls'")
        if num_labels < 2:
            raise UserError(f"a classifier needs at least 2 labels, not {num_labels}")
        if getattr(encoder, "pooler", None) is not None:
            # BERT's own head for pretraining: never used here, so it must not be counted or stored either.
            encoder.register_module("pooler", None)
        self.encoder = encoder
        self.pooling = pooling
        self.num_labels = num_labels
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(encoder.config.hidden_size, num_labels)
        nn.init.normal_(self.classifier.weight, std=0.02)
        nn.init.zeros_(self.classifier.bias)

    @property
    def rank(self) -> int | None:
        """The rank of the table of tokens; None where it is whole."""
        table = self.encoder.get_input_embeddings()
        return table.rows.embedding_dim if isinstance(table, FactorisedTable) else None

    @property
    def dimension(self) -> int:
        """The width d of the embedding."""
        return int(self.encoder.config.hidden_size)

    @property
    def uses_token_types(self) -> bool:
        """Whether the encoder tells the first field from the second by token_type_ids."""
        accepted = "token_type_ids" in inspect.signature(self.encoder.forward).parameters
        return accepted and getattr(self.encoder.config, "type_vocab_size", 0) > 1

    def token_types(self, token_type_ids: Tensor | None) -> dict[str, Tensor]:
        """Return them as the encoder takes them: by name, or not at all."""
        return {} if token_type_ids is None or not self.uses_token_types else {"token_type_ids": token_type_ids}

    @property
    def position_table(self) -> nn.Embedding | None:
        """The embedding of each absolute position; None for encoders without it (rotary, relative)."""
        table = getattr(getattr(self.encoder, "embeddings", None), "position_embeddings", None)
        relative = getattr(self.encoder.config, "relative_attention", False)
        return table if isinstance(table, nn.Embedding) and not relative else None

    @property
    def position_offset(self) -> int:
        """How many of the first positions no token takes: RoBERTa and MPNet count from the padding id on."""
        table = self.position_table
        return 0 if table is None or table.padding_idx is None else table.padding_idx + 1

    @property
    def max_positions(self) -> int:
        """The most tokens that the encoder can read in one text."""
        return int(self.encoder.config.max_position_embeddings) - self.position_offset

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Encode token ids (B, L) with their mask (B, L): unit-length embeddings (B, d) and logits (B, C)."""
        return self.read_out(self.states(input_ids, attention_mask, token_type_ids), attention_mask)

    def states(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        """Return the state of every token, (B, L, d)."""
        extra = self.token_types(token_type_ids)
        output = self.encoder(input_ids=input_ids, attention_mask=attention_mask, **extra)
        hidden_BLd: Tensor = output.last_hidden_state
        return hidden_BLd

    def read_out(self, hidden_BLd: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return unit-length embeddings (B, d) and logits (B, C) of token states with their mask (B, L)."""
        if self.pooling == "cls":
            pooled_Bd = hidden_BLd[:, 0]
        else:
            mask_BL1 = attention_mask.unsqueeze(-1).to(hidden_BLd.dtype)
            pooled_Bd = (hidden_BLd * mask_BL1).sum(dim=1) / mask_BL1.sum(dim=1).clamp(min=1.0)
        logits_BC = self.classifier(self.dropout(pooled_Bd))
        # As F.normalize, which takes two nodes more of an exported graph.
        norm_B1 = pooled_Bd.norm(dim=-1, keepdim=True).clamp_min(_SMALLEST_NORM)
        return pooled_Bd / norm_B1, logits_BC


def parameter_count(module: nn.Module) -> int:
    """Return the number of parameters, each shared one counted once."""
    return sum(parameter.numel() for parameter in module.parameters())


def tokenize(
    tokenizer: PreTrainedTokenizerFast, texts: Sequence[tuple[str, ...]], max_length: int
) -> dict[str, Tensor]:
    """Turn texts (one tuple of fields each) into padded int64 tensors (B, L), L <= max_length.

    Two fields become a sentence pair; of more, the second and the following are joined by a space.
    """
    first = [fields[0] for fields in texts]
    rest = [" ".join(fields[1:]) for fields in texts] if texts and len(texts[0]) > 1 else None
    encoded = tokenizer(first, rest, truncation=True, max_length=max_length, padding=True, return_tensors="pt")
    return {name: encoded[name] for name in tokenizer.model_input_names if name in encoded}


def load_student(
    name_or_path: str, num_labels: int, pooling: Pooling = "mean", dropout: float = 0.1
) -> tuple[StudentEncoder, PreTrainedTokenizerFast]:
    """Load a pretrained encoder from a local folder, an installed package, or the Hugging Face hub.

    `name_or_path` is what `hundredth.models.resolve_model` takes. The classifier is new; the encoder is in
    float32.

    Raises:
        UserError: there is nothing to load, it is not an encoder, or weights of the encoder are missing from
            the checkpoint (they would be random).
    """
    source = str(resolve_model(name_or_path))
    with quiet_transformers():
        config = _from_pretrained(AutoConfig, source)
        _check_encoder(name_or_path, config)
        tokenizer = _from_pretrained(AutoTokenizer, source)
        encoder, report = _from_pretrained(AutoModel, source, output_loading_info=True, dtype=torch.float32)
    check_complete(f"student {name_or_path!r}", report)
    if not isinstance(tokenizer, PreTrainedTokenizerFast) or tokenizer.pad_token_id is None:
        raise UserError(
            f"student {name_or_path!r}: its tokenizer, a {type(tokenizer).__name__}, has no tokenizer.json "
            "or no padding token; choose a model with a fast tokenizer"
        )
    known, rows = len(tokenizer), int(config.vocab_size)
    # transformers makes an empty tokenizer, of special tokens alone, where the files of one are missing.
    if known <= len(tokenizer.added_tokens_decoder) or known > rows:
        raise UserError(
            f"student {name_or_path!r}: its tokenizer has {known} tokens where its encoder has {rows:,} "
            "embeddings; is tokenizer.json missing, or that of another model?"
        )
    tokenizer.padding_side = "right"  # cls pooling and position ids count from the left
    return StudentEncoder(encoder, num_labels, pooling, dropout), tokenizer


def save_student(model: StudentEncoder, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write model.safetensors, tokenizer.json and, last, config.json into `folder`, each atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    with atomic_path(folder / _WEIGHTS) as temporary:
        save_file(weights, temporary)
    write_text(folder / _TOKENIZER, plain_tokenizer(tokenizer).to_str())
    config = json.loads(model.encoder.config.to_json_string(use_diff=False))
    config[_SECTION] = {
        "format_version": _FORMAT_VERSION,
        "num_labels": model.num_labels,
        "pooling": model.pooling,
        "dropout": model.dropout.p,
        "rank": model.rank,
        "tokenizer": tokenizer_settings(tokenizer),
    }
    write_json(folder / _CONFIG, config)


def load_saved_student(folder: Path) -> tuple[StudentEncoder, PreTrainedTokenizerFast]:
    """Read back what `save_student` wrote; the model is in evaluation mode."""
    for name in (_CONFIG, _WEIGHTS, _TOKENIZER):
        if not (folder / name).is_file():
            raise UserError(f"{folder} is not a saved student: {name} is missing")
    values = read_json(folder / _CONFIG)
    settings = values.pop(_SECTION, None)
    if settings is None or settings.get("format_version") != _FORMAT_VERSION:
        seen = None if settings is None else settings.get("format_version")
        raise UserError(
            f"{folder / _CONFIG} has student format {seen!r}, but this version reads {_FORMAT_VERSION}: "
            "train the student again"
        )
    encoder = new_encoder(values)
    if (rank := settings.get("rank")) is not None:
        whole: Any = encoder.get_input_embeddings()
        encoder.set_input_embeddings(FactorisedTable(whole.num_embeddings, rank, whole.embedding_dim))
    model = StudentEncoder(encoder, settings["num_labels"], settings["pooling"], settings["dropout"])
    try:
        model.load_state_dict(load_file(folder / _WEIGHTS))
    except (SafetensorError, RuntimeError) as error:
        raise UserError(
            f"{folder / _WEIGHTS} does not fit its config.json or is damaged: {_first_line(error)}"
        ) from error
    backend = Tokenizer.from_file(str(folder / _TOKENIZER))
    return model.eval(), build_tokenizer(backend, settings["tokenizer"])


def new_encoder(values: dict[str, Any]) -> PreTrainedModel:
    """Make an encoder with random weights in float32 from the values of its configuration."""
    with quiet_transformers():
        encoder: PreTrainedModel = AutoModel.from_config(AutoConfig.for_model(**values), dtype=torch.float32)
    return encoder


def plain_tokenizer(tokenizer: PreTrainedTokenizerFast) -> Tokenizer:
    """Return a copy of the tokenizer's backend without the padding and truncation that calls leave on it."""
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.no_padding()
    backend.no_truncation()
    return backend


def tokenizer_settings(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """Return what transformers needs to know of a tokenizer beyond its tokenizer.json."""
    special = {name: str(token) for name in _SPECIAL_TOKENS if (token := getattr(tokenizer, name, None))}
    return {
        **special,
        "model_max_length": int(min(tokenizer.model_max_length, 10**9)),
        "model_input_names": list(tokenizer.model_input_names),
    }


def build_tokenizer(backend: Tokenizer, settings: dict[str, Any]) -> PreTrainedTokenizerFast:
    """Make a transformers tokenizer of a backend and `tokenizer_settings`."""
    return PreTrainedTokenizerFast(tokenizer_object=backend, padding_side="right", **settings)


def _check_encoder(name: str, config: PretrainedConfig) -> None:
    # A model that learned to fill in masked words reads in both directions: that is what an encoder is here.
    if type(config) not in MODEL_FOR_MASKED_LM_MAPPING or getattr(config, "is_encoder_decoder", False):
        raise UserError(
            f"student {name!r} is a {config.model_type!r} model, not an encoder; "
            "choose a BERT-like one, for example prajjwal1/bert-tiny"
        )


def _from_pretrained(factory: Any, source: str, **options: Any) -> Any:
    try:
        return factory.from_pretrained(source, **options)
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(
            f"cannot load the student {source!r}: {_first_line(error)} "
            "(a name that is no local folder is looked up on the hub, which needs a network)"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
