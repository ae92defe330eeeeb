"""RankCSELoss: what feeds the formulas, and the faults that public re-implementations of the paper have."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from tiny_sentences import SENTENCES, features_of, gradients, tiny_model, total
from torch import Tensor

from hundredth.errors import UserError
from hundredth.ranking import RankCSELoss, TeacherRankings, consistency, info_nce, listmle, listnet, views
from hundredth.ranking.batch import repeated, text_ids

WIDTH = 24


def hashed(texts: list[str]) -> Tensor:
    """A teacher without any model: a random direction a text, the same for the same text."""
    seeds = [sum(ord(letter) * (place + 1) for place, letter in enumerate(text)) for text in texts]
    return torch.stack([torch.randn(WIDTH, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


@pytest.fixture
def model(tiny_encoder: Path) -> SentenceTransformer:
    return tiny_model(tiny_encoder)


@pytest.fixture
def noisy(tiny_encoder: Path) -> SentenceTransformer:
    return tiny_model(tiny_encoder, dropout=0.2)


@pytest.fixture
def teachers() -> TeacherRankings:
    rankings = TeacherRankings([hashed])
    rankings.rank(Dataset.from_dict({"text": SENTENCES}))
    return rankings


LABELS = torch.arange(len(SENTENCES))


def cosines(model: SentenceTransformer, texts: list[str], others: list[str] | None = None) -> Tensor:
    one = F.normalize(model(features_of(model, texts))["sentence_embedding"], dim=1)
    two = one if others is None else F.normalize(model(features_of(model, others))["sentence_embedding"], dim=1)
    return one @ two.T


def teacher_scores() -> Tensor:
    unit = F.normalize(hashed(SENTENCES), dim=1)
    return unit @ unit.T


def call(
    loss: RankCSELoss, *columns: list[str], labels: Tensor | None = LABELS, seed: int = 0
) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    terms: dict[str, Tensor] = loss([features_of(loss.model, texts) for texts in columns], labels)
    return terms


# --- The terms are the formulas, with their weights and temperatures --------------------------------------


def test_without_dropout_every_term_is_its_formula(model: SentenceTransformer, teachers: TeacherRankings) -> None:
    terms = call(RankCSELoss(model, teachers), SENTENCES)
    similarity = cosines(model, SENTENCES)
    expected = {
        "contrastive": info_nce(similarity, 0.05),
        "consistency": consistency(similarity, 0.05),
        "ranking": listnet(similarity, teacher_scores(), 0.05, 0.025),
    }
    assert set(terms) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_listmle_takes_the_place_of_listnet(
    model: SentenceTransformer, teachers: TeacherRankings, reduction: Any
) -> None:
    loss = RankCSELoss(model, teachers, listwise="listmle", listmle_reduction=reduction, student_temperature=0.3)
    expected = listmle(cosines(model, SENTENCES), teacher_scores(), 0.3, reduction=reduction)
    torch.testing.assert_close(call(loss, SENTENCES)["ranking"], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("term", ["contrastive", "consistency", "ranking"])
def test_each_weight_scales_its_term_and_no_other(
    noisy: SentenceTransformer, teachers: TeacherRankings, term: str
) -> None:
    """Silent otherwise: a weight that is stored and never multiplied in."""
    plain = call(RankCSELoss(noisy, teachers), SENTENCES)
    loss = RankCSELoss(noisy, teachers, **{f"{term}_weight": 2.5})  # type: ignore[arg-type]
    scaled = call(loss, SENTENCES)
    for name, value in plain.items():
        torch.testing.assert_close(scaled[name], value * (2.5 if name == term else 1.0))
        torch.testing.assert_close(loss.terms[name], value.detach(), msg="terms are without their weights")


@pytest.mark.parametrize(
    ("option", "changed"),
    [
        ("temperature", {"contrastive", "consistency"}),
        ("student_temperature", {"ranking"}),
        ("teacher_temperature", {"ranking"}),
    ],
)
def test_each_temperature_reaches_its_terms_and_no_others(
    noisy: SentenceTransformer, teachers: TeacherRankings, option: str, changed: set[str]
) -> None:
    plain = call(RankCSELoss(noisy, teachers), SENTENCES)
    other = call(RankCSELoss(noisy, teachers, **{option: 0.4}), SENTENCES)  # type: ignore[arg-type]
    assert {name for name in plain if not torch.allclose(plain[name], other[name], rtol=1e-3)} == changed


def test_simcse_is_the_same_loss_with_the_other_weights_zero(noisy: SentenceTransformer) -> None:
    terms = call(RankCSELoss(noisy, consistency_weight=0.0), SENTENCES, labels=None)
    assert set(terms) == {"contrastive"}
    torch.manual_seed(0)
    twice = F.normalize(noisy(features_of(noisy, SENTENCES * 2))["sentence_embedding"], dim=1)
    scores = twice[: len(SENTENCES)] @ twice[len(SENTENCES) :].T / 0.05
    expected = F.cross_entropy(scores, LABELS)
    torch.testing.assert_close(terms["contrastive"], expected, rtol=1e-5, atol=1e-6)


def test_the_consistency_term_pulls_the_two_views_rankings_together(noisy: SentenceTransformer) -> None:
    """Silent otherwise: a clamp on log-probabilities turns the divergence into a bonus for entropy."""
    loss = RankCSELoss(noisy, contrastive_weight=0.0)
    optimizer = torch.optim.SGD(noisy.parameters(), lr=0.02)
    values = []
    for _ in range(25):
        optimizer.zero_grad()
        value = total(call(loss, SENTENCES, labels=None))
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert 0 <= values[-1] < 0.6 * values[0]


def test_both_views_come_from_one_forward(noisy: SentenceTransformer, teachers: TeacherRankings) -> None:
    calls = []
    noisy[0].register_forward_hook(lambda module, inputs, output: calls.append(len(output["input_ids"])))
    call(RankCSELoss(noisy, teachers), SENTENCES)
    assert calls == [2 * len(SENTENCES)]


def test_gradients_reach_the_student_only(model: SentenceTransformer, tiny_encoder: Path) -> None:
    teacher = tiny_model(tiny_encoder, seed=5)
    rankings = TeacherRankings([teacher], live=True)
    rankings.rank(Dataset.from_dict({"text": SENTENCES}))
    loss = RankCSELoss(model, rankings, contrastive_weight=0, consistency_weight=0)
    total(call(loss, SENTENCES)).backward()
    assert any(gradient.abs().sum() > 0 for gradient in gradients(model).values())
    assert not gradients(teacher)


def test_under_autocast_the_lists_are_float32(noisy: SentenceTransformer, teachers: TeacherRankings) -> None:
    """Silent otherwise: scores in bfloat16 tie, and ties are ranked by chance."""
    loss = RankCSELoss(noisy, teachers)
    with torch.autocast("cpu", torch.bfloat16):
        terms = call(loss, SENTENCES)
        batch_scores = loss.teachers.rows(LABELS)  # type: ignore[union-attr]
    assert all(value.dtype == torch.float32 for value in terms.values())
    plain = call(loss, SENTENCES)
    torch.testing.assert_close(terms["ranking"], plain["ranking"], rtol=0.05, atol=0.05)
    assert batch_scores.dtype == torch.float32


# --- Hard negatives and repeated texts --------------------------------------------------------------------


def test_a_second_column_adds_candidates_to_the_contrastive_term_only(
    model: SentenceTransformer, teachers: TeacherRankings
) -> None:
    negatives = [f"no {text} not at all" for text in SENTENCES]
    loss = RankCSELoss(model, teachers)
    without, with_them = call(loss, SENTENCES), call(loss, SENTENCES, negatives)
    candidates = torch.cat([cosines(model, SENTENCES), cosines(model, SENTENCES, negatives)], dim=1)
    torch.testing.assert_close(with_them["contrastive"], info_nce(candidates, 0.05), rtol=1e-4, atol=1e-5)
    assert with_them["contrastive"] > without["contrastive"]
    for name in ("consistency", "ranking"):
        torch.testing.assert_close(with_them[name], without[name])


def test_a_text_that_is_repeated_in_a_batch_is_no_negative_of_itself(
    model: SentenceTransformer, teachers: TeacherRankings
) -> None:
    texts = [*SENTENCES, SENTENCES[2], SENTENCES[0]]
    labels = torch.tensor([*range(len(SENTENCES)), 2, 0])
    loss = RankCSELoss(model, teachers)
    terms = call(loss, texts, labels=labels)
    same = labels[:, None] == labels[None, :]
    similarity = cosines(model, texts)
    others = same & ~torch.eye(len(texts), dtype=torch.bool)
    rows = teachers.rows(labels)
    expected = -torch.log_softmax((similarity / 0.05).masked_fill(others, -torch.inf), dim=1).diagonal().mean()
    torch.testing.assert_close(terms["contrastive"], expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        terms["ranking"], listnet(similarity, rows @ rows.T, 0.05, 0.025, mask=same), rtol=1e-4, atol=1e-5
    )
    assert torch.isfinite(terms["consistency"])
    assert loss.duplicates == 2
    call(loss, texts, labels=labels)
    assert loss.duplicates == 4


def test_a_batch_of_one_text_over_and_over_teaches_nothing_and_breaks_nothing(
    model: SentenceTransformer, teachers: TeacherRankings
) -> None:
    loss = RankCSELoss(model, teachers)
    total(call(loss, [SENTENCES[0]] * 4, labels=torch.zeros(4, dtype=torch.long))).backward()
    assert all(torch.isfinite(gradient).all() for gradient in gradients(model).values())
    assert all(value.abs() < 1e-4 for value in loss.terms.values())


def test_texts_are_told_apart_by_their_tokens_not_by_their_padding(model: SentenceTransformer) -> None:
    loss = RankCSELoss(model)
    features = features_of(model, ["help", "card", "help me get my card back please", "card help", "help card"])
    loss([features])
    assert loss.duplicates == 0


def test_the_hash_of_a_text_does_not_see_its_padding() -> None:
    text = torch.tensor([[7, 8, 9]])
    right = {"input_ids": F.pad(text, (0, 2)), "attention_mask": torch.tensor([[1, 1, 1, 0, 0]])}
    left = {"input_ids": F.pad(text, (2, 0)), "attention_mask": torch.tensor([[0, 0, 1, 1, 1]])}
    found = text_ids({"input_ids": text})
    assert text_ids(right) == text_ids(left) == found
    generator = torch.Generator().manual_seed(0)
    near = torch.randint(0, 30, (20_000, 4), generator=generator)
    assert len(text_ids({"input_ids": near}).unique()) == len(near.unique(dim=0))


# --- Gradient caching ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3, 8, 100])
@pytest.mark.parametrize("projection", [None, "mlp"])
def test_mini_batches_change_neither_loss_nor_gradients(
    model: SentenceTransformer, teachers: TeacherRankings, size: int, projection: Any
) -> None:
    losses = [RankCSELoss(model, teachers, projection=projection, mini_batch_size=n) for n in (None, size)]
    losses[1].load_state_dict(losses[0].state_dict())
    assert_same_step(step(losses[0]), step(losses[1]))


@pytest.mark.parametrize("size", [3, 8])
def test_mini_batches_see_the_same_dropout_twice(
    noisy: SentenceTransformer, teachers: TeacherRankings, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same parts kept in memory are the plain loss on the same dropout seeds."""
    loss = RankCSELoss(noisy, teachers, mini_batch_size=size)
    cached = step(loss)
    with monkeypatch.context() as kept:
        kept.setattr(views, "_recomputed", lambda model, part: model(part)["sentence_embedding"])
        assert_same_step(step(loss), cached)


