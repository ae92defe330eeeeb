"""The losses against hand-computed values, and the properties that their formulas promise."""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hundredth.ranking import consistency, info_nce, listmle, listnet

LN2 = math.log(2)


@dataclass(frozen=True)
class Case:
    """One loss as a function of a student and a teacher matrix and a temperature."""

    name: str
    loss: Callable[[Tensor, Tensor, float], Tensor]
    has_teacher: bool


CASES = [
    Case("info_nce", lambda s, t, tau: info_nce(s, tau), False),
    Case("consistency", lambda s, t, tau: consistency(s, tau), False),
    Case("listnet", lambda s, t, tau: listnet(s, t, tau, tau / 2), True),
    Case("listnet with diagonal", lambda s, t, tau: listnet(s, t, tau, tau / 2, exclude_diagonal=False), True),
    Case("listmle", listmle, True),
    Case("listmle mean", lambda s, t, tau: listmle(s, t, tau, reduction="mean"), True),
    Case("listmle with diagonal", lambda s, t, tau: listmle(s, t, tau, exclude_diagonal=False), True),
]
every_loss = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
teacher_losses = pytest.mark.parametrize("case", [c for c in CASES if c.has_teacher], ids=lambda case: case.name)


def matrices(n: int, seed: int, m: int | None = None) -> tuple[Tensor, Tensor]:
    """Cosine-like scores of a student and a teacher, in float64."""
    generator = torch.Generator().manual_seed(seed)
    shape = (n, n if m is None else m)
    student = torch.rand(shape, generator=generator, dtype=torch.float64) * 2 - 1
    teacher = torch.rand(shape, generator=generator, dtype=torch.float64) * 2 - 1
    return student, teacher


sizes = st.integers(min_value=2, max_value=7)
seeds = st.integers(min_value=0, max_value=10_000)
temperatures = st.floats(min_value=0.02, max_value=5.0)


# --- The contract of every loss -------------------------------------------------------------------------


@every_loss
@settings(deadline=None, max_examples=25)
@given(n=sizes, seed=seeds, tau=temperatures)
def test_the_loss_is_a_finite_scalar_that_is_not_negative(case: Case, n: int, seed: int, tau: float) -> None:
    value = case.loss(*matrices(n, seed), tau)
    assert value.shape == ()
    assert torch.isfinite(value)
    assert value >= -1e-12


@every_loss
@settings(deadline=None, max_examples=25)
@given(n=sizes, seed=seeds, tau=temperatures, shift=st.floats(min_value=-5, max_value=5))
def test_adding_a_constant_to_all_scores_changes_nothing(
    case: Case, n: int, seed: int, tau: float, shift: float
) -> None:
    student, teacher = matrices(n, seed)
    expected = case.loss(student, teacher, tau)
    torch.testing.assert_close(case.loss(student + shift, teacher - shift, tau), expected, rtol=1e-8, atol=1e-9)


@every_loss
@settings(deadline=None, max_examples=25)
@given(n=sizes, seed=seeds, tau=temperatures)
def test_renumbering_the_sentences_changes_nothing(case: Case, n: int, seed: int, tau: float) -> None:
    student, teacher = matrices(n, seed)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    moved = case.loss(student[order][:, order], teacher[order][:, order], tau)
    torch.testing.assert_close(moved, case.loss(student, teacher, tau), rtol=1e-9, atol=1e-10)


@every_loss
@settings(deadline=None, max_examples=25)
@given(n=sizes, seed=seeds, tau=temperatures, factor=st.floats(min_value=0.1, max_value=10))
def test_scaling_scores_and_temperature_together_changes_nothing(
    case: Case, n: int, seed: int, tau: float, factor: float
) -> None:
    """Silent otherwise: a temperature that is stored and never applied still trains."""
    student, teacher = matrices(n, seed)
    expected = case.loss(student, teacher, tau)
    torch.testing.assert_close(
        case.loss(student * factor, teacher * factor, tau * factor), expected, rtol=1e-8, atol=1e-9
    )


