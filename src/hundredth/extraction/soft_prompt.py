"""The soft prompt: continuous vectors that steer a frozen LLM to write texts of a task (METHODS 2.1).

Shapes are named in the tensors' suffixes: B sequences, T positions, C labels, P shared prompt vectors,
L vectors per label, D the LLM's width, V its vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache

from hundredth.extraction.llm import LLM, cut_longest
from hundredth.tasks.verbalisation import Verbalisation


class SoftPrompt(nn.Module):
    """P vectors shared by all labels and L vectors for each label, kept in float32.

    The shared vectors stand where an instruction would stand, a label's own vectors directly before the text
    to be written. Both start from the embeddings of words, because a soft prompt that starts from random
    vectors hardly learns.
    """

    def __init__(self, shared_PD: Tensor, per_label_CLD: Tensor) -> None:
        super().__init__()
        self.shared_PD = nn.Parameter(shared_PD.float().clone())
        self.per_label_CLD = nn.Parameter(per_label_CLD.float().clone())

    @classmethod
    def from_words(cls, llm: LLM, words: Verbalisation, length: int, label_length: int) -> "SoftPrompt":
        """Start from the instruction's embeddings and each label's words, repeated or cut to their lengths."""
        shared_PD = llm.embed(llm.encode_to(words.instruction, length)).float()
        per_label = [llm.embed(llm.encode_to(f" {name}", label_length)).float() for name in words.label_words]
        return cls(shared_PD, torch.stack(per_label))

    def copy(self) -> "SoftPrompt":
        """Return a prompt of its own with the same vectors."""
        return SoftPrompt(self.shared_PD.detach(), self.per_label_CLD.detach())

    def save(self, path: Path) -> None:
        """Write the vectors as safetensors."""
        save_file({name: value.detach().contiguous().cpu() for name, value in self.state_dict().items()}, path)

    @classmethod
    def load(cls, path: Path) -> "SoftPrompt":
        """Read what `save` wrote."""
        state = load_file(path)
        return cls(state["shared_PD"], state["per_label_CLD"])


@dataclass(frozen=True)
class PromptedLLM:
    """A frozen LLM behind a prompt: what both training and sampling run, so that they see the same thing.

    With `prompt` None the instruction itself is the prompt, as plain text: the control without a soft prompt.
    """

    llm: LLM
    words: Verbalisation
    prompt: SoftPrompt | None

    def prefix(self, label: int) -> Tensor:
        """Return the embeddings (T, D) of everything that stands before a text of this label.

        The LLM's own first token comes before the soft prompt, as it would before an instruction.
        """
        llm = self.llm
        context_TD = llm.embed(_ids(llm, llm.encode(self.words.context(label))))
        if self.prompt is None:
            instruction = [*llm.start_ids, *llm.encode(self.words.instruction)]
            return torch.cat([llm.embed(_ids(llm, instruction)), context_TD])
        shared_PD = self.prompt.shared_PD.to(context_TD)
        label_LD = self.prompt.per_label_CLD[label].to(context_TD)
        return torch.cat([llm.embed(_ids(llm, llm.start_ids)), shared_PD, context_TD, label_LD])

    def prefixes(self) -> tuple[Tensor, Tensor]:
        """Return all labels' prefixes, padded on the left: embeddings (C, T, D) and mask (C, T)."""
        rows = [self.prefix(label) for label in range(len(self.words.label_words))]
        prefix_CTD = pad_sequence(rows, batch_first=True, padding_side="left")
        sizes = torch.tensor([len(row) for row in rows], device=prefix_CTD.device)
        places = torch.arange(prefix_CTD.shape[1], device=prefix_CTD.device)
        return prefix_CTD, (places >= prefix_CTD.shape[1] - sizes[:, None]).long()

    def target_ids(self, texts: Sequence[str], limit: int) -> list[int]:
        """Tokenize a text as it is to be written, at most `limit` tokens with the end-of-text token.

        The longest field is cut first when there are too many: what is learnt still has all of them.
        """
        ids = self.llm.encode(self.words.target(texts))
        if len(ids) >= limit:
            parts = self.words.target_parts(texts)
            headings, fields = ([self.llm.encode(one) for one in side] for side in zip(*parts, strict=True))
            cut_longest(fields, limit - 1 - sum(map(len, headings)))
            ids = [token for pair in zip(headings, fields, strict=True) for one in pair for token in one]
        return [*ids[: limit - 1], self.llm.end_id]

    def count_cut(self, texts: Sequence[Sequence[str]], limit: int) -> int:
        """Return how many of the texts have more than `limit` tokens, and are cut to that."""
        return sum(len(self.llm.encode(self.words.target(one))) >= limit for one in texts)

    def prefill(self, labels: Sequence[int]) -> "Prefilled":
        """Compute the prefixes of `labels` (each one once is enough), with a gradient where there is one."""
        prefix_CTD, mask_CT = self.prefixes()
        rows = torch.tensor(labels, device=prefix_CTD.device)
        cache = DynamicCache()
        hidden_CTD = self.llm.hidden(prefix_CTD[rows], mask_CT[rows], cache)
        layers = [(layer.keys, layer.values) for layer in cast(list[Any], cache.layers)]
        return Prefilled(layers, mask_CT[rows], hidden_CTD[:, -1])

    def token_logprobs(self, labels: Sequence[int], targets: Sequence[Sequence[int]]) -> Tensor:
        """Return log p(token | prompt, label, tokens before it): (B, T) float32, 0 beyond a target's end.

        This is the policy's log-probability at temperature 1 over the whole vocabulary, and it has a gradient
        with respect to the prompt. The prompt is computed once a label, not once a text.
        """
        return self.scored(labels, targets)[0]

    def scored(self, labels: Sequence[int], targets: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor, Tensor]:
        """Return `token_logprobs`, the hidden state before each token (B, T, D), and where tokens are (B, T)."""
        device = self.llm.device
        different = sorted(set(labels))
        start = self.prefill(different).rows([different.index(label) for label in labels])
        target_BT = pad_sequence([torch.tensor(ids, device=device) for ids in targets], batch_first=True)
        sizes = torch.tensor([len(ids) for ids in targets], device=device)
        real_BT = torch.arange(target_BT.shape[1], device=device) < sizes[:, None]
        before_BTD = start.last_CD[:, None]
        if target_BT.shape[1] > 1:
            mask_BT = torch.cat([start.mask_CT, real_BT[:, :-1].long()], dim=1)
            hidden_BTD = self.llm.hidden(self.llm.embed(target_BT[:, :-1]), mask_BT, start.cache())
            # The hidden state before a token predicts it; the prefix's last one predicts the first.
            before_BTD = torch.cat([before_BTD, hidden_BTD], dim=1)
        scores = self.llm.logits(before_BTD[real_BT])
        chosen = torch.log_softmax(scores, dim=-1).gather(1, target_BT[real_BT][:, None])[:, 0]
        logprobs_BT = torch.zeros(target_BT.shape, device=device).masked_scatter(real_BT, chosen)
        return logprobs_BT, before_BTD, real_BT


@dataclass(frozen=True)
class Prefilled:
    """Prefixes once computed: keys and values a layer (C, H, T, D), mask (C, T), last hidden states (C, D)."""

    layers: list[tuple[Tensor, Tensor]]
    mask_CT: Tensor
    last_CD: Tensor

    def rows(self, places: Sequence[int]) -> "Prefilled":
        """Return the prefixes at `places`, which may repeat."""
        index = torch.tensor(places, dtype=torch.long, device=self.mask_CT.device)
        layers = [(keys[index], values[index]) for keys, values in self.layers]
        return Prefilled(layers, self.mask_CT[index], self.last_CD[index])

    def cache(self) -> DynamicCache:
        """Return the keys and values as transformers' cache."""
        cache = DynamicCache()
        for number, (keys, values) in enumerate(self.layers):
            cache.update(keys, values, number)
        return cache


def _ids(llm: LLM, ids: list[int]) -> Tensor:
    return torch.tensor(ids, dtype=torch.long, device=llm.device)
