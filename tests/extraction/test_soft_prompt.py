"""The soft prompt: where it starts, that it learns, and that an idle one is refused."""

from pathlib import Path

import pytest
import torch
from tiny_llms import EXAMPLES, WORDS

from hundredth.errors import UserError
from hundredth.extraction import batching
from hundredth.extraction.llm import LLM
from hundredth.extraction.soft_prompt import PromptedLLM, SoftPrompt
from hundredth.extraction.tuning import PromptConfig, mean_loss, tune_prompt
from hundredth.tasks.verbalisation import Verbalisation

CONFIG = PromptConfig(length=4, label_length=2, learning_rate=3e-2, epochs=8, batch_size=3)


def test_the_prompt_starts_from_the_embeddings_of_words(llm: LLM) -> None:
    """Silent otherwise: a soft prompt that starts from random vectors hardly learns."""
    prompt = SoftPrompt.from_words(llm, WORDS, length=50, label_length=3)
    ids = llm.encode(WORDS.instruction)
    repeated = (ids * 5)[:50]
    assert torch.equal(prompt.shared_PD.data, llm.embedding.weight[repeated])
    broken = (llm.encode(" broken") * 3)[:3]
    assert torch.equal(prompt.per_label_CLD[1].data, llm.embedding.weight[broken])


def test_the_loss_equals_that_of_the_whole_sequence_at_once(any_llm: LLM) -> None:
    """Silent otherwise: the prompt is computed once a label and its cache shared, padded on the left."""
    prompt = SoftPrompt.from_words(any_llm, WORDS, length=5, label_length=2)
    source = PromptedLLM(any_llm, WORDS, prompt)
    labels = [example.label or 0 for example in EXAMPLES]
    targets = [source.target_ids(example.texts, 40) for example in EXAMPLES]
    fast = source.token_logprobs(labels, targets)
    for row, (label, ids) in enumerate(zip(labels, targets, strict=True)):
        prefix = source.prefix(label)
        whole = torch.cat([prefix, any_llm.embed(torch.tensor(ids))])[None]
        logits = any_llm.model(inputs_embeds=whole).logits[0, len(prefix) - 1 : -1].float()
        expected = logits.log_softmax(dim=-1)[torch.arange(len(ids)), ids]
        torch.testing.assert_close(fast[row, : len(ids)], expected, atol=2e-4, rtol=1e-4)
        assert (fast[row, len(ids) :] == 0).all()


PAIR = Verbalisation("Write a claim about a note.", ("true", "false"), ("Note", "Claim"))


@pytest.mark.parametrize(
    "texts", [("the glass inside is broken " * 40, "it is broken"), ("it is late", "nobody rang the bell " * 40)]
)
def test_of_a_pair_that_is_too_long_the_longest_field_is_cut(any_llm: LLM, texts: tuple[str, str]) -> None:
    """Silent otherwise: the LLM learns to end after the first field, and no sample can be used."""
    source = PromptedLLM(any_llm, PAIR, None)
    ids = source.target_ids(texts, 60)
    found = PAIR.parse(any_llm.decode(ids))
    assert (len(ids), ids[-1]) == (60, any_llm.end_id)
    assert found is not None
    short, long = sorted((0, 1), key=lambda field: len(texts[field]))
    assert found[short] == texts[short].strip()
    assert texts[long].startswith(found[long])
    assert source.count_cut([texts, ("it is late", "it is")], 60) == 1


def test_a_single_field_is_cut_at_its_end_and_what_fits_is_left_alone(any_llm: LLM) -> None:
    source = PromptedLLM(any_llm, WORDS, None)
    for example in EXAMPLES:
        ids = [*any_llm.encode(WORDS.target(example.texts)), any_llm.end_id]
        assert source.target_ids(example.texts, len(ids)) == ids
        assert source.count_cut([example.texts], len(ids)) == 0
        assert source.target_ids(example.texts, 9) == [*ids[:8], any_llm.end_id]
        assert source.count_cut([example.texts], len(ids) - 1) == 1


