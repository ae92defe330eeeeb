"""Where a killed reinforcement learning goes on from: one file, replaced as a whole after every rollout."""

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from hundredth.extraction.policy import Policy
from hundredth.extraction.soft_prompt import SoftPrompt
from hundredth.files import atomic_path

_FILE = "checkpoint.safetensors"


@dataclass
class Standing:
    """How far the learning has come: the next step, the KL weight, the numbers of every rollout so far.

    `good_step` is the last rollout without a symptom, `ill` how many have shown one since, `collapse` what was
    said when that ended the learning. `seen` are the latest texts, by `Rollout.keys`.
    """

    step: int = 0
    kl_weight: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    good_step: int = 0
    ill: int = 0
    collapse: str | None = None
    seen: list[str] = field(default_factory=list)


def save_checkpoint(
    folder: Path,
    key: str,
    standing: Standing,
    policy: Policy,
    good: SoftPrompt,
    optimizer: torch.optim.Optimizer,
) -> None:
    """Write everything that the next step depends on; random numbers are made from the seed and the step."""
    tensors = {f"{part}.{name}": value for part, name, value in _tensors(policy, good)}
    for number, state in optimizer.state_dict()["state"].items():
        tensors.update({f"optimizer.{number}.{name}": value for name, value in state.items()})
    metadata = {"key": key, "standing": json.dumps(asdict(standing))}
    with atomic_path(folder / _FILE) as temporary:
        save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, temporary, metadata)


def load_checkpoint(
    folder: Path, key: str, policy: Policy, optimizer: torch.optim.Optimizer
) -> tuple[Standing, SoftPrompt] | None:
    """Put a checkpoint back into policy and optimizer; return where it stands, and the last good prompt.

    None where there is none, or one of other settings (another `key`).
    """
    try:
        with safe_open(folder / _FILE, framework="pt") as file:
            metadata: dict[str, str] = file.metadata()
            if metadata["key"] != key:
                return None
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError):
        return None
    good = policy.prompt.copy()
    with torch.no_grad():
        for part, name, value in _tensors(policy, good):
            value.copy_(tensors[f"{part}.{name}"])
    states: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, number, inner = name.split(".")
            states.setdefault(int(number), {})[inner] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": states})
    return _standing(json.loads(metadata["standing"])), good


def _tensors(policy: Policy, good: SoftPrompt) -> list[tuple[str, str, Tensor]]:
    parts = {"prompt": policy.prompt, "value": policy.value, "good": good}
    return [(part, name, value) for part, module in parts.items() for name, value in module.state_dict().items()]


def _standing(values: dict[str, Any]) -> Standing:
    return Standing(**{one.name: values[one.name] for one in fields(Standing) if one.name in values})
