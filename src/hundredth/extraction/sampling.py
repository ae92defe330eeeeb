"""Writing texts with a prompted LLM: continuous batches, an exact nucleus, an exact stop, a seed per item.

Four things make this faster than a general `generate` on a CPU: the nucleus is drawn from without sorting the
vocabulary, a text that has ended gives its place in the batch to the next one, the cache grows into room kept
ahead, and the prompt is computed once a label instead of once a text.

Shapes: B texts in the batch, C labels, H heads, T positions, D width, V vocabulary, R random numbers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from hundredth.errors import UserError
from hundredth.extraction.decoding import DecodingBatch
from hundredth.extraction.soft_prompt import PromptedLLM
from hundredth.seeds import Seed

# Random numbers a token: all but one are tried before a row is sorted.
_TRIES = 6


class SamplingConfig(BaseModel):
    """How texts are drawn from the prompted LLM."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    texts: int = Field(5000, ge=0, description="texts to write in all, the same number for each label; 0 for none")
    temperature: float = Field(1.0, gt=0, description="below 1 safer and more alike, above 1 more varied")
    top_p: float = Field(0.95, gt=0, le=1, description="draw from the smallest set of tokens of this mass")
    top_k: int = Field(0, ge=0, description="draw from at most this many tokens; 0 for no such limit")
    batch_size: int = Field(0, ge=0, description="texts written at a time; 0 picks it from their number")
    seed: Seed = Field(0, description="each text has its own random numbers, made from this seed and its index")


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


