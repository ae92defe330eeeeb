"""The student encoder: pooling, loading, saving."""

import json
import logging
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_student import CONFIGS, LENGTH, every_architecture, random_texts, tiny_student, wordpiece_tokenizer
from transformers import AutoModel, BertForMaskedLM, BertModel, GPT2Config, GPT2Model

from hundredth.errors import UserError
from hundredth.student.model import (
    StudentEncoder,
    load_saved_student,
    load_student,
    parameter_count,
    save_student,
    tokenize,
)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A folder as the hub has them: BERT with its masked-word head, and a tokenizer."""
    folder = tmp_path / "bert"
    BertForMaskedLM(CONFIGS["bert"]()).save_pretrained(folder)
    wordpiece_tokenizer().save_pretrained(folder)
    return folder


@every_architecture
def test_embeddings_have_unit_length_and_logits_one_number_a_label(architecture: str) -> None:
    model, tokenizer = tiny_student(architecture, num_labels=5)
    embedding, logits = model(**tokenize(tokenizer, random_texts(7), LENGTH))
    assert embedding.shape == (7, model.dimension)
    assert logits.shape == (7, 5)
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(7))


@every_architecture
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_padding_does_not_change_a_text(architecture: str, pooling: str) -> None:
    """Silent otherwise: a mean over padding makes an embedding depend on its neighbours in the batch."""
    model, tokenizer = tiny_student(architecture, pooling=pooling)  # type: ignore[arg-type]
    texts = [("card",), ("money transfered swallowing accounts machines",)]
    together = model(**tokenize(tokenizer, texts, LENGTH))
    alone = model(**tokenize(tokenizer, texts[:1], LENGTH))
    torch.testing.assert_close(together[0][:1], alone[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(together[1][:1], alone[1], rtol=1e-5, atol=1e-5)


def test_mean_and_cls_pooling_are_what_they_say() -> None:
    for pooling in ("mean", "cls"):
        model, tokenizer = tiny_student(pooling=pooling)  # type: ignore[arg-type]
        batch = tokenize(tokenizer, [("lost card",), ("help",)], LENGTH)
        hidden = model.encoder(**batch).last_hidden_state
        rows = [row[mask.bool()] for row, mask in zip(hidden, batch["attention_mask"], strict=True)]
        pooled = torch.stack([row.mean(dim=0) if pooling == "mean" else row[0] for row in rows])
        embedding, logits = model(**batch)
        torch.testing.assert_close(embedding, pooled / pooled.norm(dim=1, keepdim=True))
        torch.testing.assert_close(logits, model.classifier(pooled))


def test_dropout_acts_in_training_on_the_logits_alone() -> None:
    model, tokenizer = tiny_student()
    batch = tokenize(tokenizer, random_texts(4), LENGTH)
    still = model(**batch)
    model.dropout.train()
    moving = model(**batch)
    torch.testing.assert_close(still[0], moving[0])
    assert not torch.allclose(still[1], moving[1])


def test_the_unused_pooler_is_neither_counted_nor_kept() -> None:
    encoder = AutoModel.from_config(CONFIGS["bert"]())
    with_pooler = parameter_count(encoder)
    model = StudentEncoder(encoder, 3)
    assert parameter_count(model) == with_pooler - (16 * 16 + 16) + (16 * 3 + 3)
    assert not [name for name in model.state_dict() if "pooler" in name]


def test_a_pair_of_fields_is_told_apart_by_token_types() -> None:
    model, tokenizer = tiny_student()
    batch = tokenize(tokenizer, [("card", "lost money")], LENGTH)
    assert batch["token_type_ids"].tolist() == [[0, 0, 0, 1, 1, 1]]
    without = {name: tensor for name, tensor in batch.items() if name != "token_type_ids"}
    assert not torch.allclose(model(**batch)[0], model(**without)[0])


def test_more_than_two_fields_are_read_and_cut_to_the_length() -> None:
    _, tokenizer = tiny_student()
    three = tokenize(tokenizer, [("card", "lost", "money")], LENGTH)
    assert (
        three["input_ids"].tolist() == tokenize(tokenizer, [("card", "lost money")], LENGTH)["input_ids"].tolist()
    )
    assert tokenize(tokenizer, [("card " * 50, "lost " * 50)], 9)["input_ids"].shape == (1, 9)


@pytest.mark.parametrize(("architecture", "offset"), [("bert", 0), ("roberta", 2), ("mpnet", 2), ("modernbert", 0)])
def test_the_most_tokens_are_what_the_encoder_can_really_read(architecture: str, offset: int) -> None:
    model, tokenizer = tiny_student(architecture)
    assert model.position_offset == offset
    assert model.max_positions == LENGTH
    batch = tokenize(tokenizer, [("card " * 100,)], model.max_positions)
    assert batch["input_ids"].shape == (1, LENGTH)
    assert torch.isfinite(model(**batch)[0]).all()


@pytest.mark.parametrize("options", [{"num_labels": 1}, {"num_labels": 3, "pooling": "max"}])
def test_options_that_make_no_student_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UserError, match=r"at least 2 labels, not 1|'mean' or 'cls'"):
        StudentEncoder(AutoModel.from_config(CONFIGS["bert"]()), **options)  # type: ignore[arg-type]


# --- Loading a pretrained encoder -----------------------------------------------------------------------


def test_a_checkpoint_with_another_head_loads_quietly_and_exactly(
    checkpoint: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        model, tokenizer = load_student(str(checkpoint), 4)
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
    expected = BertModel.from_pretrained(checkpoint, add_pooling_layer=False).eval()
    batch = tokenize(tokenizer, random_texts(3), LENGTH)
    torch.testing.assert_close(model.eval().encoder(**batch).last_hidden_state, expected(**batch).last_hidden_state)
    assert model(**batch)[1].shape == (3, 4)


def test_a_checkpoint_in_half_precision_is_trained_in_float32(checkpoint: Path) -> None:
    weights = {name: tensor.half() for name, tensor in load_file(checkpoint / "model.safetensors").items()}
    save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})
    model, _ = load_student(str(checkpoint), 3)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_a_checkpoint_without_some_weights_is_refused(checkpoint: Path) -> None:
    """Silent otherwise: transformers fills missing weights with random numbers and goes on."""
    weights = load_file(checkpoint / "model.safetensors")
    del weights["bert.encoder.layer.1.output.dense.weight"]
    save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"1 of its weights are not in its checkpoint .*layer\.1\.output"):
        load_student(str(checkpoint), 3)


def test_a_damaged_checkpoint_is_refused(checkpoint: Path) -> None:
    content = (checkpoint / "model.safetensors").read_bytes()
    (checkpoint / "model.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="cannot load the student"):
        load_student(str(checkpoint), 3)


def test_a_model_that_only_reads_forwards_is_refused(tmp_path: Path) -> None:
    GPT2Model(GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=50)).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="is a 'gpt2' model, not an encoder"):
        load_student(str(tmp_path), 3)


def test_a_folder_without_a_tokenizer_is_refused(checkpoint: Path) -> None:
    """Silent otherwise: transformers makes an empty tokenizer, to which every word is unknown."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (checkpoint / name).unlink()
    with pytest.raises(UserError, match=r"its tokenizer has \d tokens where its encoder has 72"):
        load_student(str(checkpoint), 3)


