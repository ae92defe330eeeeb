"""Tuning the soft prompt on the labelled texts with the language-model loss (METHODS 2.1)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from pydantic import BaseModel, ConfigDict, Field

from hundredth.errors import UserError
from hundredth.extraction.batching import Progress, parts, shuffled_batches
from hundredth.extraction.soft_prompt import PromptedLLM, SoftPrompt
from hundredth.schedule import rate_factor
from hundredth.seeds import Seed
from hundredth.tasks.schema import Example, labels_of

# Below this share of the loss without a prompt, a gain is noise: the prompt changes nothing.
_LEAST_GAIN = 0.01


class PromptConfig(BaseModel):
    """How the soft prompt is made and tuned."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    length: int = Field(20, ge=1, description="vectors shared by all labels")
    label_length: int = Field(6, ge=1, description="vectors of each label's own")
    learning_rate: float = Field(1e-2, gt=0, description="peak learning rate of AdamW; 1e-3 to 3e-2 is usual")
    epochs: int = Field(8, ge=1, description="most passes over the training texts")
    patience: int = Field(2, ge=1, description="stop after this many passes without a lower dev loss")
    batch_size: int = Field(16, ge=1, description="texts a step")
    warmup: float = Field(0.1, ge=0, le=1, description="share of the steps in which the learning rate rises")
    max_tokens: int = Field(128, ge=4, description="most tokens of a text; the longest field is cut first")
    seed: Seed = Field(0, description="order of the texts")


@dataclass(frozen=True)
class TuningResult:
    """The tuned prompt and its losses (nats a token on dev): without prompt, at the start, a pass each, best."""

    prompt: SoftPrompt
    loss_without: float
    loss_start: float
    losses: list[float]
    loss_best: float


def tune_prompt(
    base: PromptedLLM,
    train: Sequence[Example],
    dev: Sequence[Example],
    config: PromptConfig,
    progress: Progress = lambda done, total, note: None,
) -> TuningResult:
    """Tune a soft prompt from the words of `base`; keep the vectors of the pass with the lowest dev loss.

    `progress` is called with steps done, steps in all, and a note.

    Raises:
        UserError: the tuned prompt predicts the dev texts no better than the LLM without it.
    """
    llm, words = base.llm, base.words
    prompt = SoftPrompt.from_words(llm, words, config.length, config.label_length).to(llm.device)
    prompted = PromptedLLM(llm, words, prompt)
    targets = [prompted.target_ids(example.texts, config.max_tokens) for example in train]
    lengths = [len(ids) for ids in targets]
    labels = labels_of(train)
    loss_without = mean_loss(PromptedLLM(llm, words, None), dev, config)
    loss_start = mean_loss(prompted, dev, config)
    optimizer = torch.optim.AdamW(prompt.parameters(), lr=config.learning_rate, weight_decay=0.0)
    generator = torch.Generator().manual_seed(config.seed)
    total = config.epochs * math.ceil(len(train) / config.batch_size)
    best, best_loss, since_best, step = prompt.copy(), loss_start, 0, 0
    losses: list[float] = []
    for _ in range(config.epochs):
        for batch in shuffled_batches(lengths, config.batch_size, generator):
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * rate_factor(step, total, config.warmup)
            optimizer.zero_grad()
            tokens = sum(lengths[i] for i in batch)
            for part in parts(batch, lengths):
                with llm.training():
                    logprobs = prompted.token_logprobs([labels[i] for i in part], [targets[i] for i in part])
                    (-logprobs.sum() / tokens).backward()
            torch.nn.utils.clip_grad_norm_(prompt.parameters(), 1.0)
            optimizer.step()
            step += 1
            progress(step, total, f"dev loss {losses[-1]:.3f}" if losses else f"dev loss {loss_start:.3f}")
        losses.append(mean_loss(prompted, dev, config))
        if losses[-1] < best_loss:
            best, best_loss, since_best = prompt.copy(), losses[-1], 0
        else:
            since_best += 1
            if since_best == config.patience:
                break
    _refuse_idle_prompt(loss_without, best_loss)
    return TuningResult(best, loss_without, loss_start, losses, best_loss)


@torch.inference_mode()
def mean_loss(prompted: PromptedLLM, examples: Sequence[Example], config: PromptConfig) -> float:
    """Return the mean negative log-probability of a token over all the examples' texts, in nats."""
    targets = [prompted.target_ids(example.texts, config.max_tokens) for example in examples]
    labels = labels_of(examples)
    order = sorted(range(len(examples)), key=lambda i: len(targets[i]))
    total = 0.0
    for start in range(0, len(order), config.batch_size):
        batch = order[start : start + config.batch_size]
        total -= float(prompted.token_logprobs([labels[i] for i in batch], [targets[i] for i in batch]).sum())
    return total / sum(len(ids) for ids in targets)


def _refuse_idle_prompt(loss_without: float, loss_best: float) -> None:
    if not math.isfinite(loss_best) or loss_best > loss_without * (1 - _LEAST_GAIN):
        raise UserError(
            f"the tuned soft prompt changes nothing: dev loss {loss_best:.4f} with it, {loss_without:.4f} with the "
            "instruction alone; try a higher prompt.learning_rate, more prompt.epochs, or an LLM that knows the "
            "language of the task"
        )
