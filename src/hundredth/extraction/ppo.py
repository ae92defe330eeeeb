"""Learning from one rollout: PPO with a value head, or GRPO, on the soft prompt (METHODS 2.2).

Both raise the probability of tokens that did better than expected, clipped. They differ in what is expected
(PPO: the value head's guess at each token; GRPO: the mean score of the label's texts) and in where the
divergence from the tuned prompt counts (PPO: in each token's reward; GRPO: in the loss).

Shapes: N texts of a rollout, B of them in a part, T tokens.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hundredth.extraction.advantages import (
    divergence,
    generalised_advantages,
    group_advantages,
    policy_loss,
    token_rewards,
    value_loss,
    whiten,
)
from hundredth.extraction.batching import parts, shuffled_batches
from hundredth.extraction.policy import Policy
from hundredth.extraction.rl_config import RLConfig
from hundredth.extraction.rollout import Rollout
from hundredth.schedule import rate_factor

_WARMUP = 0.1
# A minibatch is cut into parts of a bounded number of tokens; a pass is the minibatches in their order.
Minibatch = list[list[int]]


@dataclass(frozen=True)
class Experience:
    """A rollout as the policy that drew it sees it: log-probabilities, the reference's, values (N, T each).

    The log-probabilities are computed anew by the code that learns, in the parts that it learns from first: the
    sampler's own differ from them by rounding (much in bfloat16), and a ratio would not start at 1.
    """

    labels: list[int]
    targets: list[tuple[int, ...]]
    passes: list[list[Minibatch]]
    score_N: Tensor
    logprobs_NT: Tensor
    reference_NT: Tensor
    values_NT: Tensor
    real_NT: Tensor
    sampler_gap: float

    @classmethod
    @torch.no_grad()
    def of(cls, policy: Policy, rollout: Rollout, config: RLConfig, step: int) -> "Experience":
        """Score every token of a rollout by the policy, the reference and the value head."""
        labels = [sample.label for sample in rollout.samples]
        targets = [sample.ids for sample in rollout.samples]
        lengths = [len(ids) for ids in targets]
        llm = policy.current.llm
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
        passes = [
            [parts(batch, lengths) for batch in shuffled_batches(lengths, config.batch_size, generator)]
            for _ in range(config.epochs)
        ]
        logprobs_NT, reference_NT, values_NT = torch.zeros(3, len(targets), max(lengths), device=llm.device)
        real_NT = torch.zeros(logprobs_NT.shape, dtype=torch.bool, device=llm.device)
        gap = 0.0
        for part in (part for minibatch in passes[0] for part in minibatch):
            asked, ids = [labels[i] for i in part], [targets[i] for i in part]
            with llm.training():  # the same arithmetic as when it learns
                logprobs_BT, values_BT, real_BT = policy.evaluate(asked, ids)
                reference_BT = policy.reference.token_logprobs(asked, ids)
            width = real_BT.shape[1]
            for whole, found in (
                (logprobs_NT, logprobs_BT),
                (reference_NT, reference_BT),
                (values_NT, values_BT),
                (real_NT, real_BT),
            ):
                whole[part, :width] = found
            drawn = torch.tensor([one for i in part for one in rollout.samples[i].logprobs], device=llm.device)
            gap += float((logprobs_BT[real_BT] - drawn).abs().sum())
        score_N = torch.tensor(rollout.scores, dtype=torch.float32, device=llm.device)
        return cls(
            labels, targets, passes, score_N, logprobs_NT, reference_NT, values_NT, real_NT, gap / sum(lengths)
        )

    def numbers(self) -> dict[str, float]:
        """Return the divergence from the reference in nats a text, by two estimates, and the sampler's rounding.

        `kl` is never negative (`divergence`), `kl_signed` the mean log-ratio, `kl_error` its standard error.
        """
        signed_N = (self.logprobs_NT - self.reference_NT).sum(dim=1)
        return {
            "kl": float(divergence(self.logprobs_NT, self.reference_NT).sum(dim=1).mean()),
            "kl_signed": float(signed_N.mean()),
            "kl_error": float(signed_N.std() / len(signed_N) ** 0.5),
            "sampler_gap": self.sampler_gap,
        }

    def advantages(self, config: RLConfig, kl_weight: float) -> tuple[Tensor, Tensor]:
        """Return each token's advantage, and what the value head should have said (N, T each)."""
        if config.algorithm == "grpo":
            group_N = torch.tensor(self.labels, device=self.score_N.device)
            advantages_N1 = group_advantages(self.score_N, group_N)[:, None]
            return torch.where(self.real_NT, advantages_N1, 0.0), torch.zeros_like(self.values_NT)
        rewards_NT = token_rewards(self.score_N, self.logprobs_NT - self.reference_NT, self.real_NT, kl_weight)
        advantages_NT, returns_NT = generalised_advantages(
            rewards_NT, self.values_NT, self.real_NT, config.discount, config.gae_decay
        )
        return whiten(advantages_NT, self.real_NT), returns_NT


