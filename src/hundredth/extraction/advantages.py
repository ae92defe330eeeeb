"""The maths of policy optimisation as pure functions: rewards, returns, advantages, losses, divergences.

Shapes: B texts, T tokens. `real_BT` says which positions hold a token; texts stand on the left. What is
returned is 0 where no token is, so that a sum over all positions is one over the tokens.
"""

import torch
from torch import Tensor


def token_rewards(score_B: Tensor, logratio_BT: Tensor, real_BT: Tensor, kl_weight: float) -> Tensor:
    """Return each token's reward (B, T): the text's score at its last token, less the KL penalty at each.

    `logratio_BT` is log policy - log reference at the tokens drawn, whose mean over draws is the divergence: the
    penalty of Ziegler et al. (2019), equation 2.
    """
    rewards_BT = torch.where(real_BT, -kl_weight * logratio_BT, 0.0)
    last_B1 = real_BT.sum(dim=1, keepdim=True) - 1
    return rewards_BT.scatter_add(1, last_B1, score_B[:, None].to(rewards_BT))


def generalised_advantages(
    rewards_BT: Tensor, values_BT: Tensor, real_BT: Tensor, discount: float, decay: float
) -> tuple[Tensor, Tensor]:
    """Return advantages and returns (B, T) by generalised advantage estimation (Schulman et al. 2016).

    `values_BT` is the value of the state before each token; nothing is expected after the last one.
    """
    values_BT = torch.where(real_BT, values_BT, 0.0)
    next_BT = torch.cat([values_BT[:, 1:], torch.zeros_like(values_BT[:, :1])], dim=1)
    surprise_BT = torch.where(real_BT, rewards_BT + discount * next_BT - values_BT, 0.0)
    advantages_BT = torch.zeros_like(values_BT)
    carried_B = torch.zeros_like(values_BT[:, 0])
    for place in reversed(range(values_BT.shape[1])):
        carried_B = surprise_BT[:, place] + discount * decay * carried_B
        advantages_BT[:, place] = carried_B
    return advantages_BT, advantages_BT + values_BT


def group_advantages(score_B: Tensor, group_B: Tensor) -> Tensor:
    """Return each text's score less its group's mean, over its group's deviation (B,) (GRPO, Shao et al. 2024).

    A group whose scores are all the same has nothing to learn from: its advantages are 0.
    """
    advantages_B = torch.zeros_like(score_B)
    for group in group_B.unique().tolist():
        own_B = group_B == group
        centred = score_B[own_B] - score_B[own_B].mean()
        advantages_B[own_B] = centred / (centred.square().mean().sqrt() + 1e-4)
    return advantages_B


def whiten(values_BT: Tensor, real_BT: Tensor) -> Tensor:
    """Return the values (B, T) shifted and scaled to mean 0 and deviation 1 over all tokens."""
    tokens = values_BT[real_BT]
    scaled_BT = (values_BT - tokens.mean()) / (tokens.var(unbiased=False) + 1e-8).sqrt()
    return torch.where(real_BT, scaled_BT, 0.0)


def policy_loss(logprobs_BT: Tensor, old_BT: Tensor, advantages_BT: Tensor, clip: float) -> Tensor:
    """Return each token's clipped objective, to be made small (B, T) (PPO, Schulman et al. 2017, equation 7)."""
    ratio_BT = (logprobs_BT - old_BT).exp()
    clipped_BT = ratio_BT.clamp(1 - clip, 1 + clip)
    return -torch.minimum(ratio_BT * advantages_BT, clipped_BT * advantages_BT)


def value_loss(values_BT: Tensor, old_BT: Tensor, returns_BT: Tensor, clip: float) -> Tensor:
    """Return half the squared error of each token's value (B, T), which gains nothing beyond `clip` of the old."""
    clipped_BT = torch.minimum(torch.maximum(values_BT, old_BT - clip), old_BT + clip)
    return 0.5 * torch.maximum((values_BT - returns_BT).square(), (clipped_BT - returns_BT).square())


def divergence(logprobs_BT: Tensor, reference_BT: Tensor) -> Tensor:
    """Estimate KL(policy || reference) at tokens drawn from the policy: (B, T), never negative.

    This is r - 1 - log r with r = reference / policy (Schulman 2020, "Approximating KL divergence", k3). The mean
    of r - 1 over draws is 0, so it has the mean of -log r: the estimate is unbiased.
    """
    logratio_BT = reference_BT - logprobs_BT
    return logratio_BT.expm1() - logratio_BT


def adapted_kl_weight(weight: float, kl: float, target: float, texts: int, horizon: float) -> float:
    """Return the KL weight after a rollout of so many texts (Ziegler et al. 2019, section 2.2).

    It rises when the divergence is above its target and falls when it is below, by 20 % in `horizon` texts at
    most.
    """
    error = min(max(kl / target - 1, -0.2), 0.2)
    return weight * (1 + error * min(texts / horizon, 1.0))
