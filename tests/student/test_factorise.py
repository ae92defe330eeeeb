"""A vocabulary in fewer numbers: every token stays, the best approximation first, and the size asked for."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_student import LENGTH, VOCABULARY, every_architecture, random_texts, tiny_student
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModel, PreTrainedTokenizerFast, RobertaConfig

from hundredth.errors import UserError
from hundredth.runtime.encoder import Encoder
from hundredth.student.export import export_onnx
from hundredth.student.factorise import approximation, factorise_vocabulary
from hundredth.student.model import (
    StudentEncoder,
    load_saved_student,
    load_student,
    parameter_count,
    save_student,
    tokenize,
)
from hundredth.student.prune import parameters_without_vocabulary, token_table
from hundredth.student.training import StudentConfig, TrainingTexts, train_student

TEXTS = ["Cash machine", "the machine swallowed my card", "payment payment payment"]
TOKENS, WIDTH = len(VOCABULARY), 16


def size_with(model: StudentEncoder, rank: int, length: int | None = None) -> int:
    return parameters_without_vocabulary(model, length) + rank * (TOKENS + WIDTH) + WIDTH


@given(
    rank=st.integers(1, 5),
    rows=st.lists(st.lists(st.floats(-3, 3, width=32), min_size=5, max_size=5), min_size=6, max_size=12),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_no_table_of_the_rank_is_nearer(rank: int, rows: list[list[float]], data: st.DataObject) -> None:
    """By Eckart and Young: against the singular values of the weighted, centred rows."""
    table = torch.tensor(rows, dtype=torch.float64)
    weights = torch.tensor(
        data.draw(st.lists(st.floats(0.5, 9), min_size=len(rows), max_size=len(rows))), dtype=torch.float64
    )
    factors, kept = approximation(table, rank, weights)
    share = weights / weights.sum()
    seen = factors.double()(torch.arange(len(rows))).detach()
    error = float((share[:, None] * (table - seen) ** 2).sum())
    centred = table - (share[:, None] * table).sum(dim=0)
    values = torch.linalg.svdvals(share.sqrt()[:, None] * centred) ** 2
    assert error == pytest.approx(float(values[rank:].sum()), abs=1e-5)
    if float(values.sum()) > 1e-6:
        assert kept == pytest.approx(float(values[:rank].sum() / values.sum()), abs=1e-6)


def test_what_counts_more_is_approximated_better() -> None:
    table = torch.randn(40, 8, generator=torch.Generator().manual_seed(0))
    weights = torch.ones(40)
    weights[:5] = 100
    even, _ = approximation(table, 3, torch.ones(40))
    uneven, _ = approximation(table, 3, weights)
    first = torch.arange(5)
    assert (uneven(first) - table[first]).norm() < 0.7 * (even(first) - table[first]).norm()


def test_the_words_of_the_texts_come_nearest() -> None:
    model, tokenizer = tiny_student()
    whole = token_table(model).weight.detach()
    ids = torch.tensor([VOCABULARY.index(word) for word in ("card", "machine", "payment", "cash")])

    def error(texts: list[str]) -> float:
        small, _, _ = factorise_vocabulary(model, tokenizer, texts, size_with(model, 5))
        table: torch.nn.Module = small.encoder.get_input_embeddings()
        return float((table(ids) - whole[ids]).detach().norm())

    assert error(TEXTS * 50) < 0.5 * error([])


@every_architecture
def test_the_rank_is_the_largest_that_fits_and_every_token_stays(architecture: str) -> None:
    model, tokenizer = tiny_student(architecture)
    target = size_with(model, 6) + TOKENS + WIDTH - 1
    small, small_tokenizer, report = factorise_vocabulary(model, tokenizer, TEXTS, target)
    assert (small.rank, report.rank, report.tokens) == (6, 6, TOKENS)
    assert parameter_count(small) == report.parameters_after == size_with(model, 6) <= target
    assert report.parameters_before == parameter_count(model)
    assert 0 < report.kept < 1
    assert small_tokenizer.get_vocab() == tokenizer.get_vocab()
    batch = tokenize(small_tokenizer, random_texts(5), LENGTH)
    embeddings, logits = small(**batch)
    assert embeddings.shape == (5, WIDTH)
    assert torch.isfinite(logits).all()


@every_architecture
def test_a_table_that_fits_is_kept_and_positions_are_cut(architecture: str) -> None:
    model, tokenizer = tiny_student(architecture)
    small, small_tokenizer, report = factorise_vocabulary(model, tokenizer, TEXTS, 10**9, max_length=12)
    assert (small.rank, report.rank, report.kept) == (None, None, 1.0)
    assert small_tokenizer.model_max_length == 12
    assert tokenizer.model_max_length == LENGTH
    assert parameter_count(small) == parameters_without_vocabulary(model, 12) + TOKENS * WIDTH
    for text in random_texts(5):
        before = model(**tokenize(tokenizer, [text], 12))
        after = small(**tokenize(small_tokenizer, [text], 12))
        for one, other in zip(before, after, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_a_target_that_no_rank_meets_is_refused_with_the_numbers() -> None:
    model, tokenizer = tiny_student()
    least = size_with(model, 1)
    assert factorise_vocabulary(model, tokenizer, TEXTS, least)[0].rank == 1
    said = (
        f"cannot have {least - 1:,} parameters: with one number for each of its {TOKENS} tokens it has {least:,};"
    )
    with pytest.raises(UserError, match=said):
        factorise_vocabulary(model, tokenizer, TEXTS, least - 1)
    with pytest.raises(UserError, match=f"max_length 1 does not fit this student: it reads 2 to {LENGTH}"):
        factorise_vocabulary(model, tokenizer, TEXTS, 10**9, max_length=1)


def test_the_student_given_is_left_as_it_was() -> None:
    model, tokenizer = tiny_student()
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    small, _, _ = factorise_vocabulary(model.train(), tokenizer, TEXTS, size_with(model, 3))
    assert small.training
    with torch.no_grad():
        for parameter in small.parameters():
            parameter.zero_()
    assert model.rank is None
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, weights[name], rtol=0, atol=0)


@every_architecture
def test_it_is_saved_and_read_as_it_is(architecture: str, tmp_path: Path) -> None:
    model, tokenizer = tiny_student(architecture)
    small, tokenizer, _ = factorise_vocabulary(model, tokenizer, TEXTS, size_with(model, 8))
    save_student(small, tokenizer, tmp_path)
    read, read_tokenizer = load_saved_student(tmp_path)
    assert read.rank == 8
    texts = random_texts(10)
    expected = small(**tokenize(tokenizer, texts, LENGTH))
    for one, other in zip(expected, read(**tokenize(read_tokenizer, texts, LENGTH)), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_the_runtime_computes_what_the_student_does(tmp_path: Path) -> None:
    model, tokenizer = tiny_student()
    small, tokenizer, _ = factorise_vocabulary(model, tokenizer, TEXTS, size_with(model, 8))
    texts = random_texts(40)
    with torch.no_grad():
        expected = small(**tokenize(tokenizer, texts, LENGTH))
    export_onnx(small, tokenizer, tmp_path, LENGTH, texts, precision="float32")
    seen = Encoder(tmp_path / "encoder.onnx", tmp_path / "tokenizer.json", LENGTH).encode(texts)
    for one, other in zip(seen, expected, strict=True):
        torch.testing.assert_close(torch.from_numpy(one), other, rtol=1e-3, atol=1e-3)


def test_both_tables_learn() -> None:
    model, tokenizer = tiny_student()
    small, tokenizer, _ = factorise_vocabulary(model, tokenizer, TEXTS, size_with(model, 4))
    before = {name: value.clone() for name, value in token_state(small).items()}
    texts = random_texts(24)
    labels = torch.arange(24) % 3
    data = TrainingTexts(texts, labels.numpy(), None)
    train_student(small, tokenizer, data, StudentConfig(epochs=1, min_steps=3, batch_size=8), lambda *_: None)
    for name, value in token_state(small).items():
        assert not torch.equal(value, before[name]), name


def token_state(model: StudentEncoder) -> dict[str, torch.Tensor]:
    table: torch.nn.Module = model.encoder.get_input_embeddings()
    found = dict(table.named_parameters())
    assert found.keys() == {"rows.weight", "basis", "bias"}
    return found


def test_a_tokenizer_that_cannot_be_pruned_is_no_hindrance() -> None:
    letters = {letter: index + 2 for index, letter in enumerate("abcdefgh")}
    backend = Tokenizer(models.BPE({"<pad>": 0, "<unk>": 1, **letters}, [], unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", unk_token="<unk>")
    shape = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    config = RobertaConfig(vocab_size=10, pad_token_id=0, **shape)
    model = StudentEncoder(AutoModel.from_config(config), 2).eval()
    target = parameters_without_vocabulary(model) + 2 * (10 + 8) + 8
    small, tokenizer, report = factorise_vocabulary(model, tokenizer, ["abc", "cab"], target)
    assert report.rank == 2
    assert torch.isfinite(small(**tokenize(tokenizer, [("abc de",), ("h",)], 16))[1]).all()


@pytest.mark.weights
def test_bert_tiny_at_one_percent_of_a_large_model_keeps_half_of_its_table() -> None:
    if find_spec("cognition") is None:
        pytest.skip("the package cognition, which carries BERT-tiny, is not installed")
    model, tokenizer = load_student("package:cognition/model", 3)
    small, _, report = factorise_vocabulary(model, tokenizer, TEXTS, 1_350_000, 128)
    assert 1_350_000 - 30_522 - 128 < parameter_count(small) <= 1_350_000
    assert (report.tokens, report.rank) == (token_table(model).num_embeddings, 30)
    assert 0.4 < report.kept < 0.6
