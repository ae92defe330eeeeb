"""Training the student: gold labels, the LLM's soft labels, its rankings, and retrieval (METHODS 2.5).

Shapes: N texts, B texts in a batch, C labels, E the LLM's embedding width, d the student's.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from hundredth.errors import UserError
from hundredth.precision import fast_dtype
from hundredth.ranking.losses import listnet
from hundredth.schedule import rate_factor
from hundredth.seeds import Seed
from hundredth.student.model import Pooling, StudentEncoder, tokenize

Floats = NDArray[np.float32]

_TEXTS_A_FORWARD = 16
_COMPARED = 1024  # texts compared with all others at once
# Best for BERT-tiny; the power takes it to what is best for MiniLM (384 wide) and usual for BERT-base (768).
_RATE, _RATE_WIDTH = 6e-4, 128


class StudentConfig(BaseModel):
    """How the student is built and trained."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    pooling: Pooling = Field("mean", description="how token states become one embedding")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout before the classifier")
    max_length: int = Field(128, ge=8, description="most tokens of a text")
    epochs: int = Field(4, ge=1, description="passes over the texts")
    min_steps: int = Field(600, ge=1, description="at least this many steps, however few texts there are")
    batch_size: int = Field(32, ge=4, description="texts a step")
    gold_share: float = Field(0.25, gt=0, le=1, description="share of a batch that has gold labels")
    hard_share: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of the texts without gold labels in a batch that lie nearest, to the LLM, to others in "
        "it: the hardest to tell from them",
    )
    learning_rate: float | None = Field(
        None,
        gt=0,
        description="peak learning rate of AdamW; by default 6e-4, of students wider than 128 x (128 / width)^1.5",
    )
    warmup: float = Field(0.1, ge=0, le=1, description="share of the steps in which the learning rate rises")
    weight_decay: float = Field(0.01, ge=0, description="AdamW's weight decay")
    distillation: float = Field(1.0, ge=0, description="weight a of the soft labels' loss")
    ranking: float = Field(0.1, ge=0, description="weight b of the listwise ranking loss")
    retrieval: float = Field(0.5, ge=0, description="weight c of the loss of the neighbours' prediction")
    ranking_temperature: float = Field(0.05, gt=0, description="tau2, of the student's similarities")
    teacher_temperature: float = Field(0.025, gt=0, description="tau3, of the LLM's similarities")
    retrieval_temperature: float = Field(0.1, gt=0, description="t, of the neighbours' weights in training")
    seed: Seed = Field(0, description="initial classifier, order of the texts, dropout")


@dataclass(frozen=True)
class TrainingTexts:
    """What the student learns from.

    `labels` is -1 where there is no gold label; `soft_labels` (N, C) is None for training on gold labels
    alone; `embeddings` (N, E), the LLM's, is None for training without its rankings.
    """

    texts: list[tuple[str, ...]]
    labels: NDArray[np.int64]
    soft_labels: Floats | None = None
    embeddings: Floats | None = None


