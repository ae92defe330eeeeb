"""Reinforcement learning that finds what another left, or loses its prompt on the way."""

from pathlib import Path
from typing import Any

import pytest
import torch
from one_token import SMALL_LETTERS, one_token_llm, untuned

from hundredth.extraction import reinforcement
from hundredth.extraction.policy import Policy
from hundredth.extraction.reinforcement import reinforce
from hundredth.extraction.rl_config import RLConfig
from hundredth.extraction.sampling import NotFiniteError
from hundredth.extraction.soft_prompt import PromptedLLM

MAX_TOKENS = 3


@pytest.fixture
def source() -> PromptedLLM:
    return untuned(one_token_llm())


def config(**values: Any) -> RLConfig:
    free = {"least_diversity": 0.0, "most_duplicates": 1.0, "most_kl": 1e6, "kl_weight": 0.0, "unusable": 0.0}
    return RLConfig(algorithm="ppo", rollout=8, batch_size=8, learning_rate=0.1, log_every=1, **free, **values)


def tables(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (folder / "rollouts").iterdir()}


def test_the_tables_of_other_settings_are_cleared(source: PromptedLLM, tmp_path: Path) -> None:
    """Silent otherwise: a stage holds rollouts that its settings never drew, and another hash with them."""
    reinforce(source, [SMALL_LETTERS], config(steps=5), MAX_TOKENS, tmp_path / "one")
    reinforce(source, [SMALL_LETTERS], config(steps=2, seed=1), MAX_TOKENS, tmp_path / "one")
    reinforce(source, [SMALL_LETTERS], config(steps=2, seed=1), MAX_TOKENS, tmp_path / "two")
    assert sorted(tables(tmp_path / "one")) == [f"step-{step:04}.jsonl" for step in range(3)]
    assert tables(tmp_path / "one") == tables(tmp_path / "two")


def test_the_tables_of_the_same_settings_stay(source: PromptedLLM, tmp_path: Path) -> None:
    reinforce(source, [SMALL_LETTERS], config(steps=2), MAX_TOKENS, tmp_path)
    before = tables(tmp_path)
    reinforce(source, [SMALL_LETTERS], config(steps=2), MAX_TOKENS, tmp_path)
    assert tables(tmp_path) == before != {}


def test_a_prompt_that_leads_to_no_numbers_is_a_collapse(
    source: PromptedLLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn = reinforcement.learn

    def break_it(policy: Policy, *rest: Any) -> dict[str, float]:
        numbers = learn(policy, *rest)
        if rest[3] == 1:  # after the second rollout
            with torch.no_grad():
                policy.prompt.shared_PD.fill_(torch.nan)
                policy.prompt.per_label_CLD.fill_(torch.nan)
        return numbers

    monkeypatch.setattr(reinforcement, "learn", break_it)
    found = reinforce(source, [SMALL_LETTERS], config(steps=5), MAX_TOKENS, tmp_path)
    assert found.collapse is not None
    assert "lower rl.learning_rate" in found.collapse
    assert (len(found.history), found.good_step) == (2, 1)
    assert all(torch.isfinite(value).all() for value in found.prompt.state_dict().values())
    again = reinforce(source, [SMALL_LETTERS], config(steps=5), MAX_TOKENS, tmp_path)
    assert (again.collapse, again.history) == (found.collapse, found.history)


def test_a_tuned_prompt_that_leads_to_no_numbers_is_refused(source: PromptedLLM, tmp_path: Path) -> None:
    assert source.prompt is not None
    with torch.no_grad():
        source.prompt.per_label_CLD.fill_(torch.nan)
    with pytest.raises(NotFiniteError, match="not finite"):
        reinforce(source, [SMALL_LETTERS], config(steps=1), MAX_TOKENS, tmp_path)
