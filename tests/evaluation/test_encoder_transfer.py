"""Transfer tasks: the protocol, on embeddings whose answer is known."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from hundredth.errors import UserError
from hundredth.evaluation.encoders import regression
from hundredth.evaluation.encoders.regression import GRID, choose_c, cross_validate, fit_and_choose
from hundredth.evaluation.encoders.transfer import Transfer, pair_features, read_transfer
from hundredth.tasks.sts import MissingTaskError

SEED = 1111


def clouds(rows, width=6, distance=1.0, classes=2, seed=0):
    """Embeddings (N, d) around a centre for each label, and the labels (N,)."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(5).normal(size=(classes, width)) * distance
    labels = np.arange(rows) % classes
    return (centres[labels] + rng.normal(size=(rows, width))).astype(np.float32), labels


def test_nested_folds_are_those_of_a_plain_loop(monkeypatch):
    """Warm starts and the path along C are for speed only: fits from scratch choose the same and score the same."""
    # In double precision and to the end, since a row on the border may otherwise fall to either side.
    monkeypatch.setattr(regression, "_TOLERANCE", 1e-8)
    features, labels = clouds(120, width=4, distance=0.4)
    features = features.astype(np.float64)
    accuracies, chosen = cross_validate(features, labels, SEED)

    def plain(train_x, train_y, c):
        scale = np.sqrt((train_x.astype(float) ** 2).mean())
        model = LogisticRegression(C=c, tol=1e-8, max_iter=10_000).fit(train_x / scale, train_y)
        return lambda x, y: np.mean(model.predict(x / scale) == y)

    folds = StratifiedKFold(10, shuffle=True, random_state=SEED)
    for number, (train, held) in enumerate(folds.split(features, labels)):
        x, y = features[train], labels[train]
        means = [np.mean([plain(x[a], y[a], c)(x[b], y[b]) for a, b in folds.split(x, y)]) for c in GRID]
        c = GRID[int(np.argmax(means))]
        assert chosen[number] == c
        assert accuracies[number] == pytest.approx(plain(x, y, c)(features[held], labels[held]))


def test_the_scale_of_the_embeddings_changes_nothing():
    """Else an encoder that normalises its vectors would be held back by a grid of C made for larger ones."""
    features, labels = clouds(48, width=3, distance=0.5)
    assert cross_validate(features, labels, SEED) == cross_validate(features * np.float32(1 / 64), labels, SEED)


def test_labels_that_are_noise_score_by_chance():
    """A choice of C, or a scale, that saw held-out rows would show here as skill."""
    features = np.random.default_rng(1).normal(size=(300, 40)).astype(np.float32)
    labels = np.random.default_rng(2).permutation(np.arange(300) % 2)
    assert np.mean(cross_validate(features, labels, SEED)[0]) == pytest.approx(0.5, abs=0.1)


def test_noisy_wide_data_asks_for_stronger_l2_than_clean_data():
    rng = np.random.default_rng(0)
    signal, labels = clouds(200, width=2, distance=1.5)
    noisy = np.concatenate([signal, rng.normal(size=(200, 150)).astype(np.float32)], axis=1)
    # A label along a thin direction: only weak L2 lets the weight grow to where it counts.
    thin = np.concatenate([5 * rng.normal(size=(200, 1)), 0.05 * (2 * labels[:, None] - 1)], axis=1)
    assert choose_c(noisy, labels, SEED) < choose_c(thin.astype(np.float32), labels, SEED)


def test_a_development_split_chooses_c_by_itself():
    """The dev rows hold a label that only weak L2 finds, and then one that only strong L2 does."""
    features, labels = clouds(200, distance=0.3)
    scores = []
    for c, classifier in regression.fit_path(features, labels):
        scores.append((c, classifier.predict(features)))
    strongest, weakest = scores[0][1], scores[-1][1]
    assert (strongest != weakest).any()
    assert fit_and_choose(features, labels, (features, strongest), SEED)[1] == GRID[0]
    assert fit_and_choose(features, labels, (features, weakest), SEED)[1] > GRID[0]


def test_more_than_two_labels_are_told_apart():
    features, labels = clouds(240, distance=4.0, classes=6)
    classifier, _ = fit_and_choose(features[:180], labels[:180], (features[180:], labels[180:]), SEED)
    assert classifier.accuracy(features[180:], labels[180:]) > 0.95


def test_features_of_a_pair():
    found = pair_features(np.array([[1, -2]], np.float32), np.array([[3, 1]], np.float32))
    assert found.tolist() == [[2, 3, 3, -2]]


def test_pairs_are_scored_by_accuracy_and_f1_of_the_paraphrases():
    """Vectors alike: paraphrase. Of four test pairs one is labelled against its look: TP 2, FP 1."""
    place = {"a": [1.0, 0.0], "b": [0.0, 1.0]}
    same, other = ("a", "a"), ("a", "b")
    train = [(same, "1"), (other, "0")] * 12
    test = [(same, "1"), (same, "1"), (same, "0"), (other, "0")]
    found = Transfer(train, [], test, SEED).measure(lambda texts: np.array([place[t] for t in texts], np.float32))
    assert found["accuracy"] == pytest.approx(75)
    assert found["f1"] == pytest.approx(100 * 2 * 2 / (2 * 2 + 1))


def test_too_few_rows_for_the_folds_are_said():
    features, labels = clouds(15)
    with pytest.raises(UserError, match="its labels have 7, 8 rows"):
        cross_validate(features, labels, SEED)


def write_mpqa(root):
    folder = root / "MPQA"
    folder.mkdir()
    (folder / "mpqa.neg").write_text("bad\n\nawful\n")
    (folder / "mpqa.pos").write_text("good\n")
    return folder


def test_blank_lines_count_as_in_sentevals_own_reader(tmp_path):
    """They are part of the published counts: 10606 rows of MPQA, three of them blank."""
    read = read_transfer(write_mpqa(tmp_path), "mpqa", SEED)
    assert read.train == [(("bad",), "0"), (("",), "0"), (("awful",), "0"), (("good",), "1")]
    assert (read.dev, read.test) == ([], [])


def test_sst_2_has_its_own_development_split(tmp_path):
    folder = tmp_path / "SST" / "binary"
    folder.mkdir(parents=True)
    for split in ("train", "dev", "test"):
        (folder / f"sentiment-{split}").write_text(f"a {split}\t1\nno {split}\t0\n")
    read = read_transfer(tmp_path, "sst2", SEED)
    assert [part[0] for part in (read.train, read.dev, read.test)] == [
        ((f"a {split}",), "1") for split in ("train", "dev", "test")
    ]


def test_a_missing_task_and_a_strange_label_are_told_apart(tmp_path):
    with pytest.raises(MissingTaskError, match=r"MR/rt-polarity\.pos"):
        read_transfer(write_mpqa(tmp_path), "mr", SEED)
    folder = tmp_path / "TREC"
    folder.mkdir()
    (folder / "train_5500.label").write_text("HUM:ind Who ?\n")
    (folder / "TREC_10.label").write_text("LOC:city Where ?\n")
    with pytest.raises(UserError, match="'LOC' is not among its training rows"):
        read_transfer(folder, "trec", SEED)