@every_loss
def test_the_temperature_changes_the_loss(case: Case) -> None:
    """Silent otherwise: a temperature that is stored and never applied still trains."""
    student, teacher = matrices(5, 0)
    assert abs(case.loss(student, teacher, 0.05) - case.loss(student, teacher, 0.5)) > 1e-3


@every_loss
def test_the_gradient_is_that_of_the_value(case: Case) -> None:
    student, teacher = matrices(4, 1)
    student.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: case.loss(s, teacher, 0.3), (student,))


@every_loss
@pytest.mark.parametrize("tau", [1e-6, 1e-3, 1e3, 1e6])
def test_extreme_temperatures_give_finite_losses_and_gradients(case: Case, tau: float) -> None:
    student, teacher = (matrix.float() for matrix in matrices(6, 2))
    student.requires_grad_()
    value = case.loss(student, teacher, tau)
    value.backward()
    assert torch.isfinite(value)
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()


@every_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_scores_are_computed_in_float32(case: Case, dtype: torch.dtype) -> None:
    """Silent otherwise: sums of exponentials in half precision lose most of their digits."""
    student, teacher = (matrix.to(dtype) for matrix in matrices(6, 3))
    value = case.loss(student, teacher, 0.05)
    assert value.dtype == torch.float32
    torch.testing.assert_close(
        value.double(), case.loss(student.double(), teacher.double(), 0.05), rtol=1e-5, atol=1e-6
    )


@every_loss
def test_one_sentence_alone_gives_zero(case: Case) -> None:
    student = torch.tensor([[0.7]], requires_grad=True)
    value = case.loss(student, torch.tensor([[0.2]]), 0.05)
    value.backward()
    assert value == 0
    assert student.grad is not None
    assert student.grad == 0


@every_loss
@pytest.mark.parametrize("tau", [0.0, -0.05, math.nan, math.inf])
def test_a_temperature_that_is_not_above_zero_is_refused(case: Case, tau: float) -> None:
    with pytest.raises(ValueError, match="temperature"):
        case.loss(*matrices(3, 0), tau)


@every_loss
@pytest.mark.parametrize("shape", [(3,), (0, 0), (2, 3, 3)])
def test_what_is_no_matrix_is_refused(case: Case, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="matrix"):
        case.loss(torch.zeros(shape), torch.zeros(shape), 0.05)


# --- What the losses with a teacher share ---------------------------------------------------------------


@teacher_losses
def test_gradients_reach_the_student_alone(case: Case) -> None:
    """Silent otherwise: a teacher that moves towards the student makes the loss fall for nothing."""
    student, teacher = matrices(4, 4)
    student.requires_grad_()
    teacher.requires_grad_()
    case.loss(student, teacher, 0.1).backward()
    assert teacher.grad is None
    assert student.grad is not None
    assert student.grad.abs().sum() > 0


@teacher_losses
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_broken_teacher_score_is_refused(case: Case, bad: float) -> None:
    """Silent otherwise: an order can be made of NaN scores, and it means nothing."""
    student, teacher = matrices(3, 5)
    teacher[0, 2] = bad
    with pytest.raises(ValueError, match="1 of the teacher's scores"):
        case.loss(student, teacher, 0.05)


@teacher_losses
def test_a_teacher_of_another_shape_is_refused(case: Case) -> None:
    """Silent otherwise: a single row of teacher scores would be broadcast to every query."""
    student, teacher = matrices(3, 6)
    with pytest.raises(ValueError, match=r"\(1, 3\)"):
        case.loss(student, teacher[:1], 0.05)


LISTS = {
    "listnet": lambda s, t, **options: listnet(s, t, 0.05, 0.025, **options),
    "listmle": lambda s, t, **options: listmle(s, t, 0.05, **options),
    "listmle mean": lambda s, t, **options: listmle(s, t, 0.05, reduction="mean", **options),
}
every_list_loss = pytest.mark.parametrize("loss", LISTS.values(), ids=LISTS.keys())


@every_list_loss
def test_the_diagonal_neither_counts_nor_gets_a_gradient(loss: Callable[..., Tensor]) -> None:
    student, teacher = matrices(5, 7)
    other_student, other_teacher = student.clone(), teacher.clone()
    other_student.fill_diagonal_(1.0)
    other_teacher.fill_diagonal_(math.nan)
    other_student.requires_grad_()
    value = loss(other_student, other_teacher)
    value.backward()
    torch.testing.assert_close(value, loss(student, teacher))
    assert other_student.grad is not None
    assert (other_student.grad.diagonal() == 0).all()


