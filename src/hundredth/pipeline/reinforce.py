"""The stage between tuning the soft prompt and sampling: reinforcement learning, where it is asked for."""

import math
import shutil
from pathlib import Path
from typing import Any

from hundredth.extraction.ensemble import load_annotator
from hundredth.extraction.llm import LLM
from hundredth.extraction.reinforcement import TABLES, reinforce
from hundredth.extraction.rewards import Length, Quality, WeightedReward, check_rewards, load_reward
from hundredth.extraction.rl_config import RLConfig
from hundredth.extraction.self_bleu import diversity
from hundredth.extraction.soft_prompt import PromptedLLM, SoftPrompt
from hundredth.files import file_fingerprint, write_json
from hundredth.pipeline.extract import longest_text
from hundredth.pipeline.progress import Reporter
from hundredth.tasks.schema import TaskData

_REPORTED = ("score", "usable", "diversity", "duplicates", "kl")


def own_rewards(config: RLConfig) -> list[WeightedReward]:
    """Import the user's own rewards.

    Raises:
        UserError: one is not to be found, or from all rewards together nothing can be learnt.
    """
    own = [load_reward(named) for named in config.rewards]
    given = [("quality", config.quality)] if config.quality else []
    given += [("diversity", config.diversity), ("length", config.length)]
    check_rewards([*given, *((one.name, one.weight) for one in own)])
    return own


def make_reinforcement(
    llm: LLM,
    data: TaskData,
    config: RLConfig,
    own: list[WeightedReward],
    max_tokens: int,
    prompt_folder: Path,
    annotator_folder: Path,
    checkpoint: Path,
    folder: Path,
    reporter: Reporter,
) -> dict[str, Any]:
    """Train the tuned prompt by rewards; write it, the numbers of every rollout, and tables of their texts.

    `max_tokens` is what the prompt's training texts were cut to. A learning that collapses is no error: the last
    good prompt is written, and what to change is said. A number that is not finite is written as null.
    """
    words = data.task.verbalisation
    tuned = PromptedLLM(llm, words, SoftPrompt.load(prompt_folder / "prompt.safetensors").to(llm.device))
    rewards = [
        WeightedReward("diversity", config.diversity, diversity),
        WeightedReward("length", config.length, Length([example.texts for example in data.train])),
        *own,
    ]
    quality = None
    if config.quality:
        quality = Quality(load_annotator(llm, words, annotator_folder), logarithm=config.log_quality)
        weights = sorted(annotator_folder.rglob("*.safetensors"))
        stamp = file_fingerprint(*weights, annotator_folder / "annotator.json")  # which has its temperature
        rewards.insert(0, WeightedReward("quality", config.quality, quality, stamp))
    try:
        with reporter.bar("reinforcement learning") as progress:
            found = reinforce(tuned, rewards, config, longest_text(tuned, data, max_tokens), checkpoint, progress)
    finally:
        if quality is not None:
            quality.close()
    found.prompt.save(folder / "prompt.safetensors")
    write_json(folder / "history.json", [_finite(one) for one in found.history])
    shutil.copytree(checkpoint / TABLES, folder / TABLES)
    if found.collapse is not None:
        reporter.say(f"  reinforcement learning ended early: {found.collapse}")
        reporter.say(f"  going on with the prompt of rollout {found.good_step}, the last good one")
    before, after = found.history[0], found.history[found.good_step]
    shown = [name for name in before if name in _REPORTED or name.startswith("reward_")]
    return {
        "algorithm": config.algorithm,
        "rollouts": len(found.history),
        "tokens": sum(one["tokens"] for one in found.history),
        "good_step": found.good_step,
        "collapse": found.collapse,
        "before": {name: before[name] for name in shown},
        "after": {name: after[name] for name in shown if name in after},
    }


def _finite(numbers: dict[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in numbers.items()}
