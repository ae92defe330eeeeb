"""Writing texts with a prompted LLM: continuous batches, an exact nucleus, an exact stop, a seed per item.

Three things make this faster than a general `generate` on a CPU: the nucleus is found from the best few tokens
(the whole vocabulary is sorted only for the rare row whose nucleus is wider), a text that has ended gives its
place in the batch to the next one, and the prompt is computed once a label instead of once a text.

Shapes: B texts in the batch, C labels, H heads, T positions, D width, V vocabulary, N nucleus candidates.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from hundredth.extraction.soft_prompt import Prefilled, PromptedLLM, new_cache

_CANDIDATES = 128


class SamplingConfig(BaseModel):
    """How texts are drawn from the prompted LLM."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    texts: int = Field(1200, ge=0, description="texts to write in all, the same number for each label; 0 for none")
    temperature: float = Field(1.0, gt=0, description="below 1 safer and more alike, above 1 more varied")
    top_p: float = Field(0.95, gt=0, le=1, description="draw from the smallest set of tokens of this mass")
    top_k: int = Field(0, ge=0, description="draw from at most this many tokens; 0 for no such limit")
    batch_size: int = Field(0, ge=0, description="texts written at a time; 0 picks it from their number")
    seed: int = Field(0, description="each text has its own random numbers, made from this seed and its index")


@dataclass(frozen=True, slots=True)
class Sample:
    """A sampled text: token ids with the end-of-text token if it `ended` within the length limit.

    `logprobs` has one value a token: the log-probability under the whole distribution at temperature 1, the
    same number that `PromptedLLM.token_logprobs` computes.
    """

    item: int
    label: int
    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    ended: bool


@dataclass
class _Row:
    item: int
    label: int
    uniforms: NDArray[np.float64]
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)