@every_list_loss
def test_masked_pairs_give_the_value_and_gradient_of_the_shorter_list(loss: Callable[..., Tensor]) -> None:
    student, teacher = matrices(3, 8, m=6)
    short = student[:, :4].clone().requires_grad_()
    expected = loss(short, teacher[:, :4], exclude_diagonal=False)
    expected.backward()
    teacher[:, 4:] = math.nan
    full = student.clone().requires_grad_()
    mask = torch.zeros((3, 6), dtype=torch.bool)
    mask[:, 4:] = True
    value = loss(full, teacher, exclude_diagonal=False, mask=mask)
    value.backward()
    torch.testing.assert_close(value, expected)
    assert full.grad is not None
    assert short.grad is not None
    torch.testing.assert_close(full.grad[:, :4], short.grad)
    assert (full.grad[:, 4:] == 0).all()


@every_list_loss
def test_rows_without_candidates_do_not_thin_the_mean(loss: Callable[..., Tensor]) -> None:
    student, teacher = matrices(4, 9, m=5)
    mask = torch.zeros((4, 5), dtype=torch.bool)
    mask[1:3] = True
    full = student.clone().requires_grad_()
    value = loss(full, teacher, exclude_diagonal=False, mask=mask)
    value.backward()
    torch.testing.assert_close(value, loss(student[[0, 3]], teacher[[0, 3]], exclude_diagonal=False))
    assert full.grad is not None
    assert torch.isfinite(full.grad).all()


@every_list_loss
def test_a_list_that_is_not_square_must_keep_its_diagonal(loss: Callable[..., Tensor]) -> None:
    student, teacher = matrices(2, 10, m=4)
    assert torch.isfinite(loss(student, teacher, exclude_diagonal=False))
    with pytest.raises(ValueError, match=r"square matrix, not \(2, 4\)"):
        loss(student, teacher)


@every_list_loss
def test_a_mask_that_does_not_fit_is_refused(loss: Callable[..., Tensor]) -> None:
    student, teacher = matrices(3, 11)
    with pytest.raises(ValueError, match="mask must be booleans"):
        loss(student, teacher, mask=torch.zeros(3, 3))
    with pytest.raises(ValueError, match="mask must be booleans"):
        loss(student, teacher, mask=torch.zeros((1, 3), dtype=torch.bool))


# --- InfoNCE --------------------------------------------------------------------------------------------


def test_info_nce_has_the_hand_computed_value() -> None:
    similarity = torch.tensor([[1.0, 0.0], [0.5, 0.8]], dtype=torch.float64)
    expected = (math.log(1 + math.exp(-1 / 0.5)) + math.log(1 + math.exp((0.5 - 0.8) / 0.5))) / 2
    assert info_nce(similarity, 0.5).item() == pytest.approx(expected, abs=1e-12)


def test_info_nce_counts_further_columns_as_negatives() -> None:
    similarity = torch.tensor([[0.9, 0.1, 0.4], [0.2, 0.3, 0.7]], dtype=torch.float64)
    first = -0.9 + math.log(math.exp(0.9) + math.exp(0.1) + math.exp(0.4))
    second = -0.3 + math.log(math.exp(0.2) + math.exp(0.3) + math.exp(0.7))
    assert info_nce(similarity, 1.0).item() == pytest.approx((first + second) / 2, abs=1e-12)


def test_info_nce_refuses_queries_without_a_positive() -> None:
    with pytest.raises(ValueError, match="positive on the diagonal"):
        info_nce(torch.zeros(3, 2), 0.05)


# --- Ranking consistency --------------------------------------------------------------------------------


