"""Telling when the policy has learnt to win rewards by texts that are no use: alike, copied, or no language."""

import math

from hundredth.extraction.rl_config import RLConfig

# Below this share of the first rollout's usable texts, the policy no longer writes the task's texts.
_LEAST_USABLE = 0.5
# A mean that lies so many standard errors below zero is not there by chance.
_ERRORS = 4.0


def symptom(now: dict[str, float], start: dict[str, float], config: RLConfig) -> str | None:
    """Return what is wrong with a rollout and what to change, or None; `start` is the first rollout's numbers.

    `repeated` is the share of texts that earlier rollouts have too: of many labels a rollout has so few texts each
    that copies among them alone say little.
    `kl` is the divergence from the tuned prompt in nats a text by an estimate that is never negative, `kl_signed`
    the mean log-ratio, with its standard error `kl_error`: below zero beyond chance only when the texts were not
    drawn from the policy.
    """
    if not all(math.isfinite(value) for value in now.values()):
        broken = next(name for name, value in now.items() if not math.isfinite(value))
        return f"{broken} is {now[broken]}: lower rl.learning_rate"
    least = config.least_diversity * start["diversity"]
    if now["diversity"] < least:
        return (
            f"the texts of a label have become alike: diversity {now['diversity']:.2f}, {start['diversity']:.2f} "
            f"at the start; raise rl.diversity ({config.diversity:g}) or rl.kl_weight ({config.kl_weight:g}), or "
            f"lower rl.learning_rate ({config.learning_rate:g})"
        )
    if now["duplicates"] > start["duplicates"] + config.most_duplicates:
        return (
            f"{now['duplicates']:.0%} of the texts are copies of others, {start['duplicates']:.0%} at the start; "
            f"raise rl.diversity ({config.diversity:g}) or rl.kl_weight ({config.kl_weight:g})"
        )
    if now["repeated"] > start["duplicates"] + 2 * config.most_duplicates:
        return (
            f"{now['repeated']:.0%} of the texts were written in earlier rollouts too; raise rl.diversity "
            f"({config.diversity:g}) or rl.kl_weight ({config.kl_weight:g})"
        )
    if now["usable"] < _LEAST_USABLE * start["usable"]:
        return (
            f"only {now['usable']:.0%} of the texts are usable, {start['usable']:.0%} at the start; raise "
            f"rl.unusable ({config.unusable:g}), or lower rl.learning_rate ({config.learning_rate:g})"
        )
    if now["kl"] > config.most_kl * config.kl_target:
        return (
            f"the policy has run away from the tuned prompt: {now['kl']:.1f} nats a text where rl.kl_target is "
            f"{config.kl_target:g}; raise rl.kl_weight ({config.kl_weight:g}), or lower rl.learning_rate "
            f"({config.learning_rate:g}) or rl.epochs ({config.epochs})"
        )
    if now["kl_signed"] < -_ERRORS * now["kl_error"] and now["kl_signed"] < -0.5:
        return (
            f"the divergence from the tuned prompt is estimated below zero ({now['kl_signed']:.2f} nats a text), "
            "as if the texts were not drawn from the policy; lower rl.learning_rate "
            f"({config.learning_rate:g}), or set llm.dtype=float32"
        )
    return None
