"""The benchmarks of reinforcement learning and of closeness: the same prompt for all, the cells, the tables."""

import importlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from published_tables import lines, results

from hundredth.extraction.rewards import WeightedReward
from hundredth.extraction.rl_config import RLConfig
from hundredth.extraction.soft_prompt import PromptedLLM, SoftPrompt
from hundredth.files import write_json
from hundredth.pipeline.knowledge import read_jsonl
from hundredth.pipeline.progress import Reporter
from hundredth.pipeline.run import Run

ROOT = Path(__file__).parents[2]
SMALL: dict[str, Any] = {"steps": 1, "rollout": 12, "batch_size": 6, "epochs": 1, "learning_rate": 0.05}


@pytest.fixture(scope="module")
def script() -> Iterator[Any]:
    """The scripts, which are no part of the package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        yield importlib.import_module


@pytest.fixture
def run(undisturbed_run: Path) -> Run:
    return Run.open(undisturbed_run, Reporter(quiet=True))


@pytest.fixture
def tuned(run: Run) -> PromptedLLM:
    prompt = SoftPrompt.load(run.root / "prompt" / "prompt.safetensors")
    return PromptedLLM(run.llm, run.data.task.verbalisation, prompt)


def small(algorithm: str) -> dict[str, Any]:
    rl = RLConfig(algorithm=algorithm, **SMALL).model_dump(mode="json")  # type: ignore[arg-type]
    return {"rl": rl, "measured": 12, "written": 12}


def test_the_prompt_as_tokens_is_the_same_policy(script: Any, run: Run, tuned: PromptedLLM) -> None:
    """Silent otherwise: the peer would be measured on another prompt than ours, or write the prompt's tokens."""
    trl = script("reinforcement_trl")
    assert tuned.prompt is not None
    targets = [tuned.target_ids(one.texts, 40) for one in run.data.train]
    labels = [one.label or 0 for one in run.data.train]
    with torch.no_grad():
        expected = tuned.token_logprobs(labels, targets)
        prefixes = [len(tuned.prefix(label)) for label in range(3)]
    words = len(run.llm.tokenizer)
    model, prompts = trl.as_tokens(tuned)
    for row, (label, ids) in enumerate(zip(labels, targets, strict=True)):
        before = run.llm.tokenizer(text=[prompts[label]])["input_ids"][0]
        assert len(before) == prefixes[label]
        with torch.no_grad():
            scores = model(input_ids=torch.tensor([before + ids])).logits[0, len(before) - 1 : -1]
        assert scores.shape == (len(ids), words)
        found = scores.log_softmax(dim=-1).gather(1, torch.tensor(ids)[:, None])[:, 0]
        torch.testing.assert_close(found, expected[row, : len(ids)], rtol=1e-4, atol=1e-4)
    trained = [name for name, one in model.named_parameters() if one.requires_grad]
    assert len(trained) == 1
    again = trl.from_tokens(model, 3, tuned)
    for name, value in tuned.prompt.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)


def test_trl_trains_the_prompt_by_the_same_rewards(script: Any, tuned: PromptedLLM) -> None:
    pytest.importorskip("trl", reason="TRL is no dependency: it is measured where it is installed")
    assert tuned.prompt is not None
    seen: list[int] = []

    def short(texts: list[tuple[str, ...]], labels: list[int]) -> list[float]:
        seen.extend(labels)
        return [-float(len(text[0])) for text in texts]

    config = RLConfig(**{**SMALL, "algorithm": "grpo", "steps": 2, "unusable": 200.0})
    rewards = [WeightedReward("short", 1.0, short)]
    found, history = script("reinforcement_trl").with_trl(tuned, rewards, config, 40)
    assert [one["tokens"] > 0 for one in history] == [True, True]
    assert history[0]["score"] == pytest.approx(
        history[0]["usable"] * history[0].get("reward_short", 0.0) - 200.0 * (1 - history[0]["usable"])
    )
    assert len(seen) == sum(round(12 * one["usable"]) for one in history)
    assert set(seen) <= {0, 1, 2}
    assert all(torch.isfinite(value).all() for value in found.state_dict().values())
    assert not torch.equal(found.shared_PD, tuned.prompt.shared_PD)
    assert not torch.equal(found.per_label_CLD, tuned.prompt.per_label_CLD)


