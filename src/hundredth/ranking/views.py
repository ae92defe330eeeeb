"""Texts encoded in several dropout views at once, and batches larger than memory by gradient caching.

Letters of the shapes: B texts, d the width of an embedding.
"""

from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from hundredth.ranking.batch import Features, repeated, tokens


def embed(model: Any, features: Features, views: int, mini_batch_size: int | None = None) -> list[Tensor]:
    """Encode a column of B texts `views` times over, each time (B, d), under other dropout masks.

    All views of a text are in one forward. With a `mini_batch_size`, so many texts go through at a time, and
    nothing is kept of them but their embeddings: their turn in the backward pass computes them again, under the
    random state that they had. Source: gradient caching, Gao et al. 2021.
    """
    if mini_batch_size is None:
        embeddings = cast(Tensor, model(repeated(features, 0, len(tokens(features)), views))["sentence_embedding"])
        return list(embeddings.chunk(views))
    starts = range(0, len(tokens(features)), mini_batch_size)
    parts = [_recomputed(model, repeated(features, at, at + mini_batch_size, views)) for at in starts]
    # A part holds its own texts, view after view: put each view's together.
    split = [part.chunk(views) for part in parts]
    return [torch.cat([part[view] for part in split]) for view in range(views)]


def _recomputed(model: Any, part: Features) -> Tensor:
    names = [name for name, value in part.items() if isinstance(value, Tensor)]

    def run(*tensors: Tensor) -> Tensor:
        nonlocal model
        # Modules write into the dictionary that they are given.
        features = {**part, **dict(zip(names, tensors, strict=True))}
        embedding = cast(Tensor, model(features)["sentence_embedding"])
        # The second run is inside the backward pass, where the forward of DistributedDataParallel would start to
        # wait for gradients anew.
        model = model.module if isinstance(model, DistributedDataParallel) else model
        return embedding

    # As arguments, because the random state of a device is kept only where an argument lies on it.
    return cast(Tensor, checkpoint(run, *(part[name] for name in names), use_reentrant=False))
