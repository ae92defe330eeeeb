"""Rewards: what they give, how they are found by name, and how one that misbehaves is said."""

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_llms import EXAMPLES, TEXTS, WORDS

from hundredth.errors import UserError
from hundredth.extraction.annotation import Annotator, AnnotatorConfig, Method
from hundredth.extraction.llm import LLM
from hundredth.extraction.rewards import (
    Length,
    Quality,
    WeightedReward,
    code_stamp,
    load_reward,
    total_reward,
)
from hundredth.extraction.soft_prompt import PromptedLLM, SoftPrompt

ASKED = [(text,) for text in TEXTS]
LABELS = [0, 1, 0, 1, 0, 1]


def trained(llm: LLM, method: Method) -> Annotator:
    annotator = Annotator(llm, WORDS, AnnotatorConfig(members=1, epochs=2, rank=2, learning_rate=1e-2), method)
    annotator.add_member()
    annotator.train_member(0, EXAMPLES)
    return annotator


@pytest.mark.parametrize("method", ["lora", "prompt"])
def test_quality_is_the_annotators_probability_of_the_intended_label(llm: LLM, method: Method) -> None:
    annotator = trained(llm, method)
    expected = annotator.annotate(ASKED).probabilities[range(6), LABELS]
    assert Quality(annotator)(ASKED, LABELS) == pytest.approx(expected.tolist())
    assert Quality(annotator, logarithm=True)(ASKED, LABELS) == pytest.approx(np.log(expected).tolist())


def test_the_llm_that_writes_is_the_one_without_the_annotators_adapters(llm: LLM) -> None:
    """Silent otherwise: the policy would be trained on, and its divergence measured from, an LLM tuned to label."""
    source = PromptedLLM(llm, WORDS, SoftPrompt.from_words(llm, WORDS, 4, 2))
    targets = [source.target_ids(text, 40) for text in ASKED]
    before = source.token_logprobs(LABELS, targets)
    annotator = trained(llm, "lora")
    assert not torch.allclose(source.token_logprobs(LABELS, targets), before)
    quality = Quality(annotator)
    assert torch.equal(source.token_logprobs(LABELS, targets), before)
    first = quality(ASKED, LABELS)
    assert torch.equal(source.token_logprobs(LABELS, targets), before)
    assert quality(ASKED, LABELS) == first
    quality.close()
    assert torch.equal(source.token_logprobs(LABELS, targets), before)


def test_the_logarithm_of_nothing_is_bounded(llm: LLM) -> None:
    annotator = trained(llm, "prompt")
    with torch.no_grad():
        annotator.members[0].bias.copy_(torch.tensor([-500.0, 500.0]))
    assert Quality(annotator, logarithm=True)(ASKED[:1], [0]) == pytest.approx([-5])


def test_a_text_as_long_as_the_examples_has_the_full_reward() -> None:
    length = Length([("a b c d",)] * 5 + [("a b c d e f g h",)] * 5)
    texts = [
        ("a b c d",),
        ("a b c d e f g h",),
        ("a b c",),
        ("a b",),
        ("a",),
        (" ".join("a" * 12),),
        (" ".join("a" * 16),),
    ]
    assert length(texts, [0] * 7) == pytest.approx([1, 1, 0.5, 0, 0, 0.5, 0])


def test_the_sum_is_weighted_and_each_reward_has_its_name() -> None:
    rewards = [
        WeightedReward("words", 0.5, lambda texts, labels: [len(one[0].split()) for one in texts]),
        WeightedReward("label", -1.0, lambda texts, labels: list(labels)),
    ]
    total, each = total_reward(rewards, [("a b",), ("a b c",)], [0, 1])
    assert total.tolist() == [1.0, 0.5]
    assert {name: values.tolist() for name, values in each.items()} == {"words": [2, 3], "label": [0, 1]}
    assert total_reward(rewards, [], [])[0].shape == (0,)


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ([1.0], "returned 1 for 2 texts: return one number a text"),
        ([[1.0], [2.0]], "returned 2x1 for 2 texts"),
        (3.0, "returned one number for 2 texts"),
        ([1.0, float("nan")], "returned nan for 'b'"),
        ([10**400, 1], "return one number a text"),
        (np.array([1j, 2]), "return one number a text"),
        ([1.0, -1e39], r"returned -1e\+39, and 1e\+06 is the most: scale it to about 0 to 1"),
        (["good", "bad"], "return one number a text"),
        (None, "returned nan for|returned one number for"),
    ],
)
def test_what_is_not_a_number_a_text_is_refused(returned: object, said: str) -> None:
    broken = WeightedReward("mine:broken", 1.0, lambda texts, labels: returned)  # type: ignore[arg-type, return-value]
    with pytest.raises(UserError, match=f"reward 'mine:broken' .*({said})"):
        total_reward([broken], [("a",), ("b",)], [0, 0])


