"""A rollout: texts drawn from the policy, what each is worth, and how the rollout as a whole looks."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hundredth.extraction.rewards import WeightedReward, total_reward
from hundredth.extraction.rl_config import RLConfig
from hundredth.extraction.sampling import Sample, Sampler, SamplingConfig
from hundredth.extraction.self_bleu import diversity
from hundredth.extraction.soft_prompt import PromptedLLM
from hundredth.files import fingerprint


@dataclass(frozen=True)
class Rollout:
    """Samples with their texts (None where unusable), their scores (N,), and each reward of the usable ones.

    `diversity` and `duplicates` (the share of texts that stand there once already) are of the usable texts.
    """

    samples: list[Sample]
    texts: list[tuple[str, ...] | None]
    scores: NDArray[np.float64]
    rewards: dict[str, NDArray[np.float64]]
    diversity: float
    duplicates: float

    @property
    def usable(self) -> float:
        """The share of texts that are finished and have all their fields."""
        return sum(text is not None for text in self.texts) / len(self.texts)

    def keys(self) -> list[str]:
        """Return what tells a usable text and its label from any other, for each."""
        labelled = zip(self.texts, (sample.label for sample in self.samples), strict=True)
        return [fingerprint([*text, label])[:16] for text, label in labelled if text is not None]

    def numbers(self) -> dict[str, float]:
        """Return what is logged of a rollout: the means of the score and of each reward, and how it looks."""
        means = {f"reward_{name}": float(values.mean()) for name, values in self.rewards.items() if len(values)}
        return {
            "score": float(self.scores.mean()),
            **means,
            "usable": self.usable,
            "diversity": self.diversity,
            "duplicates": self.duplicates,
            "tokens": float(sum(len(sample.ids) for sample in self.samples)),
        }

    def table(self, labels: Sequence[str]) -> list[dict[str, object]]:
        """Return a row for each text: label, text (or what was written instead), score, each reward."""
        rows: list[dict[str, object]] = []
        place = 0
        for sample, text, score in zip(self.samples, self.texts, self.scores.tolist(), strict=True):
            row: dict[str, object] = {"label": labels[sample.label], "texts": text, "score": round(score, 4)}
            if text is not None:
                row.update({name: round(float(values[place]), 4) for name, values in self.rewards.items()})
                place += 1
            rows.append(row)
        return rows


def draw_rollout(
    policy: PromptedLLM, rewards: Sequence[WeightedReward], config: RLConfig, step: int, max_tokens: int
) -> Rollout:
    """Draw the texts of rollout number `step` and score them.

    They are drawn from the whole distribution at temperature 1, whatever `sampling` says: only then are they
    the policy's own, and their log-ratios estimates of its divergence.
    """
    labels = len(policy.words.label_words)
    count = -(-max(config.rollout, 2 * labels) // labels) * labels
    # Two draws of `sampling` and this one with the same seed would otherwise share their random numbers.
    first = (step + 1) * 1_000_000
    sampling = SamplingConfig(temperature=1.0, top_p=1.0, seed=config.seed)
    items = [(first + number, number % labels) for number in range(count)]
    samples = sorted(Sampler(policy, sampling, max_tokens)(items), key=lambda one: one.item)
    texts = [policy.words.parse(policy.llm.decode(list(one.ids))) if one.ended else None for one in samples]
    return scored(samples, texts, rewards, config)


def scored(
    samples: list[Sample],
    texts: list[tuple[str, ...] | None],
    rewards: Sequence[WeightedReward],
    config: RLConfig,
) -> Rollout:
    """Give each usable text its rewards, and the others what being unusable costs."""
    usable = [place for place, text in enumerate(texts) if text is not None]
    found = [text for text in texts if text is not None]
    labels = [samples[place].label for place in usable]
    scores = np.full(len(samples), -config.unusable)
    scores[usable], each = total_reward(rewards, found, labels)
    counts = Counter(zip(found, labels, strict=True))
    return Rollout(
        samples,
        texts,
        scores,
        each,
        diversity=float(np.mean(diversity(found, labels))) if found else 0.0,
        duplicates=1 - len(counts) / len(found) if found else 0.0,
    )
