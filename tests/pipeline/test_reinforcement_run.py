"""Reinforcement learning as a stage of a run: where it stands, what it redoes, and what it costs when left out."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import load_file

from hundredth.cli import app
from hundredth.errors import UserError
from hundredth.evaluation.controls import evaluate
from hundredth.extraction.reinforcement import Reinforced
from hundredth.pipeline import reinforce
from hundredth.pipeline.config import RunConfig, make_config, save_config
from hundredth.pipeline.progress import Reporter
from hundredth.pipeline.reinforce import make_reinforcement
from hundredth.pipeline.run import STAGES, Run
from hundredth.pipeline.stages import read_record
from hundredth.pipeline.transfer import transfer

SMALL = ("rl.steps=2", "rl.rollout=9", "rl.batch_size=6", "rl.learning_rate=0.05", "rl.log_every=1")
WITH_RL = ("task", "prompt", "annotator", "reinforcement", "samples", "knowledge", "student", "model")


def config_of(root: Path, *overrides: str) -> RunConfig:
    return make_config({}, root / "run.yaml", (*SMALL, *overrides))


def fingerprints(root: Path, names: tuple[str, ...] = STAGES) -> dict[str, str]:
    return {name: read_record(root / name)["fingerprint"] for name in names}  # type: ignore[index]


def made_at(root: Path) -> int:
    return (root / "reinforcement" / "stage.json").stat().st_mtime_ns


@pytest.fixture
def own_reward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A reward in the working folder that writes down each call, and fails in the one that `fail` names."""
    name = f"own_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(
        "from pathlib import Path\n"
        "def short(texts, labels):\n"
        "    with open('calls', 'a') as file:\n"
        "        file.write('x')\n"
        "    if Path('fail').exists() and len(Path('calls').read_text()) == int(Path('fail').read_text()):\n"
        "        raise ValueError('as asked')\n"
        "    return [1 / len(one[0]) for one in texts]\n"
    )
    monkeypatch.chdir(tmp_path)
    return name


def test_without_it_a_run_is_what_it_was(undisturbed_run: Path, finished_run: Path) -> None:
    """Silent otherwise: a setting of a stage that is not there would redo hours of finished work."""
    before = fingerprints(finished_run)
    transfer(config_of(finished_run, "rl.kl_weight=0.5", "rl.seed=3"), finished_run)
    assert fingerprints(finished_run) == before
    assert not (undisturbed_run / "reinforcement").exists()
    settings = read_record(undisturbed_run / "samples")["settings"]  # type: ignore[index]
    assert "rl" not in json.dumps(settings)


def test_it_keeps_what_comes_before_and_redoes_what_comes_after(finished_run: Path) -> None:
    before = fingerprints(finished_run)
    config = config_of(finished_run, "rl.algorithm=ppo")
    run = transfer(config, finished_run)
    after = fingerprints(finished_run, WITH_RL)
    assert [name for name in STAGES if after[name] == before[name]] == ["task", "prompt", "annotator"]
    metrics = run.record("reinforcement")["metrics"]
    assert metrics["algorithm"] == "ppo"
    assert metrics["rollouts"] == 3
    assert {"score", "reward_quality", "reward_diversity", "reward_length", "kl"} <= metrics["before"].keys()
    folder = finished_run / "reinforcement"
    assert len(json.loads((folder / "history.json").read_text())) == 3
    assert [path.name for path in sorted((folder / "rollouts").iterdir())] == [
        f"step-000{step}.jsonl" for step in range(3)
    ]
    assert Run.open(finished_run, Reporter(quiet=True)).stages == WITH_RL
    # The checkpoint has served; and once more there is nothing to do.
    assert {path.name for path in finished_run.iterdir() if path.name.startswith(".")} == {".lock"}
    transfer(config, finished_run)
    assert fingerprints(finished_run, WITH_RL) == after


