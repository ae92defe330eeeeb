"""Loading encoders of every kind, telling them apart by what they hold, and naming them."""

import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from transformers import AutoModel, AutoTokenizer

from hundredth.errors import UserError
from hundredth.evaluation.encoders.encoder import encoder_fingerprint, encoder_labels, load_encoder

TEXTS = ["my card is gone", "where is my refund for the hotel"]


@pytest.fixture(scope="module")
def sentence_encoder(tiny_encoder, tmp_path_factory):
    """The folder of a SentenceTransformer that pools by [CLS]."""
    folder = tmp_path_factory.mktemp("sentence-encoder")
    load_encoder(str(tiny_encoder), "cls").save(str(folder))
    return folder


def states(folder, text):
    tokens = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    with torch.inference_mode():
        return AutoModel.from_pretrained(folder)(**tokens).last_hidden_state[0].numpy()


@pytest.mark.parametrize(
    ("pooling", "pool"), [("cls", lambda s: s[0]), ("mean", lambda s: s.mean(axis=0)), ("last", lambda s: s[-1])]
)
def test_a_plain_model_is_read_with_the_pooling_that_is_named(tiny_encoder, pooling, pool):
    found = load_encoder(str(tiny_encoder), pooling).encode(TEXTS)
    for text, row in zip(TEXTS, found, strict=True):
        np.testing.assert_allclose(row, pool(states(tiny_encoder, text)), atol=1e-5)


def test_a_decoder_is_read_at_its_last_token_also_beside_longer_texts(tiny_llm):
    found = load_encoder(str(tiny_llm), "last").encode(TEXTS)
    for text, row in zip(TEXTS, found, strict=True):
        np.testing.assert_allclose(row, states(tiny_llm, text)[-1], atol=1e-4)


def test_a_sentence_transformer_keeps_its_own_pooling(sentence_encoder, tiny_encoder):
    kept = load_encoder(str(sentence_encoder), "mean").encode(TEXTS[0])
    np.testing.assert_allclose(kept, states(tiny_encoder, TEXTS[0])[0], atol=1e-5)


def test_a_plain_model_without_a_pooling_is_refused(tiny_encoder):
    """sentence-transformers would take the mean and only log it: the numbers would be of another encoder."""
    with pytest.raises(UserError, match="--pooling cls, mean, last"):
        load_encoder(str(tiny_encoder))


def test_weights_in_half_precision_are_computed_in_float32(sentence_encoder, tmp_path):
    folder = shutil.copytree(sentence_encoder, tmp_path / "half")
    SentenceTransformer(str(folder)).half().save(str(folder))
    assert {one.dtype for one in load_encoder(str(folder)).parameters()} == {torch.float32}


def test_weights_that_are_missing_are_not_replaced_by_random_ones(tiny_encoder, tmp_path):
    folder = shutil.copytree(tiny_encoder, tmp_path / "torn")
    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"1 of its weights .*layer.1.output.dense.weight"):
        load_encoder(str(folder), "mean")


@pytest.mark.parametrize("wrong", ["nothing", "no config", "damaged modules", "damaged weights", "no tokenizer"])
def test_a_folder_that_holds_no_encoder_is_said_in_one_line(wrong, sentence_encoder, tmp_path):
    folder = tmp_path / "encoder"
    if wrong == "nothing":
        folder.mkdir()
        (folder / "notes.txt").write_text("nothing here")
    else:
        shutil.copytree(sentence_encoder, folder)
    if wrong == "no config":
        (folder / "config.json").unlink()
    elif wrong == "damaged modules":
        (folder / "modules.json").write_text("{")
    elif wrong == "damaged weights":
        (folder / "model.safetensors").write_bytes(b"\x00" * 100)
    elif wrong == "no tokenizer":
        for path in [*folder.glob("*token*"), *folder.glob("vocab*")]:
            path.unlink()
    with pytest.raises(UserError) as caught:
        load_encoder(str(folder), "mean")
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_pooling_is_refused(tiny_encoder):
    with pytest.raises(UserError, match="no pooling 'max': choose one of cls, mean, last"):
        load_encoder(str(tiny_encoder), "max")


def test_the_fingerprint_is_of_the_encoder_and_not_of_its_folder_or_its_use(sentence_encoder, tmp_path):
    model = load_encoder(str(sentence_encoder))
    before = encoder_fingerprint(model)
    model.encode(TEXTS)
    assert encoder_fingerprint(model) == before
    moved = shutil.copytree(sentence_encoder, tmp_path / "moved")
    assert encoder_fingerprint(load_encoder(str(moved))) == before


def _one_weight(model):
    with torch.no_grad():
        next(model.parameters())[0, 0] += 1e-3


def _length(model):
    model.max_seq_length = 8


def _prompt(model):
    model.prompts, model.default_prompt_name = {"q": "query: "}, "q"


def _tokenizer(model):
    model.tokenizer.add_tokens(["zzz"])


@pytest.mark.parametrize("change", [_one_weight, _length, _prompt, _tokenizer])
def test_whatever_changes_the_embeddings_changes_the_fingerprint(sentence_encoder, change):
    model = load_encoder(str(sentence_encoder))
    before = encoder_fingerprint(model)
    change(model)
    assert encoder_fingerprint(model) != before


def test_a_pooler_that_no_checkpoint_holds_is_not_part_of_the_fingerprint(tiny_encoder, tmp_path):
    """It is random at each loading: nothing that was measured would ever be found again."""
    folder = shutil.copytree(tiny_encoder, tmp_path / "without")
    weights = {k: v for k, v in load_file(folder / "model.safetensors").items() if "pooler" not in k}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    first, second = (load_encoder(str(folder), "mean") for _ in range(2))
    assert encoder_fingerprint(first) == encoder_fingerprint(second)


def test_another_pooling_is_another_encoder(tiny_encoder):
    marks = {encoder_fingerprint(load_encoder(str(tiny_encoder), one)) for one in ("cls", "mean", "last")}
    assert len(marks) == 3


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["runs/a", "runs/b"], ["a", "b"]),
        (["runs/a/model", "runs/b/model"], ["a/model", "b/model"]),
        (["x/seed-0/enc", "y/seed-0/enc"], ["x/seed-0/enc", "y/seed-0/enc"]),
        (["package:pkg/model", "all-MiniLM-L6-v2"], ["pkg/model", "all-MiniLM-L6-v2"]),
        (["enc", "runs/enc"], ["enc", "runs/enc"]),
    ],
)
def test_labels_are_as_short_as_they_can_be(names, labels):
    assert encoder_labels(names) == labels


def test_an_encoder_named_twice_is_refused():
    with pytest.raises(UserError, match="'a' is named twice"):
        encoder_labels(["a", "b", "a"])