def test_a_tokenizer_of_a_larger_model_is_refused(checkpoint: Path) -> None:
    tokenizer = wordpiece_tokenizer()
    tokenizer.add_tokens(["anotherword"])
    tokenizer.save_pretrained(checkpoint)
    with pytest.raises(UserError, match="its tokenizer has 73 tokens where its encoder has 72"):
        load_student(str(checkpoint), 3)


def test_a_folder_that_is_not_there_or_holds_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file or folder"):
        load_student(str(tmp_path / "nothing"), 3)
    with pytest.raises(UserError, match="cannot load the student"):
        load_student(str(tmp_path), 3)


def test_a_hub_name_without_a_network_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"cannot load the student 'someone/no-such-model'.*needs a network"):
        load_student("someone/no-such-model", 3)


@pytest.mark.weights
def test_bert_tiny_loads_from_a_package_with_trained_weights() -> None:
    if find_spec("cognition") is None:
        pytest.skip("the package cognition, which carries BERT-tiny, is not installed")
    model, tokenizer = load_student("package:cognition/model", 3)
    assert model.dimension == 128
    assert model.max_positions == 512
    assert parameter_count(model) == 4_369_408 + 128 * 3 + 3
    texts = [("my card was swallowed by the machine",), ("the atm kept my card",), ("a recipe for apple cake",)]
    embedding, _ = model.eval()(**tokenize(tokenizer, texts, 32))
    assert embedding[0] @ embedding[1] > embedding[0] @ embedding[2]


# --- Saving and loading a trained student ---------------------------------------------------------------


@every_architecture
def test_a_saved_student_comes_back_exactly(architecture: str, tmp_path: Path) -> None:
    model, tokenizer = tiny_student(architecture, pooling="cls")
    model.train()
    texts = [*random_texts(5), ("unknown ☃ zebra",), ("card " * 60,)]
    expected_batch = tokenize(tokenizer, texts, 12)
    save_student(model, tokenizer, tmp_path / "saved")
    assert {path.name for path in (tmp_path / "saved").iterdir()} == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    }
    loaded, loaded_tokenizer = load_saved_student(tmp_path / "saved")
    assert not loaded.training
    assert (loaded.pooling, loaded.num_labels, loaded.dropout.p) == ("cls", 3, 0.1)
    batch = tokenize(loaded_tokenizer, texts, 12)
    assert {name: tensor.tolist() for name, tensor in batch.items()} == {
        name: tensor.tolist() for name, tensor in expected_batch.items()
    }
    for seen, expected in zip(loaded(**batch), model.eval()(**batch), strict=True):
        torch.testing.assert_close(seen, expected, rtol=0, atol=0)
    assert loaded_tokenizer.mask_token_id == tokenizer.mask_token_id


def test_the_state_of_earlier_calls_is_not_saved_with_the_tokenizer(tmp_path: Path) -> None:
    """Silent otherwise: a tokenizer that was last used with a short length cuts every text to it."""
    model, tokenizer = tiny_student()
    tokenize(tokenizer, [("card " * 60,)], 5)
    save_student(model, tokenizer, tmp_path)
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    assert content["truncation"] is None
    assert content["padding"] is None


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_saved_student_with_a_file_missing_names_it(name: str, tmp_path: Path) -> None:
    save_student(*tiny_student(), tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(UserError, match=f"{name} is missing"):
        load_saved_student(tmp_path)


def test_a_saved_student_with_damaged_weights_is_refused(tmp_path: Path) -> None:
    save_student(*tiny_student(), tmp_path)
    content = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(content[:-100])
    with pytest.raises(UserError, match=r"model\.safetensors does not fit its config\.json or is damaged"):
        load_saved_student(tmp_path)


def test_a_saved_student_of_another_format_is_refused(tmp_path: Path, checkpoint: Path) -> None:
    save_student(*tiny_student(), tmp_path / "saved")
    config = json.loads((tmp_path / "saved" / "config.json").read_text())
    config["hundredth_student"]["format_version"] = 99
    (tmp_path / "saved" / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="format 99, but this version reads 1"):
        load_saved_student(tmp_path / "saved")
    with pytest.raises(UserError, match="format None"):
        load_saved_student(checkpoint)