def test_a_tensor_of_rewards_may_have_a_gradient() -> None:
    values = torch.tensor([1.0, 2.0], requires_grad=True)
    total, _ = total_reward([WeightedReward("mine", 1.0, lambda texts, labels: values)], [("a",), ("b",)], [0, 0])  # type: ignore[arg-type, return-value]
    assert total.tolist() == [1.0, 2.0]


def test_the_stamp_of_a_function_changes_with_its_code() -> None:
    def short(texts: list[tuple[str, ...]], labels: list[int]) -> list[float]:
        return [float(len(one[0]) < 30) for one in texts]

    def shorter(texts: list[tuple[str, ...]], labels: list[int]) -> list[float]:
        return [float(len(one[0]) < 20) for one in texts]

    class Either:
        def __call__(self, texts: list[tuple[str, ...]], labels: list[int]) -> list[float]:
            return [float(one[0] in {"a", "b"}) for one in texts]

    stamps = [code_stamp(one) for one in (short, shorter, Either())]
    assert len({*stamps, ""}) == 4
    assert code_stamp(Either()) == stamps[2]


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module in the working folder, under a name that no other test uses."""
    name = f"rewards_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(
        "LIMIT = 3\n"
        "def short(texts, labels):\n    return [-len(one[0]) for one in texts]\n"
        "def broken(texts, labels):\n    raise KeyError('no such text')\n"
    )
    (tmp_path / f"{name}_bad.py").write_text("import nothing_of_that_name\n")
    monkeypatch.chdir(tmp_path)
    return name


def test_a_reward_is_found_by_its_name_in_the_working_folder(own_module: str) -> None:
    found = load_reward(f"{own_module}:short@0.5")
    assert (found.name, found.weight) == (f"{own_module}:short", 0.5)
    assert total_reward([found], [("abcd",)], [0])[0].tolist() == [-2]
    assert load_reward(f"{own_module}:short").weight == 1


def test_the_stamp_changes_with_the_file(own_module: str) -> None:
    """Silent otherwise: a run would keep the prompt of a reward that has since been rewritten."""
    before = load_reward(f"{own_module}:short").stamp
    file = Path(f"{own_module}.py")
    file.write_text(file.read_text() + "\n# another\n")
    assert load_reward(f"{own_module}:short").stamp != before


@pytest.mark.parametrize("imported", [False, True])
def test_a_file_that_was_changed_is_read_again(
    imported: bool, own_module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silent otherwise: in a notebook the old function rewards, under the stamp of the new file."""
    monkeypatch.syspath_prepend(".")
    if imported:  # by the user's own code
        importlib.import_module(own_module)
    else:
        assert total_reward([load_reward(f"{own_module}:short")], [("abcd",)], [0])[0].tolist() == [-4]
    file = Path(f"{own_module}.py")
    file.write_text(file.read_text().replace("-len(one[0])", "-2 * len(one[0])"))
    for _ in range(2):
        assert total_reward([load_reward(f"{own_module}:short")], [("abcd",)], [0])[0].tolist() == [-8]


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("{}", "write module:function or module:function@WEIGHT"),
        (":short", "write module:function"),
        ("{}:", "write module:function"),
        ("{}:short@much", "write module:function"),
        ("{}:short@nan", "write module:function"),
        ("{}:long", "holds nothing under the name 'long'"),
        ("{}:LIMIT", "holds int 3 under the name 'LIMIT'"),
        ("no_such_module:f", r"no_such_module cannot be imported \(ModuleNotFoundError"),
        ("{}_bad:f", r"_bad cannot be imported \(ModuleNotFoundError: .*nothing_of_that_name"),
    ],
)
def test_a_name_that_leads_nowhere_is_said_in_one_line(named: str, said: str, own_module: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        load_reward(named.format(own_module))
    assert "\n" not in str(caught.value)


def test_a_reward_that_fails_is_named(own_module: str) -> None:
    with pytest.raises(UserError, match=rf"{own_module}:broken' failed on 1 texts: KeyError: 'no such text'"):
        total_reward([load_reward(f"{own_module}:broken")], [("a",)], [0])
