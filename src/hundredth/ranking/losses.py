"""The losses of RankCSE as pure functions of similarity matrices (arXiv 2305.16726; METHODS section 1).

A row of a similarity matrix is one query with the scores of its M candidates. `student` comes from the model
that learns, `teacher` from a frozen one: it is detached here, so that gradients reach the student alone.
Scores in less than float32 are raised to float32 first; nothing is clamped.

Letters of the shapes: N queries, M candidates.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Reduction = Literal["mean", "sum"]


def info_nce(similarity: Tensor, temperature: float) -> Tensor:
    """Return the contrastive loss, mean_i -log softmax_j(S_ij / temperature)[i], a scalar.

    `similarity` is (N, M) with M >= N: candidate i is the positive of query i, all others are negatives, the
    columns past N too. Source: METHODS 1.1; van den Oord et al. 2018, Gao et al. 2021 (SimCSE, eq. 1).

    Raises:
        ValueError: the matrix has fewer columns than rows, or the temperature is not above 0.
    """
    _check_temperature(temperature)
    _check_matrix(similarity)
    rows, columns = similarity.shape
    if columns < rows:
        raise ValueError(f"each of the {rows} rows needs its positive on the diagonal; there are {columns} columns")
    scores_NM = _at_least_float32(similarity) / temperature
    return F.cross_entropy(scores_NM, torch.arange(rows, device=similarity.device))


def consistency(similarity: Tensor, temperature: float) -> Tensor:
    """Return the ranking consistency: the mean Jensen-Shannon divergence of rows and columns, a scalar.

    With P_i = softmax_j(S_ij / temperature), Q_i = softmax_j(S_ji / temperature) and M_i = (P_i + Q_i) / 2, it
    is mean_i [KL(P_i || M_i) + KL(Q_i || M_i)] / 2: from 0 (P = Q) to ln 2, the same for the transpose.
    `similarity` is (N, N): the same sentences in two views. Gradients flow through both. Source: METHODS 1.2.

    Raises:
        ValueError: the matrix is not square, or the temperature is not above 0.
    """
    _check_temperature(temperature)
    _check_matrix(similarity)
    if similarity.shape[0] != similarity.shape[1]:
        raise ValueError(
            f"consistency compares rows with columns: the matrix must be square, not {_size(similarity)}"
        )
    scores_NN = _at_least_float32(similarity) / temperature
    log_p_NN = F.log_softmax(scores_NN, dim=1)
    log_q_NN = F.log_softmax(scores_NN.T, dim=1)
    log_m_NN = torch.logaddexp(log_p_NN, log_q_NN) - math.log(2)
    divergence_NN = log_p_NN.exp() * (log_p_NN - log_m_NN) + log_q_NN.exp() * (log_q_NN - log_m_NN)
    return divergence_NN.sum(dim=1).mean() / 2


def listnet(
    student: Tensor,
    teacher: Tensor,
    student_temperature: float,
    teacher_temperature: float,
    exclude_diagonal: bool = True,
    mask: Tensor | None = None,
) -> Tensor:
    """Return the ListNet loss, mean_i -sum_j softmax_j(T_ij / t_teacher) log softmax_j(S_ij / t_student).

    Its smallest value is the mean entropy of the teacher's distributions, reached when both agree.

    Args:
        student: scores (N, M), with gradients.
        teacher: scores (N, M), detached here.
        student_temperature: tau2 of the paper.
        teacher_temperature: tau3 of the paper, half of tau2 there.
        exclude_diagonal: leave each query's score with itself out of its list; needs a square matrix.
        mask: booleans (N, M), True for a pair to leave out (a duplicate, padding).

    Rows with no candidate left do not count; with one candidate left the loss of the row is 0.
    Source: METHODS 1.3; Cao et al. 2007.

    Raises:
        ValueError: shapes do not fit, a temperature is not above 0, or a teacher score that counts is NaN or
            infinite.
    """
    _check_temperature(student_temperature)
    _check_temperature(teacher_temperature)
    keep_NM = _kept_pairs(student, teacher, exclude_diagonal, mask)
    target_NM = F.softmax(_scores(teacher.detach(), keep_NM, teacher_temperature), dim=1)
    log_p_NM = F.log_softmax(_scores(student, keep_NM, student_temperature), dim=1)
    losses_NM = torch.where(keep_NM, -target_NM * log_p_NM, 0.0)
    return _mean_of_rows(losses_NM.sum(dim=1), keep_NM)


def listmle(
    student: Tensor,
    teacher: Tensor,
    temperature: float,
    exclude_diagonal: bool = True,
    reduction: Reduction = "sum",
    mask: Tensor | None = None,
) -> Tensor:
    """Return the ListMLE loss: how unlikely the teacher's order is under the student's scores, a scalar.

    With s = S_i / temperature taken in the order that sorts T_i downwards, the negative log-likelihood of the
    Plackett-Luce model is sum_k [logsumexp(s_k, s_k+1, ...) - s_k]. Of the teacher only the order matters;
    equal scores keep the order of their columns, so keep teacher scores in full precision.

    Args:
        student: scores (N, M), with gradients.
        teacher: scores (N, M), detached here.
        temperature: tau2 of the paper, for the student's scores.
        exclude_diagonal: leave each query's score with itself out of its list; needs a square matrix.
        reduction: within a list, "sum" as in the formula above, which grows with the length of the list, or
            "mean", the sum divided by that length. A loss weight chosen for one does not fit the other.
        mask: booleans (N, M), True for a pair to leave out (a duplicate, padding).

    Rows with no candidate left do not count; with one candidate left the loss of the row is 0.
    Source: METHODS 1.3; Xia et al. 2008.

    Raises:
        ValueError: shapes do not fit, the temperature is not above 0, the reduction is unknown, or a teacher
            score that counts is NaN or infinite.
    """
    _check_temperature(temperature)
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction must be 'mean' or 'sum', not {reduction!r}")
    keep_NM = _kept_pairs(student, teacher, exclude_diagonal, mask)
    # Pairs that are left out come last in every list, where no kept position sees their weight of zero.
    ranked_NM = torch.where(keep_NM, teacher.detach(), -torch.inf)
    order_NM = torch.argsort(ranked_NM, dim=1, descending=True, stable=True)
    scores_NM = _scores(student, keep_NM, temperature).gather(1, order_NM)
    rest_NM = torch.logcumsumexp(scores_NM.flip(1), dim=1).flip(1)
    losses_N = torch.where(keep_NM.gather(1, order_NM), rest_NM - scores_NM, 0.0).sum(dim=1)
    if reduction == "mean":
        losses_N = losses_N / keep_NM.sum(dim=1).clamp(min=1)
    return _mean_of_rows(losses_N, keep_NM)


def _kept_pairs(student: Tensor, teacher: Tensor, exclude_diagonal: bool, mask: Tensor | None) -> Tensor:
    """Check the inputs of a listwise loss and return which pairs count, booleans (N, M)."""
    _check_matrix(student)
    if teacher.shape != student.shape:
        raise ValueError(f"the teacher's scores are {_size(teacher)}, the student's {_size(student)}")
    rows, columns = student.shape
    keep_NM = torch.ones((rows, columns), dtype=torch.bool, device=student.device)
    if exclude_diagonal:
        if rows != columns:
            raise ValueError(f"exclude_diagonal needs a square matrix, not {_size(student)}")
        keep_NM = ~torch.eye(rows, dtype=torch.bool, device=student.device)
    if mask is not None:
        if mask.shape != student.shape or mask.dtype != torch.bool:
            raise ValueError(f"mask must be booleans of {_size(student)}, not {mask.dtype} of {_size(mask)}")
        keep_NM = keep_NM & ~mask
    bad = int((keep_NM & ~torch.isfinite(teacher)).sum())
    if bad:
        raise ValueError(f"{bad} of the teacher's scores are NaN or infinite: its embeddings are broken")
    return keep_NM


def _scores(similarity: Tensor, keep: Tensor, temperature: float) -> Tensor:
    """Return similarity / temperature, with a weight of zero for pairs that are left out.

    The lowest finite number, not -inf: a row without any pair, and the gradients of all others, stay finite.
    """
    values = _at_least_float32(similarity)
    return (values / temperature).masked_fill(~keep, torch.finfo(values.dtype).min)


def _mean_of_rows(losses_N: Tensor, keep_NM: Tensor) -> Tensor:
    return losses_N.sum() / keep_NM.any(dim=1).sum().clamp(min=1)


def _at_least_float32(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _check_matrix(similarity: Tensor) -> None:
    if similarity.dim() != 2 or similarity.numel() == 0:
        raise ValueError(f"a similarity matrix has rows and columns, this tensor is {_size(similarity)}")


def _check_temperature(temperature: float) -> None:
    if not (math.isfinite(temperature) and temperature > 0):
        raise ValueError(f"the temperature must be a finite number above 0, not {temperature}")


def _size(values: Tensor) -> str:
    return "(" + ", ".join(str(length) for length in values.shape) + ")"
