"""The annotator: the LLM adapted to the task on the few labels, giving soft labels (METHODS 2.3).

A few members are trained on all the labelled texts, and their mean annotates what the LLM has not been tuned
on. A labelled text gets its soft label from a further member that missed the fold it is in, so that no soft
label is the memory of a gold label.

Shapes: N texts, B texts in a batch, T positions, D the LLM's width, C labels, M members.
"""

import contextlib
import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from peft import LoraConfig, PeftModel, get_peft_model
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from hundredth.extraction.batching import (
    Progress,
    batches_by_length,
    parts,
    scaled,
    shuffled_batches,
)
from hundredth.extraction.llm import LLM, cut_longest
from hundredth.schedule import rate_factor
from hundredth.seeds import Seed
from hundredth.tasks.schema import Example, labels_of
from hundredth.tasks.verbalisation import ANSWER_PREFIX, Verbalisation

Floats = NDArray[np.float32]
Method = Literal["lora", "prompt"]

# What `auto` also tries of LoRA's learning rate: which one an LLM wants cannot be known beforehand.
SLOWER = 0.3


class AnnotatorConfig(BaseModel):
    """How the LLM is adapted to give soft labels."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    method: Literal["auto", "lora", "prompt"] = Field(
        "auto",
        description="lora: low-rank weights and a classifier; prompt: soft prompt and label words; auto: the best "
        f"on dev and the texts of the first fold of prompt, lora, and lora at {SLOWER} of its learning rate",
    )
    members: int = Field(2, ge=1, le=20, description="models trained on all labelled texts, whose mean is used")
    folds: int = Field(2, ge=2, le=20, description="models that each miss a fold, for the labelled texts")
    epochs: int = Field(8, ge=1, description="passes over the training texts")
    batch_size: int = Field(16, ge=1, description="texts a step")
    learning_rate: float = Field(1e-3, gt=0, description="peak learning rate of LoRA and the classifier")
    prompt_learning_rate: float = Field(1e-2, gt=0, description="peak learning rate of the soft prompt")
    rank: int = Field(8, ge=1, description="rank of LoRA")
    layers: int = Field(0, ge=0, description="how many of the last layers LoRA adapts; 0 for all")
    prompt_length: int = Field(20, ge=1, description="vectors of the soft prompt")
    max_tokens: int = Field(256, ge=8, description="most tokens of a text; the longest field is cut first")
    seed: Seed = Field(0, description="folds, order of the texts, initial weights")


@dataclass(frozen=True)
class Annotation:
    """Soft labels (N, C), rows summing to 1, and the LLM's sentence embeddings (N, M*D), rows of length 1."""

    probabilities: Floats
    embeddings: Floats