Step = tuple[dict[str, Tensor], dict[str, Tensor]]


def step(loss: RankCSELoss) -> Step:
    """The terms and the gradients of one batch."""
    loss.zero_grad()
    terms = call(loss, SENTENCES)
    total(terms).backward()
    return {name: value.detach() for name, value in terms.items()}, gradients(loss)


def assert_same_step(one: Step, other: Step) -> None:
    for values, expected in zip(other, one, strict=True):
        assert values.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(values[name], value, rtol=1e-5, atol=1e-5, msg=name)


def test_mini_batches_keep_fewer_activations(noisy: SentenceTransformer) -> None:
    """What a part computes is let go until the backward pass: that is what the option is for."""

    def kept(size: int | None) -> int:
        numbers = 0

        def count(tensor: Tensor) -> Tensor:
            nonlocal numbers
            numbers += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            call(RankCSELoss(noisy, mini_batch_size=size), SENTENCES, labels=None)
        return numbers

    assert kept(2) * 10 < kept(None)


# --- The projection head, the Trainer, and what is refused -------------------------------------------------


def test_the_head_is_trained_and_is_no_part_of_the_model(
    model: SentenceTransformer, teachers: TeacherRankings, tmp_path: Path
) -> None:
    loss = RankCSELoss(model, teachers, projection="mlp")
    total(call(loss, SENTENCES)).backward()
    assert loss.projection is not None
    assert all(parameter.grad is not None for parameter in loss.projection.parameters())
    model.save(str(tmp_path))
    before = model.encode(SENTENCES)
    assert (SentenceTransformer(str(tmp_path), device="cpu").encode(SENTENCES) == before).all()