class NotFiniteError(UserError):
    """The LLM gives the next token no probabilities: what stands before it leads to no numbers."""


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
        """Yield a `Sample` for each (item, label) as soon as it has ended.

        Raises:
            NotFiniteError: the LLM's scores are not finite.
        """
        llm, size = self.prompted.llm, self.config.batch_size or automatic_batch_size(len(items))
        start = self.prompted.prefill(range(len(self.prompted.words.label_words)))
        waiting = list(reversed(items))
        places: list[_Row | None] = [self._row(*waiting.pop()) for _ in range(min(size, len(waiting)))]
        batch = DecodingBatch(start, [row.label for row in places if row is not None])
        while any(places) or waiting:
            writing = [place for place, row in enumerate(places) if row is not None]
            rows = [row for row in places if row is not None]
            for place, row, token, logprob in zip(
                writing, rows, *self._draw(llm.logits(batch.last_BD[writing]), rows), strict=True
            ):
                row.ids.append(token)
                row.logprobs.append(logprob)
                ended = token == llm.end_id
                if ended or len(row.ids) == self.max_tokens:
                    yield Sample(row.item, row.label, tuple(row.ids), tuple(row.logprobs), ended)
                    places[place] = None
            # Moving texts costs more than a few idle places do, so it is done for several at a time.
            idle = [place for place, row in enumerate(places) if row is None]
            move = len(idle) >= max(1, len(places) // 8)
            if move and not waiting:
                batch.keep([place for place, row in enumerate(places) if row is not None])
                places = [row for row in places if row is not None]
            if any(places):
                batch.step(llm, [llm.end_id if row is None else row.ids[-1] for row in places])
            if move and waiting:
                fresh = {place: self._row(*waiting.pop()) for place in idle[: len(waiting)]}
                batch.start(fresh, start, [row.label for row in fresh.values()])
                places = [fresh.get(place, row) for place, row in enumerate(places)]

    def _row(self, item: int, label: int) -> _Row:
        bits = np.random.Philox(key=[self.config.seed % 2**64, item])
        return _Row(item, label, np.random.Generator(bits).random((self.max_tokens, _TRIES)))

    def _draw(self, scores_BV: Tensor, rows: Sequence[_Row]) -> tuple[list[int], list[float]]:
        config = self.config
        uniforms = np.stack([row.uniforms[len(row.ids)] for row in rows])
        uniform_BR = torch.from_numpy(uniforms).to(scores_BV.device)
        if config.temperature == 1 and not config.top_k:
            mass_BV = _probabilities(scores_BV)
            token_B = draw_nucleus(mass_BV, uniform_BR, config.top_p)
            return token_B.tolist(), mass_BV.gather(1, token_B[:, None])[:, 0].log().tolist()
        limit = min(config.top_k or scores_BV.shape[1], scores_BV.shape[1])
        best_BK, ids_BK = (scores_BV / config.temperature).topk(limit, dim=-1)
        place_B = draw_nucleus(_probabilities(best_BK), uniform_BR, config.top_p)
        token_B = ids_BK.gather(1, place_B[:, None])[:, 0]
        return token_B.tolist(), scores_BV.log_softmax(dim=-1).gather(1, token_B[:, None])[:, 0].tolist()


def automatic_batch_size(items: int) -> int:
    """Return how many texts to write at a time: large, since each step reads all the LLM's weights once."""
    return min(items, 192)


def draw_nucleus(mass_BV: Tensor, uniform_BR: Tensor, top_p: float) -> Tensor:
    """Draw a token (B,) from each row's nucleus: the smallest set of likeliest tokens with mass >= `top_p`.

    Of equally likely tokens the earlier counts as likelier. A token is drawn from the whole row by the inverse
    of its cumulative distribution and kept if the tokens likelier than it have a mass below `top_p`, that is,
    if it is in the nucleus; else the row's next random number is used. This is exact, and needs no sorting; a
    row that has used up its numbers but one is sorted.

    Args:
        mass_BV: probabilities, each row summing to 1.
        uniform_BR: random numbers in [0, 1), R >= 1 a row; the same numbers give the same tokens.
        top_p: above 0, at most 1.
    """
    cumulative_BV = mass_BV.cumsum(dim=-1)
    if top_p >= 1:
        return _inverse(cumulative_BV, uniform_BR[:, 0])
    token_B = torch.empty(len(mass_BV), dtype=torch.long, device=mass_BV.device)
    left = torch.arange(len(mass_BV), device=mass_BV.device)
    for number in range(uniform_BR.shape[1] - 1):
        # Indexing by all rows would copy the matrices for nothing.
        mass, cumulative = (one if len(left) == len(one) else one[left] for one in (mass_BV, cumulative_BV))
        drawn = _inverse(cumulative, uniform_BR[left, number])
        token_B[left] = drawn
        left = left[_mass_before(mass, drawn) >= top_p]
        if not len(left):
            return token_B
    sorted_mass, order = mass_BV[left].sort(dim=-1, descending=True, stable=True)
    kept = torch.where(sorted_mass.cumsum(dim=-1) - sorted_mass < top_p, sorted_mass, 0.0)
    place = _inverse(kept.cumsum(dim=-1), uniform_BR[left, -1])
    token_B[left] = order.gather(1, place[:, None])[:, 0]
    return token_B


def _probabilities(scores_BV: Tensor) -> Tensor:
    mass_BV = scores_BV.softmax(dim=-1)
    if mass_BV[:, 0].isnan().any():  # one score that is not finite makes all of its row so
        raise NotFiniteError(
            "the LLM's scores of a next token are not finite: lower prompt.learning_rate, or set llm.dtype=float32"
        )
    return mass_BV


def _inverse(cumulative_BV: Tensor, uniform_B: Tensor) -> Tensor:
    """Return the first place whose cumulative mass exceeds the random number's share of the whole."""
    aim_B1 = uniform_B[:, None].to(cumulative_BV) * cumulative_BV[:, -1:]
    place = torch.searchsorted(cumulative_BV, aim_B1, right=True)[:, 0]
    # Rounding can put the aim at the very end: the last token of any mass is meant.
    last = torch.searchsorted(cumulative_BV, cumulative_BV[:, -1:].contiguous())[:, 0]
    return torch.minimum(place, last)


def _mass_before(mass_BV: Tensor, token_B: Tensor) -> Tensor:
    """Return the mass (B,) of the tokens likelier than `token_B`."""
    own_B1 = mass_BV.gather(1, token_B[:, None])
    likelier_B = torch.where(mass_BV > own_B1, mass_BV, 0.0).sum(dim=-1)
    earlier_B = torch.stack(
        [(row[:token] == row[token]).sum() for row, token in zip(mass_BV, token_B.tolist(), strict=True)]
    )
    return likelier_B + earlier_B * own_B1[:, 0]