def train_student(
    model: StudentEncoder,
    tokenizer: PreTrainedTokenizerFast,
    data: TrainingTexts,
    config: StudentConfig,
    progress: Callable[[int, int, str], None] = lambda done, total, note: None,
) -> list[dict[str, float]]:
    """Train `model` in place; return the mean of each term of the loss over every tenth of the steps.

    A term takes part when its weight is above 0 and `data` has what it needs.

    Raises:
        UserError: the weights are not finite in the end.
    """
    torch.manual_seed(config.seed)
    teacher = None if data.embeddings is None else torch.from_numpy(centred(data.embeddings))
    same = torch.tensor(_first_rows(data.texts))
    other = torch.from_numpy(np.flatnonzero(data.labels < 0))
    near = None
    if config.hard_share and teacher is not None and len(other):
        near = nearest_rows(teacher, same, other)
    batches = TrainingBatches(data.labels, config, near)
    soft = None if data.soft_labels is None else torch.from_numpy(data.soft_labels)
    gold = torch.from_numpy(data.labels)
    rate = config.learning_rate or _RATE * min(1.0, _RATE_WIDTH / model.dimension) ** 1.5
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=config.weight_decay, fused=True)
    history: list[dict[str, float]] = []
    recent: list[dict[str, float]] = []
    model.train()
    for step, rows in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = rate * rate_factor(step, batches.steps, config.warmup)
        embedding_Bd, logits_BC = encode(model, tokenizer, [data.texts[i] for i in rows], config.max_length)
        terms = loss_terms(
            embedding_Bd,
            logits_BC,
            gold[rows],
            None if soft is None else soft[rows],
            None if teacher is None else teacher[rows],
            config,
            same[rows],
        )
        loss = torch.stack(list(terms.values())).sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        recent.append({name: float(value.detach()) for name, value in terms.items()})
        if (step + 1) % max(1, batches.steps // 10) == 0:
            history.append({name: float(np.mean([one.get(name, 0.0) for one in recent])) for name in recent[-1]})
            recent = []
        progress(step + 1, batches.steps, f"loss {float(loss.detach()):.3f}")
    if not all(torch.isfinite(parameter).all() for parameter in model.parameters()):
        raise UserError(
            "the student's training diverged, its weights are NaN or infinite: lower student.learning_rate "
            f"({rate:g})"
        )
    model.eval()
    return history


def encode(
    model: StudentEncoder, tokenizer: PreTrainedTokenizerFast, texts: Sequence[tuple[str, ...]], max_length: int
) -> tuple[Tensor, Tensor]:
    """Return embeddings (B, d) and logits (B, C) of texts, with gradients, as fast as the machine does it.

    A few texts of like length at a time, so that little is padding, and the token states in the number format
    in which this machine multiplies fastest; what is read from them is float32.
    """
    dtype, _reason = fast_dtype(torch.device("cpu"))
    order = sorted(range(len(texts)), key=lambda i: sum(map(len, texts[i])))
    parts = [order[start : start + _TEXTS_A_FORWARD] for start in range(0, len(order), _TEXTS_A_FORWARD)]
    encoded = [tokenize(tokenizer, [texts[i] for i in part], max_length) for part in parts]
    with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
        states = [model.states(**one) for one in encoded]
    read = [
        model.read_out(hidden_BLd.float(), one["attention_mask"])
        for hidden_BLd, one in zip(states, encoded, strict=True)
    ]
    back = torch.tensor(order).argsort()
    return torch.cat([one for one, _ in read])[back], torch.cat([one for _, one in read])[back]


def loss_terms(
    embedding_Bd: Tensor,
    logits_BC: Tensor,
    gold_B: Tensor,
    soft_BC: Tensor | None,
    teacher_BE: Tensor | None,
    config: StudentConfig,
    same_B: Tensor | None = None,
) -> dict[str, Tensor]:
    """Return the weighted terms of METHODS 2.5 by name: gold, distillation, ranking, retrieval.

    Their sum is the loss. `gold_B` is -1 where a text has no gold label; embeddings are of length 1. Texts with one
    number in `same_B` are the same text, which is no neighbour of itself; by default all differ.
    """
    terms: dict[str, Tensor] = {}
    labelled_B = gold_B >= 0
    if labelled_B.any():
        terms["gold"] = F.cross_entropy(logits_BC[labelled_B], gold_B[labelled_B])
    if soft_BC is not None and config.distillation:
        log_probs_BC = F.log_softmax(logits_BC, dim=-1)
        terms["distillation"] = config.distillation * F.kl_div(log_probs_BC, soft_BC, reduction="batchmean")
    if len(gold_B) < 2:
        return terms
    similarity_BB = embedding_Bd @ embedding_Bd.T
    number_B = torch.arange(len(gold_B)) if same_B is None else same_B
    itself_BB = number_B[:, None] == number_B[None]
    if teacher_BE is not None and config.ranking:
        temperatures = config.ranking_temperature, config.teacher_temperature
        terms["ranking"] = config.ranking * listnet(
            similarity_BB, teacher_BE @ teacher_BE.T, *temperatures, mask=itself_BB
        )
    if config.retrieval:
        target_BC = _retrieval_targets(gold_B, soft_BC, logits_BC.shape[1])
        if target_BC is not None:
            terms["retrieval"] = config.retrieval * retrieval_loss(
                similarity_BB, target_BC, config.retrieval_temperature, itself_BB
            )
    return terms


def retrieval_loss(
    similarity_BB: Tensor, target_BC: Tensor, temperature: float, itself_BB: Tensor | None = None
) -> Tensor:
    """Return the cross-entropy of what the other texts of the batch predict (METHODS 2.5, 2.6).

    p_ret of text i is the mean of the others' targets weighted by softmax_j(similarity_ij / temperature), where j
    is no copy of i; the loss is mean_i -sum_c target_ic log p_ret_ic over the texts that have others. `itself_BB`
    is true where two texts are the same, by default on the diagonal.
    """
    if itself_BB is None:
        itself_BB = torch.eye(len(similarity_BB), dtype=torch.bool, device=similarity_BB.device)
    # The lowest number, not -inf: the gradients of a row without any other text stay finite.
    lowest = torch.finfo(similarity_BB.dtype).min
    weights_BB = (similarity_BB / temperature).masked_fill(itself_BB, lowest).softmax(dim=-1)
    retrieved_BC = weights_BB @ target_BC
    losses_B = -(target_BC * torch.log(retrieved_BC.clamp(min=1e-6))).sum(dim=-1)
    alone_B = itself_BB.all(dim=-1)
    return losses_B.masked_fill(alone_B, 0.0).sum() / (~alone_B).sum().clamp(min=1)


def centred(embeddings: Floats) -> Floats:
    """Take the mean off and normalise: an LLM's raw states all point much the same way."""
    moved = embeddings.astype(np.float32) - embeddings.astype(np.float32).mean(axis=0)
    out: Floats = moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-8)
    return out


