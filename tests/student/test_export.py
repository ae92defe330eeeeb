"""The exported encoder against the torch model: dynamic shapes, 8 bits, and what the runtime expects."""

import contextlib
import io
import logging
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from tiny_student import LENGTH, random_texts, tiny_student
from transformers import PreTrainedTokenizerFast

from hundredth.errors import UserError
from hundredth.runtime.encoder import Encoder
from hundredth.runtime.engines import EngineName
from hundredth.student import export
from hundredth.student.export import ExportReport, export_onnx
from hundredth.student.model import StudentEncoder, load_student, save_student, tokenize
from hundredth.student.prune import prune_vocabulary

Student = tuple[StudentEncoder, PreTrainedTokenizerFast]

openvino = pytest.mark.skipif(find_spec("openvino") is None, reason="the package openvino is not installed")
every_engine = pytest.mark.parametrize("engine", ["onnxruntime", pytest.param("openvino", marks=openvino)])


def with_clear_labels(architecture: str, fields: int) -> tuple[Student, list[tuple[str, ...]]]:
    """A student and the texts of which it is sure, as it is of most after training."""
    model, tokenizer = tiny_student(architecture)
    texts = random_texts(150, fields=fields)
    with torch.no_grad():
        _, logits = model(**tokenize(tokenizer, texts, LENGTH))
        model.classifier.bias.sub_(logits.mean(dim=0))
        top = (logits - logits.mean(dim=0)).topk(2, dim=1).values
    sure = (top[:, 0] - top[:, 1]).argsort(descending=True)[:60]
    return (model, tokenizer), [texts[int(index)] for index in sure]


def outputs(folder: Path, model: StudentEncoder, batch: dict[str, torch.Tensor]) -> tuple[Any, Any]:
    session = onnxruntime.InferenceSession(folder / "encoder.onnx", providers=["CPUExecutionProvider"])
    feeds = {value.name: batch[value.name].numpy() for value in session.get_inputs()}
    with torch.no_grad():
        return session.run(["embedding", "logits"], feeds), [output.numpy() for output in model(**batch)]


@pytest.fixture(scope="module")
def float_export(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Student, ExportReport]:
    folder = tmp_path_factory.mktemp("float")
    student, texts = with_clear_labels("bert", fields=2)
    student[0].train()
    report = export_onnx(*student, folder, LENGTH, texts, precision="float32")
    assert student[0].training
    student[0].eval()
    return folder, student, report


@pytest.fixture(scope="module")
def int8_export(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Student, ExportReport, str]:
    """A student without token types, in 8 bits; with all that the export printed, logged or warned of."""
    folder = tmp_path_factory.mktemp("int8")
    student, texts = with_clear_labels("mpnet", fields=1)
    noise = io.StringIO()
    handler = logging.StreamHandler(noise)
    handler.setLevel(logging.WARNING)
    logging.getLogger().addHandler(handler)
    with (
        warnings.catch_warnings(record=True) as caught,
        contextlib.redirect_stdout(noise),
        contextlib.redirect_stderr(noise),
    ):
        warnings.simplefilter("always")
        report = export_onnx(*student, folder, LENGTH, texts)
    logging.getLogger().removeHandler(handler)
    return folder, student, report, noise.getvalue() + "".join(str(warning.message) for warning in caught)


def test_the_float_export_agrees_for_every_batch_and_length(
    float_export: tuple[Path, Student, ExportReport],
) -> None:
    """Silent otherwise: the batch or the length of the traced example baked into the graph."""
    folder, (model, tokenizer), report = float_export
    for count in (1, 2, 5):
        for length in (3, 4, 11, LENGTH):
            batch = tokenize(tokenizer, random_texts(count, seed=count * length, fields=2), length)
            seen, expected = outputs(folder, model, batch)
            for one, other in zip(seen, expected, strict=True):
                np.testing.assert_allclose(one, other, atol=1e-4)
    assert (report.precision, report.float_agreement, report.int8_agreement) == ("float32", 1.0, None)
    assert report.max_embedding_difference < 1e-5
    assert report.reason == "float32 was asked for"
    assert report.texts == 60


def test_the_int8_export_keeps_labels_and_almost_the_embeddings(
    int8_export: tuple[Path, Student, ExportReport, str],
) -> None:
    folder, (model, tokenizer), report, _ = int8_export
    assert report.precision == "int8"
    assert report.int8_agreement is not None
    assert report.int8_agreement >= 0.995
    assert 0 < report.max_embedding_difference < 0.05
    assert report.reason.startswith("weights and arithmetic in int8: 100.0% of 60 texts")
    seen, expected = outputs(folder, model, tokenize(tokenizer, random_texts(20, seed=9), LENGTH))
    np.testing.assert_allclose(seen[0], expected[0], atol=0.05)
    np.testing.assert_allclose(np.linalg.norm(seen[0], axis=1), 1.0, atol=1e-5)


