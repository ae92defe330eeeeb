"""Weights in 8 bits: how close they stay, and what is left as it is."""

import numpy as np
import onnx
import onnxruntime
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from hundredth.student.quantise import arithmetic_in_int8, weights_in_int8


def toy_graph(table: np.ndarray, weight: np.ndarray) -> onnx.ModelProto:
    """ids (B, L) -> table -> two layers that share one weight -> a classifier (Gemm) on the first token.

    What the second layer reads is added to what it gives.
    """
    width = table.shape[1]
    head = np.linspace(-1, 1, width * 3, dtype=np.float32).reshape(width, 3)
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["words"], "words", axis=0),
        helper.make_node("MatMul", ["words", "weight"], ["first"], "first"),
        helper.make_node("MatMul", ["first", "weight"], ["product"], "second"),
        helper.make_node("Add", ["product", "first"], ["second"], "residual"),
        helper.make_node("Gather", ["second", "zero"], ["cls"], "cls", axis=1),
        helper.make_node("Gemm", ["cls", "head"], ["logits"], "head"),
    ]
    constants = [
        numpy_helper.from_array(table.astype(np.float32), "table"),
        numpy_helper.from_array(weight.astype(np.float32), "weight"),
        numpy_helper.from_array(head, "head"),
        numpy_helper.from_array(np.array(0, dtype=np.int64), "zero"),
    ]
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", "length"])],
        [
            helper.make_tensor_value_info("words", TensorProto.FLOAT, ["batch", "length", width]),
            helper.make_tensor_value_info("second", TensorProto.FLOAT, ["batch", "length", width]),
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3]),
        ],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def calibrating(seed: int = 0) -> list[dict[str, np.ndarray]]:
    """Ids for the ranges of activations: all fifty words, in texts of ten."""
    return [{"ids": part[None]} for part in np.random.default_rng(seed).permutation(50).reshape(5, 10)]


def run(model: onnx.ModelProto | bytes, ids: np.ndarray) -> list[np.ndarray]:
    content = model if isinstance(model, bytes) else model.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(["words", "second", "logits"], {"ids": ids})


def some_matrices(seed: int, outlier: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    table, weight = generator.normal(size=(50, 16)), generator.normal(size=(16, 16)) / 4
    table[:, 3] *= outlier
    return table, weight


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(min_value=0, max_value=1000), outlier=st.sampled_from([1.0, 30.0, 1000.0]))
def test_every_dimension_keeps_its_digits_however_large_another_is(seed: int, outlier: float) -> None:
    """Silent otherwise: with one scale for a table, one large dimension leaves the others a few bits."""
    table, weight = some_matrices(seed, outlier)
    ids = np.arange(50)[None]
    words = run(weights_in_int8(toy_graph(table, weight)), ids)[0][0]
    error = np.abs(words - table).max(axis=0) / np.sqrt(np.mean(table**2, axis=0))
    # Half a step of 1/127 of the largest value of a row, which is a few times the mean of its column.
    assert error.max() < 5 * 0.5 / 127


def test_the_outputs_stay_close_through_shared_weights() -> None:
    model = toy_graph(*some_matrices(0))
    ids = np.arange(12).reshape(3, 4)
    for small in (weights_in_int8(model), arithmetic_in_int8(model, calibrating())):
        for seen, expected in zip(run(small, ids), run(model, ids), strict=True):
            assert np.abs(seen - expected).max() < 0.03 * np.abs(expected).max()
            assert not np.array_equal(seen, expected)


def test_a_shared_weight_is_stored_once_and_the_float_matrices_are_gone() -> None:
    model = toy_graph(*some_matrices(0))
    names = [item.name for item in weights_in_int8(model).graph.initializer]
    assert sorted(names) == sorted(
        [
            "table.int8",
            "table.rows",
            "table.columns",
            "weight.int8",
            "weight.rows",
            "weight.columns",
            "head",
            "zero",
        ]
    )


def test_the_classifier_stays_in_float_in_both_ways() -> None:
    model = toy_graph(*some_matrices(0))
    head = next(item for item in model.graph.initializer if item.name == "head")
    for small in (weights_in_int8(model), onnx.load_from_string(arithmetic_in_int8(model, calibrating()))):
        floats = [numpy_helper.to_array(item) for item in small.graph.initializer if list(item.dims) == [16, 3]]
        assert len(floats) == 1
        np.testing.assert_array_equal(floats[0], numpy_helper.to_array(head))


def test_the_model_given_is_left_as_it_was() -> None:
    model = toy_graph(*some_matrices(0))
    before = model.SerializeToString()
    weights_in_int8(model)
    arithmetic_in_int8(model, calibrating())
    assert model.SerializeToString() == before


def test_int8_arithmetic_gives_a_text_the_same_in_every_batch() -> None:
    """Silent otherwise: the key of a text in the store is not the one that a query with it gets."""
    small = arithmetic_in_int8(toy_graph(*some_matrices(0)), calibrating())
    ids = np.arange(40).reshape(8, 5)
    together = run(small, ids)
    for row in range(8):
        for one, other in zip(run(small, ids[row : row + 1]), together, strict=True):
            np.testing.assert_array_equal(one[0], other[row])


def test_what_is_added_to_a_layer_is_not_rounded_with_what_the_layer_reads() -> None:
    """Silent otherwise: a tenth of the error of an embedding for nothing."""
    content = arithmetic_in_int8(toy_graph(*some_matrices(0)), calibrating())
    nodes = {node.name: node for node in onnx.load_from_string(content).graph.node}
    assert "first" in nodes["residual"].input
    assert not any("Dequantize" in name for name in nodes["residual"].input)
    assert nodes["second"].input[0].startswith("first_Dequantize")


def test_int8_weights_leave_room_for_two_products_in_16_bits() -> None:
    """Silent otherwise: processors without VNNI add two products in 16 bits, and cut off what is beyond."""
    content = arithmetic_in_int8(toy_graph(*some_matrices(0)), calibrating())
    weights = [
        numpy_helper.to_array(item)
        for item in onnx.load_from_string(content).graph.initializer
        if item.data_type == TensorProto.INT8 and list(item.dims) == [16, 16]
    ]
    assert len(weights) == 1
    assert np.abs(weights[0].astype(int)).max() <= 64


def test_a_large_table_is_restored_row_by_row_and_a_small_one_when_it_is_loaded() -> None:
    """Silent otherwise: a large vocabulary takes four times its bytes in memory."""
    generator = np.random.default_rng(0)
    weight = generator.normal(size=(4, 4))
    for rows, gathered in ((1024, "table.float"), (1025, "table.int8")):
        model = weights_in_int8(toy_graph(generator.normal(size=(rows, 4)), weight))
        assert next(node for node in model.graph.node if node.op_type == "Gather").input[0] == gathered


def test_rows_and_columns_of_zeros_stay_zeros() -> None:
    table, weight = some_matrices(0)
    table[0] = 0.0
    table[:, 5] = 0.0
    words = run(weights_in_int8(toy_graph(table, weight)), np.arange(50)[None])[0][0]
    assert np.isfinite(words).all()
    assert (words[0] == 0).all()
    assert (words[:, 5] == 0).all()
