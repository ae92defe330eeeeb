"""Cutting the student's vocabulary and positions down to what the task needs.

A small encoder is mostly its table of token embeddings: of BERT-tiny's 4.4 million parameters, 3.9 million.
Only WordPiece tokenizers (BERT, MPNet, ELECTRA, DistilBERT, ...) are cut: any subset of their pieces is again
a working vocabulary, which is not so for BPE and Unigram, whose pieces are built from one another.
"""

import copy
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import nn
from transformers import PreTrainedTokenizerFast

from hundredth.errors import UserError
from hundredth.student.model import (
    StudentEncoder,
    build_tokenizer,
    new_encoder,
    parameter_count,
    plain_tokenizer,
    tokenizer_settings,
)

_BATCH = 1000
_UNUSED = "[unused"  # BERT's spare entries, which no text produces


@dataclass(frozen=True)
class PruneReport:
    """Sizes before and after, and how much of the texts' own pieces is left.

    `coverage` is the fraction of the texts' tokens whose piece is kept; 1.0 means that every text given
    is encoded exactly as before.
    """

    tokens_before: int
    tokens_after: int
    positions_before: int
    positions_after: int
    parameters_before: int
    parameters_after: int
    coverage: float


def token_budget(student_parameters_without_vocabulary: int, dimension: int, target_parameters: int) -> int:
    """Return how many token embeddings of width `dimension` fit into `target_parameters`.

    The first two come from `parameters_without_vocabulary(model, max_length)` and
    `token_table(model).embedding_dim`.

    Raises:
        UserError: the student without its vocabulary is already too large.
    """
    budget = (target_parameters - student_parameters_without_vocabulary) // dimension
    if budget < 1:
        raise UserError(
            f"the student cannot have {target_parameters:,} parameters: without its vocabulary it has "
            f"{student_parameters_without_vocabulary:,}; choose a smaller student or a larger target"
        )
    return budget


def parameters_without_vocabulary(model: StudentEncoder, max_length: int | None = None) -> int:
    """Return the size of all but the token embeddings and the positions past `max_length`."""
    table = token_table(model)
    positions = model.position_table
    cut = 0
    if max_length is not None and positions is not None:
        cut = (positions.num_embeddings - max_length - model.position_offset) * positions.embedding_dim
    return parameter_count(model) - table.weight.numel() - cut


def token_table(model: StudentEncoder) -> nn.Embedding:
    """Return the student's token embeddings (V, d), whose width may differ from that of the encoder."""
    table: Any = model.encoder.get_input_embeddings()
    if not isinstance(table, nn.Embedding):
        raise UserError(f"cannot prune token embeddings of type {type(table).__name__}: run without pruning")
    return table


def prune_vocabulary(
    model: StudentEncoder,
    tokenizer: PreTrainedTokenizerFast,
    texts: Sequence[str],
    max_tokens: int | None = None,
    max_length: int | None = None,
) -> tuple[StudentEncoder, PreTrainedTokenizerFast, PruneReport]:
    """Return a smaller copy of the student and its tokenizer; the ones given are left as they are.

    Kept, in this order, until there are `max_tokens`: special tokens and single characters (always), the
    pieces that occur in `texts` (the most frequent first), then pieces in id order, which in WordPiece
    vocabularies is the order of frequency. With `max_tokens=None` only what occurs in `texts` is kept.
    `max_length` cuts the position embeddings to that many tokens, where the encoder has any.

    Raises:
        UserError: the tokenizer is not WordPiece, the budget is below what must be kept, or `max_length` is
            out of range.
    """
    specification = json.loads(plain_tokenizer(tokenizer).to_str())
    kind = specification["model"]["type"]
    if kind != "WordPiece":
        raise UserError(
            f"only WordPiece vocabularies can be pruned, and this student's tokenizer is {kind}: "
            "give --factorise-vocabulary in place of --prune-vocabulary, or choose a BERT-like student"
        )
    counts = count_pieces(tokenizer, texts)
    keep = _choose(specification, counts, max_tokens, model.position_offset)
    new_id = {old: new for new, old in enumerate(keep)}
    small_tokenizer = _rebuild_tokenizer(specification, new_id, tokenizer, max_length)
    small = cut_tables(model, keep, max_length, new_id)
    total = sum(counts.values())
    report = PruneReport(
        tokens_before=token_table(model).num_embeddings,
        tokens_after=len(keep),
        positions_before=model.max_positions,
        positions_after=small.max_positions,
        parameters_before=parameter_count(model),
        parameters_after=parameter_count(small),
        coverage=sum(count for old, count in counts.items() if old in new_id) / total if total else 1.0,
    )
    return small, small_tokenizer, report