def test_the_weights_of_an_int8_export_are_stored_in_8_bits(
    int8_export: tuple[Path, Student, ExportReport, str],
) -> None:
    folder, (model, _), report, _ = int8_export
    assert report.bytes == (folder / "encoder.onnx").stat().st_size
    constants = onnx.load(folder / "encoder.onnx").graph.initializer
    small = [item for item in constants if item.data_type == onnx.TensorProto.INT8 and len(item.dims) == 2]
    # Two layers of four attention and two feed-forward matrices; words, positions, relative positions.
    assert len(small) == 2 * 6 + 3
    matrices = [
        item
        for item in constants
        if item.data_type == onnx.TensorProto.FLOAT and len(item.dims) == 2 and min(item.dims) > 1
    ]
    assert [sorted(item.dims) for item in matrices] == [sorted(model.classifier.weight.shape)]


def test_an_int8_embedding_does_not_depend_on_the_batch(
    int8_export: tuple[Path, Student, ExportReport, str],
) -> None:
    """Silent otherwise: the same text has one key in the store and another as a query."""
    folder, (model, tokenizer), _, _ = int8_export
    texts = random_texts(16, seed=4)
    together, _ = outputs(folder, model, tokenize(tokenizer, texts, LENGTH))
    alone = [outputs(folder, model, tokenize(tokenizer, [text], LENGTH))[0][0] for text in texts]
    np.testing.assert_allclose(together[0], np.concatenate(alone), atol=1e-5)


def test_the_8_bit_versions_are_close_and_the_first_multiplies_in_8_bits(
    float_export: tuple[Path, Student, ExportReport],
) -> None:
    model, tokenizer = float_export[1]
    texts = random_texts(20, seed=8, fields=2)
    versions = eight_bit_versions(float_export)
    assert [what for what, _ in versions] == [
        "weights and arithmetic in int8",
        "weights in int8, arithmetic in float32",
        "embedding tables in int8, the rest in float32",
    ]
    kinds = [[node.op_type for node in onnx.load_from_string(content).graph.node] for _, content in versions]
    # Two layers with one product for queries, keys and values, and three more; each is given its input in 8 bits.
    assert kinds[0].count("QuantizeLinear") == 2 * 4
    assert "QuantizeLinear" not in kinds[1]
    expected = export._run_torch(model, tokenizer, texts, LENGTH)
    for _, content in versions:
        seen = export._run_onnx(content, tokenizer, texts, LENGTH)
        assert 0 < seen.embedding_difference(expected) < 0.05


def eight_bit_versions(exported: tuple[Path, Student, ExportReport]) -> list[tuple[str, bytes]]:
    """Return every 8-bit version of a float export, with what it is."""
    folder, (_, tokenizer), _ = exported
    graph, texts = onnx.load(folder / "encoder.onnx"), random_texts(60, fields=2)
    return list(export._quantised_versions(graph, tokenizer, texts, LENGTH))


def test_the_export_is_quiet(int8_export: tuple[Path, Student, ExportReport, str]) -> None:
    assert int8_export[3] == ""


def test_the_graph_has_the_inputs_and_outputs_that_the_runtime_loads(
    float_export: tuple[Path, Student, ExportReport], int8_export: tuple[Path, Student, ExportReport, str]
) -> None:
    for folder, names in (
        (float_export[0], ["input_ids", "attention_mask", "token_type_ids"]),
        (int8_export[0], ["input_ids", "attention_mask"]),
    ):
        assert {path.name for path in folder.iterdir()} == {"encoder.onnx", "tokenizer.json"}
        proto = onnx.load(folder / "encoder.onnx")
        # What the oldest onnxruntime that the package allows can read.
        assert proto.ir_version <= 10
        assert all(opset.version <= 21 for opset in proto.opset_import if opset.domain == "")
        session = onnxruntime.InferenceSession(folder / "encoder.onnx", providers=["CPUExecutionProvider"])
        assert [value.name for value in session.get_inputs()] == names
        assert all(value.type == "tensor(int64)" for value in session.get_inputs())
        assert all(value.shape == ["batch", "length"] for value in session.get_inputs())
        assert [(value.name, value.shape) for value in session.get_outputs()] == [
            ("embedding", ["batch", 16]),
            ("logits", ["batch", 3]),
        ]


@every_engine
def test_the_runtime_gives_what_the_trained_model_gives(
    float_export: tuple[Path, Student, ExportReport], engine: EngineName
) -> None:
    """Silent otherwise: fields joined, cut or padded in another way than in training."""
    folder, (model, tokenizer), _ = float_export
    texts = [*random_texts(9, seed=3, fields=2), ("card " * 30, "lost " * 3), ("Zebra!", "☃ unknown")]
    encoder = Encoder(folder / "encoder.onnx", folder / "tokenizer.json", LENGTH, engine=engine)
    embedding, logits = encoder.encode(texts)
    with torch.no_grad():
        expected = model(**tokenize(tokenizer, texts, LENGTH))
    np.testing.assert_allclose(embedding, expected[0].numpy(), atol=1e-5)
    np.testing.assert_allclose(logits, expected[1].numpy(), atol=1e-4)


