"""The faiss index that proposes candidates for a search: what its kinds, flat and of lists, ask for."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hundredth.store.faiss_import import faiss

Ids = NDArray[np.int64]
Matrix = NDArray[np.float32]


def has_lists(proposer: Any) -> bool:
    """Whether it searches some of its lists, not every key."""
    lists: bool = isinstance(proposer, faiss.IndexIVF)
    return lists


def even(keys: Matrix) -> Matrix:
    """Pad keys of odd width by a zero, which changes no similarity: product codes take numbers in pairs."""
    return np.pad(keys, ((0, 0), (0, 1))) if keys.shape[1] % 2 else np.ascontiguousarray(keys)


def remove(proposer: Any, ids: Ids) -> None:
    """Remove entries from a proposer, and what faiss leaves of their codes.

    Codes are packed in blocks. `remove_ids` (faiss 1.15) leaves old ones behind the end of a list, and an addition
    then writes its own over them bit by bit: the new entries are as good as lost.
    """
    if not has_lists(proposer) or isinstance(proposer, faiss.IndexIVFFlat):
        proposer.remove_ids(ids)
        return
    lists: Any = faiss.downcast_InvertedLists(proposer.invlists)
    before = [lists.list_size(number) for number in range(lists.nlist)]
    proposer.remove_ids(ids)
    packer = lists.packer
    nothing = np.zeros(packer.code_size, dtype=np.uint8)
    for number, old in enumerate(before):
        size = lists.list_size(number)
        blocks, used = -(-size // packer.nvec), size % packer.nvec
        if size == old or not used:
            continue
        codes = faiss.rev_swig_ptr(lists.get_codes(number), blocks * packer.block_size)
        for place in range(used, packer.nvec):
            packer.pack_1(nothing, place, codes.reshape(blocks, -1)[-1:])
