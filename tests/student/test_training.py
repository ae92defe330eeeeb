"""What the student learns: each term of the loss by its formula, and that training does what it says."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_student import WORDS, tiny_student

from hundredth.errors import UserError
from hundredth.ranking.losses import listnet
from hundredth.student.model import tokenize
from hundredth.student.training import (
    StudentConfig,
    TrainingBatches,
    TrainingTexts,
    centred,
    encode,
    loss_terms,
    nearest_rows,
    retrieval_loss,
    train_student,
)

GOLDEN = [1.8513, 1.5217, 1.2212, 1.0239, 1.0613, 0.944, 0.9108, 0.9015, 0.9324, 0.8438]
CONFIG = StudentConfig(epochs=1, min_steps=40, batch_size=8, learning_rate=5e-3, max_length=16)


def toy(count: int, unlabelled: int = 0) -> TrainingTexts:
    rng = np.random.default_rng(0)
    labels = np.array([i % 2 for i in range(count)] + [-1] * unlabelled, dtype=np.int64)
    classes = [i % 2 for i in range(count + unlabelled)]
    texts = [(f"{WORDS[c]} {WORDS[2 + int(rng.integers(6))]} {WORDS[c]}",) for c in classes]
    soft = np.full((len(classes), 2), 0.1, dtype=np.float32)
    soft[np.arange(len(classes)), classes] = 0.9
    embeddings = rng.normal(size=(len(classes), 12)).astype(np.float32)
    return TrainingTexts(texts, labels, soft, embeddings)


def in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train as every machine does: bfloat16 is used only where a processor has instructions for it."""
    monkeypatch.setattr("hundredth.student.training.fast_dtype", lambda device: (torch.float32, "for the test"))


def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    embedding = F.normalize(torch.randn(5, 4, generator=generator), dim=-1)
    logits = torch.randn(5, 3, generator=generator)
    soft = torch.randn(5, 3, generator=generator).softmax(dim=-1)
    teacher = F.normalize(torch.randn(5, 6, generator=generator), dim=-1)
    return embedding, logits, torch.tensor([0, -1, 2, -1, -1]), soft, teacher


def test_each_term_is_its_formula_times_its_weight() -> None:
    """Silent otherwise: a weight that is stored and never multiplied in still trains something."""
    embedding, logits, gold, soft, teacher = batch()
    config = CONFIG.model_copy(update={"distillation": 0.7, "ranking": 0.3, "retrieval": 0.2})
    terms = loss_terms(embedding, logits, gold, soft, teacher, config)
    log_probs = logits.log_softmax(dim=-1)
    similarity = embedding @ embedding.T
    target = soft.clone()
    target[0], target[2] = torch.eye(3)[0], torch.eye(3)[2]
    expected = {
        "gold": -(log_probs[0, 0] + log_probs[2, 2]) / 2,
        "distillation": 0.7 * (soft * (soft.log() - log_probs)).sum() / 5,
        "ranking": 0.3
        * listnet(similarity, teacher @ teacher.T, config.ranking_temperature, config.teacher_temperature),
        "retrieval": 0.2 * retrieval_loss(similarity, target, config.retrieval_temperature),
    }
    assert terms.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value)


def test_a_weight_of_zero_leaves_a_term_out() -> None:
    embedding, logits, gold, soft, teacher = batch()
    config = CONFIG.model_copy(update={"distillation": 0.0, "ranking": 0.0, "retrieval": 0.0})
    assert loss_terms(embedding, logits, gold, soft, teacher, config).keys() == {"gold"}


def test_without_gold_labels_only_the_llms_knowledge_teaches() -> None:
    embedding, logits, gold, soft, teacher = batch()
    assert "gold" not in loss_terms(embedding, logits, torch.full_like(gold, -1), soft, teacher, CONFIG)


