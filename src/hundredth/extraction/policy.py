"""What reinforcement learning trains: the soft prompt of a frozen LLM, and a value head on its hidden states.

Shapes: B texts, T tokens, D the LLM's width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hundredth.extraction.soft_prompt import PromptedLLM, SoftPrompt


class ValueHead(nn.Module):
    """Says from the hidden state before a token what reward is still to come; it starts at 0 everywhere."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width))
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, hidden_BTD: Tensor) -> Tensor:
        """Return values (B, T).

        No gradient goes on into the prompt: that follows the policy's objective alone.
        """
        scaled_BTD = nn.functional.layer_norm(hidden_BTD.detach().float(), self.weight.shape)
        values_BT: Tensor = scaled_BTD @ self.weight / len(self.weight) ** 0.5 + self.bias
        return values_BT


@dataclass(frozen=True)
class Policy:
    """The LLM with the prompt that learns, the tuned prompt that it started from, and the value head.

    There is one LLM in memory: policy, reference and value head run on the same weights.
    """

    current: PromptedLLM
    reference: PromptedLLM
    prompt: SoftPrompt
    value: ValueHead

    @classmethod
    def start(cls, base: PromptedLLM) -> "Policy":
        """Start from the tuned prompt of `base`, which stays as it is."""
        assert base.prompt is not None
        llm, words = base.llm, base.words
        prompt = base.prompt.copy()
        value = ValueHead(llm.hidden_size).to(llm.device)
        return cls(PromptedLLM(llm, words, prompt), base, prompt, value)

    def evaluate(self, labels: Sequence[int], targets: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor, Tensor]:
        """Return log-probabilities and values of the tokens (B, T each), and where tokens are (B, T)."""
        logprobs_BT, before_BTD, real_BT = self.current.scored(labels, targets)
        return logprobs_BT, torch.where(real_BT, self.value(before_BTD), 0.0), real_BT
