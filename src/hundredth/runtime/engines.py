"""What runs an encoder's graph on the CPU: onnxruntime, or OpenVINO where it is installed."""

import importlib
import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from hundredth.errors import MissingExtraError, UnavailableError, UserError

EngineName = Literal["onnxruntime", "openvino", "auto"]
OUTPUTS = ("embedding", "logits")

_TRIED_LENGTHS = (9, 31, 14, 22)  # tokens of the texts that `auto` is decided on
_TURNS = 3

Matrix = NDArray[np.float32]
Feeds = dict[str, NDArray[np.int64]]


class Engine(Protocol):
    """A graph that is ready to run, its `inputs` and `outputs` by name; threads may share it."""

    name: str
    inputs: list[str]
    outputs: list[str]

    def run(self, feeds: Feeds) -> tuple[Matrix, Matrix]:
        """Return `embedding` (B, d) and `logits` (B, C) of the inputs, each (B, L)."""


def open_engine(path: Path, threads: int, name: str) -> Engine:
    """Load the graph at `path` into the engine of this name, to run on so many CPU threads.

    `auto` is the quicker of those installed, on a few texts of different lengths, one at a time.

    Raises:
        UserError: there is no such engine, it is not installed, or it cannot read the graph.
    """
    if name not in get_args(EngineName):
        raise UserError(f"unknown engine {name!r}: use {', '.join(get_args(EngineName))}")
    if name == "openvino":
        return OpenVino(path, threads)
    standard = OnnxRuntime(path, threads)
    if name == "onnxruntime" or find_spec("openvino") is None:
        return standard
    installed: list[Engine] = [standard, OpenVino(path, threads)]
    return min(installed, key=_seconds)


class OnnxRuntime:
    """A session of onnxruntime."""

    name = "onnxruntime"

    def __init__(self, path: Path, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Threads that spin between requests would take the CPU from whatever else runs on a small machine.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        options.log_severity_level = 4  # what goes wrong is raised, not printed
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own exceptions share no base class but this
            raise UserError(f"{path} cannot be loaded by onnxruntime: {_lines(error)[0]}") from error
        self._path = path
        self.inputs = [item.name for item in self.session.get_inputs()]
        self.outputs = [item.name for item in self.session.get_outputs()]

    def run(self, feeds: Feeds) -> tuple[Matrix, Matrix]:
        """See `Engine`."""
        try:
            embeddings, logits = self.session.run(OUTPUTS, feeds)
        except Exception as error:  # as above; the commonest is too little memory
            raise UnavailableError(f"{self._path} cannot be run by onnxruntime: {_lines(error)[0]}") from error
        return embeddings, logits


class OpenVino:
    """A model that OpenVINO has compiled, with a request for each thread that uses it."""

    name = "openvino"

    def __init__(self, path: Path, threads: int) -> None:
        # Exact: else OpenVINO rounds to bfloat16 where the CPU can, and keys would differ from machine to machine.
        settings = {
            "EXECUTION_MODE_HINT": "ACCURACY",
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
        }
        core = _openvino().Core()
        try:
            self.model = core.compile_model(str(path), "CPU", settings)
        except RuntimeError as error:
            raise UserError(f"{path} cannot be loaded by openvino: {_lines(error)[-1]}") from error
        self.inputs = [item.any_name for item in self.model.inputs]
        self.outputs = [item.any_name for item in self.model.outputs]
        self._path = path
        self._own = threading.local()

    def run(self, feeds: Feeds) -> tuple[Matrix, Matrix]:
        """See `Engine`."""
        if not hasattr(self._own, "request"):
            self._own.request = self.model.create_infer_request()
        try:
            found = self._own.request.infer(feeds, share_inputs=True)
        except RuntimeError as error:
            raise UnavailableError(f"{self._path} cannot be run by openvino: {_lines(error)[-1]}") from error
        embeddings, logits = (found[name] for name in OUTPUTS)
        return embeddings, logits


def _openvino() -> Any:
    """Import OpenVINO without its telemetry, which would report the import over the network without asking."""
    telemetry = "openvino_telemetry"
    modules: dict[str, Any] = sys.modules
    blocked = telemetry not in modules
    if blocked:
        modules[telemetry] = None  # to OpenVINO, this is a package that is not installed: it does without
    try:
        return importlib.import_module("openvino")
    except ImportError as error:
        raise MissingExtraError("the engine openvino", "openvino", "openvino") from error
    finally:
        if blocked:
            del modules[telemetry]


def _seconds(engine: Engine) -> float:
    """Return the time for a text of each length, the least of some turns, after one that does not count."""
    texts = []
    for length in _TRIED_LENGTHS:
        ones = np.ones((1, length), dtype=np.int64)
        texts.append({name: ones if name == "attention_mask" else np.zeros_like(ones) for name in engine.inputs})
    times = []
    for _ in range(_TURNS + 1):
        started = time.perf_counter()
        for text in texts:
            engine.run(text)
        times.append(time.perf_counter() - started)
    return min(times[1:])


def _lines(error: Exception) -> list[str]:
    return [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
