"""Storing an exported encoder's weights in 8 bits: a quarter of the bytes.

Two ways. `arithmetic_in_int8` also multiplies in int8, which onnxruntime does in half the time. What activations
are rounded to is fixed beforehand, by the range that each has over a few hundred texts. `weights_in_int8` stores
int8 and computes in float32: onnxruntime turns the linear layers back into floats once, when it loads the file.
Either way a text has one embedding, whatever else is in its batch.
"""

import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

Feeds = dict[str, NDArray[np.int64]]

# The output that the classifier gives.
CLASSIFIER_OUTPUT = "logits"
_LARGEST = 127
# Keeps the scale of a channel of nothing but zeros above zero.
_SMALLEST_SCALE = 1e-12
_SMALL_TABLE = 1024  # rows
_LINEAR = ("MatMul", "Gemm")


def weights_in_int8(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of `model` with its embedding tables and linear layers stored in int8.

    The classifier stays in float: it is a few kilobytes and decides the label.
    """
    return _rewrite(model, linear=True)


def tables_in_int8(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of `model` with its embedding tables, most of a small model's bytes, stored in int8."""
    return _rewrite(model, linear=False)


def arithmetic_in_int8(model: onnx.ModelProto, texts: Iterable[Feeds]) -> bytes:
    """Return the file of `model` with its tables stored in int8 and its linear layers computed in int8.

    `texts` are the inputs by name of some texts, each (B, L): the range that an activation has over them is all
    that it can have. The classifier stays in float, and so does attention, which is a small part of the time.
    """
    small = tables_in_int8(model)  # also a copy: the quantiser changes what it is given
    constants = {item.name for item in small.graph.initializer}
    in_float = [
        node.name
        for node in small.graph.node
        if node.op_type in _LINEAR and (CLASSIFIER_OUTPUT in node.output or node.input[1] not in constants)
    ]
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "int8.onnx"
        # Weights of 7 bits (reduce_range): with 8, CPUs without VNNI overflow silently, and the keys in the store
        # would not be the keys that such a machine computes.
        quantize_static(
            small,
            target,
            _Inputs(texts),
            op_types_to_quantize=list(_LINEAR),
            nodes_to_exclude=in_float,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            extra_options={"OpTypesToExcludeOutputQuantization": list(_LINEAR)},
        )
        quantised = onnx.load(target)
    _read_unrounded(quantised.graph)
    content: bytes = quantised.SerializeToString()
    return content


def _read_unrounded(graph: onnx.GraphProto) -> None:
    """Let whatever is computed in float read its inputs as they are, not rounded for the layers beside it.

    The quantiser rounds a value for all who read it: what is added to a layer's output among them.
    """
    made_by = {node.output[0]: node for node in graph.node}
    for node in graph.node:
        if node.op_type in _LINEAR or node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            continue
        for place, name in enumerate(node.input):
            restored = made_by.get(name)
            if restored is not None and restored.op_type == "DequantizeLinear" and restored.input[0] in made_by:
                node.input[place] = made_by[restored.input[0]].input[0]


class _Inputs(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, texts: Iterable[Feeds]) -> None:
        self._texts = iter(texts)

    def get_next(self) -> Feeds | None:
        """Return the inputs of the next texts, None after the last."""
        return next(self._texts, None)


def _rewrite(model: onnx.ModelProto, linear: bool) -> onnx.ModelProto:
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    matrices = {
        item.name: item for item in graph.initializer if item.data_type == TensorProto.FLOAT and len(item.dims) == 2
    }
    nodes: list[onnx.NodeProto] = []
    done: set[str] = set()
    for node in graph.node:
        gathered = node.op_type == "Gather" and node.input[0] in matrices
        decides = CLASSIFIER_OUTPUT in node.output
        multiplied = linear and node.op_type in _LINEAR and node.input[1] in matrices and not decides
        place = 0 if gathered else 1
        name = node.input[place] if gathered or multiplied else ""
        # What is small is restored whole, when the file is loaded: positions, the two types of tokens.
        whole = multiplied or (gathered and matrices[name].dims[0] <= _SMALL_TABLE)
        if name and name not in done:
            graph.initializer.extend(_in_int8(name, numpy_helper.to_array(matrices[name])))
        if name and not whole:
            ids, result = node.input[1], node.output[0]
            nodes.extend(
                helper.make_node("Gather", [f"{name}.{part}", ids], [f"{result}.{part}"], axis=0)
                for part in ("int8", "rows")
            )
            nodes.extend(_restore(result, f"{name}.columns", result))
        elif whole:
            # onnxruntime computes this once, when it loads the file: it depends on constants alone.
            if name not in done:
                nodes.extend(_restore(name, f"{name}.columns", f"{name}.float"))
            node.input[place] = f"{name}.float"
            nodes.append(node)
        else:
            nodes.append(node)
        done.add(name)
    _replace_contents(graph, nodes)
    onnx.checker.check_model(changed)
    return changed


def _in_int8(name: str, matrix_RC: NDArray[np.float32]) -> list[onnx.TensorProto]:
    """Return NAME.int8 (R, C), NAME.rows (R, 1) and NAME.columns (C,), whose product is close to the matrix.

    Some dimensions of an encoder are far larger than others in every row, so that one scale a row would leave
    the small ones a few bits: columns are brought to the same size first, then each row fills the 8 bits.
    """
    columns_C = np.maximum(np.sqrt(np.mean(np.square(matrix_RC), axis=0)), _SMALLEST_SCALE)
    even_RC = matrix_RC / columns_C
    rows_R1 = np.maximum(np.abs(even_RC).max(axis=1, keepdims=True), _SMALLEST_SCALE) / _LARGEST
    return [
        numpy_helper.from_array(np.rint(even_RC / rows_R1).astype(np.int8), f"{name}.int8"),
        numpy_helper.from_array(rows_R1.astype(np.float32), f"{name}.rows"),
        numpy_helper.from_array(columns_C.astype(np.float32), f"{name}.columns"),
    ]


def _restore(name: str, columns: str, result: str) -> list[onnx.NodeProto]:
    """Return the nodes for RESULT = NAME.int8 * NAME.rows * COLUMNS."""
    return [
        helper.make_node("Cast", [f"{name}.int8"], [f"{name}.cast"], to=TensorProto.FLOAT),
        helper.make_node("Mul", [f"{name}.cast", f"{name}.rows"], [f"{name}.scaled"]),
        helper.make_node("Mul", [f"{name}.scaled", columns], [result]),
    ]


def _replace_contents(graph: onnx.GraphProto, nodes: list[onnx.NodeProto]) -> None:
    """Put `nodes` in the place of the graph's own, and drop the constants that none of them reads."""
    read = {name for node in nodes for name in node.input}
    copies = [node.SerializeToString() for node in nodes]
    constants = [item.SerializeToString() for item in graph.initializer if item.name in read]
    del graph.node[:]
    del graph.initializer[:]
    graph.node.extend(onnx.NodeProto.FromString(content) for content in copies)
    graph.initializer.extend(onnx.TensorProto.FromString(content) for content in constants)