def _first_rows(texts: Sequence[tuple[str, ...]]) -> list[int]:
    """Return for each text the row where it first stands: the same for its copies."""
    first: dict[tuple[str, ...], int] = {}
    return [first.setdefault(text, row) for row, text in enumerate(texts)]


def _retrieval_targets(gold_B: Tensor, soft_BC: Tensor | None, labels: int) -> Tensor | None:
    if soft_BC is None:
        return F.one_hot(gold_B, labels).float() if bool((gold_B >= 0).all()) else None
    known_B1 = (gold_B >= 0)[:, None]
    return torch.where(known_B1, F.one_hot(gold_B.clamp(min=0), labels).float(), soft_BC)


class TrainingBatches:
    """The rows of each step: a fixed share with gold labels, which are few, the rest without, each in turn.

    `labels` (N,) is -1 where there is no gold label. `steps` is how many there are: `config.epochs` passes over
    the texts without gold labels (over the gold ones where there are no others), at least `config.min_steps`.
    With `near` (N, M), the rows that lie nearest to each, `config.hard_share` of the texts without gold labels give
    their places to neighbours of texts in the batch, drawn at random.
    """

    def __init__(
        self, labels: NDArray[np.int64], config: StudentConfig, near: NDArray[np.int64] | None = None
    ) -> None:
        self.gold = np.flatnonzero(labels >= 0)
        self.other = np.flatnonzero(labels < 0)
        size = min(config.batch_size, len(labels))
        self.gold_size = size if not len(self.other) else max(1, round(size * config.gold_share))
        self.gold_size = 0 if not len(self.gold) else self.gold_size
        self.other_size = size - self.gold_size if len(self.other) else 0
        hard = 0 if near is None else round(self.other_size * config.hard_share)
        self.hard_size = min(hard, max(0, self.other_size - 1))
        a_pass = len(self.other) / self.other_size if self.other_size else len(self.gold) / self.gold_size
        self.steps = max(config.min_steps, config.epochs * math.ceil(a_pass))
        self.seed = config.seed
        self.near = near

    def __iter__(self) -> Iterator[list[int]]:
        generator = np.random.default_rng(self.seed)
        gold, other = _endless(self.gold, generator), _endless(self.other, generator)
        for _ in range(self.steps):
            rows = [next(gold) for _ in range(self.gold_size)]
            rows += [next(other) for _ in range(self.other_size - self.hard_size)]
            if self.near is not None:
                beside = generator.integers(len(rows), size=self.hard_size)
                place = generator.integers(self.near.shape[1], size=self.hard_size)
                rows += self.near[np.array(rows)[beside], place].tolist()
            yield rows


def nearest_rows(units_NE: Tensor, same_N: Tensor, among_A: Tensor, count: int = 16) -> NDArray[np.int64]:
    """Return for each of N unit embeddings the rows of the nearest others (N, M) of `among_A`, M at most `count`.

    Rows with one number in `same_N` are the same text, and no others; where there are fewer others than M, a row
    may be of the same text.
    """
    count = max(1, min(count, len(among_A) - 1))
    found = []
    for part_BE, part_B in zip(units_NE.split(_COMPARED), same_N.split(_COMPARED), strict=True):
        is_same_BA = part_B[:, None] == same_N[among_A][None]
        similarity_BA = (part_BE @ units_NE[among_A].T).masked_fill(is_same_BA, -2.0)
        found.append(among_A[similarity_BA.topk(count, dim=1).indices])
    return torch.cat(found).numpy()


def _endless(rows: Sequence[int] | NDArray[np.int64], generator: np.random.Generator) -> Iterator[int]:
    while len(rows):
        for row in generator.permutation(rows):
            yield int(row)
