"""How the best step is told: by scored pairs, or by agreement with the teachers on held-out sentences.

Letters of the shapes: H held-out sentences, P scored pairs.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata, spearmanr
from sentence_transformers.base.evaluation import BaseEvaluator
from torch import Tensor

from hundredth.ranking.pairs import ScoredPairs
from hundredth.ranking.tokens import Ids, Tokenizer, embed

SPEARMAN = "spearman"
AGREEMENT = "teacher_agreement"


class PairScore(BaseEvaluator):
    """Spearman's correlation x 100 between cosines and the scores of pairs, `spearman`.

    Texts are read at the encoder's own length, each distinct one tokenised once and encoded once a look.
    """

    name = SPEARMAN

    def __init__(self, tokenizer: Tokenizer, pairs: ScoredPairs) -> None:
        super().__init__()
        texts = list(dict.fromkeys([*pairs.first, *pairs.second]))
        place = {text: i for i, text in enumerate(texts)}
        self._tokenizer = tokenizer
        self._ids = tokenizer(texts)
        self._first = torch.tensor([place[text] for text in pairs.first])
        self._second = torch.tensor([place[text] for text in pairs.second])
        self._scores = pairs.scores

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: int = -1, steps: int = -1
    ) -> dict[str, float]:
        """Return {"spearman": score}; an encoder for which all pairs are equally alike scores 0."""
        embeddings = embed(model, self._tokenizer, self._ids)
        cosines_P = (embeddings[self._first] * embeddings[self._second]).sum(dim=1).numpy()
        if np.ptp(cosines_P) == 0:
            return {SPEARMAN: 0.0}
        return {SPEARMAN: 100 * float(spearmanr(cosines_P, self._scores).statistic)}


class TeacherAgreement(BaseEvaluator):
    """How alike encoder and teachers rank sentences that neither the loss nor a person has judged, x 100.

    For each of the held-out sentences, all others are ranked by the encoder and by the teachers:
    `teacher_agreement` is the mean Spearman correlation of the two rankings.
    """

    name = AGREEMENT

    def __init__(self, tokenizer: Tokenizer, ids: Sequence[Ids], rows_HW: Tensor) -> None:
        super().__init__()
        self._tokenizer = tokenizer
        self._ids = list(ids)
        self._ranks_HH = _ranks(rows_HW @ rows_HW.T)

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: int = -1, steps: int = -1
    ) -> dict[str, float]:
        """Return {"teacher_agreement": score}."""
        embeddings = embed(model, self._tokenizer, self._ids)
        ranks_HH = _ranks(embeddings @ embeddings.T)
        return {AGREEMENT: 100 * float((ranks_HH * self._ranks_HH).sum(axis=1).mean())}


def _ranks(similarity_HH: Tensor) -> NDArray[np.float64]:
    """Return the ranks of each row's others, centred and of length 1: products are Spearman's correlations."""
    others = ~np.eye(len(similarity_HH), dtype=bool)
    ranks = rankdata(similarity_HH.numpy()[others].reshape(len(others), -1), axis=1)
    ranks -= ranks.mean(axis=1, keepdims=True)
    out: NDArray[np.float64] = ranks / np.maximum(np.linalg.norm(ranks, axis=1, keepdims=True), 1e-12)
    return out