def test_a_limit_below_what_the_fields_need_holds_all_the_same(any_llm: LLM) -> None:
    ids = PromptedLLM(any_llm, PAIR, None).target_ids(("it is late", "nobody rang"), 4)
    assert (len(ids), ids[-1]) == (4, any_llm.end_id)


def test_tuning_lowers_the_dev_loss_and_leaves_the_llm_as_it_was(llm: LLM) -> None:
    before = {name: value.clone() for name, value in llm.model.state_dict().items()}
    result = tune_prompt(PromptedLLM(llm, WORDS, None), EXAMPLES, EXAMPLES, CONFIG)
    assert result.loss_best < result.loss_start
    assert result.loss_best == pytest.approx(
        mean_loss(PromptedLLM(llm, WORDS, result.prompt), EXAMPLES, CONFIG), abs=1e-5
    )
    for name, value in llm.model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_both_parts_of_the_prompt_get_a_gradient(llm: LLM) -> None:
    prompt = SoftPrompt.from_words(llm, WORDS, length=4, label_length=2)
    source = PromptedLLM(llm, WORDS, prompt)
    source.token_logprobs([1], [source.target_ids(EXAMPLES[1].texts, 30)]).sum().backward()
    assert prompt.shared_PD.grad is not None
    assert prompt.per_label_CLD.grad is not None
    assert prompt.shared_PD.grad.abs().sum() > 0
    assert prompt.per_label_CLD.grad[1].abs().sum() > 0
    assert prompt.per_label_CLD.grad[0].abs().sum() == 0


def test_a_prompt_that_changes_nothing_is_refused(llm: LLM) -> None:
    """Silent otherwise: the run would go on for minutes with a prompt that might as well not be there."""
    idle = CONFIG.model_copy(update={"learning_rate": 1e-9, "epochs": 1})
    base = PromptedLLM(llm, WORDS, None)
    start = SoftPrompt.from_words(llm, WORDS, idle.length, idle.label_length)
    gain = 1 - mean_loss(PromptedLLM(llm, WORDS, start), EXAMPLES, idle) / mean_loss(base, EXAMPLES, idle)
    assert gain < 0.01, "the tiny LLM must not gain from the initial vectors, or this test shows nothing"
    with pytest.raises(UserError, match="changes nothing"):
        tune_prompt(base, EXAMPLES, EXAMPLES, idle)


def test_a_step_in_parts_is_the_step_in_one(llm: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    """Silent otherwise: long texts, taken a few at a time to save memory, would weigh more or less than others."""
    base = PromptedLLM(llm, WORDS, None)
    config = CONFIG.model_copy(update={"batch_size": 6, "epochs": 4})
    whole = tune_prompt(base, EXAMPLES, EXAMPLES, config).prompt
    monkeypatch.setattr(batching, "_TOKENS_A_GRADIENT", 40)
    in_parts = tune_prompt(base, EXAMPLES, EXAMPLES, config).prompt
    torch.testing.assert_close(in_parts.shared_PD, whole.shared_PD, atol=1e-4, rtol=1e-3)


def test_tuning_is_deterministic(llm: LLM) -> None:
    first, second = (
        tune_prompt(PromptedLLM(llm, WORDS, None), EXAMPLES, EXAMPLES, CONFIG).prompt for _ in range(2)
    )
    assert torch.equal(first.shared_PD, second.shared_PD)


def test_a_saved_prompt_loads_as_it_was(llm: LLM, tmp_path: Path) -> None:
    prompt = SoftPrompt.from_words(llm, WORDS, length=4, label_length=2)
    prompt.save(tmp_path / "prompt.safetensors")
    loaded = SoftPrompt.load(tmp_path / "prompt.safetensors")
    assert torch.equal(loaded.shared_PD, prompt.shared_PD)
    assert torch.equal(loaded.per_label_CLD, prompt.per_label_CLD)
