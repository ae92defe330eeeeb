"""Sampling and scoring must see the same prompt, and the fast nucleus must be the exact one."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_llms import EXAMPLES, WORDS

from hundredth.extraction.llm import LLM
from hundredth.extraction.sampling import (
    NotFiniteError,
    Sample,
    Sampler,
    SamplingConfig,
    automatic_batch_size,
    draw_nucleus,
)
from hundredth.extraction.soft_prompt import PromptedLLM, SoftPrompt


def prompted(llm: LLM, *, soft: bool = True) -> PromptedLLM:
    prompt = SoftPrompt.from_words(llm, WORDS, length=5, label_length=2) if soft else None
    if prompt is not None:
        with torch.no_grad():
            prompt.per_label_CLD[1] += 0.5
    return PromptedLLM(llm, WORDS, prompt)


def sample(source: PromptedLLM, count: int, **options: object) -> list[Sample]:
    sampler = Sampler(source, SamplingConfig(**{"top_p": 1.0, "seed": 3, **options}), max_tokens=12)
    return sorted(sampler([(i, i % 2) for i in range(count)]), key=lambda one: one.item)


@pytest.mark.parametrize("soft", [True, False])
def test_a_samples_logprobs_are_those_that_training_computes(any_llm: LLM, soft: bool) -> None:
    """Silent otherwise: training would tune a prompt that sampling never shows to the LLM."""
    source = prompted(any_llm, soft=soft)
    # A batch of 3 for 10 texts, so that texts join and leave while others are half-way.
    samples = sample(source, 10, batch_size=3)
    scored = source.token_logprobs([one.label for one in samples], [one.ids for one in samples])
    assert len(samples) == 10
    for one, row in zip(samples, scored, strict=True):
        torch.testing.assert_close(row[: len(one.ids)], torch.tensor(one.logprobs), atol=2e-4, rtol=1e-4)


def test_the_prompt_changes_what_is_sampled(any_llm: LLM) -> None:
    """Silent otherwise: a prompt that sampling ignores still gives fluent texts."""
    plain = prompted(any_llm)
    moved = prompted(any_llm)
    assert moved.prompt is not None
    with torch.no_grad():
        moved.prompt.shared_PD.neg_()
    assert [one.logprobs for one in sample(plain, 6)] != [one.logprobs for one in sample(moved, 6)]


def test_an_item_has_its_own_random_numbers_whatever_its_batch(any_llm: LLM) -> None:
    together = sample(prompted(any_llm), 9, batch_size=9)
    in_turn = sample(prompted(any_llm), 9, batch_size=2)
    assert [one.ids for one in together] == [one.ids for one in in_turn]


def test_labels_of_very_different_length_take_turns_in_a_small_batch(any_llm: LLM) -> None:
    """The cache may not be cut shorter than the longest label's prefix, which comes next."""
    words = replace(WORDS, label_words=("late", " ".join(["a very long name of a label"] * 5)))
    source = PromptedLLM(any_llm, words, SoftPrompt.from_words(any_llm, words, length=5, label_length=2))
    together, *in_turn = ([one.ids for one in sample(source, 20, batch_size=size)] for size in (20, 1, 2))
    assert in_turn == [together, together]


def test_the_same_seed_gives_the_same_texts_and_another_seed_others(llm: LLM) -> None:
    first, again, other = (sample(prompted(llm), 8, seed=seed) for seed in (1, 1, 2))
    assert [one.ids for one in first] == [one.ids for one in again]
    assert [one.ids for one in first] != [one.ids for one in other]


def test_a_text_stops_at_its_end_token_or_at_the_limit(llm: LLM) -> None:
    samples = sample(prompted(llm), 60)
    assert any(one.ended for one in samples)
    assert any(not one.ended for one in samples)
    for one in samples:
        assert llm.end_id not in one.ids[:-1]
        assert one.ended == (one.ids[-1] == llm.end_id)
        assert one.ended or len(one.ids) == 12
        assert len(one.ids) == len(one.logprobs)


def test_nothing_to_write_is_nothing(llm: LLM) -> None:
    assert sample(prompted(llm), 0) == []


def test_greedy_sampling_equals_the_llms_own_greedy_generation(any_llm: LLM) -> None:
    source = prompted(any_llm, soft=False)
    ours = sample(source, 2, temperature=1e-4)
    for one in ours:
        prefix = torch.cat([source.prefix(one.label)])[None]
        theirs = any_llm.model.generate(
            inputs_embeds=prefix,
            attention_mask=torch.ones(prefix.shape[:2], dtype=torch.long),
            do_sample=False,
            max_new_tokens=12,
            eos_token_id=any_llm.end_id,
            pad_token_id=any_llm.end_id,
        )[0].tolist()
        assert list(one.ids) == theirs[: len(one.ids)]