def train(loss: RankCSELoss, dataset: Dataset, folder: Path) -> list[dict[str, float]]:
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=8,
        max_steps=24,
        learning_rate=2e-3,
        lr_scheduler_type="constant",
        logging_steps=2,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        dataloader_pin_memory=False,
    )
    trainer = SentenceTransformerTrainer(loss.model, arguments, train_dataset=dataset, loss=loss)
    trainer.train()
    return [entry for entry in trainer.state.log_history if "loss" in entry]


def test_the_trainer_logs_each_term_by_name_and_learns(
    noisy: SentenceTransformer, teachers: TeacherRankings, tmp_path: Path
) -> None:
    dataset = teachers.rank(Dataset.from_dict({"sentence": SENTENCES}))
    loss = RankCSELoss(noisy, teachers, ranking_weight=2.0, projection="mlp")
    head = loss.projection[0].weight.detach().clone()  # type: ignore[index, union-attr]
    logs = train(loss, dataset, tmp_path)
    for entry in logs:
        parts = entry["contrastive"] + entry["consistency"] + entry["ranking"]
        assert parts == pytest.approx(entry["loss"], rel=1e-2, abs=1e-2)
    assert logs[-1]["ranking"] < logs[0]["ranking"]
    assert not torch.equal(loss.projection[0].weight, head)  # type: ignore[index, union-attr]
    assert loss.get_config_dict()["ranking_weight"] == 2.0