class Sampler:
    """Writes one text for each (item, label), in any order of ending.

    The random numbers of an item depend on the seed and the item alone, not on the batch it happens to be in.
    """

    def __init__(self, prompted: PromptedLLM, config: SamplingConfig, max_tokens: int) -> None:
        self.prompted = prompted
        self.config = config
        self.max_tokens = max_tokens

    @torch.inference_mode()
    def __call__(self, items: Sequence[tuple[int, int]]) -> Iterator[Sample]:
        """Yield a `Sample` for each (item, label) as soon as it has ended."""
        if not items:
            return
        llm, size = self.prompted.llm, self.config.batch_size or automatic_batch_size(len(items))
        start = self.prompted.prefill(range(len(self.prompted.words.label_words)))
        waiting = [_Row(item, label, self._uniforms(item)) for item, label in reversed(items)]
        rows: list[_Row] = []
        state = _State.empty(start)
        while rows or waiting:
            # Refilling copies the cache, so places are filled in groups rather than one by one.
            if waiting and (not rows or size - len(rows) >= max(1, size // 8)):
                fresh = [waiting.pop() for _ in range(min(size - len(rows), len(waiting)))]
                state = state.join(start, [row.label for row in fresh])
                rows += fresh
            chosen, logprobs = self._draw(llm.logits(state.last_BD), rows)
            going: list[int] = []
            for place, (row, token, logprob) in enumerate(zip(rows, chosen, logprobs, strict=True)):
                row.ids.append(token)
                row.logprobs.append(logprob)
                if token == llm.end_id or len(row.ids) == self.max_tokens:
                    ended = token == llm.end_id
                    yield Sample(row.item, row.label, tuple(row.ids), tuple(row.logprobs), ended)
                else:
                    going.append(place)
            if len(going) < len(rows):
                rows = [rows[place] for place in going]
                state = state.keep(going)
            if rows:
                state.step(llm, [row.ids[-1] for row in rows])

    def _uniforms(self, item: int) -> NDArray[np.float64]:
        bits = np.random.Philox(key=[self.config.seed % 2**64, item])
        return np.random.Generator(bits).random(self.max_tokens)

    def _draw(self, scores_BV: Tensor, rows: Sequence[_Row]) -> tuple[list[int], list[float]]:
        total_B = torch.logsumexp(scores_BV, dim=-1)
        uniforms = torch.tensor([row.uniforms[len(row.ids)] for row in rows], device=scores_BV.device)
        token_B = draw_nucleus(scores_BV / self.config.temperature, uniforms, self.config.top_p, self.config.top_k)
        logprob_B = scores_BV.gather(1, token_B[:, None])[:, 0] - total_B
        return token_B.tolist(), logprob_B.tolist()


def automatic_batch_size(items: int) -> int:
    """Return how many texts to write at a time: large, since each step reads all the LLM's weights once."""
    return min(items, 192)


def draw_nucleus(scores_BV: Tensor, uniform_B: Tensor, top_p: float, top_k: int = 0) -> Tensor:
    """Draw a token (B,) from each row's nucleus: the smallest set of best tokens with mass >= `top_p`.

    `uniform_B` in [0, 1) picks the token by the inverse of the cumulative distribution, so the same numbers
    give the same tokens. Exact: a row whose nucleus is wider than the candidates first looked at is sorted.
    """
    size = scores_BV.shape[1]
    limit = min(top_k or size, size)
    total_B1 = torch.logsumexp(scores_BV, dim=-1, keepdim=True)
    token_B = torch.empty(len(scores_BV), dtype=torch.long, device=scores_BV.device)
    left_B = torch.arange(len(scores_BV), device=scores_BV.device)
    for count in (min(_CANDIDATES, limit), limit):
        best_BN, ids_BN = scores_BV[left_B].topk(count, dim=-1)
        mass_BN = torch.exp(best_BN - total_B1[left_B])
        if top_k:
            # A limit on the number of tokens comes first and the nucleus is taken within it.
            mass_BN = mass_BN if count == limit else mass_BN.new_zeros(mass_BN.shape)
            mass_BN = mass_BN / mass_BN.sum(dim=-1, keepdim=True)
        before_BN = mass_BN.cumsum(dim=-1) - mass_BN
        enough_B = (before_BN[:, -1] + mass_BN[:, -1] >= top_p) | (count == limit)
        kept_BN = torch.where(before_BN < top_p, mass_BN, 0.0).double()
        cumulative_BN = kept_BN.cumsum(dim=-1)
        aim_B1 = uniform_B[left_B, None].double() * cumulative_BN[:, -1:]
        pick_B = torch.searchsorted(cumulative_BN, aim_B1, right=True).clamp(max=count - 1)
        picked_B = ids_BN.gather(1, pick_B)[:, 0]
        token_B[left_B[enough_B]] = picked_B[enough_B]
        left_B = left_B[~enough_B]
        if not len(left_B):
            break
    return token_B


@dataclass
class _State:
    """The batch between two steps: the cache, which of its places are real (B, T), the last hidden states."""

    cache: Any
    mask_BT: Tensor
    last_BD: Tensor

    @classmethod
    def empty(cls, start: Prefilled) -> "_State":
        none = start.rows([])
        return cls(none.cache(), none.mask_CT, none.last_CD)

    def join(self, start: Prefilled, labels: Sequence[int]) -> "_State":
        """Add texts that start now: their prefixes are padded on the left to the batch's length."""
        new = start.rows(labels)
        mask_BT = torch.cat(_left_padded(self.mask_BT, new.mask_CT, dim=1))
        layers = [
            (
                torch.cat(_left_padded(layer.keys, keys, dim=2)),
                torch.cat(_left_padded(layer.values, values, dim=2)),
            )
            for layer, (keys, values) in zip(self.cache.layers, new.layers, strict=True)
        ]
        return _State(new_cache(layers), mask_BT, torch.cat([self.last_BD, new.last_CD]))

    def keep(self, places: Sequence[int]) -> "_State":
        """Drop the texts that have ended, and the leading places that no text uses any more."""
        index = torch.tensor(places, dtype=torch.long, device=self.mask_BT.device)
        mask_BT = self.mask_BT[index]
        used = mask_BT.any(dim=0)
        first = int(used.int().argmax()) if len(places) else 0
        layers = [(layer.keys[index, :, first:], layer.values[index, :, first:]) for layer in self.cache.layers]
        return _State(new_cache(layers), mask_BT[:, first:], self.last_BD[index])

    def step(self, llm: Any, tokens: Sequence[int]) -> None:
        """Feed each text's newest token."""
        inputs_B1D = llm.embed(torch.tensor(tokens, device=self.mask_BT.device)[:, None])
        ones = torch.ones((len(tokens), 1), dtype=self.mask_BT.dtype, device=self.mask_BT.device)
        self.mask_BT = torch.cat([self.mask_BT, ones], dim=1)
        self.last_BD = llm.hidden(inputs_B1D, self.mask_BT, self.cache)[:, -1]


def _left_padded(one: Tensor, other: Tensor, dim: int) -> list[Tensor]:
    """Pad the shorter of two tensors with zeros at the start of `dim`, so that both have the same length."""
    longest = max(one.shape[dim], other.shape[dim])
    out = []
    for tensor in (one, other):
        shape = list(tensor.shape)
        shape[dim] = longest - shape[dim]
        out.append(torch.cat([tensor.new_zeros(shape), tensor], dim=dim))
    return out