def test_consistency_has_the_hand_computed_value() -> None:
    similarity = torch.tensor([[0.0, math.log(3)], [0.0, 0.0]], dtype=torch.float64)
    # Rows: P_1 = (1/4, 3/4), P_2 = (1/2, 1/2). Columns: Q_1 = (1/2, 1/2), Q_2 = (3/4, 1/4).
    p, q = (0.25, 0.75), (0.5, 0.5)
    middle = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
    divergence = sum(a * math.log(a / m) + b * math.log(b / m) for a, b, m in zip(p, q, middle, strict=True)) / 2
    assert consistency(similarity, 1.0).item() == pytest.approx(divergence, abs=1e-12)


@settings(deadline=None, max_examples=40)
@given(n=sizes, seed=seeds, tau=temperatures)
def test_consistency_is_between_0_and_ln_2_and_symmetric(n: int, seed: int, tau: float) -> None:
    """Silent otherwise: a clamp on log-probabilities turns the divergence into an entropy bonus below 0."""
    student, _ = matrices(n, seed)
    value = consistency(student, tau)
    assert -1e-12 <= value <= LN2 + 1e-12
    torch.testing.assert_close(consistency(student.T, tau), value)


@settings(deadline=None, max_examples=25)
@given(n=sizes, seed=seeds, tau=temperatures)
def test_consistency_is_zero_with_zero_gradient_when_rows_equal_columns(n: int, seed: int, tau: float) -> None:
    student, _ = matrices(n, seed)
    symmetric = ((student + student.T) / 2).requires_grad_()
    value = consistency(symmetric, tau)
    value.backward()
    assert abs(value.item()) < 1e-12
    assert symmetric.grad is not None
    assert symmetric.grad.abs().max() < 1e-9


def test_consistency_reaches_ln_2_when_rows_and_columns_disagree_entirely() -> None:
    """Silent otherwise: a clamp on small log-probabilities keeps the divergence from its upper bound."""
    cycle = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]], dtype=torch.float64)
    assert consistency(cycle, 0.005).item() == pytest.approx(LN2, abs=1e-9)


def test_consistency_refuses_a_matrix_that_is_not_square() -> None:
    with pytest.raises(ValueError, match=r"square, not \(2, 3\)"):
        consistency(torch.zeros(2, 3), 0.05)


# --- ListNet --------------------------------------------------------------------------------------------


def test_listnet_has_the_hand_computed_value() -> None:
    student = torch.tensor([[9.0, 0.1, 0.3], [0.2, 9.0, 0.2], [0.5, 0.1, 9.0]], dtype=torch.float64)
    teacher = torch.tensor([[1.0, 0.4, 0.2], [0.3, 1.0, 0.1], [0.0, 0.0, 1.0]], dtype=torch.float64)
    pairs = [((0.4, 0.2), (0.1, 0.3)), ((0.3, 0.1), (0.2, 0.2)), ((0.0, 0.0), (0.5, 0.1))]
    total = 0.0
    for (ta, tb), (sa, sb) in pairs:
        target = math.exp(ta / 0.1) / (math.exp(ta / 0.1) + math.exp(tb / 0.1))
        guess = math.exp(sa / 0.2) / (math.exp(sa / 0.2) + math.exp(sb / 0.2))
        total -= target * math.log(guess) + (1 - target) * math.log(1 - guess)
    assert listnet(student, teacher, 0.2, 0.1).item() == pytest.approx(total / 3, abs=1e-12)


@settings(deadline=None, max_examples=40)
@given(n=sizes, seed=seeds, tau=temperatures)
def test_listnet_is_smallest_at_the_teacher_where_it_is_the_entropy(n: int, seed: int, tau: float) -> None:
    student, teacher = matrices(n, seed, m=n + 1)
    target = torch.softmax(teacher / tau, dim=1)
    entropy = -(target * target.log()).sum(dim=1).mean()
    same = teacher.clone().requires_grad_()
    value = listnet(same, teacher, tau, tau, exclude_diagonal=False)
    value.backward()
    torch.testing.assert_close(value, entropy)
    assert same.grad is not None
    assert same.grad.abs().max() < 1e-10
    assert listnet(student, teacher, tau, tau, exclude_diagonal=False) >= entropy - 1e-10


