"""Which rewards for writing make the LLM write what teaches a student more than its tuned prompt does.

For each run of transfer.py or controls.py (SmolLM2-135M) PPO learns from the tuned prompt with several mixtures of
rewards. Texts are written with every prompt, as many with each, and the run's annotator labels them. Students of
1 % of the LLM learn from them and the labelled texts, without a store, and are judged by training rows that the run
never drew. The test split is not looked at.

- `tuned`: the prompt before. `ppo`: the rewards of a run's defaults.
- `less quality`: a quarter of the weight for what the annotator is sure of, twice that for differing in a rollout.
- `novelty`: the same, and a reward for differing from every text of the rollouts before.
- `likeness`: the same, and a reward for what a classifier takes for one of the run's unlabelled texts.
- `unlearnt`: the rewards of a run's defaults, and one for what the run's own student gives another label.
- `both`: half of the texts of `tuned`, drawn by lot, and as many of `ppo`.

    python benchmarks/reinforced_students.py [--seeds 1] [--students 3] [--task mr ...] [--prompt ppo ...]
"""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from closeness import embedded
from encoder_parts import MINILM
from knowledge_trials import JUDGES, finish_cells, trial_options, try_all
from selection import Pool, make_pool, mixture, taught_by
from sentence_transformers import SentenceTransformer
from sklearn.linear_model import LogisticRegression
from trial_student import unseen_rows

import hundredth
from hundredth.extraction.rewards import WeightedReward
from hundredth.extraction.rl_config import RLConfig
from hundredth.extraction.soft_prompt import SoftPrompt
from hundredth.models import resolve_model
from hundredth.pipeline.reinforce import make_reinforcement
from hundredth.pipeline.run import Run

TEXTS = 2_500
# As in benchmarks/reinforcement.py, which measures what they do to the texts.
OF_SIZE: Mapping[str, Any] = {"algorithm": "ppo", "steps": 10, "rollout": 48}
LESS_QUALITY: Mapping[str, Any] = {"quality": 0.25, "diversity": 1.0}
# What differs from the defaults, and a reward beside them; None where nothing is learnt.
REWARDS: dict[str, tuple[Mapping[str, Any], Callable[[Run], WeightedReward] | None] | None] = {
    "tuned": None,
    "ppo": ({}, None),
    "less quality": (LESS_QUALITY, None),
    "novelty": (LESS_QUALITY, lambda run: WeightedReward("novelty", 1.0, Novelty())),
    "likeness": (LESS_QUALITY, lambda run: WeightedReward("likeness", 1.0, Likeness(run))),
    "unlearnt": ({}, lambda run: WeightedReward("unlearnt", 0.5, Unlearnt(run))),
}
BOTH = "both"
CELLS = (*REWARDS, BOTH)
METRICS = {"score": "fraction", "log_likelihood": "nats", "texts": "count", "agreed": "fraction"}


class Novelty:
    """1 less the share of a text's pairs of words that one text of an earlier rollout has, at most."""

    def __init__(self) -> None:
        self._earlier: list[frozenset[tuple[str, str]]] = []

    def __call__(self, texts: list[tuple[str, ...]], labels: list[int]) -> list[float]:
        """Judge a rollout by those before it."""
        pairs = [frozenset(_pairs(text)) for text in texts]
        worth = [
            1 - max((len(one & old) / max(len(one), 1) for old in self._earlier), default=0.0) for one in pairs
        ]
        self._earlier += pairs
        return worth


def _pairs(text: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    words = " ".join(text).lower().split()
    return zip(["", *words], [*words, ""], strict=True)


class Likeness:
    """How likely a text is one of the run's unlabelled ones, to a classifier that learns again with each rollout.

    Against them stand what the run's tuned prompt wrote and the texts of the rollouts before.
    """

    def __init__(self, run: Run) -> None:
        self._encoder = SentenceTransformer(str(resolve_model(MINILM)))
        self._real, self._written = (
            embedded(self._encoder, run.knowledge.of([origin], augmented=False).texts)
            for origin in ("unlabelled", "generated")
        )

    def __call__(self, texts: list[tuple[str, ...]], labels: list[int]) -> list[float]:
        """Judge a rollout by those before it."""
        told = LogisticRegression(class_weight="balanced", max_iter=1000)
        is_real = np.repeat([True, False], [len(self._real), len(self._written)])
        told.fit(np.concatenate([self._real, self._written]), is_real)
        found = embedded(self._encoder, texts)
        self._written = np.concatenate([self._written, found])
        return [float(one) for one in told.predict_proba(found)[:, 1]]


class Unlearnt:
    """How unlikely a text's label is to the student of the run, with its store: 0 to 1."""

    def __init__(self, run: Run) -> None:
        self._student = hundredth.load(run.root / "model")

    def __call__(self, texts: list[tuple[str, ...]], labels: list[int]) -> list[float]:
        """Ask the student."""
        likely = self._student.predict_proba([one if len(one) > 1 else one[0] for one in texts])
        return [float(1 - one[label]) for one, label in zip(likely, labels, strict=True)]


def learned(
    run: Run, changes: Mapping[str, Any], beside: Callable[[Run], WeightedReward] | None, folder: Path
) -> SoftPrompt:
    """Return the prompt that PPO makes of the run's with these rewards."""
    file = folder / "prompt.safetensors"
    if not file.exists():
        shutil.rmtree(folder, ignore_errors=True)  # rewards remember no rollouts of a process before
        folder.mkdir(parents=True)
        config = RLConfig(seed=run.config.task.seed, **OF_SIZE, **changes)
        own = [] if beside is None else [beside(run)]
        parts = run.root / "prompt", run.root / "annotator", folder / "learning", folder
        make_reinforcement(run.llm, run.data, config, own, run.config.prompt.max_tokens, *parts, run.reporter)
    return SoftPrompt.load(file)


def run_seed(run: Run, students: int, prompts: Sequence[str], work: Path) -> None:
    """Judge these cells of one run, as far as that is not done: a cell has a value for each student."""
    task, seed = run.data.task.name, run.config.task.seed
    judge = unseen_rows(run, task, JUDGES)

    def pool_of(name: str) -> Pool:
        folder, reward = work / f"{task}-{seed}-{name}", REWARDS[name]
        return make_pool(run, TEXTS, folder, None if reward is None else partial(learned, run, *reward, folder))

    def cell(name: str) -> dict[str, Any]:
        if name != BOTH:
            return taught_by(run, pool_of(name), students, judge)
        pools = [pool_of("tuned"), pool_of("ppo")]
        return taught_by(run, mixture(pools, len(pools[0].texts) // 2, seed), students, judge)

    finish_cells(run, work, {name: partial(cell, name) for name in prompts})


def main() -> None:
    """Judge whatever has not been judged; write after each run."""
    parser = trial_options(__doc__, "reinforced-students", seeds=1)
    parser.set_defaults(students=3)
    parser.add_argument("--prompt", action="append", choices=CELLS, help="only this; may be repeated")
    options = parser.parse_args()
    prompts = options.prompt or CELLS
    try_all(
        options,
        lambda run: run_seed(run, options.students, prompts, options.work),
        CELLS,
        METRICS,
        "reinforced-students",
    )


if __name__ == "__main__":
    main()