def test_trl_refuses_rollouts_that_it_cannot_cut(script: Any, tuned: PromptedLLM) -> None:
    pytest.importorskip("trl", reason="TRL is no dependency: it is measured where it is installed")
    with pytest.raises(ValueError, match="64 texts are no multiple of 3 labels and of 16"):
        script("reinforcement_trl").with_trl(tuned, [], RLConfig(algorithm="grpo"), 40)


def test_a_cell_measures_the_tuned_prompt_and_one_that_has_learnt(script: Any, run: Run, tmp_path: Path) -> None:
    bench = script("reinforcement")
    cells = {}
    for system in ("tuned", "ppo"):
        bench.run_cell(run, system, small(bench.ALGORITHMS[system]), tmp_path / system)
        assert bench.is_finished(tmp_path / system, small(bench.ALGORITHMS[system]))
        cells[system] = json.loads((tmp_path / system / bench.CELL).read_text())
    assert not bench.is_finished(tmp_path / "tuned", small("grpo"))
    before, after = (cell["measured"] for cell in cells.values())
    assert before["kl"] == 0.0
    assert after["kl"] > 0.0
    assert before.keys() == after.keys()
    assert 0 <= before["reward_agreement"] <= 1
    assert before["distinct_tokens"] <= 12 * before["length"]
    assert cells["tuned"]["learned"] == {}
    history = cells["ppo"]["learned"]["history"]
    assert cells["ppo"]["learned"]["tokens"] == sum(one["tokens"] for one in history)
    # What is compared with real texts before learning is what the run itself has written.
    assert read_jsonl(tmp_path / "tuned" / "samples.jsonl") == read_jsonl(run.root / "samples" / "samples.jsonl")
    assert read_jsonl(tmp_path / "ppo" / "samples.jsonl") != read_jsonl(run.root / "samples" / "samples.jsonl")


def put_cell(bench: Any, work: Path, seed: int, system: str, score: float, steps: int = 10) -> None:
    learned = {"tokens": 2000.0, "seconds": 120.0} if system != "tuned" else {}
    values = {
        "settings": bench.settings(system, steps, seed, trial=False),
        "measured": {"score": score},
        "learned": learned,
    }
    folder = bench.folder_of(work, "trec", seed, system)
    folder.mkdir(parents=True)
    write_json(folder / bench.CELL, values)


def test_gains_are_from_the_tuned_prompt_of_the_same_seed(script: Any, tmp_path: Path) -> None:
    bench = script("reinforcement")
    for seed, tuned, ppo in ((0, 1.0, 1.5), (1, 1.2, 1.3)):
        put_cell(bench, tmp_path, seed, "tuned", tuned)
        put_cell(bench, tmp_path, seed, "ppo", ppo)
    put_cell(bench, tmp_path, 0, "trl", 1.25)
    put_cell(bench, tmp_path, 1, "trl", 9.0, steps=20)  # other settings: of no use
    put_cell(bench, tmp_path, 2, "ppo", 9.0)  # nothing to compare it with
    bench.gather(tmp_path, [0, 1, 2], 10, tmp_path / "reinforcement.json", trial=False)
    rows = json.loads((tmp_path / "reinforcement.json").read_text())["rows"]
    found = {(row["system"], row["metric"]): row["values"] for row in rows}
    assert found["ppo", "score"] == [1.5, 1.3]
    assert found["ppo", "gain"] == pytest.approx([0.5, 0.1])
    assert found["ppo", "gain_per_1000_tokens"] == pytest.approx([0.25, 0.05])
    assert found["ppo", "gain_per_minute"] == pytest.approx([0.25, 0.05])
    assert found["trl", "gain"] == pytest.approx([0.25])
    assert found["ppo - trl", "gain_per_1000_tokens"] == pytest.approx([0.125])
    assert ("tuned", "gain") not in found


def test_texts_are_compared_with_real_ones_of_their_label(script: Any) -> None:
    """Silent otherwise: a classifier that tells the mix of the labels apart, and not the texts."""
    real = [(("a",), 0), (("b",), 1), (("c",), 1), (("d",), 0), (("e",), 1)]
    others = [(("1",), 1), (("2",), 0), (("3",), 1)]
    pairs = script("closeness").pairs_of_label
    assert pairs(real, others, 9) == ([("a",), ("b",), ("c",)], [("2",), ("1",), ("3",)])
    assert pairs(real, others, 2) == ([("a",), ("b",)], [("2",), ("1",)])


