"""Reinforcement learning: it reaches a known optimum, starts exactly on policy, sees collapse, and resumes."""

import json
import math
import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from one_token import SMALL_LETTERS, one_token_llm, untuned

from hundredth.errors import UserError
from hundredth.extraction.batching import Progress
from hundredth.extraction.collapse import symptom
from hundredth.extraction.llm import LLM
from hundredth.extraction.policy import Policy
from hundredth.extraction.ppo import Experience, learn, new_optimizer
from hundredth.extraction.reinforcement import Reinforced, reinforce
from hundredth.extraction.rewards import WeightedReward
from hundredth.extraction.rl_config import RLConfig
from hundredth.extraction.rollout import Rollout, draw_rollout
from hundredth.extraction.soft_prompt import PromptedLLM, SoftPrompt

MAX_TOKENS = 3
FREE: dict[str, Any] = {"least_diversity": 0.0, "most_duplicates": 1.0, "most_kl": 1e6, "kl_stop": 0.3}
CONFIG = RLConfig(
    algorithm="ppo", steps=4, rollout=16, batch_size=8, learning_rate=0.3, kl_weight=0.0, unusable=0.0, **FREE
)


CLIPPED: dict[str, Any] = {"clip": 0.1, "value_clip": 0.02, "value_learning_rate": 0.1, "learning_rate": 0.2}
# Of each rollout: score, kl, kl_weight, policy_loss, value_loss, clipped, moved.
TRAJECTORY = {
    "ppo": [
        (0.3125, 0.0, 0.2, -0.0286058, 0.131354, 0.328125, 0.117775),
        (0.4375, 0.309629, 0.168, -0.0276535, 0.133919, 0.302083, 0.0442634),
        (0.4375, 0.629383, 0.19488, -0.0161835, 0.12998, 0.260417, 0.00688449),
    ],
    "grpo": [
        (0.3125, 0.0, 0.2, 0.006843, 0.0, 0.395833, 0.141438),
        (0.625, 0.201636, 0.168, -0.00612729, 0.0, 0.260417, 0.0211085),
        (0.375, 0.354595, 0.19488, 0.0134182, 0.0, 0.28125, 0.00715902),
    ],
}


@pytest.fixture
def source() -> PromptedLLM:
    return untuned(one_token_llm())


def changed(**values: Any) -> RLConfig:
    return RLConfig(**{**CONFIG.model_dump(), **values})


def vectors(prompt: SoftPrompt) -> torch.Tensor:
    return torch.cat([value.detach().flatten() for value in prompt.state_dict().values()])


def drawn(source: PromptedLLM, config: RLConfig = CONFIG) -> tuple[Policy, Rollout, Experience]:
    policy = Policy.start(source)
    rollout = draw_rollout(policy.current, [SMALL_LETTERS], config, 0, MAX_TOKENS)
    return policy, rollout, Experience.of(policy, rollout, config, 0)


@pytest.mark.parametrize("algorithm", ["ppo", "grpo"])
def test_the_known_optimum_is_reached(algorithm: str, source: PromptedLLM, tmp_path: Path) -> None:
    config = changed(algorithm=algorithm, steps=20, rollout=32, batch_size=16, epochs=4)
    found = reinforce(source, [SMALL_LETTERS], config, MAX_TOKENS, tmp_path)
    scores = [one["score"] for one in found.history]
    assert len(scores) == 21
    assert scores[0] < 0.5
    assert sum(scores[-3:]) / 3 > 0.9
    assert found.good_step == 20
    after = draw_rollout(
        PromptedLLM(source.llm, source.words, found.prompt), [SMALL_LETTERS], CONFIG, 99, MAX_TOKENS
    )
    assert after.scores.mean() > 0.85


def test_the_tuned_prompt_and_the_llm_stay_as_they_were(source: PromptedLLM, tmp_path: Path) -> None:
    assert source.prompt is not None
    before, weights = vectors(source.prompt), [one.clone() for one in source.llm.model.parameters()]
    found = reinforce(source, [SMALL_LETTERS], CONFIG, MAX_TOKENS, tmp_path)
    assert not torch.equal(vectors(found.prompt), before)
    assert torch.equal(vectors(source.prompt), before)
    assert all(torch.equal(one, two) for one, two in zip(source.llm.model.parameters(), weights, strict=True))