def new_optimizer(policy: Policy, config: RLConfig) -> torch.optim.Optimizer:
    """Return AdamW over the prompt and the value head, each with its own learning rate."""
    groups = [
        {"params": list(policy.prompt.parameters()), "lr": config.learning_rate},
        {"params": list(policy.value.parameters()), "lr": config.value_learning_rate},
    ]
    return torch.optim.AdamW(groups, weight_decay=0.0)


def learn(
    policy: Policy,
    optimizer: torch.optim.Optimizer,
    experience: Experience,
    config: RLConfig,
    step: int,
    kl_weight: float,
) -> dict[str, float]:
    """Take the gradient steps of rollout number `step`; return what is logged of them.

    A pass is left, and all after it, before the gradient step at which the policy has moved further than
    `config.kl_stop` from the one that drew the texts, or whose gradient is not finite.
    """
    goals = experience.advantages(config, kl_weight)
    optimizer.param_groups[0]["lr"] = config.learning_rate * rate_factor(step, config.steps, _WARMUP)
    sums = dict.fromkeys(("policy_loss", "value_loss", "clipped", "moved"), 0.0)
    done, first_ratio, norm = 0, 1.0, 0.0
    for minibatch in (minibatch for one in experience.passes for minibatch in one):
        optimizer.zero_grad()
        tokens = sum(len(experience.targets[i]) for part in minibatch for i in part)
        now = dict.fromkeys(sums, 0.0)
        for part in minibatch:
            terms, furthest = _part(policy, experience, part, goals, config, kl_weight, tokens)
            now = {name: now[name] + terms[name] for name in now}
            if done == 0:
                first_ratio = max(first_ratio, furthest)
        norm = float(nn.utils.clip_grad_norm_(policy.prompt.parameters(), 1.0))
        nn.utils.clip_grad_norm_(policy.value.parameters(), 1.0)
        if now["moved"] > config.kl_stop or not math.isfinite(norm):
            break
        optimizer.step()
        done += 1
        sums = {name: sums[name] + now[name] for name in sums}
    means = {name: value / max(1, done) for name, value in sums.items()}
    return {**means, "updates": done, "first_ratio": first_ratio, "gradient": norm}


def _part(
    policy: Policy,
    experience: Experience,
    part: list[int],
    goals: tuple[Tensor, Tensor],
    config: RLConfig,
    kl_weight: float,
    tokens: int,
) -> tuple[dict[str, float], float]:
    """Add a part's share to the gradient; return its share of the minibatch's means, and the largest ratio."""
    labels, targets = [experience.labels[i] for i in part], [experience.targets[i] for i in part]
    with policy.current.llm.training():
        logprobs_BT, values_BT, real_BT = policy.evaluate(labels, targets)
        width = real_BT.shape[1]
        wholes = experience.logprobs_NT, experience.reference_NT, experience.values_NT, *goals
        old_BT, reference_BT, old_values_BT, advantages_BT, returns_BT = (one[part, :width] for one in wholes)
        of_policy = policy_loss(logprobs_BT, old_BT, advantages_BT, config.clip).sum() / tokens
        of_value = logprobs_BT.new_zeros(())
        if config.algorithm == "grpo":
            of_policy = of_policy + kl_weight * divergence(logprobs_BT, reference_BT).sum() / tokens
        else:
            of_value = value_loss(values_BT, old_values_BT, returns_BT, config.value_clip).sum() / tokens
        (of_policy + of_value).backward()
    with torch.no_grad():
        ratio_BT = (logprobs_BT - old_BT).exp()
        clipped = ((ratio_BT - 1).abs() > config.clip).sum() / tokens
        moved = divergence(old_BT, logprobs_BT).sum() / tokens
        furthest = float(torch.maximum(ratio_BT, 1 / ratio_BT)[real_BT].max())
    terms = {"policy_loss": of_policy, "value_loss": of_value, "clipped": clipped, "moved": moved}
    return {name: float(value.detach()) for name, value in terms.items()}, furthest
