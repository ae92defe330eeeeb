"""An LLM whose best prompt is known: it writes one token, chosen by the prompt's last vector alone, and ends.

Attention and feed-forward layers add nothing, so that the state at a position is the vector that stands there.
The first component of all token embeddings points to the end-of-text token, and no prompt vector has it.
"""

import torch
from tiny_llms import WORDS, build_llm

from hundredth.extraction.llm import LLM
from hundredth.extraction.rewards import WeightedReward
from hundredth.extraction.soft_prompt import PromptedLLM, SoftPrompt


def one_token_llm() -> LLM:
    llm = build_llm("llama")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for layer in llm.model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        llm.model.model.norm.weight.fill_(1.0)
        head = llm.model.lm_head.weight
        head.copy_(torch.randn(head.shape, generator=generator) * 0.3)
        head[:, 0] = 0.0
        head[llm.end_id] = 0.0
        head[llm.end_id, 0] = 10.0
        llm.embedding.weight[:, 0] = 10.0
    return llm


def untuned(llm: LLM) -> PromptedLLM:
    """Behind a prompt that favours no token: about a third of what it writes begins with a small letter."""
    generator = torch.Generator().manual_seed(1)
    shared, own = (torch.randn(*size, llm.hidden_size, generator=generator) for size in ((3,), (2, 2)))
    shared[..., 0] = own[..., 0] = 0.0
    return PromptedLLM(llm, WORDS, SoftPrompt(shared, own))


def small_letters(texts: list[tuple[str, ...]], labels: list[int]) -> list[float]:
    """1 for a text that begins with a small letter: the best that can be had is 1."""
    return [float("a" <= text[0][0] <= "z") for text in texts]


SMALL_LETTERS = WeightedReward("small_letters", 1.0, small_letters)
