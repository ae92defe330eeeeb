"""The annotator: folds, honest soft labels, the same numbers after loading."""

from pathlib import Path

import numpy as np
import pytest
from tiny_llms import EXAMPLES, WORDS, build_llm

from hundredth.errors import UserError
from hundredth.extraction.annotation import Annotator, AnnotatorConfig
from hundredth.extraction.ensemble import (
    assign_folds,
    fit_temperature,
    load_annotator,
    save_annotator,
    train_annotator,
)
from hundredth.extraction.llm import LLM, cut_longest
from hundredth.tasks.schema import Example

CONFIG = AnnotatorConfig(method="lora", members=2, epochs=12, batch_size=4, learning_rate=2e-2, rank=2)
MANY = [Example((f"{number} {example.texts[0]}",), example.label) for number in range(3) for example in EXAMPLES]

# What the folds of 10, 7 and 2 texts of three labels have always been: finished runs hold annotations by them.
FOLDS = [1, 0, 2, 1, 0, 2, 1, 0, 2, 0, 0, 1, 2, 1, 2, 0, 1, 0, 2]


def test_every_label_is_spread_over_the_folds() -> None:
    labels = [0] * 10 + [1] * 7 + [2] * 2
    folds = assign_folds([Example((f"text {i}",), label) for i, label in enumerate(labels)], 3, seed=0)
    assert folds == FOLDS
    for label in range(3):
        counts = [
            sum(1 for one, fold in zip(labels, folds, strict=True) if (one, fold) == (label, f)) for f in range(3)
        ]
        assert max(counts) - min(counts) <= 1


def test_copies_of_a_text_share_its_fold_and_leave_the_others_theirs() -> None:
    """Silent otherwise: a text's "unseen" soft label comes from a model that was trained on its copy."""
    labels = [0] * 10 + [1] * 7 + [2] * 2
    once = [Example((f"text {i}", "b"), label) for i, label in enumerate(labels)]
    copies = [Example((f" TEXT  {i}", "b"), 2 - label) for i, label in enumerate(labels)]
    assert assign_folds([*once, *copies, *once], 3, seed=0) == FOLDS * 3


@pytest.mark.parametrize("method", ["lora", "prompt"])
def test_an_annotator_learns_the_labels(llm: LLM, method: str) -> None:
    config = CONFIG.model_copy(update={"method": method, "epochs": 25, "prompt_learning_rate": 0.1})
    trained = train_annotator(llm, WORDS, MANY, EXAMPLES, config)
    predicted = trained.annotator.annotate([example.texts for example in MANY]).probabilities.argmax(axis=1)
    assert trained.annotator.method == method
    assert (predicted == [example.label for example in MANY]).mean() > 0.9


@pytest.mark.parametrize(
    ("best", "rates"),
    [
        ("lora", {"learning_rate": 2e-2, "prompt_learning_rate": 1e-9}),
        ("lora, slower", {"learning_rate": 1e4, "prompt_learning_rate": 1e-9}),
        ("prompt", {"learning_rate": 1e-9, "prompt_learning_rate": 0.1}),
    ],
)
def test_of_several_ways_the_best_on_unseen_texts_is_kept(
    llm: LLM, monkeypatch: pytest.MonkeyPatch, best: str, rates: dict[str, float]
) -> None:
    """Silent otherwise: an LLM that wants another learning rate only annotates worse."""
    monkeypatch.setattr("hundredth.extraction.ensemble.SLOWER", 2e-6)
    config = CONFIG.model_copy(update={"method": "auto", "epochs": 25, **rates})
    trained = train_annotator(llm, WORDS, MANY, EXAMPLES, config)
    scores = {name: (one["accuracy"], -one["loss"]) for name, one in trained.choice.items()}
    assert set(scores) == {"lora", "lora, slower", "prompt"}
    assert max(scores, key=lambda name: scores[name]) == best
    assert trained.annotator.method == best.split(",")[0]
    slowed = 2e-6 if best == "lora, slower" else 1
    assert trained.annotator.config.learning_rate == pytest.approx(rates["learning_rate"] * slowed)


