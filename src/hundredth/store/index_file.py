"""index.faiss on disk: a faiss index followed by what it belongs to, so that a stale one is never searched.

Layout: the bytes of faiss.write_index | JSON (format, generation, state, encoder, SHA-256 of the faiss bytes) |
length of the JSON, 8 bytes little endian | 8 bytes "HUNDRIDX". Faiss ignores what follows its own bytes.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from hundredth.files import atomic_path
from hundredth.store.faiss_import import faiss

INDEX = "index.faiss"
_FORMAT = 1
_MAGIC = b"HUNDRIDX"
_TAIL = 8 + len(_MAGIC)


class StaleIndexError(Exception):
    """The index file cannot be used; the message is the reason, to be read after "index.faiss is"."""


def write_index(path: Path, index: Any, generation: int, state: str | None, encoder: str) -> None:
    """Write a faiss index with the store's generation, state and encoder, atomically."""
    body = faiss.serialize_index(index).tobytes()
    about = {
        "format": _FORMAT,
        "generation": generation,
        "state": state,
        "encoder": encoder,
        "sha256": hashlib.sha256(body).hexdigest(),
    }
    trailer = json.dumps(about).encode()
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(body)
        file.write(trailer + len(trailer).to_bytes(8, "little") + _MAGIC)


def read_index(path: Path, generation: int, state: str | None, encoder: str) -> Any:
    """Read the faiss index of the store that has this generation, state and encoder; else raise StaleIndexError."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise StaleIndexError("missing") from None
    except OSError as error:
        raise StaleIndexError(f"unreadable ({error})") from error
    if len(content) < _TAIL or not content.endswith(_MAGIC):
        raise StaleIndexError("damaged (cut short, or not an index of ours)")
    size = int.from_bytes(content[-_TAIL : -len(_MAGIC)], "little")
    start = len(content) - _TAIL - size
    try:
        about = json.loads(content[max(start, 0) : -_TAIL])
        written = (about["format"], about["generation"], about["encoder"], about["sha256"])
    except (ValueError, KeyError, TypeError) as error:
        raise StaleIndexError("damaged (its description cannot be read)") from error
    if written[0] != _FORMAT:
        raise StaleIndexError(f"of format {written[0]}, not {_FORMAT}")
    if written[1] != generation:
        raise StaleIndexError(f"of generation {written[1]}, the store is at {generation}")
    if about.get("state") != state:  # a store that was last changed before there were any has none, nor its index
        raise StaleIndexError("of another history of the store")
    if written[2] != encoder:
        raise StaleIndexError("made with another encoder")
    body = memoryview(content)[:start]
    # Faiss trusts the sizes that it reads: never hand it bytes that were changed.
    if hashlib.sha256(body).hexdigest() != written[3]:
        raise StaleIndexError("damaged (its checksum differs)")
    try:
        return faiss.deserialize_index(np.frombuffer(body, dtype=np.uint8))
    except RuntimeError as error:
        raise StaleIndexError("not readable by this version of faiss") from error
