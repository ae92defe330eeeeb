"""Model folders that somebody has spoilt, by mistake or by intent: none may be loaded, nor bring anything down."""

import hashlib
import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

from hundredth.files import file_fingerprint, read_json, write_json


def hostile_folders(model: Path, work: Path) -> Iterator[tuple[str, Path]]:
    """Yield copies of a model folder, each with something in it that must be refused, with its name."""
    for name, spoil in _SPOILED.items():
        folder = work / name
        shutil.copytree(model, folder)
        spoil(folder)
        yield name, folder


def _set(*path: str, value: Any) -> Callable[[Path], None]:
    """Return what puts a value into hundredth.json."""

    def spoil(folder: Path) -> None:
        content = read_json(folder / "hundredth.json")
        part = content
        for name in path[:-1]:
            part = part[name]
        part[path[-1]] = value
        write_json(folder / "hundredth.json", content)

    return spoil


def _graph(make: Callable[[onnx.ModelProto], None]) -> Callable[[Path], None]:
    """Return what changes encoder.onnx, and the fingerprints with it, as somebody would who means it."""

    def spoil(folder: Path) -> None:
        proto = onnx.load(folder / "encoder.onnx")
        make(proto)
        (folder / "encoder.onnx").write_bytes(proto.SerializeToString())
        _sign(folder)

    return spoil


def _sign(folder: Path) -> None:
    found = file_fingerprint(folder / "encoder.onnx", folder / "tokenizer.json")
    _set("encoder", "fingerprint", value=found)(folder)
    _sql(f"UPDATE meta SET value = '{found}' WHERE name = 'encoder'")(folder)


def _outside(location: str) -> Callable[[onnx.ModelProto], None]:
    """Let the first weights lie in another file."""

    def make(proto: onnx.ModelProto) -> None:
        tensor = proto.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)

    return make


def _oversize(proto: onnx.ModelProto) -> None:
    """Claim a size for the first weights that they do not have."""
    tensor = proto.graph.initializer[0]
    del tensor.dims[:]
    tensor.dims.extend([1 << 20, 1 << 20])


def _swelling(proto: onnx.ModelProto) -> None:
    """Let the graph make 256 GB of zeros, of a few bytes, and add them to the embedding."""
    size = helper.make_tensor("swollen.size", TensorProto.INT64, [2], [1 << 18, 1 << 18])
    proto.graph.initializer.append(size)
    (last,) = (node for node in proto.graph.node if "embedding" in node.output)
    last.output[list(last.output).index("embedding")] = "swollen.before"
    proto.graph.node.extend(
        [
            helper.make_node("ConstantOfShape", ["swollen.size"], ["swollen.zeros"]),
            helper.make_node("ReduceSum", ["swollen.zeros"], ["swollen.sum"], keepdims=0),
            helper.make_node("Add", ["swollen.before", "swollen.sum"], ["embedding"]),
        ]
    )


def _sql(*statements: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        connection = sqlite3.connect(folder / "store.db")
        for statement in statements:
            connection.execute(statement)
        connection.commit()
        connection.close()

    return spoil


def _write(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: _replace(folder / name, content)


def _replace(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    if path.name in ("encoder.onnx", "tokenizer.json"):
        _sign(path.parent)


def _link(folder: Path) -> None:
    (folder / "encoder.onnx").unlink()
    (folder / "encoder.onnx").symlink_to("/etc/passwd")
    _sign(folder)


def _forge(folder: Path) -> None:
    """Let the index claim 2^40 vectors, and sign it as it should be."""
    content = (folder / "index.faiss").read_bytes()
    size = int.from_bytes(content[-16:-8], "little")
    body = bytearray(content[: -16 - size])
    inner = body.index(b"IxFI")  # the part of an index that holds the vectors: its width, then their number
    body[inner + 8 : inner + 16] = (1 << 40).to_bytes(8, "little")
    about = json.loads(content[-16 - size : -16]) | {"sha256": hashlib.sha256(body).hexdigest()}
    trailer = json.dumps(about).encode()
    (folder / "index.faiss").write_bytes(body + trailer + len(trailer).to_bytes(8, "little") + content[-8:])


# What is derived from the store is made again where it is no good.
MADE_AGAIN = ("index-forged", "index-of-noise")

_SPOILED: dict[str, Callable[[Path], None]] = {
    "file-above-the-folder": _set("encoder", "file", value="../model/encoder.onnx"),
    "file-of-the-system": _set("encoder", "file", value="/etc/passwd"),
    "file-by-a-link": _link,
    "weights-above-the-folder": _graph(_outside("../../secret.bin")),
    "weights-of-the-system": _graph(_outside("/etc/passwd")),
    "weights-oversize": _graph(_oversize),
    "graph-that-swells": _graph(_swelling),
    "graph-of-noise": _write("encoder.onnx", b"\x08" * 5000),
    "format-version": _set("format_version", value=99),
    "no-format-version": _set("format_version", value=None),
    "dimension-huge": _set("encoder", "dimension", value=1 << 40),
    "max-length-huge": _set("encoder", "max_length", value=1 << 70),
    "neighbours-huge": _set("retrieval", "k", value=1 << 62),
    "labels-twice": _set("task", "labels", value=["a", "a"]),
    "description-deep": _write("hundredth.json", b"[" * 200_000),
    "description-cut": _write("hundredth.json", b'{"format_version": 2, '),
    "tokenizer-deep": _write("tokenizer.json", b'{"a":' * 100_000),
    "tokenizer-of-noise": _write("tokenizer.json", b"\xff\xfe\x00" * 100),
    "index-forged": _forge,
    "index-of-noise": _write("index.faiss", b"HUNDRIDX" * 100),
    "store-version": _sql("PRAGMA user_version = 99"),
    "store-of-another-program": _sql("PRAGMA application_id = 1"),
    "store-of-noise": _write("store.db", b"SQLite format 3\x00" + b"\xff" * 8000),
    "store-without-tables": _sql("DROP TABLE entries"),
    "store-keys-of-another-width": _sql("UPDATE entries SET key = zeroblob(400000000) WHERE id = 1"),
    "store-keys-of-nothing": _sql("UPDATE entries SET key = zeroblob(length(key))"),
    "store-texts-of-noise": _sql("UPDATE meta SET value = '{' WHERE name = 'labels'"),
}
