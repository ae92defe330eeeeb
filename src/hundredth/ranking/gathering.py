"""Lists that span several training processes: what each of them has, put together on all of them.

Every process computes the loss of the whole batch. The gradient of a gathered tensor is the sum over the
processes, W times too large for W of them, and DistributedDataParallel divides by W: what reaches the weights
is the gradient of one process with the whole batch.

Letters of the shapes: B texts of one process, W processes.
"""

from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn


def distributed() -> bool:
    """Tell whether other processes train along."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def gather(values_B: Tensor) -> Tensor:
    """Return the values (B, ...) of all processes, (W B, ...) in the order of their ranks, with gradients.

    All processes must have the same B, as the Trainer's batches do.
    """
    return cast(Tensor, _Gather.apply(values_B))


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        parts = [
            torch.empty_like(values, memory_format=torch.contiguous_format) for _ in range(dist.get_world_size())
        ]
        dist.all_gather(parts, values.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total.chunk(dist.get_world_size())[dist.get_rank()]


def keep_together(module: nn.Module) -> None:
    """Average the gradients of a module that stands outside DistributedDataParallel, as that would do."""
    for parameter in module.parameters():
        parameter.register_hook(_averaged)


def share(module: nn.Module) -> None:
    """Give the weights of the first process to all."""
    for parameter in module.parameters():
        dist.broadcast(parameter.detach(), src=0)


def _averaged(gradient: Tensor) -> Tensor:
    if not distributed():
        return gradient
    total = gradient.clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()