@openvino
@pytest.mark.parametrize("version", range(3), ids=["arithmetic", "weights", "tables"])
def test_openvino_reads_every_8_bit_version_as_onnxruntime_does(
    float_export: tuple[Path, Student, ExportReport], tmp_path: Path, version: int
) -> None:
    """Silent otherwise: the keys of a store made with one engine are not those that the other computes."""
    folder, _, _ = float_export
    _, content = eight_bit_versions(float_export)[version]
    (tmp_path / "encoder.onnx").write_bytes(content)
    texts = [(" ".join(text),) for text in random_texts(20, seed=6, fields=2)]
    files = tmp_path / "encoder.onnx", folder / "tokenizer.json", LENGTH
    for one, other in zip(
        Encoder(*files, engine="openvino").encode(texts), Encoder(*files).encode(texts), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_where_8_bits_change_labels_the_float_version_is_kept_and_the_reason_given(tmp_path: Path) -> None:
    """Two labels that hardly differ: the rounding to 8 bits decides between them."""
    model, tokenizer = tiny_student(num_labels=2)
    texts = random_texts(150, seed=5)
    with torch.no_grad():
        weight = model.classifier.weight
        weight[1] = weight[0] + 0.001 * weight[1]
        _, logits = model(**tokenize(tokenizer, texts, LENGTH))
        model.classifier.bias[0] += (logits[:, 1] - logits[:, 0]).median()
    report = export_onnx(model, tokenizer, tmp_path, LENGTH, texts)
    assert report.precision == "float32"
    assert report.int8_agreement is not None
    assert report.int8_agreement < 0.995
    assert report.float_agreement >= 0.995
    assert f"only {report.int8_agreement:.1%} of 150 texts" in report.reason
    kinds = {item.data_type for item in onnx.load(tmp_path / "encoder.onnx").graph.initializer}
    assert onnx.TensorProto.INT8 not in kinds


def test_an_export_that_computes_something_else_is_refused_and_not_written(
    float_export: tuple[Path, Student, ExportReport], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported = onnx.load(float_export[0] / "encoder.onnx")
    student, texts = tiny_student(seed=1), random_texts(5)
    monkeypatch.setattr(export, "_to_onnx", lambda model, max_length: exported)
    with pytest.raises(UserError, match="this 'bert' student does not compute what the torch model does"):
        export_onnx(*student, tmp_path, LENGTH, texts)
    assert not list(tmp_path.iterdir())


def test_options_that_cannot_be_met_are_refused(tmp_path: Path) -> None:
    model, tokenizer = tiny_student()
    with pytest.raises(UserError, match="needs some texts"):
        export_onnx(model, tokenizer, tmp_path, LENGTH, [])
    with pytest.raises(UserError, match=f"max_length 99 does not fit this student: it reads 2 to {LENGTH} tokens"):
        export_onnx(model, tokenizer, tmp_path, 99, [("card",)])
    with pytest.raises(UserError, match="unknown precision 'int4'"):
        export_onnx(model, tokenizer, tmp_path, LENGTH, [("card",)], precision="int4")  # type: ignore[arg-type]


@pytest.mark.weights
@pytest.mark.slow
def test_bert_tiny_shrinks_to_a_quarter_and_keeps_its_neighbours(tmp_path: Path) -> None:
    if find_spec("cognition") is None:
        pytest.skip("the package cognition, which carries BERT-tiny, is not installed")
    model, tokenizer = load_student("package:cognition/model", 2)
    model.eval()
    topics = [
        ("my card was swallowed by the machine",),
        ("the atm kept my bank card",),
        ("bake the cake for forty minutes",),
        ("a recipe for apple pie with cream",),
    ]
    with torch.no_grad():  # label = which of two topics is nearer
        embedding, _ = model(**tokenize(tokenizer, topics, 32))
        model.classifier.weight.copy_(torch.stack([embedding[0], embedding[3]]))
    model, tokenizer, _ = prune_vocabulary(model, tokenizer, [text for (text,) in topics], 8000, 64)
    save_student(model, tokenizer, tmp_path / "float")
    report = export_onnx(model, tokenizer, tmp_path, 64, topics)
    assert report.precision == "int8"
    assert report.bytes < 0.3 * (tmp_path / "float" / "model.safetensors").stat().st_size
    assert report.max_embedding_difference < 0.05
    seen, _ = Encoder(tmp_path / "encoder.onnx", tmp_path / "tokenizer.json", 64).encode(topics)
    np.testing.assert_allclose(seen @ seen.T, (embedding @ embedding.T).numpy(), atol=0.03)
