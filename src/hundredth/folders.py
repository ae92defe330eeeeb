"""The folder that a path or a file:// URL names, and the model in it."""

import os
import re
from pathlib import Path

from hundredth.errors import UserError

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(/.*)", re.DOTALL)


def model_folder(given: str | os.PathLike[str]) -> Path:
    """Return the folder of a model, where it or that of the run that made it is given, as `folder_of` takes it."""
    path = folder_of(given)
    inner = path / "model"
    return inner if not (path / "hundredth.json").exists() and inner.is_dir() else path


def folder_of(given: str | os.PathLike[str]) -> Path:
    """Return the folder that `given` names: a path, or a file:// URL, in which %20 is a space.

    A `Path` of a URL, in which several slashes have become one, is understood as well.

    Raises:
        UserError: it is neither, or a URL of another kind or of another machine.
    """
    if not isinstance(given, str | os.PathLike):
        raise UserError(f"the folder of a model is {given!r}: give a path or a file:// URL")
    name = os.fsdecode(given)
    url = _URL.fullmatch(name)
    if url is None or Path(name).exists():
        return Path(name)
    if url[1].lower() != "file":
        raise UserError(
            f"{name} is a URL of {url[1]}: a model is loaded from a folder or a file:// URL, copy it first"
        )
    from urllib.request import url2pathname  # takes longer to import than all else here

    path = url[2]
    if path.startswith("//"):
        host, slash, path = path.removeprefix("//").partition("/")
        if host not in ("", "localhost"):
            raise UserError(f"{name} names the machine {host!r}: a model is loaded from a folder of this one")
        path = slash + path
    return Path(url2pathname(path))
