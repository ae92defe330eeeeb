"""Batches of sentences of like length, in an order that is decided by a seed alone."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

# Batches that are sorted by length together: padding falls with their number, and so does the mixing.
_WINDOW = 32


class LengthBuckets(Sampler[list[int]]):
    """The rows of every step, for as many passes over the corpus as the steps take.

    A pass is a random permutation. Stretches of it, some batches long, are sorted by length, cut into batches,
    and these are shuffled: a batch is a random draw but for the likeness of its lengths, and little of it is
    padding. Rows of the last batch of a pass that would not be full are left for another pass.

    The rows depend on `seed` and the step only. Of several processes each takes its share of every batch,
    so that all of them pad to like lengths, and together they see what one process would.

    Args:
        lengths: tokens of each row, (N,).
        batch_size: rows of a batch over all processes; at most N, and a multiple of `processes`.
        steps: how many batches there are.
        seed: decides the order.
        process: which of the processes this is.
        processes: how many train together.
    """

    def __init__(
        self,
        lengths: NDArray[np.int32],
        batch_size: int,
        steps: int,
        seed: int = 0,
        process: int = 0,
        processes: int = 1,
    ) -> None:
        self.lengths = lengths
        self.batch_size = batch_size
        self.steps = steps
        self.seed = seed
        self.share = slice(process, None, processes)

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[int]]:
        left, epoch = self.steps, 0
        while left:
            for batch in self._pass(epoch):
                yield batch[self.share].tolist()
                left -= 1
                if not left:
                    return
            epoch += 1

    def _pass(self, epoch: int) -> Iterator[NDArray[np.int64]]:
        generator = np.random.default_rng([self.seed, epoch])
        order = generator.permutation(len(self.lengths))
        order = order[: len(order) // self.batch_size * self.batch_size]
        for start in range(0, len(order), _WINDOW * self.batch_size):
            near = order[start : start + _WINDOW * self.batch_size]
            batches = near[np.argsort(self.lengths[near], kind="stable")].reshape(-1, self.batch_size)
            yield from generator.permutation(batches)
