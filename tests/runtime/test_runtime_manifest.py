import json

import numpy as np
import pytest

import hundredth
from hundredth import UserError
from hundredth.files import file_fingerprint, read_json, write_json
from hundredth.runtime import Manifest
from hundredth.store import KnowledgeStore

LABELS = ("card_swallowed", "refund", "delivery")


def _change(folder, path, value):
    """Set the entry at `path` ("task.name") of hundredth.json; None removes it."""
    content = read_json(folder / "hundredth.json")
    *parents, last = path.split(".")
    part = content
    for name in parents:
        part = part[name]
    if value is None:
        del part[last]
    else:
        part[last] = value
    (folder / "hundredth.json").write_text(json.dumps(content))


def test_a_manifest_is_read_back_as_it_was_written(make_model, tmp_path):
    manifest = Manifest.read(make_model())
    manifest.write(tmp_path)
    assert Manifest.read(tmp_path) == manifest
    assert manifest.task.labels == LABELS
    assert read_json(tmp_path / "hundredth.json")["format_version"] == 2


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("format_version", 3, "format_version is 3, this hundredth reads 1 and 2"),
        ("format_version", None, "format_version is missing"),
        ("task", None, "task is missing"),
        ("task", [], "task is []"),
        ("task.labels", None, "task.labels is missing"),
        ("task.labels", "abc", 'task.labels is "abc": it must be a list'),
        ("task.labels", ["a", 1, "c"], "task.labels"),
        ("task.labels", ["a", "a", "c"], "different names"),
        ("task.fields", [], "task.fields"),
        ("encoder.dimension", "8", "encoder.dimension is"),
        ("encoder.dimension", True, "encoder.dimension is true"),
        ("encoder.dimension", 8.0, "encoder.dimension is 8.0: it must be a whole number"),
        ("encoder.dimension", 9, "encoder.dimension says 9, but encoder.onnx gives 8"),
        ("encoder.max_length", 0, "encoder.max_length is 0"),
        ("encoder.max_length", 2, "encoder.max_length is 2: this tokenizer needs at least 4"),
        ("encoder.precision", "int4", "encoder.precision"),
        ("encoder.file", "../encoder.onnx", "encoder.file"),
        ("encoder.file", "a/b.onnx", "encoder.file"),
        ("encoder.file", "..", "encoder.file"),
        ("encoder.file", "C:\\x.onnx", "encoder.file"),
        ("encoder.file", "other.onnx", "other.onnx is missing"),
        ("encoder.fingerprint", "0" * 64, "encoder.fingerprint is"),
        ("retrieval.k", 0, "retrieval.k is 0"),
        ("retrieval.k", 1 << 62, "must be a number from 1 to 16,384"),
        ("encoder.max_length", 1 << 70, "must be a number from 1 to 1,048,576"),
        ("retrieval.temperature", 0, "retrieval.temperature is 0.0"),
        ("retrieval.temperature", float("nan"), "retrieval.temperature is NaN"),
        ("retrieval.weight", 1.5, "retrieval.weight is 1.5"),
        ("retrieval.weight", 10**400, "retrieval.weight is 1000"),
        ("retrieval.weight", None, "retrieval.weight is missing"),
        ("retrieval.wieght", 0.5, "retrieval.wieght is not known"),
        ("calibration.temperature", -1, "calibration.temperature is -1.0"),
        ("calibration.temperature", "warm", "calibration.temperature"),
        ("provenance", "me", "provenance is"),
        ("comment", "hi", "comment is not known"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused_by_the_name_of_the_entry(make_model, path, value, message):
    folder = make_model()
    _change(folder, path, value)
    with pytest.raises(UserError) as caught:
        hundredth.load(folder)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "{", "[]", "\xff", "[" * 200_000], ids=["", "{", "[]", "ff", "deep"])
