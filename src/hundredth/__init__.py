"""hundredth hands an LLM's knowledge of your task to a model one hundredth its size."""

import os
from typing import TYPE_CHECKING

from hundredth.errors import UserError

if TYPE_CHECKING:
    from os import PathLike

    from hundredth.runtime import Model
    from hundredth.runtime.engines import EngineName

__all__ = ["UserError", "load"]

# onnxruntime 1.29 and newer reports to its makers over the network unless this is set before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def load(path: "str | PathLike[str]", threads: int | None = None, engine: "EngineName" = "onnxruntime") -> "Model":
    """Load the model in the folder `path`, or that a file:// URL names; it needs a CPU and no torch.

    `threads` is how many CPU threads one prediction may use; by default all that this process may use. `engine` is
    what runs the encoder: "onnxruntime", "openvino" where it is installed, or "auto", the quicker of the two.

        model = hundredth.load("runs/tickets/model")
        model.predict(["my card was swallowed"])
    """
    # Imported here so that `import hundredth` stays a matter of milliseconds.
    from hundredth.runtime.model import load as load_model

    return load_model(path, threads, engine)
