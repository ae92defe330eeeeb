"""The file format of every number that is published: what was measured, on which machine, with which versions."""

import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil
import torch

from hundredth.files import write_json
from hundredth.runtime.encoder import available_threads

_PACKAGES = (
    "hundredth",
    "torch",
    "transformers",
    "peft",
    "sentence-transformers",
    "onnxruntime",
    "faiss-cpu",
    "tokenizers",
    "numpy",
    "scikit-learn",
)


@dataclass(frozen=True)
class Row:
    """One metric of one system on one task: a value per seed, or a single one where no seed takes part.

    `seeds` are those of the values where they are not the first of the file's.
    """

    task: str
    system: str
    metric: str
    values: list[float]
    unit: str
    seeds: list[int] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the row as JSON holds it, without seeds where none are named."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def write_results(path: Path, name: str, seeds: Sequence[int], rows: Sequence[Row]) -> None:
    """Write the results of `name` with the date, the commit, the machine and the versions, atomically."""
    write_json(
        path,
        {
            "name": name,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": commit(),
            "machine": machine(),
            "versions": versions(),
            "seeds": list(seeds),
            "rows": [row.to_dict() for row in rows],
        },
    )


def machine() -> dict[str, Any]:
    """Describe the machine: processor, cores that this process may use, what speeds bfloat16 up, memory, GPU."""
    model, flags = _processor()
    return {
        "cpu": model,
        "cores": available_threads(),
        "amx": any(flag.startswith("amx") for flag in flags),
        "avx512_bf16": "avx512_bf16" in flags,
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that the numbers depend on, those installed."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """Return the commit of the checkout that this code runs from, with `-dirty` when it was changed; else None."""
    here = Path(__file__)
    # A package installed inside somebody else's checkout must not pass for a commit of theirs.
    if _git(here.parent, "ls-files", "--error-unmatch", here.name) is None:
        return None
    head = _git(here.parent, "rev-parse", "HEAD")
    if head is None:
        return None
    return f"{head}-dirty" if _git(here.parent, "status", "--porcelain", "--untracked-files=no") else head


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _processor() -> tuple[str, list[str]]:
    """Return the processor's name and its feature flags, from the kernel where it tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine(), []
    found: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(":")
        found.setdefault(key.strip(), value.strip())
    flags = found.get("flags", found.get("Features", "")).split()
    return found.get("model name", platform.processor() or platform.machine()), flags