@pytest.mark.parametrize("tokens", [6, 768])
@pytest.mark.parametrize("algorithm", ["ppo", "grpo"])
def test_the_trajectory_is_the_one_that_was_checked(
    algorithm: str, tokens: int, source: PromptedLLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silent otherwise: what the known optimum is reached without, such as whitening, clips or the value head.

    And it is the same however many tokens a gradient takes at once: those of a minibatch's parts are summed.
    """
    monkeypatch.setattr("hundredth.extraction.batching._TOKENS_A_GRADIENT", tokens)
    config = changed(algorithm=algorithm, kl_weight=0.2, kl_target=0.05, kl_horizon=20.0, epochs=3, **CLIPPED)
    found = reinforce(source, [SMALL_LETTERS], config, MAX_TOKENS, tmp_path)
    for step, expected in enumerate(TRAJECTORY[algorithm]):
        names = ("score", "kl", "kl_weight", "policy_loss", "value_loss", "clipped", "moved")
        numbers = [found.history[step][name] for name in names]
        assert numbers == pytest.approx(expected, rel=2e-3, abs=2e-5), step


@pytest.mark.parametrize("algorithm", ["ppo", "grpo"])
def test_the_first_minibatch_is_exactly_on_policy(any_llm: LLM, algorithm: str) -> None:
    """Silent otherwise: a ratio that starts beside 1 is clipped before anything has been learnt."""
    config = changed(algorithm=algorithm, kl_weight=0.1)
    policy, rollout, experience = drawn(untuned(any_llm), config)
    numbers = learn(policy, new_optimizer(policy, config), experience, config, 0, 0.1)
    assert numbers["first_ratio"] == 1.0
    assert numbers["updates"] >= 1
    # The sampler computes the same, but for rounding.
    assert experience.sampler_gap < 1e-3
    assert sum(len(one.ids) for one in rollout.samples) == experience.real_NT.sum()


def test_the_reference_does_not_diverge_from_itself(any_llm: LLM) -> None:
    _policy, _rollout, experience = drawn(untuned(any_llm))
    numbers = experience.numbers()
    assert (numbers["kl"], numbers["kl_signed"], numbers["kl_error"]) == (0.0, 0.0, 0.0)


def test_a_prompt_that_has_moved_diverges_by_about_what_is_estimated(source: PromptedLLM) -> None:
    policy = Policy.start(source)
    with torch.no_grad():
        policy.prompt.per_label_CLD += 0.3 * torch.randn_like(policy.prompt.per_label_CLD)
    config = changed(rollout=600)
    rollout = draw_rollout(policy.current, [SMALL_LETTERS], config, 0, MAX_TOKENS)
    numbers = Experience.of(policy, rollout, config, 0).numbers()
    assert numbers["kl"] > 0.05
    assert abs(numbers["kl"] - numbers["kl_signed"]) < 4 * numbers["kl_error"] < 0.4


def test_a_penalty_on_divergence_holds_the_policy_back(source: PromptedLLM, tmp_path: Path) -> None:
    for algorithm in ("ppo", "grpo"):
        end = {}
        for weight in (0.0, 5.0):
            config = changed(algorithm=algorithm, steps=8, kl_weight=weight, kl_horizon=1e9)
            folder = tmp_path / f"{algorithm}-{weight}"
            end[weight] = reinforce(source, [SMALL_LETTERS], config, MAX_TOKENS, folder).history[-1]["kl"]
        assert end[5.0] < 0.5 * end[0.0]


def test_the_policy_is_left_before_it_moves_further_than_allowed(source: PromptedLLM) -> None:
    config = changed(kl_stop=1e-3, epochs=5, learning_rate=1.0, steps=1)
    policy, _rollout, experience = drawn(source, config)
    assert learn(policy, new_optimizer(policy, config), experience, config, 0, 0.0)["updates"] < 3


def test_a_gradient_that_is_not_finite_ends_the_learning_with_the_prompt_untouched(
    source: PromptedLLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "hundredth.extraction.ppo.policy_loss", lambda logprobs, *rest: logprobs * torch.tensor(math.inf)
    )
    found = reinforce(source, [SMALL_LETTERS], CONFIG, MAX_TOKENS, tmp_path)
    assert found.collapse is not None
    assert "the gradient is" in found.collapse
    assert source.prompt is not None
    assert torch.equal(vectors(found.prompt), vectors(source.prompt))


def test_texts_that_become_alike_end_the_learning_with_the_last_good_prompt(
    source: PromptedLLM, tmp_path: Path
) -> None:
    """The reward is best won by writing one text: the prompt is that of the last rollout with different ones."""
    config = changed(steps=30, rollout=32, epochs=4, least_diversity=0.6)
    found = reinforce(source, [SMALL_LETTERS], config, MAX_TOKENS, tmp_path)
    assert found.collapse is not None
    assert "have become alike" in found.collapse
    assert "rl.diversity" in found.collapse
    assert len(found.history) == found.good_step + 1 + config.patience < 30
    least = 0.6 * found.history[0]["diversity"]
    assert found.history[found.good_step]["diversity"] >= least > found.history[-1]["diversity"]
    good = PromptedLLM(source.llm, source.words, found.prompt)
    again = draw_rollout(good, [SMALL_LETTERS], config, found.good_step, MAX_TOKENS)
    assert again.numbers() == {name: found.history[found.good_step][name] for name in again.numbers()}
    assert reinforce(source, [SMALL_LETTERS], config, MAX_TOKENS, tmp_path).collapse == found.collapse


START = {
    "diversity": 0.6,
    "duplicates": 0.1,
    "repeated": 0.0,
    "usable": 0.9,
    "kl": 0.0,
    "kl_signed": 0.0,
    "kl_error": 0.0,
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"diversity": 0.29}, "diversity 0.29, 0.60 at the start"),
        ({"duplicates": 0.36}, "36% of the texts are copies of others, 10% at the start"),
        ({"repeated": 0.61}, "61% of the texts were written in earlier rollouts too"),
        ({"usable": 0.44}, "only 44% of the texts are usable, 90% at the start"),
        ({"kl": 31.0}, "31.0 nats a text where rl.kl_target is 6"),
        ({"kl_signed": -2.0, "kl_error": 0.4}, "estimated below zero"),
    ],
)
def test_each_symptom_is_said_with_a_setting_to_change(change: dict[str, float], said: str) -> None:
    config = RLConfig()
    found = symptom({**START, **change}, START, config)
    assert found is not None
    assert said in found
    assert "rl." in found.split(";")[1]


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"diversity": 0.31, "duplicates": 0.34, "repeated": 0.59, "usable": 0.46, "kl": 29.0},
        {"kl_signed": -2.0, "kl_error": 0.6},
        {"kl_signed": -0.1, "kl_error": 0.01},
    ],
)
def test_a_healthy_rollout_has_no_symptom(change: dict[str, float]) -> None:
    assert symptom({**START, **change}, START, RLConfig()) is None


def test_unusable_texts_cost_and_no_reward_sees_them(source: PromptedLLM) -> None:
    seen: list[tuple[str, ...]] = []

    def reward(texts: list[tuple[str, ...]], labels: list[int]) -> list[float]:
        seen.extend(texts)
        return [2.0] * len(texts)

    config = changed(unusable=0.7, rollout=64)
    rollout = draw_rollout(source, [WeightedReward("two", 0.5, reward)], config, 0, MAX_TOKENS)
    assert 0 < rollout.usable < 1
    assert seen == [text for text in rollout.texts if text is not None]
    for text, score in zip(rollout.texts, rollout.scores, strict=True):
        assert score == (-0.7 if text is None else 1.0)
    assert rollout.numbers()["reward_two"] == 2.0


def test_every_label_is_written_for_equally_often(source: PromptedLLM) -> None:
    rollout = draw_rollout(source, [SMALL_LETTERS], changed(rollout=5), 0, MAX_TOKENS)
    assert [one.label for one in rollout.samples] == [0, 1] * 3


def test_rollouts_draw_other_texts_at_each_step(source: PromptedLLM) -> None:
    first, again, next_one = (
        [one.ids for one in draw_rollout(source, [SMALL_LETTERS], CONFIG, step, MAX_TOKENS).samples]
        for step in (0, 0, 1)
    )
    assert first == again != next_one


def test_the_texts_of_rollouts_are_written_as_tables(source: PromptedLLM, tmp_path: Path) -> None:
    reinforce(source, [SMALL_LETTERS], changed(steps=5, log_every=2, rollout=6), MAX_TOKENS, tmp_path)
    tables = sorted((tmp_path / "rollouts").iterdir())
    assert [path.name for path in tables] == [f"step-{step:04}.jsonl" for step in (0, 2, 4, 5)]
    rows = [json.loads(line) for line in tables[-1].read_text().splitlines()]
    assert len(rows) == 6
    for row in rows:
        assert row["label"] in source.words.label_words
        assert row["score"] == (row["small_letters"] if row["texts"] else 0)


def test_a_prompt_that_writes_nothing_usable_is_refused(source: PromptedLLM, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none of 16 texts that the tuned prompt writes could be used"):
        reinforce(source, [SMALL_LETTERS], CONFIG, 1, tmp_path)


def test_without_a_reward_there_is_nothing_to_learn_from(source: PromptedLLM, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no reward to learn from"):
        reinforce(source, [WeightedReward("none", 0.0, lambda texts, labels: [0.0])], CONFIG, MAX_TOKENS, tmp_path)


def test_progress_is_told_of_every_rollout(source: PromptedLLM, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    progress: Progress = lambda done, total, note: told.append((done, total))  # noqa: E731
    reinforce(source, [SMALL_LETTERS], CONFIG, MAX_TOKENS, tmp_path, progress)
    assert told == [(done, 5) for done in range(1, 6)]


def test_another_reward_of_the_same_name_is_learnt_anew(source: PromptedLLM, tmp_path: Path) -> None:
    one = reinforce(source, [SMALL_LETTERS], CONFIG, MAX_TOKENS, tmp_path)
    other = WeightedReward("small_letters", 1.0, lambda texts, labels: [-float(text[0] > "m") for text in texts])
    assert reinforce(source, [other], CONFIG, MAX_TOKENS, tmp_path).history != one.history
    with pytest.raises(UserError, match="two rewards of the name 'small_letters'"):
        reinforce(source, [SMALL_LETTERS, other], CONFIG, MAX_TOKENS, tmp_path)


def test_texts_that_earlier_rollouts_have_are_counted(source: PromptedLLM, tmp_path: Path) -> None:
    """Of many labels a rollout has so few texts each that a policy with one text a label has no copies in it."""
    few = reinforce(source, [SMALL_LETTERS], changed(steps=3, rollout=2), MAX_TOKENS, tmp_path).history
    assert few[0]["repeated"] == 0.0
    assert all(0.0 <= one["repeated"] <= 1.0 for one in few)
    known = reinforce(source, [SMALL_LETTERS], changed(steps=8, rollout=64), MAX_TOKENS, tmp_path).history
    assert known[8]["repeated"] > known[1]["repeated"] > 0.5  # there are few one-letter texts


def test_a_checkpoint_of_other_settings_is_not_gone_on_from(source: PromptedLLM, tmp_path: Path) -> None:
    reinforce(source, [SMALL_LETTERS], CONFIG, MAX_TOKENS, tmp_path / "one")
    other = changed(seed=5)
    there = reinforce(source, [SMALL_LETTERS], other, MAX_TOKENS, tmp_path / "one")
    anew = reinforce(source, [SMALL_LETTERS], other, MAX_TOKENS, tmp_path / "two")
    assert there.history == anew.history


KILLED = changed(steps=12, rollout=32, log_every=3, kl_weight=0.01)


def in_new_process(folder: Path) -> None:
    """What the process does that is killed: learn, slowly enough to be caught."""
    torch.set_num_threads(1)
    pause: Progress = lambda done, total, note: time.sleep(0.05)  # noqa: E731
    reinforce(untuned(one_token_llm()), [SMALL_LETTERS], KILLED, MAX_TOKENS, folder, pause)


def test_a_killed_run_goes_on_to_the_very_same_end(source: PromptedLLM, tmp_path: Path) -> None:
    """Silent otherwise: an optimizer or a KL weight that starts anew gives another prompt, no error."""
    torch.set_num_threads(1)
    whole = reinforce(source, [SMALL_LETTERS], KILLED, MAX_TOKENS, tmp_path / "whole")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["hundredth.extraction.reinforcement"])
    folder = tmp_path / "killed"
    for _ in range(2):
        process = context.Process(target=in_new_process, args=(folder,))
        process.start()
        before = written_at(folder)
        while process.is_alive() and written_at(folder) == before:
            time.sleep(0.002)
        time.sleep(0.06)  # into the next rollout
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL
    resumed: list[int] = []
    found = reinforce(
        source, [SMALL_LETTERS], KILLED, MAX_TOKENS, folder, lambda done, total, note: resumed.append(done)
    )
    assert 2 < resumed[0] <= 12
    assert_same(found, whole)
    assert tables(folder) == tables(tmp_path / "whole")


class StoppedError(Exception):
    """What ends a learning from within."""


def test_grpo_that_was_stopped_goes_on_to_the_very_same_end(source: PromptedLLM, tmp_path: Path) -> None:
    config = changed(**{**KILLED.model_dump(), "algorithm": "grpo", "kl_weight": 0.1})
    whole = reinforce(source, [SMALL_LETTERS], config, MAX_TOKENS, tmp_path / "whole")

    def stop(done: int, total: int, note: str) -> None:
        if done in (1, 6):
            raise StoppedError

    for _ in range(2):
        with pytest.raises(StoppedError):
            reinforce(source, [SMALL_LETTERS], config, MAX_TOKENS, tmp_path / "stopped", stop)
    assert_same(reinforce(source, [SMALL_LETTERS], config, MAX_TOKENS, tmp_path / "stopped"), whole)


def written_at(folder: Path) -> int:
    file = folder / "checkpoint.safetensors"
    return file.stat().st_mtime_ns if file.exists() else 0


def tables(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (folder / "rollouts").iterdir() if path.suffix == ".jsonl"}


def assert_same(one: Reinforced, two: Reinforced) -> None:
    assert one.history == two.history
    assert (one.good_step, one.collapse) == (two.good_step, two.collapse)
    assert torch.equal(vectors(one.prompt), vectors(two.prompt))