def test_a_manifest_that_is_no_json_object_is_refused(make_model, content):
    folder = make_model()
    (folder / "hundredth.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match=r"hundredth\.json"):
        hundredth.load(folder)


def test_a_folder_that_is_no_model_is_named(tmp_path):
    with pytest.raises(UserError, match="not a model folder"):
        hundredth.load(tmp_path)
    with pytest.raises(UserError, match="not a model folder"):
        hundredth.load(str(tmp_path / "nowhere"))


@pytest.mark.parametrize("name", ["encoder.onnx", "tokenizer.json"])
def test_a_changed_or_missing_file_is_noticed(make_model, name):
    """Silent otherwise: the keys in the store come from another encoder than the queries."""
    folder = make_model()
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content + b"\n")
    with pytest.raises(UserError, match=r"encoder\.fingerprint"):
        hundredth.load(folder)
    (folder / name).unlink()
    with pytest.raises(UserError, match=f"{name} is missing"):
        hundredth.load(folder)


@pytest.mark.parametrize("name", ["encoder.onnx", "tokenizer.json"])
def test_a_file_that_is_not_what_its_name_says_is_refused(make_model, name):
    folder = make_model()
    (folder / name).write_bytes(b"not that")
    fingerprint = file_fingerprint(folder / "encoder.onnx", folder / "tokenizer.json")
    _change(folder, "encoder.fingerprint", fingerprint)
    with pytest.raises(UserError, match=name):
        hundredth.load(folder)


def test_a_tokenizer_without_padding_token_is_refused(make_model):
    folder = make_model()
    path = folder / "tokenizer.json"
    path.write_text(path.read_text().replace("[PAD]", "[nothing]"))
    _change(folder, "encoder.fingerprint", file_fingerprint(folder / "encoder.onnx", path))
    with pytest.raises(UserError, match="no padding section"):
        hundredth.load(folder)


def test_the_padding_section_of_the_tokenizer_is_used(make_model):
    folder = make_model()
    content = read_json(folder / "tokenizer.json")
    content["padding"] = {
        "strategy": "BatchLongest",
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 1,
        "pad_type_id": 0,
        "pad_token": "[UNK]",
    }
    write_json(folder / "tokenizer.json", content)
    _change(
        folder,
        "encoder.fingerprint",
        file_fingerprint(folder / "encoder.onnx", folder / "tokenizer.json"),
    )
    _change(folder, "retrieval.weight", 0.0)
    for name in ("store.db", "index.faiss"):
        (folder / name).unlink()
    with hundredth.load(folder) as model:
        assert model._encoder._pad == 1
        alone, together = model.embed(["card"])[0][0], model.embed(["card", "money back refund"])[0][0]
    assert np.allclose(alone, together, atol=1e-6)


@pytest.mark.parametrize(
    ("labels", "dimension", "encoder", "message"),
    [
        (LABELS[::-1], 8, None, "task.labels"),
        (LABELS, 9, None, "encoder.dimension"),
        (LABELS, 8, "another", "encoder.fingerprint"),
    ],
)
def test_a_store_of_another_model_is_refused(make_model, labels, dimension, encoder, message):
    """Silent otherwise: labels in another order turn every prediction round."""
    folder = make_model()
    for name in ("store.db", "index.faiss"):
        (folder / name).unlink()
    fingerprint = encoder or Manifest.read(folder).encoder.fingerprint
    KnowledgeStore.create(folder, labels, dimension, fingerprint).close()
    with pytest.raises(UserError, match=message):
        hundredth.load(folder)


def test_a_model_that_needs_knowledge_does_not_load_without_it(make_model):
    folder = make_model()
    (folder / "store.db").unlink()
    with pytest.raises(UserError, match=r"store\.db is missing, but retrieval\.weight is 0\.4"):
        hundredth.load(folder)


def test_a_model_with_fewer_logits_than_labels_is_refused(make_model):
    folder = make_model()
    _change(folder, "task.labels", ["a", "b"])
    with pytest.raises(UserError, match=r"task\.labels says 2, but encoder\.onnx gives 3"):
        hundredth.load(folder)