def test_real_texts_are_never_compared_with_themselves(script: Any, run: Run, tmp_path: Path) -> None:
    bench = script("closeness")
    knowledge = replace(run.knowledge, origins=["unlabelled"] * len(run.knowledge))
    run.__dict__["knowledge"] = knowledge
    real, found = bench.candidates(run, tmp_path, 0)
    unlabelled = [texts for texts, _ in [*real, *found["unlabelled"]]]
    assert len(unlabelled) == len(set(unlabelled)) == int((~knowledge.augmented).sum()) < len(knowledge)
    assert set(found) == {"gold", "unlabelled"}
    assert bench.candidates(run, tmp_path, 0) == (real, found)
    assert bench.candidates(run, tmp_path, 1)[0] != real


def test_the_tables_say_what_was_gained_and_how_often_more_than_the_peer(script: Any) -> None:
    tables = script("published_reinforcement")
    rows = [
        ("trec", "tuned", "score", [1.0, 1.1]),
        ("trec", "tuned", "reward_agreement", [0.5, 0.6]),
        ("trec", "ppo", "score", [1.5, 1.3]),
        ("trec", "ppo", "kl", [2.0, 3.0]),
        ("trec", "ppo", "gain", [0.5, 0.2]),
        ("trec", "ppo", "tokens_sampled", [7000.0, 9000.0]),
        ("trec", "ppo", "seconds", [100.0, 140.0]),
        ("trec", "ppo", "gain_per_1000_tokens", [0.07, 0.02]),
        ("trec", "ppo - trl", "gain_per_1000_tokens", [0.02, -0.01]),
    ]
    measured = results("reinforcement", rows)
    texts = lines(tables.texts_table(measured))
    assert texts[0][:5] == ["trec", "`tuned`", "2", "1.050 ± 0.071", "55.0"]
    assert [texts[1][i] for i in (1, 3, 10)] == ["`ppo`", "1.400 ± 0.141", "2.5"]
    assert len(texts) == 2
    cost = tables.cost_table(measured)
    assert lines(cost) == [
        ["trec", "`ppo`", "2", "0.350 ± 0.212", "8,000", "0.0450 ± 0.0354", "120", "–"],
    ]
    assert "`ppo` gained at least as much per token as `trl` in 1 of 2 runs." in cost
    assert "`grpo` gained" not in cost


def test_the_table_of_closeness_counts_the_seeds_that_are_told_apart(script: Any) -> None:
    tables = script("published_reinforcement")
    rows = [
        ("sst2", "tuned", "c2st", [0.6, 0.7]),
        ("sst2", "tuned", "c2st_p", [0.2, 0.01]),
        ("sst2", "tuned", "mmd", [-0.001, 0.0]),
        ("sst2", "tuned", "mmd_p", [0.9, 0.8]),
        ("sst2", "tuned", "texts", [300.0, 280.0]),
    ]
    assert lines(tables.closeness_table(results("closeness", rows))) == [
        ["sst2", "`tuned`", "290", "65.0 ± 7.1", "1 of 2", "−0.50", "0 of 2"],
    ]


def test_the_table_of_students_compares_each_prompt_with_the_one_before_seed_by_seed(script: Any) -> None:
    tables = script("published_reinforcement")
    rows = [
        ("mr", "tuned", "score", [0.6, 0.7]),
        ("mr", "tuned", "texts", [2400.0, 2300.0]),
        ("mr", "tuned", "agreed", [0.6, 0.7]),
        ("mr", "ppo", "score", [0.58, 0.67]),
        ("mr", "likeness", "score", [0.62]),
    ]
    assert lines(tables.students_table(results("reinforced-students", rows))) == [
        ["mr", "`tuned`", "2", "2,350", "65.0", "65.0 ± 7.1", "–"],
        ["mr", "`ppo`", "2", "–", "–", "62.5 ± 6.4", "−2.5 ± 0.7"],
        ["mr", "`likeness`", "1", "–", "–", "62.0", "2.0"],
    ]
