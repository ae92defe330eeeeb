"""The student's whole vocabulary in few parameters: its table as the product of two smaller ones.

Where `hundredth.student.prune` leaves words out, here every token keeps a few numbers, of which one matrix makes
the width of the encoder: the factorised embedding of ALBERT (Lan et al. 2020, section 3.1). No token goes, so it
works with any tokenizer. Both tables begin as the best approximation of the pretrained one, and are trained.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from hundredth.errors import UserError
from hundredth.student.model import FactorisedTable, StudentEncoder, parameter_count
from hundredth.student.prune import count_pieces, cut_tables, parameters_without_vocabulary, token_table

# Every token counts as if it had occurred so often more: others than those of the texts will be read, too.
_UNSEEN = 5.0


@dataclass(frozen=True)
class FactoriseReport:
    """Sizes before and after, and how much of the table's variance its first approximation keeps.

    `rank` is that of the table; None where the whole table fits, and is kept as it is.
    """

    tokens: int
    rank: int | None
    kept: float
    parameters_before: int
    parameters_after: int


def factorise_vocabulary(
    model: StudentEncoder,
    tokenizer: PreTrainedTokenizerFast,
    texts: Sequence[str],
    max_parameters: int,
    max_length: int | None = None,
) -> tuple[StudentEncoder, PreTrainedTokenizerFast, FactoriseReport]:
    """Return a copy of the student with at most `max_parameters`, and its tokenizer; those given stay as they are.

    The rank is the largest that fits. In the approximation a token counts as often as it occurs in `texts`, and
    five times more. `max_length` cuts the position embeddings to that many tokens, where the encoder has any.

    Raises:
        UserError: not even rank 1 fits.
    """
    table = token_table(model)
    tokens, width = table.num_embeddings, table.embedding_dim
    rest = parameters_without_vocabulary(model, max_length)
    every = list(range(tokens))
    small = cut_tables(model, every, max_length, dict(zip(every, every, strict=True)))
    small_tokenizer = copy.deepcopy(tokenizer)
    if max_length is not None:
        small_tokenizer.model_max_length = max_length
    rank: int | None = None
    kept = 1.0
    if rest + tokens * width > max_parameters:
        rank = (max_parameters - rest - width) // (tokens + width)
        if rank < 1:
            raise UserError(
                f"the student cannot have {max_parameters:,} parameters: with one number for each of its "
                f"{tokens:,} tokens it has {rest + tokens + 2 * width:,}; choose a smaller student or a larger "
                "target, or leave words out with --prune-vocabulary"
            )
        counts = count_pieces(tokenizer, texts)
        weights = torch.tensor([counts[token] + _UNSEEN for token in range(tokens)])
        factors, kept = approximation(table.weight.detach(), rank, weights)
        small.encoder.set_input_embeddings(factors.to(table.weight.device))
    report = FactoriseReport(tokens, rank, kept, parameter_count(model), parameter_count(small))
    return small, small_tokenizer, report


def approximation(table_Vd: Tensor, rank: int, weights_V: Tensor) -> tuple[FactorisedTable, float]:
    """Return the table of this rank that is nearest to (V, d), and the share of the variance that it keeps.

    Both are by squares, weighted by token. The mean becomes the bias; the basis is orthonormal.
    """
    weights_V1 = (weights_V / weights_V.sum()).unsqueeze(1).to(table_Vd)
    mean_d = (weights_V1 * table_Vd).sum(dim=0)
    centred_Vd = table_Vd - mean_d
    covariance_dd = centred_Vd.T @ (weights_V1 * centred_Vd)
    values_d, vectors_dd = torch.linalg.eigh(covariance_dd.double())
    basis_rd = vectors_dd[:, -rank:].flip(1).T.to(table_Vd)
    factors = FactorisedTable(len(table_Vd), rank, table_Vd.shape[1])
    with torch.no_grad():
        factors.rows.weight.copy_(centred_Vd @ basis_rd.T)
        factors.basis.copy_(basis_rd)
        factors.bias.copy_(mean_d)
    return factors, float(values_d[-rank:].sum() / values_d.sum())
