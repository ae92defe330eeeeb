"""What of a student is traced for its ONNX graph, so that the graph has few nodes: each costs time at every run.

Letters of the shapes: B texts, L tokens, R = BL rows, d width, H heads.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from hundredth.student.model import StudentEncoder


class _Lean(nn.Module):
    """A student whose encoder is given the mask as what is added to the attention's scores, (B, 1, 1, L)."""

    def __init__(self, model: StudentEncoder) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        states = self.model.states(input_ids, _added(attention_mask), token_type_ids)
        return self.model.read_out(states, attention_mask)


class _Packed(nn.Module):
    """A student whose encoder is built as BERT is, with the tokens of all texts as rows of one matrix, (BL, d).

    Each linear layer is one node then, with its bias, and the queries, keys and values of a layer are one.
    """

    def __init__(self, model: StudentEncoder) -> None:
        super().__init__()
        self.model = model
        encoder: Any = model.encoder
        self.embeddings, self.layers = encoder.embeddings, encoder.encoder.layer
        self.heads = int(encoder.config.num_attention_heads)
        self.all_three = nn.ModuleList(_side_by_side(layer.attention.self) for layer in self.layers)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        model, heads, (count, length) = self.model, self.heads, input_ids.shape
        width, added = model.dimension, _added(attention_mask)
        x_Rd = self.embeddings(input_ids=input_ids, **model.token_types(token_type_ids)).reshape(-1, width)
        for all_three, layer in zip(self.all_three, self.layers, strict=True):
            split = all_three(x_Rd).view(count, length, 3 * heads, width // heads).transpose(1, 2)
            query, key, value = split.split(heads, dim=1)
            scores_BHLL = query @ key.transpose(-1, -2) * (width // heads) ** -0.5 + added
            attended_Rd = (scores_BHLL.softmax(dim=-1) @ value).transpose(1, 2).reshape(-1, width)
            output = layer.attention.output
            x_Rd = output.LayerNorm(output.dense(attended_Rd) + x_Rd)
            inner = layer.intermediate.intermediate_act_fn(layer.intermediate.dense(x_Rd))
            x_Rd = layer.output.LayerNorm(layer.output.dense(inner) + x_Rd)
        return model.read_out(x_Rd.view(count, length, width), attention_mask)


def _side_by_side(attention: Any) -> nn.Linear:
    """Return one layer that gives queries, keys and values beside each other."""
    parts = attention.query, attention.key, attention.value
    layer = nn.Linear(parts[0].in_features, sum(part.out_features for part in parts))
    layer.weight = nn.Parameter(torch.cat([part.weight for part in parts]))
    layer.bias = nn.Parameter(torch.cat([part.bias for part in parts]))
    return layer


def _added(attention_mask: Tensor) -> Tensor:
    return (1.0 - attention_mask[:, None, None].float()) * torch.finfo(torch.float32).min


@contextmanager
def traceable(model: StudentEncoder, max_length: int) -> Iterator[nn.Module]:
    """Yield a module that computes what the student does, from the same inputs, in half the nodes for BERT.

    It is the student itself for encoders that make more of a mask, such as one that hides what is far away: hence
    the two are compared on as many tokens as are ever read.
    """
    random = torch.Generator().manual_seed(0)
    ids = torch.randint(model.encoder.config.vocab_size, (2, max_length), generator=random)
    ids = ids.to(model.classifier.weight.device)
    mask = torch.ones_like(ids)
    mask[1, max_length // 2 :] = 0
    expected, usual = model(ids, mask), model.encoder.config._attn_implementation
    _attend(model, "eager")
    try:
        for form in (_Packed, _Lean):
            traced = _agreeing(form, model, (ids, mask), expected)
            if traced is not None:
                yield traced.eval()
                return
    finally:
        _attend(model, usual)
    yield model


def _agreeing(
    form: type[_Packed | _Lean], model: StudentEncoder, inputs: tuple[Tensor, Tensor], expected: tuple[Tensor, ...]
) -> nn.Module | None:
    """Return the student in another form, if that computes the same."""
    try:
        traced = form(model)
        seen = traced(*inputs)
    except (AttributeError, RuntimeError, TypeError, ValueError):  # not built so, or reads no mask of that shape
        return None
    same = all(torch.allclose(one, other, atol=1e-5) for one, other in zip(seen, expected, strict=True))
    return traced if same else None


def _attend(model: StudentEncoder, how: str) -> None:
    """Choose how the encoder computes attention; what is written out (eager) makes fewer nodes than a call."""
    if model.encoder.config._attn_implementation != how:
        model.encoder.set_attn_implementation(how)