def test_the_retrieval_loss_equals_a_loop_over_the_other_texts() -> None:
    """Silent otherwise: a text that finds itself has nothing to learn from its neighbours."""
    embedding, _, _, target, _ = batch()
    similarity = embedding @ embedding.T
    losses = []
    for i in range(5):
        others = [j for j in range(5) if j != i]
        weights = (similarity[i, others] / 0.1).softmax(dim=-1)
        retrieved = (weights[:, None] * target[others]).sum(dim=0)
        losses.append(-(target[i] * retrieved.log()).sum())
    torch.testing.assert_close(retrieval_loss(similarity, target, 0.1), torch.stack(losses).mean())


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), size=st.integers(2, 9))
def test_the_retrieval_loss_does_not_depend_on_the_order_of_the_batch(seed: int, size: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    embedding = F.normalize(torch.randn(size, 4, generator=generator), dim=-1)
    target = torch.randn(size, 3, generator=generator).softmax(dim=-1)
    order = torch.randperm(size, generator=generator)
    plain = retrieval_loss(embedding @ embedding.T, target, 0.1)
    moved = retrieval_loss(embedding[order] @ embedding[order].T, target[order], 0.1)
    torch.testing.assert_close(plain, moved)


def test_the_retrieval_loss_stays_finite_where_the_neighbours_contradict() -> None:
    similarity = torch.ones(2, 2, requires_grad=True)
    loss = retrieval_loss(similarity, torch.eye(2), 1e-3)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(similarity.grad).all()


def test_a_copy_of_a_text_is_no_neighbour_of_it() -> None:
    """Silent otherwise: a text that stands in a batch twice finds itself, and learns nothing from the others."""
    embedding, logits, gold, soft, teacher = batch()
    same = torch.tensor([0, 1, 0, 3, 3])
    terms = loss_terms(embedding, logits, gold, soft, teacher, CONFIG, same)
    target = torch.where((gold >= 0)[:, None], torch.eye(3)[gold.clamp(min=0)], soft)
    similarity, wanted = embedding @ embedding.T, teacher @ teacher.T
    retrieval, ranking = [], []
    for i in range(5):
        others = [j for j in range(5) if same[j] != same[i]]
        weights = (similarity[i, others] / CONFIG.retrieval_temperature).softmax(dim=-1)
        retrieval.append(-(target[i] * (weights @ target[others]).log()).sum())
        teaches = (wanted[i, others] / CONFIG.teacher_temperature).softmax(dim=-1)
        ranking.append(-(teaches * (similarity[i, others] / CONFIG.ranking_temperature).log_softmax(dim=-1)).sum())
    torch.testing.assert_close(terms["retrieval"], CONFIG.retrieval * torch.stack(retrieval).mean())
    torch.testing.assert_close(terms["ranking"], CONFIG.ranking * torch.stack(ranking).mean())


def test_a_batch_of_one_text_alone_teaches_nothing_by_its_neighbours() -> None:
    embedding, logits, _, soft, teacher = batch()
    embedding.requires_grad_()
    gold = torch.zeros(5, dtype=torch.int64)
    terms = loss_terms(embedding, logits, gold, soft, teacher, CONFIG, torch.zeros(5, dtype=torch.int64))
    assert (terms["retrieval"].item(), terms["ranking"].item()) == (0, 0)
    torch.stack(list(terms.values())).sum().backward()
    assert not embedding.grad.any()


def test_the_copies_of_a_text_are_told_by_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def noted(*arguments: Any) -> dict[str, torch.Tensor]:
        seen.append(arguments[6].tolist())
        return loss_terms(*arguments)

    monkeypatch.setattr("hundredth.student.training.loss_terms", noted)
    model, tokenizer = tiny_student("bert", num_labels=2)
    twice = [("card", "a"), ("card", "b"), ("card", "a"), ("money", "a")]
    data = TrainingTexts(twice, np.array([0, 1, 0, 1]))
    train_student(model, tokenizer, data, CONFIG.model_copy(update={"min_steps": 1}))
    assert sorted(seen[0]) == [0, 0, 1, 3]


def test_batches_hold_their_share_of_gold_texts_and_pass_over_all_others() -> None:
    """Silent otherwise: 100 gold texts among 3,000 generated ones would hardly be seen."""
    labels = np.array([0] * 10 + [-1] * 90)
    config = CONFIG.model_copy(update={"epochs": 2, "min_steps": 1})
    batches = list(TrainingBatches(labels, config))
    assert all(sum(1 for row in rows if row < 10) == 2 for rows in batches)
    seen = [row for rows in batches for row in rows if row >= 10]
    assert set(seen) == set(range(10, 100))
    assert len(seen) >= 2 * 90


def test_hard_examples_lie_nearest_to_others_in_their_batch() -> None:
    labels = np.array([0] * 10 + [-1] * 90)
    angles = torch.arange(100) * 0.05
    units = torch.stack([angles.cos(), angles.sin()], dim=1)
    near = nearest_rows(units, torch.arange(100), torch.arange(10, 100), count=2)
    assert all(set(near[row]) == {row - 1, row + 1} for row in range(11, 99))
    assert set(near[0]) == {10, 11}  # of the texts without gold labels: the share of the others stays
    config = CONFIG.model_copy(update={"hard_share": 0.5, "min_steps": 20})
    plain, hard = list(TrainingBatches(labels, config)), list(TrainingBatches(labels, config, near))
    assert [len(rows) for rows in hard] == [len(rows) for rows in plain]
    added = round((len(plain[0]) - 2) * 0.5)
    for rows in hard:
        first, last = rows[:-added], rows[-added:]
        assert all(any(row in near[one] for one in first) for row in last)
        assert sum(row < 10 for row in rows) == 2
    alone = list(TrainingBatches(labels[10:], config.model_copy(update={"hard_share": 0.99}), near[10:] - 10))
    assert {len(rows) for rows in alone} == {CONFIG.batch_size}


def test_the_nearest_rows_are_other_texts() -> None:
    units = torch.nn.functional.normalize(torch.randn(50, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    units[25:] = units[:25]
    same = torch.arange(50) % 25
    near = nearest_rows(units, same, torch.arange(50), count=4)
    assert near.shape == (50, 4)
    assert not (near % 25 == np.arange(50)[:, None] % 25).any()
    assert nearest_rows(units[:3], same[:3], torch.arange(3)).shape == (3, 2)


def test_training_teaches_the_labels_and_reports_every_term() -> None:
    model, tokenizer = tiny_student("bert", num_labels=2)
    data = toy(12, unlabelled=30)
    history = train_student(model, tokenizer, data, CONFIG.model_copy(update={"min_steps": 80}))
    encoded = tokenizer([fields[0] for fields in data.texts], padding=True, return_tensors="pt")
    with torch.no_grad():
        predicted = model(**encoded)[1].argmax(dim=-1)
    assert (predicted.numpy() == data.soft_labels.argmax(axis=1)).mean() > 0.9
    assert history[0].keys() == {"gold", "distillation", "ranking", "retrieval"}
    assert sum(history[-1].values()) < sum(history[0].values())
    assert not model.training


def test_training_is_deterministic_and_depends_on_the_seed() -> None:
    states = []
    for seed in (0, 0, 1):
        torch.manual_seed(5)
        model, tokenizer = tiny_student("bert", num_labels=2)
        train_student(model, tokenizer, toy(8, 8), CONFIG.model_copy(update={"seed": seed, "min_steps": 5}))
        states.append(torch.cat([value.flatten() for value in model.state_dict().values()]))
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_the_loss_of_a_fixed_run_is_the_committed_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A change that should not alter the maths must reproduce this trajectory."""
    torch.manual_seed(5)
    in_float32(monkeypatch)
    model, tokenizer = tiny_student("bert", num_labels=2)
    history = train_student(model, tokenizer, toy(12, unlabelled=30), CONFIG)
    totals = [sum(terms.values()) for terms in history]
    assert totals == pytest.approx(GOLDEN, abs=2e-3)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
def test_texts_are_encoded_in_their_order_however_they_are_put_together(
    dtype: torch.dtype, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silent otherwise: an embedding that comes back beside another text's label still trains something."""
    monkeypatch.setattr("hundredth.student.training.fast_dtype", lambda device: (dtype, "as the test wants it"))
    model, tokenizer = tiny_student("bert", num_labels=2)
    model.eval()
    texts = [("card " * (1 + (7 * i) % 12),) for i in range(40)]
    embedding, logits = encode(model, tokenizer, texts, 16)
    for i, text in enumerate(texts):
        alone, alone_logits = model(**tokenize(tokenizer, [text], 16))
        torch.testing.assert_close(embedding[i], alone[0], atol=tolerance, rtol=0)
        torch.testing.assert_close(logits[i], alone_logits[0], atol=tolerance, rtol=0)
    assert embedding.dtype == logits.dtype == torch.float32


def test_one_text_alone_is_enough_for_a_step() -> None:
    model, tokenizer = tiny_student("bert", num_labels=2)
    one = TrainingTexts([("card",)], np.array([1]))
    history = train_student(model, tokenizer, one, CONFIG.model_copy(update={"min_steps": 10}))
    assert history[0].keys() == {"gold"}


def test_centred_embeddings_have_no_common_direction() -> None:
    moved = centred(np.random.default_rng(0).normal(5.0, 1.0, size=(50, 8)).astype(np.float32))
    np.testing.assert_allclose(np.linalg.norm(moved, axis=1), 1.0, atol=1e-5)
    assert np.abs(moved.mean(axis=0)).max() < 0.2


def test_a_training_that_diverges_is_said_with_what_to_lower() -> None:
    model, tokenizer = tiny_student("bert", num_labels=2)
    config = CONFIG.model_copy(update={"learning_rate": 1e30, "min_steps": 5})
    with pytest.raises(UserError, match=r"diverged, .*: lower student.learning_rate \(1e\+30\)"):
        train_student(model, tokenizer, toy(8, 8), config)
