"""A batch of texts that are being written: the cache, and how texts leave it and others take their places.

Shapes: B texts in the batch, H heads, T positions, D width.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from hundredth.extraction.llm import LLM
from hundredth.extraction.soft_prompt import Prefilled

# Positions that the cache keeps ahead of what it holds.
_ROOM = 32


class CacheLayer(DynamicLayer):
    """A cache layer that grows into room kept ahead, where transformers' own copies everything at each step."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self.reserve(keys, values)

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write the new positions (B, H, T, D) behind those there are, and return all of both."""
        assert self.keys is not None
        assert self.values is not None
        start = self.keys.shape[2]
        end = start + key_states.shape[2]
        if end > self._rooms[0].shape[2]:
            self.reserve(self.keys, self.values)
        for room, states in zip(self._rooms, (key_states, value_states), strict=True):
            room[:, :, start:end] = states
        self.keys, self.values = (room[:, :, :end] for room in self._rooms)
        return self.keys, self.values

    def reserve(self, keys: Tensor, values: Tensor) -> None:
        """Hold these keys and values (B, H, T, D), with room behind them."""
        used = keys.shape[2]
        self._rooms = []
        for states in (keys, values):
            room = states.new_empty((*states.shape[:2], used + _ROOM, states.shape[3]))
            room[:, :, :used] = states
            self._rooms.append(room)
        self.keys, self.values = (room[:, :, :used] for room in self._rooms)

    def write(self, places: Tensor, keys: Tensor, values: Tensor) -> None:
        """Put the last positions of some texts: keys and values (n, H, T, D)."""
        assert self.keys is not None
        assert self.values is not None
        self.keys[places, :, -keys.shape[2] :] = keys
        self.values[places, :, -values.shape[2] :] = values


class DecodingBatch:
    """Texts being written: the cache, which of its positions belong to a text (B, T), the last hidden states."""

    def __init__(self, start: Prefilled, labels: Sequence[int]) -> None:
        rows = start.rows(labels)
        self.layers = [CacheLayer(keys, values) for keys, values in rows.layers]
        self.mask_BT, self.last_BD = rows.mask_CT, rows.last_CD
        self._prefix = rows.mask_CT.shape[1]

    def start(self, places: Iterable[int], start: Prefilled, labels: Sequence[int]) -> None:
        """Start new texts in the places of ended ones: their prefixes end where the batch now stands."""
        rows, index = start.rows(labels), torch.tensor(list(places), device=self.mask_BT.device)
        self.mask_BT[index] = 0
        self.mask_BT[index, -rows.mask_CT.shape[1] :] = rows.mask_CT
        self.last_BD[index] = rows.last_CD
        for layer, (keys, values) in zip(self.layers, rows.layers, strict=True):
            layer.write(index, keys, values)
        self._trim()

    def keep(self, places: Sequence[int]) -> None:
        """Go on with the texts at these places alone."""
        index = torch.tensor(places, dtype=torch.long, device=self.mask_BT.device)
        self.mask_BT, self.last_BD = self.mask_BT[index], self.last_BD[index]
        for layer in self.layers:
            assert layer.keys is not None
            assert layer.values is not None
            layer.reserve(layer.keys[index], layer.values[index])

    def step(self, llm: LLM, tokens: Sequence[int]) -> None:
        """Feed each text's newest token."""
        inputs_B1D = llm.embed(torch.tensor(tokens, device=self.mask_BT.device)[:, None])
        self.mask_BT = torch.cat([self.mask_BT, self.mask_BT.new_ones((len(tokens), 1))], dim=1)
        cache = DynamicCache()
        cache.layers = list(self.layers)
        self.last_BD = llm.hidden(inputs_B1D, self.mask_BT, cache)[:, -1]

    def _trim(self) -> None:
        """Drop the leading positions that no text uses any more; a prefix that is padded must still fit in."""
        first = min(int(self.mask_BT.any(dim=0).int().argmax()), self.mask_BT.shape[1] - self._prefix)
        if first >= _ROOM:
            self.mask_BT = self.mask_BT[:, first:]
            for layer in self.layers:
                assert layer.keys is not None
                assert layer.values is not None
                layer.reserve(layer.keys[:, :, first:], layer.values[:, :, first:])
