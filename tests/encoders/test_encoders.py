"""Loading encoders whole, and telling them apart."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from transformers import AutoTokenizer, T5Config, T5EncoderModel

from hundredth.encoders import (
    POOLINGS,
    encoder_fingerprint,
    encoder_identity,
    has_own_pooling,
    load_encoder,
    set_pooling,
)
from hundredth.errors import UserError
from hundredth.files import fingerprint

TEXTS = ["my card is gone", "where is my refund for the hotel"]


@pytest.fixture(scope="module")
def sentence_encoder(tiny_encoder, tmp_path_factory):
    """The folder of a SentenceTransformer that pools by [CLS]."""
    folder = tmp_path_factory.mktemp("sentence-encoder")
    model = load_encoder(str(tiny_encoder))
    set_pooling(model, "cls", "it")
    model.save(str(folder))
    return folder


def tear(folder):
    """Take a weight out of a checkpoint."""
    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def test_models_that_are_no_sentence_transformers_get_the_usual_pooling(tiny_encoder, tiny_llm, sentence_encoder):
    found = {folder: load_encoder(str(folder)) for folder in (tiny_encoder, tiny_llm, sentence_encoder)}
    assert [model[1].pooling_mode for model in found.values()] == ["mean", "lasttoken", "cls"]
    assert [has_own_pooling(model) for model in found.values()] == [False, False, True]
    assert not any(module.training for model in found.values() for module in model.modules())


def test_settings_change_the_configuration(tiny_encoder):
    model = load_encoder(str(tiny_encoder), settings={"hidden_dropout_prob": 0.25})
    assert {module.p for name, module in model.named_modules() if name.endswith("output.dropout")} == {0.25}


def test_a_pooling_is_replaced_where_there_is_one(tiny_encoder):
    model = load_encoder(str(tiny_encoder))
    with pytest.raises(UserError, match="no pooling 'max': choose one of cls, mean, last"):
        set_pooling(model, "max", "it")
    with pytest.raises(UserError, match="it has no pooling to replace"):
        set_pooling(SentenceTransformer(modules=[model[0]]), "cls", "it")


def test_weights_in_half_precision_are_computed_in_float32(sentence_encoder, tmp_path):
    folder = shutil.copytree(sentence_encoder, tmp_path / "half")
    SentenceTransformer(str(folder)).half().save(str(folder))
    assert {one.dtype for one in load_encoder(str(folder)).parameters()} == {torch.float32}


def test_a_model_for_chats_reads_texts_as_they_are(tiny_llm, tmp_path):
    """Silent otherwise: the system's message before every text takes the place of the text where it is cut."""
    folder = shutil.copytree(tiny_llm, tmp_path / "chat")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = "be kind! {% for one in messages %}{{ one['content'] }}{% endfor %}"
    tokenizer.save_pretrained(folder)
    model = load_encoder(str(folder))
    ids = AutoTokenizer.from_pretrained(tiny_llm)(TEXTS[0]).input_ids
    assert model.preprocess(TEXTS[:1])["input_ids"].tolist() == [ids]
    model.save(str(tmp_path / "saved"))
    assert SentenceTransformer(str(tmp_path / "saved")).preprocess(TEXTS[:1])["input_ids"].tolist() == [ids]


@pytest.mark.parametrize("layout", ["plain", "sentence-transformers", "weights in a folder of their own"])
def test_weights_that_are_missing_are_not_replaced_by_random_ones(layout, tiny_encoder, sentence_encoder, tmp_path):
    folder = shutil.copytree(tiny_encoder if layout == "plain" else sentence_encoder, tmp_path / "torn")
    inner = folder
    if layout == "weights in a folder of their own":
        inner = folder / "0_Transformer"
        inner.mkdir()
        for path in [path for path in folder.iterdir() if path.is_file() and path.name != "modules.json"]:
            path.rename(inner / path.name)
        modules = json.loads((folder / "modules.json").read_text())
        modules[0]["path"] = inner.name
        (folder / "modules.json").write_text(json.dumps(modules))
    assert load_encoder(str(folder)).encode(TEXTS).shape == (2, 32)
    tear(inner)
    with pytest.raises(UserError, match=r"^base '.*torn': 1 of its weights .*layer.1.output.dense.weight"):
        load_encoder(str(folder), "base")


def test_what_a_checkpoint_holds_beside_the_encoder_is_not_missed(tiny_encoder, tmp_path):
    """Of an encoder-decoder only the encoder is read: a checkpoint without the decoder is whole."""
    shape = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
    T5EncoderModel(T5Config(vocab_size=300, **shape)).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_encoder).save_pretrained(tmp_path)
    assert load_encoder(str(tmp_path)).encode(TEXTS).shape == (2, 16)


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
        load_encoder(str(folder))
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_fingerprint_is_of_the_encoder_and_not_of_its_folder_or_its_use(sentence_encoder, tmp_path):
    model = load_encoder(str(sentence_encoder))
    before = encoder_fingerprint(model)
    model.encode(TEXTS)
    assert encoder_fingerprint(model) == before
    moved = shutil.copytree(sentence_encoder, tmp_path / "moved")
    assert encoder_fingerprint(load_encoder(str(moved))) == before


def _activation(model):
    model[0].model.config.hidden_act = "relu"


def _one_weight(model):
    with torch.no_grad():
        next(model.parameters())[0, 0] += 1e-3


def _length(model):
    model.max_seq_length = 8


def _prompt(model):
    model.prompts, model.default_prompt_name = {"q": "query: "}, "q"


def _tokenizer(model):
    model.tokenizer.add_tokens(["zzz"])


@pytest.mark.parametrize("change", [_activation, _one_weight, _length, _prompt, _tokenizer])
def test_whatever_changes_the_embeddings_changes_the_fingerprint(sentence_encoder, change):
    model = load_encoder(str(sentence_encoder))
    before = encoder_fingerprint(model)
    change(model)
    assert encoder_fingerprint(model) != before


def test_which_end_of_a_long_text_is_cut_changes_the_fingerprint_and_the_usual_one_is_as_ever(sentence_encoder):
    model = load_encoder(str(sentence_encoder))
    marks = {}
    for side in ("right", "left"):
        model.tokenizer.truncation_side = side
        marks[side] = encoder_fingerprint(model)
    assert marks["left"] != marks["right"]
    backend = json.loads(model.tokenizer.backend_tokenizer.to_str())
    own = {**backend, "padding": None, "truncation": None}
    model.tokenizer.truncation_side = "right"
    # What was measured or cached under the usual side must be found again.
    assert encoder_identity(model)["tokenizer"] == fingerprint([own, None])


def test_a_pooler_that_no_checkpoint_holds_is_not_part_of_the_fingerprint(poolerless):
    """It is random at each loading: nothing that was measured would ever be found again."""
    first, second = (load_encoder(str(poolerless)) for _ in range(2))
    assert encoder_fingerprint(first) == encoder_fingerprint(second)


def test_another_pooling_is_another_encoder(tiny_encoder):
    model = load_encoder(str(tiny_encoder))
    marks = set()
    for pooling in POOLINGS:
        set_pooling(model, pooling, "it")
        marks.add(encoder_fingerprint(model))
    assert len(marks) == 3
