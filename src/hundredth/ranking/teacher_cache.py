"""What a teacher made of each text, on disk: one growing array a teacher, which is never computed twice.

A folder holds `teacher.json` (who made it), `vectors.f32` (rows of d little-endian float32 of length 1) and
`keys.bin` (16 bytes of hash a row). A chunk's vectors are on the disk before its keys, so whatever kills the
process, the rows that have a key are whole, and what lies past them is overwritten.
"""

import errno
import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from hundredth.errors import UserError
from hundredth.files import fingerprint, read_json, write_json

logger = logging.getLogger(__name__)

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]
# Hashes of texts, 16 bytes each: numpy sorts and searches fixed-length bytes.
Keys = NDArray[np.bytes_]

_FORMAT = 1
_KEY_BYTES = 16
_CHUNK = 2048


def text_keys(texts: Sequence[str]) -> Keys:
    """Return a 128-bit hash of each text.

    Raises:
        UserError: a text holds half of a surrogate pair.
    """
    try:
        digests = [hashlib.blake2b(text.encode(), digest_size=_KEY_BYTES).digest() for text in texts]
    except UnicodeEncodeError as error:
        raise UserError(
            f"the text {error.object[:60]!r} holds half of a surrogate pair, which is no character: remove it"
        ) from None
    return np.frombuffer(b"".join(digests), dtype=f"S{_KEY_BYTES}")


class TeacherCache:
    """The vectors of one teacher in a folder of their own under `root`, named by the hash of its identity."""

    def __init__(self, root: Path, identity: dict[str, Any]) -> None:
        self.identity = {"format": _FORMAT, **identity}
        self.folder = root / fingerprint(self.identity)[:32]

    def ensure(self, keys: Keys, encode: Callable[[Rows], Floats], progress: Callable[[int, int], None]) -> Rows:
        """Return the row of each key (N,), after encoding those that have none.

        `encode` gives the unit vectors (n, d) of the texts at n positions of `keys`. Chunks that were finished
        stay, whenever this is stopped. Another process that wants the same folder waits.

        Raises:
            UserError: the vectors are not as wide as those that there are, or the disk is full.
        """
        with self._alone(), self._full_disk():
            known = self._whole_rows()
            missing = _missing(keys, known)
            for start in range(0, len(missing), _CHUNK):
                progress(start, len(missing))
                chunk = missing[start : start + _CHUNK]
                self._append(encode(chunk), keys[chunk])
            if len(missing):
                progress(len(missing), len(missing))
            known = np.concatenate([known, keys[missing]])
        order = np.argsort(known, kind="stable")
        return order[np.searchsorted(known, keys, sorter=order)]

    @property
    def width(self) -> int | None:
        """The width d of the vectors, None before there are any."""
        path = self.folder / "teacher.json"
        return int(read_json(path)["width"]) if path.exists() else None

    def vectors(self) -> Floats:
        """Return all rows (R, d), memory-mapped."""
        assert self.width is not None
        rows = (self.folder / "keys.bin").stat().st_size // _KEY_BYTES
        return np.memmap(self.folder / "vectors.f32", dtype="<f4", mode="r", shape=(rows, self.width))

    def _whole_rows(self) -> Keys:
        """Cut off what a killed process left half written; return the keys of the rows that are whole."""
        width = self.width
        if width is None:
            return text_keys([])
        vectors, keys = self.folder / "vectors.f32", self.folder / "keys.bin"
        vectors.touch()
        keys.touch()
        rows = min(vectors.stat().st_size // (4 * width), keys.stat().st_size // _KEY_BYTES)
        os.truncate(vectors, rows * 4 * width)
        os.truncate(keys, rows * _KEY_BYTES)
        return np.fromfile(keys, dtype=f"S{_KEY_BYTES}")

    def _append(self, vectors: Floats, keys: Keys) -> None:
        width = self.width
        if width is None:
            write_json(self.folder / "teacher.json", {**self.identity, "width": vectors.shape[1]})
        elif width != vectors.shape[1]:
            raise UserError(
                f"a teacher gave embeddings of {vectors.shape[1]} numbers after others of {width}: it must give "
                "every text as many; fit a vectoriser on all texts before, not on those of a call"
            )
        for name, content in (("vectors.f32", vectors.astype("<f4")), ("keys.bin", keys)):
            with (self.folder / name).open("ab") as file:
                file.write(content.tobytes())
                file.flush()
                os.fsync(file.fileno())

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / "lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            logger.warning("another process encodes with the same teacher: waiting for it (%s)", self.folder)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def _full_disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise UserError(
                    f"disk full while writing the teacher's vectors to {self.folder}: free space or choose another "
                    "folder with cache=..., then run again; finished texts are kept"
                ) from error
            raise


def _missing(keys: Keys, known: Keys) -> Rows:
    """Return the positions of the keys that are not among the known, in order."""
    ordered = np.sort(known)
    if not len(ordered):
        return np.arange(len(keys))
    at = np.minimum(np.searchsorted(ordered, keys), len(ordered) - 1)
    return np.flatnonzero(ordered[at] != keys)
