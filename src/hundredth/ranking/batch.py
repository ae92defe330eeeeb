"""A batch on its way into the loss: tokens cut and repeated, texts told apart, processes put together.

Letters of the shapes: B texts of this process, N texts of all processes, d the width of an embedding, W the
width of a teacher row, L tokens.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hundredth.errors import UserError
from hundredth.ranking.gathering import gather

Features = dict[str, Any]


@dataclass
class Batch:
    """What the lists of a batch are made of.

    `anchor` and `other` (N, d) are the two views, `negatives` an (N, d) a further column, `ids` the hashes of
    the texts (columns, N), `teacher` the teachers' rows (N, W).
    """

    anchor: Tensor
    other: Tensor
    negatives: list[Tensor]
    ids: Tensor
    teacher: Tensor | None

    def gathered(self) -> "Batch":
        """Return the batch of all processes."""
        return Batch(
            gather(self.anchor),
            gather(self.other),
            [gather(negative) for negative in self.negatives],
            gather(self.ids.T).T,
            None if self.teacher is None else gather(self.teacher),
        )


def tokens(features: Features) -> Tensor:
    """Return the token ids (B, L) of a column."""
    ids = features.get("input_ids")
    if not isinstance(ids, Tensor) or ids.dim() != 2:
        raise UserError(
            "RankCSE needs padded batches of tokens, one row a text; this model's are packed: load it without "
            "unpad_inputs, and not as a static embedding"
        )
    return ids


def repeated(features: Features, start: int, stop: int, views: int) -> Features:
    """Return rows start to stop of a column, `views` times one after the other."""
    size = len(tokens(features))
    rows = {}
    for key, value in features.items():
        each_text = isinstance(value, Tensor) and value.dim() > 0 and len(value) == size
        rows[key] = torch.cat([value[start:stop]] * views) if each_text else value
    return rows


def text_ids(features: Features) -> Tensor:
    """Return a hash of each text's tokens (B,), int64: equal tokens, equal numbers, whatever the padding."""
    ids_BL = tokens(features)
    mask_BL: Tensor = features.get("attention_mask", torch.ones_like(ids_BL)).long()
    # SplitMix64 of each token with its place (Steele et al. 2014), added up. int64 wraps around, on any device.
    mixed_BL = (ids_BL << 32) + mask_BL.cumsum(dim=1) * -7046029254386353131
    mixed_BL = (mixed_BL ^ (mixed_BL >> 30)) * -4658895280553007687
    mixed_BL = (mixed_BL ^ (mixed_BL >> 27)) * -7723592293110705685
    return ((mixed_BL ^ (mixed_BL >> 31)) * mask_BL).sum(dim=1)