def test_a_gold_texts_soft_label_comes_from_the_member_that_did_not_see_it(llm: LLM) -> None:
    """Silent otherwise: an annotator is sure of texts that it was tuned on, and its soft labels mere copies."""
    rng = np.random.default_rng(0)
    noise = [Example((f"{rng.integers(10**9)} {rng.integers(10**9)}",), i % 2) for i in range(24)]
    config = CONFIG.model_copy(update={"epochs": 40})
    trained = train_annotator(llm, WORDS, noise, EXAMPLES, config)
    gold = np.array([example.label for example in noise])
    rows = np.arange(len(noise))
    seen = trained.annotator.annotate([example.texts for example in noise]).probabilities[rows, gold].mean()
    unseen = trained.gold.probabilities[rows, gold].mean()
    assert seen > unseen + 0.1


def test_a_loaded_annotator_gives_the_same_numbers(llm: LLM, tmp_path: Path) -> None:
    trained = train_annotator(llm, WORDS, MANY, EXAMPLES, CONFIG)
    save_annotator(trained.annotator, tmp_path)
    texts = [example.texts for example in EXAMPLES]
    before = trained.annotator.annotate(texts)
    trained.annotator.remove_adapters()
    after = load_annotator(llm, WORDS, tmp_path).annotate(texts)
    np.testing.assert_allclose(after.probabilities, before.probabilities, atol=1e-6)
    np.testing.assert_allclose(after.embeddings, before.embeddings, atol=1e-6)


def test_an_annotator_of_another_llm_is_refused(llm: LLM, tmp_path: Path) -> None:
    annotator = Annotator(llm, WORDS, CONFIG, "lora")
    annotator.add_member()
    save_annotator(annotator, tmp_path)
    with pytest.raises(UserError, match="another LLM"):
        load_annotator(build_llm("gpt2"), WORDS, tmp_path)


@pytest.mark.parametrize("family", ["qwen", "gemma", "gpt2"])
def test_lora_reaches_the_layers_of_every_family(family: str) -> None:
    """Silent otherwise: adapters that match no layer leave a frozen LLM behind a classifier."""
    annotator = Annotator(build_llm(family), WORDS, CONFIG, "lora")
    annotator.add_member()
    assert annotator.adapters is not None
    names = [name for name, p in annotator.adapters.named_parameters() if p.requires_grad]
    assert {name.split(".lora_")[0].split(".")[-1] for name in names} >= (
        {"c_attn", "c_proj", "c_fc"} if family == "gpt2" else {"q_proj", "v_proj", "down_proj"}
    )


def test_taking_the_adapters_out_gives_the_llm_back(llm: LLM) -> None:
    texts = [example.texts for example in EXAMPLES]
    annotator = Annotator(llm, WORDS, CONFIG.model_copy(update={"members": 1}), "prompt")
    annotator.add_member()
    before = annotator.annotate(texts).embeddings
    trained = train_annotator(llm, WORDS, MANY, EXAMPLES, CONFIG)
    trained.annotator.remove_adapters()
    np.testing.assert_allclose(annotator.annotate(texts).embeddings, before, atol=1e-6)


def test_the_longest_field_is_cut_first_and_the_question_keeps_its_end(llm: LLM) -> None:
    config = CONFIG.model_copy(update={"max_tokens": 40})
    annotator = Annotator(llm, WORDS, config, "lora")
    ids = annotator._question(("broken glass " * 5000,))
    assert len(ids) <= 40 + len(llm.encode("\nLabel:"))
    assert llm.decode(ids).endswith("\nLabel:")


def test_more_fields_than_tokens_keep_a_token_each() -> None:
    """It went round for ever."""
    fields = [[1, 2], [3], [4, 5, 6]]
    cut_longest(fields, 2)
    assert fields == [[1], [3], [4]]


def test_the_temperature_undoes_overconfidence() -> None:
    gold = [0] * 80 + [1] * 20
    sure = np.tile(np.array([[0.999, 0.001]], dtype=np.float32), (100, 1))
    honest = np.tile(np.array([[0.8, 0.2]], dtype=np.float32), (100, 1))
    assert fit_temperature(sure, gold) > 3
    assert fit_temperature(honest, gold) == pytest.approx(1.0, abs=0.05)


def test_embeddings_are_of_length_one(llm: LLM) -> None:
    trained = train_annotator(llm, WORDS, MANY, EXAMPLES, CONFIG)
    np.testing.assert_allclose(np.linalg.norm(trained.gold.embeddings, axis=1), 1.0, atol=1e-5)