def test_listnet_applies_each_temperature_to_its_own_side() -> None:
    """Silent otherwise: with the two temperatures swapped the loss still falls."""
    student, teacher = matrices(4, 12)
    expected = listnet(student / 0.2, teacher / 0.1, 1.0, 1.0)
    torch.testing.assert_close(listnet(student, teacher, 0.2, 0.1), expected)
    assert abs(listnet(student, teacher, 0.1, 0.2) - expected) > 1e-3


# --- ListMLE --------------------------------------------------------------------------------------------


def test_listmle_has_the_hand_computed_value() -> None:
    student = torch.tensor([[0.2, 0.5, 0.1]], dtype=torch.float64)
    teacher = torch.tensor([[0.3, 0.1, 0.9]], dtype=torch.float64)
    a, b, c = (math.exp(score / 0.1) for score in (0.1, 0.2, 0.5))  # in the teacher's order: third, first, second
    likelihood = a / (a + b + c) * b / (b + c)
    summed = listmle(student, teacher, 0.1, exclude_diagonal=False, reduction="sum")
    assert summed.item() == pytest.approx(-math.log(likelihood), abs=1e-12)
    mean = listmle(student, teacher, 0.1, exclude_diagonal=False, reduction="mean")
    assert mean.item() == pytest.approx(-math.log(likelihood) / 3, abs=1e-12)


@settings(deadline=None, max_examples=30)
@given(n=sizes, seed=seeds, tau=temperatures)
def test_listmle_depends_only_on_the_teachers_order(n: int, seed: int, tau: float) -> None:
    student, teacher = matrices(n, seed)
    value = listmle(student, teacher, tau)
    torch.testing.assert_close(listmle(student, torch.exp(3 * teacher) + 7, tau), value, rtol=0, atol=0)
    ranks = teacher.argsort(dim=1).argsort(dim=1).to(torch.float64)
    torch.testing.assert_close(listmle(student, ranks, tau), value, rtol=0, atol=0)


@settings(deadline=None, max_examples=20)
@given(seed=seeds, tau=temperatures)
def test_listmle_is_a_distribution_over_orders(seed: int, tau: float) -> None:
    """The likelihoods of all orders of four candidates sum to 1."""
    student, _ = matrices(1, seed, m=4)
    orders = torch.cartesian_prod(*[torch.arange(4.0)] * 4)
    orders = orders[[len(set(order.tolist())) == 4 for order in orders]]
    values = [
        listmle(student, order[None], tau, exclude_diagonal=False, reduction="sum").neg().exp() for order in orders
    ]
    assert len(values) == 24
    assert sum(values).item() == pytest.approx(1.0, abs=1e-9)


def test_listmle_keeps_the_columns_order_where_the_teacher_ties() -> None:
    student, _ = matrices(2, 13, m=5)
    tied = torch.zeros(2, 5)
    downwards = torch.arange(5.0).flip(0).expand(2, 5)
    torch.testing.assert_close(
        listmle(student, tied, 0.1, exclude_diagonal=False),
        listmle(student, downwards, 0.1, exclude_diagonal=False),
    )


def test_listmle_is_lower_for_the_teachers_order_than_for_its_reverse() -> None:
    """Silent otherwise: an order sorted upwards trains the student to rank backwards."""
    _, teacher = matrices(5, 14)
    assert listmle(teacher, teacher, 0.1) < listmle(-teacher, teacher, 0.1)


def test_listmle_of_a_long_list_agrees_with_float64() -> None:
    student, teacher = matrices(4, 15, m=2000)
    exact = listmle(student, teacher, 0.05, exclude_diagonal=False, reduction="sum")
    single = listmle(student.float(), teacher, 0.05, exclude_diagonal=False, reduction="sum")
    torch.testing.assert_close(single.double(), exact, rtol=1e-5, atol=0)


def test_listmle_refuses_an_unknown_reduction() -> None:
    with pytest.raises(ValueError, match="reduction must be 'mean' or 'sum', not 'none'"):
        listmle(*matrices(3, 0), 0.05, reduction="none")  # type: ignore[arg-type]


def test_every_public_loss_is_in_the_contract() -> None:
    import hundredth.ranking.losses as module

    public = {name for name, value in vars(module).items() if inspect.isfunction(value) and name[0] != "_"}
    assert {case.name.split()[0] for case in CASES} == public
