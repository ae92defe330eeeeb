"""RankCSE as a loss of sentence-transformers: contrast, ranking consistency and ranking distillation in one step.

The formulas are in `hundredth.ranking.losses`; here is what feeds them: two dropout views in one forward,
hard negatives, the teachers' scores, repeated texts, batches larger than memory, several processes.

Letters of the shapes: B texts of this process, N texts of all processes, M candidates, d the width of an
embedding, W the width of a teacher row, L tokens.
"""

import logging
import math
from collections.abc import Sequence
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

from hundredth.errors import UserError
from hundredth.ranking.batch import Batch, Features, text_ids
from hundredth.ranking.gathering import distributed, keep_together, share
from hundredth.ranking.losses import Reduction, consistency, info_nce, listmle, listnet
from hundredth.ranking.teachers import TeacherRankings
from hundredth.ranking.views import embed

logger = logging.getLogger(__name__)

Listwise = Literal["listnet", "listmle"]
# Far below any cosine, and finite: such a pair has no weight in a softmax and no gradient.
_LEFT_OUT = -1e4
_CITATION = """
@misc{liu2023rankcse,
    title={RankCSE: Unsupervised Sentence Representations Learning via Learning to Rank},
    author={Jiduan Liu and Jiahao Liu and Qifan Wang and Jingang Wang and Xunliang Cai and Dongyan Zhao
        and Ran Lucien Wang and Rui Yan},
    year={2023},
    eprint={2305.16726},
    archivePrefix={arXiv},
    primaryClass={cs.CL},
}
"""


