"""Reinforcement learning on the soft prompt (METHODS 2.2): rollouts, learning, and knowing when to stop."""

import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from hundredth.errors import UserError
from hundredth.extraction.advantages import adapted_kl_weight
from hundredth.extraction.batching import Progress
from hundredth.extraction.collapse import symptom
from hundredth.extraction.policy import Policy
from hundredth.extraction.ppo import Experience, learn, new_optimizer
from hundredth.extraction.rewards import WeightedReward, check_rewards, code_stamp
from hundredth.extraction.rl_checkpoint import Standing, load_checkpoint, save_checkpoint
from hundredth.extraction.rl_config import RLConfig
from hundredth.extraction.rollout import Rollout, draw_rollout
from hundredth.extraction.sampling import NotFiniteError
from hundredth.extraction.soft_prompt import PromptedLLM, SoftPrompt
from hundredth.files import fingerprint, write_text

TABLES = "rollouts"
_REMEMBERED = 1000  # texts of earlier rollouts, in which copies are looked for


@dataclass(frozen=True)
class Reinforced:
    """The prompt of the last rollout that showed no sign of collapse, and the numbers of every rollout.

    `history[good_step]` are that rollout's numbers, `history[0]` the tuned prompt's. `collapse` says what went
    wrong and what to change, where the learning was ended by it or ended in it.
    """

    prompt: SoftPrompt
    history: list[dict[str, float]]
    good_step: int
    collapse: str | None


def reinforce(
    tuned: PromptedLLM,
    rewards: Sequence[WeightedReward],
    config: RLConfig,
    max_tokens: int,
    folder: Path,
    progress: Progress = lambda done, total, note: None,
) -> Reinforced:
    """Train the tuned prompt of `tuned` by `config.algorithm` to write texts that the rewards value.

    `folder` takes the checkpoint and, every `config.log_every` rollouts, a table of the texts drawn
    (`rollouts/step-0010.jsonl`). The same call goes on from what a killed one left there; what one with other
    settings left is replaced. After `config.steps` rollouts to learn from, a last one measures what came out.

    Args:
        tuned: the LLM with the prompt to start from, which stays as it is: the divergence is measured from it.
        rewards: what a text is worth, added up by their weights.
        config: the algorithm and its settings.
        max_tokens: most tokens of a text, its end included; one that has not ended by then is not usable.
        folder: one of its own, kept until the prompt is safe.
        progress: called with rollouts done, rollouts in all, and a note.

    Raises:
        UserError: no reward has a weight, two have one name, a reward fails, or the tuned prompt writes no usable
            text.
    """
    check_rewards([(one.name, one.weight) for one in rewards])
    policy = Policy.start(tuned)
    optimizer = new_optimizer(policy, config)
    key = _key(tuned, rewards, config, max_tokens)
    found = load_checkpoint(folder, key, policy, optimizer)
    if found is None:
        shutil.rmtree(folder / TABLES, ignore_errors=True)
    standing, good = found or (Standing(kl_weight=config.kl_weight), policy.prompt.copy())
    while standing.step <= config.steps and standing.collapse is None:
        step = standing.step
        try:
            rollout = draw_rollout(policy.current, rewards, config, step, max_tokens)
        except NotFiniteError:
            if step == 0:
                raise
            standing.collapse = "the prompt leads the LLM to scores that are not finite: lower rl.learning_rate"
            break
        if step == 0:
            _refuse_useless(rollout, max_tokens)
            with torch.no_grad():
                policy.value.bias.fill_(float(rollout.scores.mean()))
        experience = Experience.of(policy, rollout, config, step)
        numbers = {
            "step": step,
            **rollout.numbers(),
            "repeated": _remember(rollout.keys(), standing),
            **experience.numbers(),
            "kl_weight": standing.kl_weight,
        }
        standing.history.append(numbers)
        said = symptom(numbers, standing.history[0], config)
        if said is None:
            good, standing.good_step, standing.ill = policy.prompt.copy(), step, 0
        else:
            standing.ill += 1
        last = step == config.steps
        if said is not None and (last or standing.ill >= config.patience):
            standing.collapse = said
        elif not last:
            learned = learn(policy, optimizer, experience, config, step, standing.kl_weight)
            broken = [name for name, value in learned.items() if not math.isfinite(value)]
            if broken:
                standing.collapse = f"the {broken[-1]} is {learned[broken[-1]]}: lower rl.learning_rate"
            else:
                numbers.update(learned)
            standing.kl_weight = adapted_kl_weight(
                standing.kl_weight, numbers["kl"], config.kl_target, len(rollout.samples), config.kl_horizon
            )
        if step % config.log_every == 0 or last or standing.collapse is not None:
            _write_table(folder, step, rollout.table(tuned.words.label_words))
        standing.step += 1
        save_checkpoint(folder, key, standing, policy, good, optimizer)
        progress(
            standing.step,
            config.steps + 1,
            f"score {numbers['score']:.3f}, diversity {numbers['diversity']:.2f}, KL {numbers['kl']:.1f}",
        )
    return Reinforced(good, standing.history, standing.good_step, standing.collapse)


def _remember(keys: Sequence[str], standing: Standing) -> float:
    """Return the share of texts that earlier rollouts have too, and keep these among the latest."""
    earlier = set(standing.seen)
    standing.seen = [*standing.seen, *keys][-_REMEMBERED:]
    return sum(key in earlier for key in keys) / len(keys) if keys else 0.0


def _refuse_useless(rollout: Rollout, max_tokens: int) -> None:
    if not rollout.usable:
        raise UserError(
            f"none of {len(rollout.samples)} texts that the tuned prompt writes could be used: each was "
            f"unfinished after {max_tokens} tokens or lacked a field; try more prompt.epochs or labelled texts"
        )


def _write_table(folder: Path, step: int, rows: Sequence[dict[str, object]]) -> None:
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_text(folder / TABLES / f"step-{step:04}.jsonl", "".join(lines))


def _key(tuned: PromptedLLM, rewards: Sequence[WeightedReward], config: RLConfig, max_tokens: int) -> str:
    assert tuned.prompt is not None
    prompt = {name: value.flatten().tolist() for name, value in tuned.prompt.state_dict().items()}
    of_rewards = [[one.name, one.weight, one.stamp or code_stamp(one.reward)] for one in rewards]
    return fingerprint(
        [tuned.llm.identity, asdict(tuned.words), prompt, of_rewards, config.model_dump(), max_tokens]
    )
