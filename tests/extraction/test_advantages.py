"""The maths of policy optimisation, against cases worked out by hand and properties that must hold."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hundredth.extraction.advantages import (
    adapted_kl_weight,
    divergence,
    generalised_advantages,
    group_advantages,
    policy_loss,
    token_rewards,
    value_loss,
    whiten,
)

REAL = torch.tensor([[True, True, True], [True, True, False]])


def test_the_score_comes_at_the_last_token_and_the_divergence_at_each() -> None:
    logratio = torch.tensor([[0.5, -1.0, 0.0], [2.0, 0.0, 9.0]])
    found = token_rewards(torch.tensor([1.0, -1.0]), logratio, REAL, 0.1)
    torch.testing.assert_close(found, torch.tensor([[-0.05, 0.1, 1.0], [-0.2, -1.0, 0.0]]))


def test_advantages_and_returns_of_a_case_worked_out_by_hand() -> None:
    """Silent otherwise: a policy learns, slower, from advantages that are off by one token."""
    rewards = torch.tensor([[0.0, 1.0, 2.0], [1.0, 3.0, 0.0]])
    # What stands beyond a text's end must not count.
    values = torch.tensor([[0.5, 1.0, 1.5], [2.0, 0.0, 7.0]])
    advantages, returns = generalised_advantages(rewards, values, REAL, discount=0.9, decay=0.5)
    # First text: surprises 0 + 0.9 - 0.5, 1 + 1.35 - 1, 2 - 1.5; each adds 0.45 of what comes after it.
    last = 0.5
    middle = 1.35 + 0.45 * last
    first = 0.4 + 0.45 * middle
    # Second text: 1 + 0 - 2, 3 - 0.
    expected = torch.tensor([[first, middle, last], [-1 + 0.45 * 3, 3.0, 0.0]])
    torch.testing.assert_close(advantages, expected)
    torch.testing.assert_close(returns, expected + torch.where(REAL, values, 0.0))


def test_undiscounted_and_undecayed_returns_are_the_sum_of_what_is_to_come() -> None:
    rewards = torch.where(REAL, torch.randn(2, 3, generator=torch.Generator().manual_seed(0)), 0.0)
    _advantages, returns = generalised_advantages(rewards, torch.randn(2, 3), REAL, 1.0, 1.0)
    torch.testing.assert_close(returns, torch.where(REAL, rewards.flip(1).cumsum(1).flip(1), 0.0))


def test_whitened_values_have_mean_0_and_deviation_1_over_the_tokens() -> None:
    whitened = whiten(torch.tensor([[1.0, 5.0, 2.0], [8.0, 4.0, 99.0]]), REAL)
    assert whitened[REAL].mean() == pytest.approx(0, abs=1e-6)
    assert whitened[REAL].std(unbiased=False) == pytest.approx(1, abs=1e-6)
    assert whitened[1, 2] == 0
    assert (whiten(torch.full((2, 3), 3.0), REAL) == 0).all()


def test_a_text_is_compared_with_the_others_of_its_group() -> None:
    found = group_advantages(torch.tensor([1.0, 10.0, 3.0, 10.0]), torch.tensor([0, 1, 0, 1]))
    torch.testing.assert_close(found, torch.tensor([-1.0, 0.0, 1.0, 0.0]), atol=2e-4, rtol=0)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "slope"),
    [
        (1.0, 2.0, -2.0, -2.0),
        (1.1, 2.0, -2.2, -2.2),
        (1.5, 2.0, -2.4, 0.0),  # good enough: no further
        (0.5, 2.0, -1.0, -1.0),  # a good token that has become rare is pulled back
        (0.5, -2.0, 1.6, 0.0),
        (1.5, -2.0, 3.0, 3.0),
    ],
)
def test_the_policy_loss_by_hand(ratio: float, advantage: float, loss: float, slope: float) -> None:
    """`slope` is by the log-probability: the ratio times that by the ratio."""
    logprobs = torch.tensor([[-1.0 + math.log(ratio)]], requires_grad=True)
    found = policy_loss(logprobs, torch.tensor([[-1.0]]), torch.tensor([[advantage]]), 0.2)
    found.sum().backward()
    assert found.item() == pytest.approx(loss)
    assert logprobs.grad is not None
    assert logprobs.grad.item() == pytest.approx(slope, abs=1e-6)


@pytest.mark.parametrize(
    ("value", "goal", "loss", "slope"),
    [
        (1.1, 2.0, 0.405, -0.9),
        (1.5, 2.0, 0.32, 0.0),  # moved far enough towards the goal
        (0.5, 2.0, 1.125, -1.5),  # moved the wrong way: pulled back
        (1.0, 1.0, 0.0, 0.0),
    ],
)
def test_the_value_loss_by_hand(value: float, goal: float, loss: float, slope: float) -> None:
    values = torch.tensor([[value]], requires_grad=True)
    found = value_loss(values, torch.tensor([[1.0]]), torch.tensor([[goal]]), 0.2)
    found.sum().backward()
    assert found.item() == pytest.approx(loss)
    assert values.grad is not None
    assert values.grad.item() == pytest.approx(slope, abs=1e-6)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(-8, 8), min_size=2, max_size=9), st.lists(st.floats(-8, 8), min_size=2, max_size=9))
def test_the_divergence_is_never_negative_and_has_the_right_mean(first: list[float], second: list[float]) -> None:
    """Silent otherwise: a biased estimate would hold the policy to another distance than the one asked for."""
    size = min(len(first), len(second))
    policy = torch.tensor(first[:size], dtype=torch.float64).log_softmax(0)
    reference = torch.tensor(second[:size], dtype=torch.float64).log_softmax(0)
    estimate = divergence(policy, reference)
    assert (estimate >= 0).all()
    exact = (policy.exp() * (policy - reference)).sum()
    torch.testing.assert_close((policy.exp() * estimate).sum(), exact, atol=1e-9, rtol=1e-6)


def test_a_policy_does_not_diverge_from_itself() -> None:
    logprobs = -torch.rand(2, 3)
    assert (divergence(logprobs, logprobs.clone()) == 0).all()


def test_the_kl_weight_follows_the_divergence() -> None:
    assert adapted_kl_weight(0.1, 6.0, 6.0, 64, 500) == pytest.approx(0.1)
    assert adapted_kl_weight(0.1, 6.6, 6.0, 250, 500) == pytest.approx(0.1 * 1.05)
    assert adapted_kl_weight(0.1, 60.0, 6.0, 500, 500) == pytest.approx(0.12)
    assert adapted_kl_weight(0.1, 0.0, 6.0, 250, 500) == pytest.approx(0.09)
    assert adapted_kl_weight(0.1, 60.0, 6.0, 10**6, 500) == pytest.approx(0.12)