class RankCSELoss(nn.Module):
    """The loss of RankCSE for `SentenceTransformerTrainer`: L = a L_con + b L_cons + g L_rank.

    Every text is encoded in two dropout views, h and h', by one forward. With S_ij = cos(h_i, h'_j):

    - `contrastive`: InfoNCE of S, each text against its other view (SimCSE);
    - `consistency`: the Jensen-Shannon divergence between the rows and the columns of S;
    - `ranking`: ListNet or ListMLE between the rows of S and the teachers' scores T.

    A term with weight 0 is not computed: with `consistency_weight=0` and no teachers this is SimCSE.

    Args:
        model: the student.
        teachers: what to rank as; the dataset must have passed through their `rank`. None trains without.
        listwise: the ranking loss; None trains without.
        contrastive_weight: weight of the contrastive term.
        consistency_weight: beta of the paper.
        ranking_weight: gamma of the paper. It does not carry over between the losses or reductions.
        temperature: tau1, of the contrastive and the consistency term.
        student_temperature: tau2, of the student's scores in the ranking term.
        teacher_temperature: tau3, of the teachers' scores; ListNet only, as ListMLE sees only their order.
        exclude_diagonal: leave each text out of its own list in the ranking term.
        listmle_reduction: within a list, the mean or the sum over its positions.
        projection: "mlp" trains through a dense layer with tanh, as SimCSE does for [CLS]. It belongs to the
            loss: the model is saved without it.
        mini_batch_size: texts that go through the model at a time, for batches larger than memory. Activations
            are computed again in the backward pass, under the same random states: slower, the same gradients.
        gather: with several processes, rank among the texts of all of them.

    Inputs: the first text column, and `label` from `TeacherRankings.rank`. Further text columns are hard
    negatives: they are appended to the candidates of the contrastive term only, as SimCSE does. A text that
    comes up again in a batch (the same tokens) is no negative of itself: such pairs are left out of all lists,
    and the texts counted in `duplicates`.

    The call returns one scalar a term, weighted, which the Trainer adds up and logs by name. `terms` holds those
    of the last step without their weights.

    References:
        RankCSE: https://arxiv.org/abs/2305.16726. SimCSE: https://arxiv.org/abs/2104.08821. Gradient caching:
        https://arxiv.org/abs/2101.06983.

    Raises:
        UserError: an option does not fit, nothing is left to train on, or `label` is missing.

    Example:
        >>> model = SentenceTransformer("bert-base-uncased")  # doctest: +SKIP
        >>> teachers = TeacherRankings(["all-MiniLM-L6-v2"])  # doctest: +SKIP
        >>> dataset = teachers.rank(Dataset.from_dict({"sentence": sentences}))  # doctest: +SKIP
        >>> loss = RankCSELoss(model, teachers)  # doctest: +SKIP
        >>> SentenceTransformerTrainer(model, train_dataset=dataset, loss=loss).train()  # doctest: +SKIP
    """

    def __init__(
        self,
        model: SentenceTransformer,
        teachers: TeacherRankings | None = None,
        *,
        listwise: Listwise | None = "listnet",
        contrastive_weight: float = 1.0,
        consistency_weight: float = 1.0,
        ranking_weight: float = 1.0,
        temperature: float = 0.05,
        student_temperature: float = 0.05,
        teacher_temperature: float = 0.025,
        exclude_diagonal: bool = True,
        listmle_reduction: Reduction = "sum",
        projection: Literal["mlp"] | None = None,
        mini_batch_size: int | None = None,
        gather: bool = True,
    ) -> None:
        super().__init__()
        _check_choice("listwise", listwise, ("listnet", "listmle", None))
        _check_choice("listmle_reduction", listmle_reduction, ("mean", "sum"))
        _check_choice("projection", projection, ("mlp", None))
        if mini_batch_size is not None and mini_batch_size < 1:
            raise UserError(f"mini_batch_size is {mini_batch_size}: give at least 1, or None for the whole batch")
        self.weights = {
            "contrastive": contrastive_weight,
            "consistency": consistency_weight,
            "ranking": ranking_weight if teachers is not None and listwise is not None else 0.0,
        }
        for name, weight in self.weights.items():
            if not 0 <= weight < math.inf:
                raise UserError(f"{name}_weight is {weight}: give a number of at least 0")
        if not any(self.weights.values()):
            raise UserError("all terms of the loss have weight 0: nothing would be learnt")
        temperatures = {
            "temperature": temperature,
            "student_temperature": student_temperature,
            "teacher_temperature": teacher_temperature,
        }
        for name, value in temperatures.items():
            if not 0 < value < math.inf:
                raise UserError(f"{name} is {value}: give a number above 0, such as 0.05")
        self.model = model
        self.teachers = teachers
        self.listwise = listwise
        self.temperature = temperature
        self.student_temperature = student_temperature
        self.teacher_temperature = teacher_temperature
        self.exclude_diagonal = exclude_diagonal
        self.listmle_reduction = listmle_reduction
        self.mini_batch_size = mini_batch_size
        self.gather = gather
        self.projection = _projection(model) if projection == "mlp" else None
        self.terms: dict[str, Tensor] = {}
        # A buffer, so that a training that goes on from a checkpoint goes on counting.
        self._duplicates: Tensor
        self.register_buffer("_duplicates", torch.zeros((), dtype=torch.int64))
        self._first = True

    @property
    def duplicates(self) -> int:
        """How many texts so far stood in a batch that had them already."""
        return int(self._duplicates)

    def forward(self, sentence_features: Sequence[Features], labels: Tensor | None = None) -> dict[str, Tensor]:
        """Return the weighted terms of one batch, a scalar each.

        `sentence_features` is one dictionary of tokens (B, L) a text column; `labels` (B,) come from
        `TeacherRankings.rank`.
        """
        text, *negatives = sentence_features
        if self._first and self.projection is not None and distributed():
            share(self.projection)
        anchor_Bd, other_Bd = self._embed(text, views=2)
        if self._first:
            self._check_views(anchor_Bd, other_Bd)
            self._first = False
        batch = Batch(
            anchor_Bd,
            other_Bd,
            [self._embed(column, views=1)[0] for column in negatives],
            torch.stack([text_ids(column) for column in sentence_features]),
            self._teacher_rows(labels, anchor_Bd.device),
        )
        if self.gather and distributed():
            batch = batch.gathered()
        # Half precision would make ties of near scores: the lists are float32, whatever the model runs in.
        with torch.autocast(anchor_Bd.device.type, enabled=False):
            terms = self._terms(batch)
        self.terms = {name: value.detach() for name, value in terms.items()}
        return {name: self.weights[name] * value for name, value in terms.items()}

    def get_config_dict(self) -> dict[str, Any]:
        """Return the settings, for the model card."""
        return {
            "listwise": self.listwise,
            **{f"{name}_weight": weight for name, weight in self.weights.items()},
            "temperature": self.temperature,
            "student_temperature": self.student_temperature,
            "teacher_temperature": self.teacher_temperature,
            "exclude_diagonal": self.exclude_diagonal,
            "listmle_reduction": self.listmle_reduction,
            "projection": None if self.projection is None else "mlp",
            "mini_batch_size": self.mini_batch_size,
            "gather": self.gather,
        }

    @property
    def citation(self) -> str:
        """The paper, for the model card."""
        return _CITATION

    def _terms(self, batch: Batch) -> dict[str, Tensor]:
        """Compute the terms that have a weight, without it."""
        duplicates_NN = _same(batch.ids[0], batch.ids[0]).fill_diagonal_(False)
        self._duplicates += duplicates_NN.tril().any(dim=1).sum().to(self._duplicates.device)
        anchor_Nd = _unit(batch.anchor)
        similarity_NN = anchor_Nd @ _unit(batch.other).T
        kept_NN = similarity_NN.masked_fill(duplicates_NN, _LEFT_OUT)
        terms = {}
        if self.weights["contrastive"]:
            candidates = [kept_NN]
            for negative_Nd, ids_N in zip(batch.negatives, batch.ids[1:], strict=True):
                scores_NN = anchor_Nd @ _unit(negative_Nd).T
                candidates.append(scores_NN.masked_fill(_same(batch.ids[0], ids_N), _LEFT_OUT))
            terms["contrastive"] = info_nce(torch.cat(candidates, dim=1), self.temperature)
        if self.weights["consistency"]:
            terms["consistency"] = consistency(kept_NN, self.temperature)
        if self.weights["ranking"]:
            assert batch.teacher is not None
            terms["ranking"] = self._ranking(similarity_NN, batch.teacher @ batch.teacher.T, duplicates_NN)
        return terms

    def _ranking(self, student_NN: Tensor, teacher_NN: Tensor, mask_NN: Tensor) -> Tensor:
        if self.listwise == "listmle":
            return listmle(
                student_NN,
                teacher_NN,
                self.student_temperature,
                self.exclude_diagonal,
                self.listmle_reduction,
                mask_NN,
            )
        return listnet(
            student_NN,
            teacher_NN,
            self.student_temperature,
            self.teacher_temperature,
            self.exclude_diagonal,
            mask_NN,
        )

    def _embed(self, features: Features, views: int) -> Sequence[Tensor]:
        """Encode a column of B texts `views` times over, (B, d) each, up to the head that is trained."""
        embeddings = embed(self.model, features, views, self.mini_batch_size)
        if self.projection is None:
            return embeddings
        return cast(Tensor, self.projection(torch.cat(embeddings))).chunk(views)

    def _teacher_rows(self, labels: Tensor | None, device: torch.device) -> Tensor | None:
        if not self.weights["ranking"]:
            return None
        assert self.teachers is not None
        if labels is None:
            raise UserError(
                "the data has no column 'label', which says which text is which to the teachers: "
                "dataset = teachers.rank(dataset)"
            )
        return self.teachers.rows(labels).to(device)

    def _check_views(self, anchor_Bd: Tensor, other_Bd: Tensor) -> None:
        if self.model.training and torch.equal(anchor_Bd, other_Bd):
            logger.warning(
                "both views of all %d texts are equal: the model has no dropout, so the contrastive and the "
                "consistency term teach little; load the model with a dropout of about 0.1",
                len(anchor_Bd),
            )


def _projection(model: SentenceTransformer) -> nn.Sequential:
    width = model.get_embedding_dimension()
    if width is None:
        raise UserError("projection='mlp' needs a model that knows the width of its embeddings")
    dense = nn.Linear(width, width)
    nn.init.normal_(dense.weight, std=0.02)  # as BERT initialises its layers, and SimCSE its head
    nn.init.zeros_(dense.bias)
    head = nn.Sequential(dense, nn.Tanh())
    keep_together(head)
    return head


def _same(one_N: Tensor, other_M: Tensor) -> Tensor:
    return one_N[:, None] == other_M[None, :]


def _unit(embedding: Tensor) -> Tensor:
    return F.normalize(embedding.to(torch.promote_types(embedding.dtype, torch.float32)), dim=1)


def _check_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    if value not in choices:
        raise UserError(f"{name} is {value!r}: choose one of {', '.join(repr(choice) for choice in choices)}")
