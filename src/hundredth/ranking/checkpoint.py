"""What a killed training goes on from, and the weights of the best step so far.

A checkpoint is a folder of the Trainer's (optimizer, schedule, random states, step) with the weights of the model
and of the loss; `whole.json` is written last, so that a folder without it is known for half a one.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hundredth.files import atomic_path, flush_to_disk, read_json, write_json

MARKER = "whole.json"
_WEIGHTS = "weights.safetensors"
_BEST = "best.safetensors"
_PREFIX = "checkpoint-"
_PROBE_BYTES = 1 << 20


def save_weights(model: nn.Module, loss: nn.Module, folder: Path) -> None:
    """Write the weights of the model and, under names of its own, what else the loss has learnt."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(_state(model, loss), folder / _WEIGHTS)


def load_weights(model: nn.Module, loss: nn.Module, folder: Path) -> None:
    """Read back what `save_weights` wrote."""
    _load_state(model, loss, load_file(folder / _WEIGHTS))


def mark_whole(folder: Path, step: int) -> None:
    """Say that a checkpoint is whole, once all of it is on the disk, and remove the older ones."""
    for path in folder.iterdir():
        if path.is_file():
            flush_to_disk(path)
    write_json(folder / MARKER, {"step": step})
    for other in folder.parent.glob(f"{_PREFIX}*"):
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)


def last_checkpoint(folder: Path) -> Path | None:
    """Return the latest whole checkpoint in `folder`, if there is one."""
    whole = [path.parent for path in folder.glob(f"{_PREFIX}*/{MARKER}")]
    return max(whole, key=lambda path: int(read_json(path / MARKER)["step"]), default=None)


def remove_halves(folder: Path) -> None:
    """Remove checkpoints that were cut off while they were written."""
    for path in folder.glob(f"{_PREFIX}*"):
        if not (path / MARKER).exists():
            shutil.rmtree(path, ignore_errors=True)


@contextmanager
def explaining_full_disk(folder: Path) -> Iterator[None]:
    """Raise the OSError of a full disk where torch or safetensors could not write in `folder`, and hide why."""
    try:
        yield
    except (RuntimeError, SafetensorError) as error:
        try:
            with TemporaryFile(dir=folder) as probe:
                probe.write(bytes(_PROBE_BYTES))
                probe.flush()
                os.fsync(probe.fileno())
        except OSError as full:
            raise full from error
        raise


class Best:
    """The best step so far, one file of weights with its score in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / _BEST

    @property
    def step(self) -> int | None:
        """The best step, None before the first."""
        return None if not self._path.exists() else int(self._metadata()["step"])

    @property
    def score(self) -> float:
        """Its score; below any other before the first."""
        return float("-inf") if not self._path.exists() else float(self._metadata()["score"])

    def offer(self, model: nn.Module, step: int, score: float) -> None:
        """Keep the weights of this step if no earlier one scored as high."""
        if score > self.score:
            with explaining_full_disk(self._path.parent), atomic_path(self._path) as temporary:
                # repr keeps every digit: a resumed run compares with exactly the same number.
                save_file(_own(model.state_dict()), temporary, metadata={"step": str(step), "score": repr(score)})

    def load(self, model: nn.Module) -> None:
        """Put the best weights into the model."""
        model.load_state_dict(load_file(self._path))

    def _metadata(self) -> dict[str, str]:
        with safe_open(self._path, framework="pt") as file:
            found: dict[str, str] = file.metadata()
        return found


def _state(model: nn.Module, loss: nn.Module) -> dict[str, Tensor]:
    found = {f"model.{name}": value for name, value in model.state_dict().items()}
    return _own({**found, **_beside_model(loss)})


def _load_state(model: nn.Module, loss: nn.Module, state: dict[str, Tensor]) -> None:
    model.load_state_dict({k.removeprefix("model."): v for k, v in state.items() if k.startswith("model.")})
    with torch.no_grad():
        for name, value in _beside_model(loss).items():
            value.copy_(state[name])


def _beside_model(loss: nn.Module) -> dict[str, Tensor]:
    return {f"loss.{name}": value for name, value in loss.state_dict().items() if not name.startswith("model.")}


def _own(state: dict[str, Tensor]) -> dict[str, Tensor]:
    # safetensors refuses tensors that share memory, as tied weights do.
    return {name: value.detach().cpu().clone().contiguous() for name, value in state.items()}