def count_pieces(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> Counter[int]:
    """Return how often each token occurs in the texts, by id."""
    backend = plain_tokenizer(tokenizer)
    counts: Counter[int] = Counter()
    for start in range(0, len(texts), _BATCH):
        batch = backend.encode_batch(list(texts[start : start + _BATCH]), add_special_tokens=False)
        for encoding in batch:
            counts.update(encoding.ids)
    return counts


def _choose(
    specification: dict[str, Any], counts: Counter[int], max_tokens: int | None, position_offset: int
) -> list[int]:
    """Return the ids to keep, ascending."""
    vocabulary: dict[str, int] = specification["model"]["vocab"]
    prefix: str = specification["model"]["continuing_subword_prefix"]
    always = {token["id"] for token in specification["added_tokens"]}
    always.add(vocabulary[specification["model"]["unk_token"]])
    always.update(id_ for piece, id_ in vocabulary.items() if len(piece.removeprefix(prefix)) == 1)
    # Where positions count from the padding id, that id must not move: keep all below it.
    always.update(range(position_offset))
    if max_tokens is not None and max_tokens < len(always):
        raise UserError(
            f"a vocabulary of {max_tokens:,} tokens is too small: special tokens and single characters alone "
            f"are {len(always):,}; choose a smaller student or a larger target"
        )
    occurring = [id_ for id_, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
    if max_tokens is None:
        return sorted(always.union(occurring))
    keep = set(always)
    others = sorted(id_ for piece, id_ in vocabulary.items() if not piece.startswith(_UNUSED))
    for id_ in [*occurring, *others]:
        if len(keep) == max_tokens:
            break
        keep.add(id_)
    return sorted(keep)


def _rebuild_tokenizer(
    specification: dict[str, Any],
    new_id: dict[int, int],
    tokenizer: PreTrainedTokenizerFast,
    max_length: int | None,
) -> PreTrainedTokenizerFast:
    changed = copy.deepcopy(specification)
    changed["model"]["vocab"] = {
        piece: new_id[id_] for piece, id_ in specification["model"]["vocab"].items() if id_ in new_id
    }
    for token in changed["added_tokens"]:
        token["id"] = new_id[token["id"]]
    _renumber(changed.get("post_processor"), new_id)
    settings = tokenizer_settings(tokenizer)
    if max_length is not None:
        settings["model_max_length"] = max_length
    return build_tokenizer(Tokenizer.from_str(json.dumps(changed)), settings)


def _renumber(processor: dict[str, Any] | None, new_id: dict[int, int]) -> None:
    """Give the post-processor's special tokens their new ids, in each of the forms that tokenizers knows."""
    if processor is None:
        return
    if processor["type"] == "Sequence":
        for inner in processor["processors"]:
            _renumber(inner, new_id)
    elif processor["type"] == "TemplateProcessing":
        for token in processor["special_tokens"].values():
            token["ids"] = [new_id[id_] for id_ in token["ids"]]
    elif processor["type"] in ("BertProcessing", "RobertaProcessing"):
        for side in ("sep", "cls"):
            text, id_ = processor[side]
            processor[side] = [text, new_id[id_]]


def cut_tables(
    model: StudentEncoder, keep: list[int], max_length: int | None, new_id: dict[int, int]
) -> StudentEncoder:
    """Return a copy with the tokens `keep`, which get the ids `new_id`, and `max_length` positions.

    Raises:
        UserError: `max_length` is out of range.
    """
    if max_length is not None and not 2 <= max_length <= model.max_positions:
        raise UserError(
            f"max_length {max_length} does not fit this student: it reads 2 to {model.max_positions} tokens"
        )
    encoder = model.encoder
    words = token_table(model).weight
    positions = model.position_table
    rows = {id(words): torch.tensor(keep, device=words.device)}
    values = encoder.config.to_dict()
    values["vocab_size"] = len(keep)
    for name, old in values.items():
        if name.endswith("_token_id") and isinstance(old, int):
            values[name] = new_id.get(old)
    if max_length is not None and positions is not None:
        count = max_length + model.position_offset
        values["max_position_embeddings"] = count
        rows[id(positions.weight)] = torch.arange(count, device=words.device)
    small = new_encoder(values)
    # keep_vars gives the parameter objects themselves, so that the two tables are known by identity.
    weights = {
        name: tensor.detach()[rows[id(tensor)]] if id(tensor) in rows else tensor.detach()
        for name, tensor in encoder.state_dict(keep_vars=True).items()
    }
    pruned = StudentEncoder(small, model.num_labels, model.pooling, model.dropout.p)
    pruned.encoder.load_state_dict(weights)
    pruned.classifier.load_state_dict(model.classifier.state_dict())
    return pruned.to(words.device).train(model.training)
