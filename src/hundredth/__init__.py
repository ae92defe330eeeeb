"""hundredth hands an LLM's knowledge of your task to a model one hundredth its size."""

from typing import TYPE_CHECKING

from hundredth.errors import UserError

if TYPE_CHECKING:
    from os import PathLike

    from hundredth.runtime import Model

__all__ = ["UserError", "load"]


def load(path: "str | PathLike[str]", threads: int | None = None) -> "Model":
    """Load the model in the folder `path`; it needs a CPU and no torch.

    `threads` is how many CPU threads one prediction may use; by default all that this process may use.

        model = hundredth.load("runs/tickets/model")
        model.predict(["my card was swallowed"])
    """
    # Imported here so that `import hundredth` stays a matter of milliseconds.
    from hundredth.runtime.model import load as load_model

    return load_model(path, threads)
