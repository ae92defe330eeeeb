"""GGUF files, turned once into folders that transformers reads in a second."""

import logging
from pathlib import Path

import torch
from platformdirs import user_cache_dir
from transformers import AutoModelForCausalLM, AutoTokenizer

from hundredth.errors import UserError
from hundredth.files import file_fingerprint, replace_folder
from hundredth.models import quiet_transformers

logger = logging.getLogger(__name__)


def unpacked(found: str | Path) -> str | Path:
    """Return where transformers can load from: `found`, or the folder that its GGUF file was turned into.

    `found` is what `hundredth.models.resolve_model` returns; of a folder without config.json its only .gguf is
    meant. The conversion lies in the user's cache, keyed by the file's content, because reading a GGUF file takes
    many times longer.

    Raises:
        UserError: the file is damaged, or holds no decoder that transformers knows.
    """
    file = _gguf_in(found) if isinstance(found, Path) else None
    if file is None:
        return found
    target = Path(user_cache_dir("hundredth")) / "gguf" / file_fingerprint(file)[:32]
    if not (target / "config.json").exists():
        _convert(file, target)
    return target


def _gguf_in(path: Path) -> Path | None:
    if path.is_file():
        return path if path.suffix == ".gguf" else None
    if (path / "config.json").exists():
        return None
    files = sorted(path.glob("*.gguf"))
    return files[0] if len(files) == 1 else None


def _convert(file: Path, target: Path) -> None:
    logger.info("converting %s once to safetensors in %s", file.name, target)
    with quiet_transformers():
        try:
            packed = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
            tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
        except (OSError, ValueError, KeyError, ImportError) as error:
            said = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise UserError(f"{file} holds no language model that transformers can load ({said})") from error
        # save_pretrained refuses a model that was read from GGUF: move its weights into a plain one.
        config = packed.config
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        plain.load_state_dict(packed.state_dict())
        work = target.with_name(f".{target.name}.work")
        # bfloat16 holds 4-bit weights with less error than their quantisation had, in half the space.
        plain.to(torch.bfloat16).save_pretrained(work)
        tokenizer.save_pretrained(work)
    replace_folder(work, target)
