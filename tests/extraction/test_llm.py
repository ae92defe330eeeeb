"""What every LLM is asked alike: its own first token, and scores as its own forward pass gives them."""

import pytest
import torch
from tiny_llms import EXAMPLES, TEXTS, WORDS, build_llm, tiny_tokenizer

from hundredth.errors import UserError
from hundredth.extraction.annotation import Annotator, AnnotatorConfig
from hundredth.extraction.llm import LLM
from hundredth.extraction.sampling import Sampler, SamplingConfig
from hundredth.extraction.soft_prompt import PromptedLLM, SoftPrompt


@pytest.fixture(params=["llama", "gemma"])
def starting(request: pytest.FixtureRequest) -> LLM:
    """An LLM whose tokenizer begins every text with a token of its own."""
    return build_llm(request.param, first="<first>")


def test_the_first_token_is_the_one_that_the_tokenizer_adds(starting: LLM) -> None:
    assert starting.start_ids == [starting.tokenizer.bos_token_id] == starting.tokenizer("").input_ids
    assert starting.encode("<first>x")[0] == starting.start_ids[0]
    assert starting.encode("x") == starting.tokenizer("x").input_ids[1:]


def test_a_first_token_that_is_known_but_never_added_is_left_out(llm: LLM) -> None:
    """GPT-2's tokenizer names one, and its texts begin without."""
    assert llm.start_ids == []
    named = tiny_tokenizer()
    named.bos_token = "<end>"
    assert LLM("named", llm.model, named, "named").start_ids == []


@pytest.mark.parametrize("soft", [True, False])
def test_the_first_token_stands_before_every_prompt(starting: LLM, soft: bool) -> None:
    """Silent otherwise: such an LLM predicts far worse, and everything after it learns from that."""
    prompt = SoftPrompt.from_words(starting, WORDS, length=5, label_length=2) if soft else None
    first = starting.embed(torch.tensor(starting.start_ids))
    rest = starting.encode(WORDS.instruction)
    for label in range(2):
        prefix = PromptedLLM(starting, WORDS, prompt).prefix(label)
        assert torch.equal(prefix[:1], first)
        if prompt is not None:
            assert torch.equal(prefix[1:6], prompt.shared_PD.data)
        else:
            assert torch.equal(prefix[1 : 1 + len(rest)], starting.embed(torch.tensor(rest)))


def test_what_is_written_and_scored_is_what_the_model_gives_after_its_first_token(starting: LLM) -> None:
    source = PromptedLLM(starting, WORDS, None)
    sampler = Sampler(source, SamplingConfig(temperature=1e-4, batch_size=2), max_tokens=8)
    samples = sorted(sampler([(0, 0), (1, 1)]), key=lambda one: one.item)
    scored = source.token_logprobs([0, 1], [one.ids for one in samples])
    for one, row in zip(samples, scored, strict=True):
        before = [*starting.tokenizer(WORDS.instruction).input_ids, *starting.encode(WORDS.context(one.label))]
        ids = torch.tensor([[*before, *one.ids]])
        own = starting.model(input_ids=ids).logits[0, len(before) - 1 : -1].float()
        assert own.argmax(dim=-1).tolist() == list(one.ids)
        expected = own.log_softmax(dim=-1)[torch.arange(len(one.ids)), list(one.ids)]
        torch.testing.assert_close(row[: len(one.ids)], expected, atol=2e-4, rtol=1e-4)
        torch.testing.assert_close(torch.tensor(one.logprobs), expected, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("method", ["lora", "prompt"])
def test_the_annotator_reads_after_the_first_token_which_is_not_in_its_mean(starting: LLM, method: str) -> None:
    annotator = Annotator(starting, WORDS, AnnotatorConfig(prompt_length=3), method)  # type: ignore[arg-type]
    annotator.add_member()
    text = EXAMPLES[0].texts
    annotation = annotator.annotate_with(0, [text])
    annotator.remove_adapters()
    question = starting.embed(torch.tensor(annotator._question(text)))
    prompt = starting.embed(starting.encode_to(WORDS.instruction, 3)) if method == "prompt" else question[:0]
    whole = torch.cat([starting.embed(torch.tensor(starting.start_ids)), prompt, question])[None]
    states = starting.trunk(inputs_embeds=whole).last_hidden_state[0, -len(question) :]
    expected = torch.nn.functional.normalize(states.mean(dim=0), dim=-1)
    torch.testing.assert_close(torch.from_numpy(annotation.embeddings[0]), expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("family", ["llama", "gemma", "gpt2", "granite", "cohere", "mpt"])
def test_the_scores_are_those_of_the_models_own_forward_pass(family: str) -> None:
    """Silent otherwise: scores that are not scaled as the model scales them make another temperature of it."""
    llm = build_llm(family)
    ids = torch.tensor([llm.encode(TEXTS[0])])
    ours = llm.logits(llm.hidden(llm.embed(ids), torch.ones_like(ids)))
    own = llm.model(input_ids=ids).logits.float()
    torch.testing.assert_close(ours, own, atol=1e-5, rtol=1e-5)
    assert own.std() > 0.1


def test_a_text_beyond_the_learnt_positions_is_told_with_what_to_lower(any_llm: LLM) -> None:
    """GPT-2 has a vector for each position; the others turn theirs as far as need be."""
    inputs = any_llm.embed(torch.full((1, 600), any_llm.end_id))
    mask = torch.ones((1, 600), dtype=torch.long)
    if any_llm.name == "tiny-gpt2":
        with pytest.raises(UserError, match=r"reads at most 512 tokens, .* has 600: lower prompt.max_tokens"):
            any_llm.hidden(inputs, mask)
    else:
        assert any_llm.hidden(inputs, mask).shape[:2] == (1, 600)