def test_left_out_again_it_is_kept_and_read_by_nothing(finished_run: Path) -> None:
    """Silent otherwise: texts from a prompt, or numbers in a report, of a learning that the run no longer has."""
    before = fingerprints(finished_run)
    transfer(config_of(finished_run, "rl.algorithm=ppo"), finished_run)
    reinforced, learnt = fingerprints(finished_run, WITH_RL), made_at(finished_run)
    transfer(config_of(finished_run, "rl.algorithm=none"), finished_run)
    assert fingerprints(finished_run) == before
    assert read_record(finished_run / "samples")["inputs"].keys() == {"task", "prompt"}  # type: ignore[index]
    run = Run.open(finished_run, Reporter(quiet=True))
    assert run.stages == STAGES
    with pytest.raises(UserError, match="no-ppo is left out: the run's prompt was not reinforced"):
        evaluate(finished_run, run.data.dev, systems=["no-ppo"], reporter=Reporter(quiet=True))
    # Gone back to, it has nothing to learn again.
    transfer(config_of(finished_run, "rl.algorithm=ppo"), finished_run)
    assert (fingerprints(finished_run, WITH_RL), made_at(finished_run)) == (reinforced, learnt)


def test_the_samples_are_written_with_the_reinforced_prompt_and_without_the_annotator(finished_run: Path) -> None:
    """Silent otherwise: the texts would come from another LLM or prompt than the one that learnt."""
    run = transfer(config_of(finished_run, "rl.algorithm=grpo"), finished_run)
    of = {name: (finished_run / name / "prompt.safetensors").read_bytes() for name in ("prompt", "reinforcement")}
    assert of["prompt"] != of["reinforcement"]
    inputs = read_record(finished_run / "samples")["inputs"]  # type: ignore[index]
    assert inputs.keys() == {"task", "reinforcement"}
    assert not [name for name, _value in run.llm.model.named_parameters() if "lora" in name]


def test_one_that_was_stopped_goes_on_where_it_was_and_a_changed_reward_starts_anew(
    finished_run: Path, own_reward: str, tmp_path: Path
) -> None:
    config = config_of(finished_run, "rl.algorithm=ppo", f"rl.rewards=['{own_reward}:short@2']")
    calls = tmp_path / "calls"
    (tmp_path / "fail").write_text("3")
    with pytest.raises(UserError, match=f"reward '{own_reward}:short' failed on . texts: ValueError: as asked"):
        transfer(config, finished_run)
    (tmp_path / "fail").unlink()
    run = transfer(config, finished_run)
    assert len(calls.read_text()) == 3 + 1  # two rollouts, the one that failed, and that one again
    before = run.record("reinforcement")["metrics"]["before"]
    assert before[f"reward_{own_reward}:short"] > 0
    module = tmp_path / f"{own_reward}.py"
    module.write_text(module.read_text() + "# another\n")
    transfer(config, finished_run)
    assert len(calls.read_text()) == 4 + 3


