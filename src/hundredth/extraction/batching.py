"""How texts are put into batches wherever the LLM is trained or annotates."""

from collections.abc import Callable, Sequence

import torch

# Called with what is done, what there is in all, and a note for the reader.
Progress = Callable[[int, int, str], None]

_TOKENS_A_BATCH = 2048
_TOKENS_A_GRADIENT = 768


def shuffled_batches(lengths: Sequence[int], size: int, generator: torch.Generator) -> list[list[int]]:
    """Shuffle, then put texts of like length together, so that little of a batch is padding."""
    order = torch.randperm(len(lengths), generator=generator).tolist()
    window = size * 4
    batches = []
    for start in range(0, len(order), window):
        near = sorted(order[start : start + window], key=lambda i: lengths[i])
        batches += [near[at : at + size] for at in range(0, len(near), size)]
    return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]


def parts(batch: Sequence[int], lengths: Sequence[int]) -> list[list[int]]:
    """Cut a batch into parts of a bounded number of tokens, whose gradients add up to the batch's.

    What a step keeps for its gradient grows with the tokens, so long texts are taken a few at a time.
    """
    return _grouped(batch, lengths, _TOKENS_A_GRADIENT)


def batches_by_length(lengths: Sequence[int]) -> list[list[int]]:
    """Group indices of like length into batches of a bounded number of tokens, shortest first."""
    return _grouped(range(len(lengths)), lengths, _TOKENS_A_BATCH)


def _grouped(indices: Sequence[int], lengths: Sequence[int], most: int) -> list[list[int]]:
    batches: list[list[int]] = []
    for index in sorted(indices, key=lambda i: lengths[i]):
        if not batches or (len(batches[-1]) + 1) * lengths[index] > most:
            batches.append([])
        batches[-1].append(index)
    return batches


def scaled(progress: Progress | None, number: int, parts: int, note: str = "") -> Progress | None:
    """Return a progress function for part `number` of `parts` of one piece of work."""
    if progress is None:
        return None
    return lambda done, total, inner: progress(number * total + done, parts * total, note or inner)