class _Member(nn.Module):
    """What one member learns besides its LoRA weights: a classifier, or a soft prompt with a fixed classifier."""

    def __init__(self, method: Method, words_CD: Tensor, prompt_PD: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(words_CD.clone(), requires_grad=method == "lora")
        self.bias = nn.Parameter(torch.zeros(len(words_CD), device=words_CD.device))
        self.prompt = nn.Parameter(prompt_PD.float().clone()) if method == "prompt" else None

    def forward(self, last_BD: Tensor) -> Tensor:
        scores: Tensor = nn.functional.linear(last_BD.float(), self.weight, self.bias)
        return scores


class Annotator:
    """Adapted copies of one LLM: only the adapters differ, the LLM is in memory once.

    The first `config.members` make the ensemble that annotates; the others are those that missed a fold.
    """

    def __init__(self, llm: LLM, words: Verbalisation, config: AnnotatorConfig, method: Method) -> None:
        self.llm, self.words, self.config, self.method = llm, words, config, method
        self.members: list[_Member] = []
        self.temperature = 1.0
        self.adapters: PeftModel | None = None

    def annotate(self, texts: Sequence[tuple[str, ...]], progress: Progress | None = None) -> Annotation:
        """Return the calibrated mean of the members' probabilities, and their embeddings side by side."""
        count = self.config.members
        each = [self.annotate_with(i, texts, scaled(progress, i, count)) for i in range(count)]
        probabilities = tempered(np.stack([one.probabilities for one in each]).mean(axis=0), self.temperature)
        # Dot products of the joined rows are the mean of the members' cosines (RankCSE, section 3).
        embeddings: Floats = np.concatenate([one.embeddings for one in each], axis=1)
        embeddings /= np.float32(math.sqrt(len(each)))
        return Annotation(probabilities, embeddings)

    @torch.inference_mode()
    def annotate_with(
        self, number: int, texts: Sequence[tuple[str, ...]], progress: Progress | None = None
    ) -> Annotation:
        """Return one member's probabilities, not calibrated, and its embeddings (N, D)."""
        member = self._activate(number, training=False)
        ids = [self._question(text) for text in texts]
        probabilities = np.zeros((len(texts), len(self.words.label_words)), np.float32)
        embeddings = np.zeros((len(texts), self.llm.hidden_size), np.float32)
        done = 0
        for batch in batches_by_length([len(one) for one in ids]):
            last_BD, mean_BD = self._read(member, [ids[i] for i in batch])
            probabilities[batch] = member(last_BD).softmax(dim=-1).cpu().numpy()
            embeddings[batch] = nn.functional.normalize(mean_BD, dim=-1).cpu().numpy()
            done += len(batch)
            if progress is not None:
                progress(done, len(texts), "")
        return Annotation(probabilities, embeddings)

    def add_member(self) -> None:
        """Add an untrained member: the classifier starts from the label words in the LLM's own output table."""
        table = self.llm.model.get_output_embeddings().weight
        rows = [table[self.llm.encode(f" {name}")].float().mean(dim=0) for name in self.words.label_words]
        prompt_PD = self.llm.embed(self.llm.encode_to(self.words.instruction, self.config.prompt_length))
        member = _Member(self.method, torch.stack(rows), prompt_PD)
        if self.method == "lora":
            name = adapter_name(len(self.members))
            with quiet_peft():
                if self.adapters is None:
                    self.adapters = get_peft_model(self.llm.trunk, self._lora(), adapter_name=name)
                else:
                    self.adapters.add_adapter(name, self._lora())
        self.members.append(member)

    def train_member(self, number: int, examples: Sequence[Example], progress: Progress | None = None) -> None:
        """Train one member with cross-entropy on `examples`, with a rate that rises, then falls to zero."""
        config, member = self.config, self._activate(number, training=True)
        ids = [self._question(example.texts) for example in examples]
        lengths = [len(one) for one in ids]
        gold = torch.tensor(labels_of(examples), device=self.llm.device)
        generator = torch.Generator().manual_seed(config.seed * 1000 + number)
        rate = config.prompt_learning_rate if self.method == "prompt" else config.learning_rate
        learned = [p for p in member.parameters() if p.requires_grad]
        if self.adapters is not None:
            learned += [p for p in self.adapters.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(learned, lr=rate, weight_decay=0.01)
        total = config.epochs * math.ceil(len(ids) / config.batch_size)
        step = 0
        for _ in range(config.epochs):
            for batch in shuffled_batches(lengths, config.batch_size, generator):
                for group in optimizer.param_groups:
                    group["lr"] = rate * rate_factor(step, total, warmup=0.1)
                optimizer.zero_grad()
                loss = 0.0
                for part in parts(batch, lengths):
                    with self.llm.training():
                        last_BD, _mean = self._read(member, [ids[i] for i in part])
                        scores = member(last_BD)
                        share = nn.functional.cross_entropy(scores, gold[part], reduction="sum") / len(batch)
                        share.backward()
                    loss += share.item()
                nn.utils.clip_grad_norm_(learned, 1.0)
                optimizer.step()
                step += 1
                if progress is not None:
                    progress(step, total, f"loss {loss:.3f}")

    def remove_adapters(self) -> None:
        """Take LoRA out of the LLM again, and forget the members."""
        if self.adapters is not None:
            self.adapters.unload()
            self.adapters = None
        self.members = []

    def _activate(self, number: int, *, training: bool) -> _Member:
        if self.adapters is not None:
            self.adapters.set_adapter(adapter_name(number))
            self.adapters.train(training)
        return self.members[number]

    def _lora(self) -> LoraConfig:
        config = self.config
        # peft draws LoRA's initial weights from the global generator.
        torch.manual_seed(config.seed * 1000 + len(self.members))
        return LoraConfig(
            r=config.rank,
            lora_alpha=2 * config.rank,
            target_modules=_linear_layers(self.llm.trunk, config.layers),
        )

    def _question(self, texts: tuple[str, ...]) -> list[int]:
        """Tokenize a text as a question; the longest field is cut first when there are too many tokens."""
        fields = [self.llm.encode(line) for line in self.words.question(texts)]
        cut_longest(fields, self.config.max_tokens)
        return [token for line in fields for token in line] + self.llm.encode(ANSWER_PREFIX)

    def _read(self, member: _Member, ids: Sequence[list[int]]) -> tuple[Tensor, Tensor]:
        """Return the hidden state at each question's last token and the mean over its tokens, (B, D) each.

        What stands before the question, the LLM's own first token and a soft prompt, is not in the mean.
        """
        device = self.llm.device
        ids_BT = pad_sequence([torch.tensor(one, device=device) for one in ids], batch_first=True)
        sizes_B = torch.tensor([len(one) for one in ids], device=device)
        mask_BT = (torch.arange(ids_BT.shape[1], device=device) < sizes_B[:, None]).long()
        inputs_BTD = self.llm.embed(ids_BT)
        before_PD = self.llm.embed(torch.tensor(self.llm.start_ids, dtype=torch.long, device=device))
        if member.prompt is not None:
            before_PD = torch.cat([before_PD, member.prompt.to(inputs_BTD)])
        before_BPD = before_PD.expand(len(ids), -1, -1)
        inputs_BTD = torch.cat([before_BPD, inputs_BTD], dim=1)
        whole_BT = torch.cat([mask_BT.new_ones(before_BPD.shape[:2]), mask_BT], dim=1)
        hidden_BTD = self.llm.hidden(inputs_BTD, whole_BT)[:, -ids_BT.shape[1] :]
        last_BD = hidden_BTD[torch.arange(len(ids), device=device), sizes_B - 1]
        weights_BT1 = mask_BT[..., None].float()
        return last_BD, (hidden_BTD.float() * weights_BT1).sum(dim=1) / weights_BT1.sum(dim=1)


def tempered(probabilities: Floats, temperature: float) -> Floats:
    """Return (N, C) probabilities with their logarithms divided by a temperature, rows summing to 1 again."""
    logs = torch.from_numpy(np.maximum(probabilities, 1e-12)).log() / temperature
    out: Floats = logs.softmax(dim=-1).numpy()
    return out


@contextlib.contextmanager
def quiet_peft() -> Iterator[None]:
    """Keep back what peft warns of: transformers' deprecations, and settings that it puts right by itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _linear_layers(trunk: Any, last: int) -> list[str]:
    """Name every linear map inside the last `last` transformer layers (0: inside all of them)."""
    blocks = max((m for m in trunk.modules() if isinstance(m, nn.ModuleList)), key=len)
    chosen = list(blocks)[-last:] if last else list(blocks)
    kinds = ("Linear", "Conv1D")
    wanted = {id(m) for block in chosen for m in block.modules() if type(m).__name__ in kinds}
    return [name for name, module in trunk.named_modules() if id(module) in wanted]


def adapter_name(number: int) -> str:
    """Return what a member's LoRA weights are called."""
    return f"member-{number}"