def test_scores_that_are_no_numbers_are_said(any_llm: LLM) -> None:
    source = prompted(any_llm)
    assert source.prompt is not None
    with torch.no_grad():
        source.prompt.shared_PD[0, 0] = torch.nan
    for options in ({}, {"temperature": 0.7}, {"top_k": 5, "top_p": 0.9}):
        with pytest.raises(NotFiniteError, match="not finite"):
            sample(source, 2, **options)


def test_a_texts_random_numbers_are_made_when_its_turn_comes(llm: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    """20,000 texts of 512 tokens would take half a gigabyte before the first is written."""
    made: list[int] = []
    row = Sampler._row
    monkeypatch.setattr(Sampler, "_row", lambda self, item, label: made.append(item) or row(self, item, label))
    sampler = Sampler(prompted(llm), SamplingConfig(batch_size=4), max_tokens=12)
    next(iter(sampler([(i, i % 2) for i in range(1000)])))
    assert 4 <= len(made) < 20


def nucleus(scores: torch.Tensor, top_p: float) -> torch.Tensor:
    """Which tokens are in the nucleus, by sorting."""
    probabilities, order = scores.softmax(dim=-1).sort(descending=True, stable=True)
    inside = torch.zeros(len(scores), dtype=torch.bool)
    inside[order[probabilities.cumsum(dim=0) - probabilities < top_p]] = True
    return inside


@pytest.mark.parametrize("tries", [1, 2, 6])
@pytest.mark.parametrize("top_p", [0.2, 0.7, 0.95, 1.0])
def test_tokens_are_drawn_from_the_nucleus_in_proportion(tries: int, top_p: float) -> None:
    """Silent otherwise: a nucleus that is a little off changes what the LLM writes, not whether it writes.

    With one random number a row is sorted, with more it is drawn without sorting: both must agree. Scores are
    rounded, so that there are ties, as there are in bfloat16.
    """
    generator = torch.Generator().manual_seed(0)
    scores = (torch.randn(40, generator=generator) * 2).round(decimals=0)
    draws = 20_000
    uniforms = torch.rand(draws, tries, generator=generator, dtype=torch.float64)
    drawn = draw_nucleus(scores.softmax(dim=-1).expand(draws, -1).contiguous(), uniforms, top_p)
    expected = torch.where(nucleus(scores, top_p), scores.softmax(dim=-1), 0.0)
    expected /= expected.sum()
    seen = torch.bincount(drawn, minlength=40) / draws
    assert (seen[expected == 0] == 0).all()
    torch.testing.assert_close(seen, expected, atol=0.012, rtol=0)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    sharpness=st.sampled_from([0.01, 1.0, 20.0]),
    top_p=st.sampled_from([1e-6, 0.1, 0.95, 1.0]),
    tries=st.sampled_from([1, 2, 6]),
)
def test_no_token_outside_the_nucleus_is_ever_drawn(seed: int, sharpness: float, top_p: float, tries: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(4, 500, generator=generator) * sharpness
    scores[:, ::7] = -torch.inf
    uniforms = torch.rand(4, tries, generator=generator, dtype=torch.float64)
    uniforms[0] = 1 - 1e-12
    uniforms[1] = 0.0
    drawn = draw_nucleus(scores.softmax(dim=-1), uniforms, top_p)
    for row, token in zip(scores, drawn.tolist(), strict=True):
        probabilities = row.double().softmax(dim=-1)
        assert probabilities[token] > 0
        assert probabilities[row > row[token]].sum() < top_p + 1e-5


def test_a_limit_on_tokens_keeps_to_the_best(llm: LLM) -> None:
    source = prompted(llm)
    greedy = sample(source, 4, temperature=1e-4)
    assert [one.ids for one in sample(source, 4, top_k=1)] == [one.ids for one in greedy]


def test_the_automatic_batch_is_bounded() -> None:
    assert automatic_batch_size(5) == 5
    assert automatic_batch_size(10**6) < 1000


def test_a_target_read_back_is_the_text_that_was_verbalised(llm: LLM) -> None:
    source = prompted(llm)
    for example in EXAMPLES:
        ids = source.target_ids(example.texts, limit=200)
        assert ids[-1] == llm.end_id
        assert WORDS.parse(llm.decode(ids)) == example.texts