def test_a_model_without_dropout_is_warned_about_once(
    model: SentenceTransformer, noisy: SentenceTransformer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "hundredth.ranking.loss"):
        call(RankCSELoss(noisy), SENTENCES)
        assert not caplog.records
        loss = RankCSELoss(model)
        call(loss, SENTENCES)
        call(loss, SENTENCES)
    assert [record.getMessage()[:39] for record in caplog.records] == ["both views of all 8 texts are equal: th"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"listwise": "pairwise"}, "listwise is 'pairwise': choose one of 'listnet', 'listmle', None"),
        ({"projection": "linear"}, "projection is 'linear'"),
        ({"listmle_reduction": "max"}, "listmle_reduction is 'max'"),
        ({"contrastive_weight": -1.0}, "contrastive_weight is -1.0"),
        ({"temperature": 0.0}, "temperature is 0.0: give a number above 0"),
        ({"teacher_temperature": float("nan")}, "teacher_temperature is nan"),
        ({"mini_batch_size": 0}, "mini_batch_size is 0"),
        ({"contrastive_weight": 0, "consistency_weight": 0, "ranking_weight": 0}, "nothing would be learnt"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    model: SentenceTransformer, teachers: TeacherRankings, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said.replace("(", r"\(")):
        RankCSELoss(model, teachers, **options)


def test_data_that_was_not_ranked_is_refused(model: SentenceTransformer, teachers: TeacherRankings) -> None:
    loss = RankCSELoss(model, teachers)
    with pytest.raises(UserError, match="no column 'label'"):
        call(loss, SENTENCES, labels=None)
    with pytest.raises(UserError, match="not those of the 8 texts"):
        call(loss, SENTENCES, labels=LABELS + 1)


def test_packed_batches_are_refused(model: SentenceTransformer) -> None:
    with pytest.raises(UserError, match="packed"):
        RankCSELoss(model)([{"input_ids": torch.arange(12), "cu_seq_lens_q": torch.tensor([0, 5, 12])}])


def test_rows_of_a_part_are_repeated_whole() -> None:
    """Silent otherwise: settings of the batch that are no rows must not be cut with them."""
    features = {"input_ids": torch.arange(8).view(4, 2), "prompt_length": torch.tensor([3]), "modality": "text"}
    part = repeated(features, 1, 3, 2)
    assert part["input_ids"].tolist() == [[2, 3], [4, 5], [2, 3], [4, 5]]
    assert part["prompt_length"].tolist() == [3]
    assert part["modality"] == "text"