def test_a_collapse_is_said_and_the_run_goes_on_with_the_last_good_prompt(
    undisturbed_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Any movement at all counts as running away.
    overrides = ("rl.algorithm=ppo", "rl.kl_target=1e-9", "rl.patience=1", "rl.quality=0")
    run = Run(undisturbed_run, config_of(undisturbed_run, *overrides), Reporter())
    (tmp_path / "made").mkdir()
    folders = undisturbed_run / "prompt", undisturbed_run / "annotator", tmp_path / "checkpoint", tmp_path / "made"
    metrics = make_reinforcement(run.llm, run.data, run.config.rl, [], 64, *folders, run.reporter)
    said = capsys.readouterr().err
    assert "ended early: the policy has run away from the tuned prompt" in said
    assert "going on with the prompt of rollout 0" in said
    assert metrics["collapse"] in said
    assert (metrics["good_step"], metrics["rollouts"], metrics["after"]) == (0, 2, metrics["before"])
    tuned, kept = (load_file(folder / "prompt.safetensors") for folder in (folders[0], folders[3]))
    assert all(np.array_equal(tuned[name], kept[name]) for name in tuned)


def test_numbers_that_are_none_are_written_as_such(
    undisturbed_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A divergence that is not finite is how a collapse shows: the history with it was not written at all."""
    learn = reinforce.reinforce

    def broken(*arguments: Any) -> Reinforced:
        found = learn(*arguments)
        found.history.append({**found.history[-1], "kl": math.nan, "kl_signed": -math.inf})
        return replace(found, collapse="kl is nan")

    monkeypatch.setattr(reinforce, "reinforce", broken)
    overrides = ("rl.algorithm=ppo", "rl.steps=1", "rl.quality=0")
    run = Run(undisturbed_run, config_of(undisturbed_run, *overrides), Reporter(quiet=True))
    (tmp_path / "made").mkdir()
    folders = undisturbed_run / "prompt", undisturbed_run / "annotator", tmp_path / "checkpoint", tmp_path / "made"
    metrics = make_reinforcement(run.llm, run.data, run.config.rl, [], 64, *folders, run.reporter)
    history = json.loads((tmp_path / "made" / "history.json").read_text())
    assert (history[-1]["kl"], history[-1]["kl_signed"]) == (None, None)
    assert history[0]["kl"] == 0
    assert metrics["collapse"] == "kl is nan"


def test_a_file_that_names_rewards_is_read_without_reinforcement_learning_too(
    finished_run: Path, own_reward: str
) -> None:
    transfer(config_of(finished_run, "rl.algorithm=ppo", f"rl.rewards=['{own_reward}:short']"), finished_run)
    config = make_config({"rl": {"algorithm": "none"}}, finished_run / "run.yaml")
    assert config.rl.rewards == (f"{own_reward}:short",)
    transfer(config, finished_run)
    assert Run.open(finished_run, Reporter(quiet=True)).stages == STAGES


def test_a_run_whose_samples_are_of_the_prompt_before_is_not_finished(finished_run: Path) -> None:
    """Silent otherwise: killed after the reinforcement, it has every stage, and samples of another prompt."""
    config = config_of(finished_run, "rl.algorithm=ppo")
    transfer(config, finished_run)
    transfer(config_of(finished_run, "rl.algorithm=none"), finished_run)
    (finished_run / "run.yaml").write_text(save_config(config))
    with pytest.raises(UserError, match="has not finished: samples is still to do"):
        Run.open(finished_run, Reporter(quiet=True))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("rl.algorithm=ppo", "rl.rewards=['nowhere_at_all:f']"), "nowhere_at_all cannot be imported"),
        (("rl.algorithm=ppo", "rl.rewards=[short]"), "write module:function"),
        (("rl.algorithm=ppo", "rl.rewards=['json:dumps','json:dumps']"), "two rewards of the name 'json:dumps'"),
        (("rl.algorithm=ppo", "rl.quality=0", "rl.diversity=0", "rl.length=0"), "no reward to learn from"),
        (("rl.rewards=['mine:f']",), r"rl.rewards=\['mine:f'\]: .*nothing learns from them"),
        (("rl.algorithm=dpo",), "rl.algorithm='dpo': input should be 'none', 'ppo' or 'grpo'"),
    ],
)
def test_what_cannot_be_learnt_from_is_said_before_anything_starts(
    overrides: tuple[str, ...], said: str, undisturbed_run: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=said) as caught:
        transfer(config_of(undisturbed_run, *overrides), tmp_path / "new")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "new").exists()


def test_the_command_line_names_algorithm_and_rewards(undisturbed_run: Path, tmp_path: Path) -> None:
    command = ["transfer", "--config", str(undisturbed_run / "run.yaml"), "--out", str(tmp_path / "new")]
    rewards = ["--reward", "nowhere_at_all:f", "--reward", "mine:g@2"]
    found = CliRunner().invoke(app, [*command, "--rl", "grpo", *rewards])
    assert found.exit_code == 2
    assert "nowhere_at_all cannot be imported" in found.stderr
    found = CliRunner().invoke(app, [*command, *rewards])
    assert found.exit_code == 2
    assert "rl.rewards=['nowhere_at_all:f', 'mine:g@2']" in found.stderr
