"""Where a teacher's embedding of a text comes from: its cache, the teacher itself, or a file.

Letters of the shapes: N texts, B texts of a batch, d the width of the teacher's embedding.
"""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import numpy as np
from datasets import Dataset, concatenate_datasets
from numpy.typing import NDArray

from hundredth.errors import UserError
from hundredth.ranking.teacher_cache import Keys, TeacherCache
from hundredth.ranking.teacher_models import Floats, Teacher

Rows = NDArray[np.int64]
# Called with what is done, what there is in all, and a note for the reader.
Progress = Callable[[int, int, str], None]

TEXT = "text"
_CHECKED = 10_000


class TeacherRows(Protocol):
    """The embeddings of one teacher, by label."""

    def add(self, texts: Dataset, keys: Keys, positions: Rows, size: int, first: int) -> None:
        """Take up new texts: they get the labels from `first` on.

        `texts` has the one column `TEXT`, `keys` are their hashes, `positions` their rows in the user's dataset
        of `size` rows. Whatever has these labels already was left behind when another teacher failed.
        """

    def get(self, labels: Rows) -> Floats:
        """Return the embeddings (B, d), of length 1, of labels (B,)."""


class CachedRows:
    """Embeddings on disk: a text is encoded when it is added, unless an earlier run did so."""

    def __init__(self, teacher: Teacher, root: Path, progress: Progress | None) -> None:
        self._teacher = teacher
        self._progress = progress
        identity = teacher.identity()
        if identity is None:
            # Nothing tells whether a function is the same in the next run: what it made goes with this object.
            self._temporary = TemporaryDirectory(prefix="hundredth-rankings-")
            root, identity = Path(self._temporary.name), {}
        self._cache = TeacherCache(root, identity)
        self._rows = np.empty(0, dtype=np.int64)

    def add(self, texts: Dataset, keys: Keys, positions: Rows, size: int, first: int) -> None:
        """Encode the texts that the cache lacks."""

        def progress(done: int, total: int) -> None:
            if self._progress is not None:
                self._progress(done, total, self._teacher.name)

        def encode(chosen: Rows) -> Floats:
            return _encoded(self._teacher, texts, chosen)

        self._rows = np.concatenate([self._rows[:first], self._cache.ensure(keys, encode, progress)])
        self._vectors = self._cache.vectors()
        self._teacher.release()

    def get(self, labels: Rows) -> Floats:
        """Read them."""
        return self._vectors[self._rows[labels]]


class LiveRows:
    """Embeddings that are made whenever they are asked for."""

    def __init__(self, teacher: Teacher) -> None:
        self._teacher = teacher
        self._texts: Dataset | None = None

    def add(self, texts: Dataset, keys: Keys, positions: Rows, size: int, first: int) -> None:
        """Keep the texts."""
        known = [] if self._texts is None else [self._texts.select(range(first))]
        self._texts = concatenate_datasets([*known, texts])

    def get(self, labels: Rows) -> Floats:
        """Encode them."""
        assert self._texts is not None
        return _encoded(self._teacher, self._texts, labels)


class FileRows:
    """Embeddings that the user computed: row i of the file belongs to row i of the dataset."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._vectors = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise UserError(f"teacher {path}: not a .npy file of numbers ({error})") from error
        if self._vectors.ndim != 2 or not np.issubdtype(self._vectors.dtype, np.floating):
            raise UserError(
                f"teacher {path}: holds {self._vectors.dtype} of shape {self._vectors.shape}; embeddings are "
                "floating-point numbers of shape (texts, width)"
            )
        self._rows = np.empty(0, dtype=np.int64)

    def add(self, texts: Dataset, keys: Keys, positions: Rows, size: int, first: int) -> None:
        """Check that the file fits the dataset."""
        if first:
            raise UserError(
                f"teacher {self._path}: a file's rows belong to one dataset, and this is a second one with "
                f"{len(positions)} texts that the first has not; rank both as one dataset"
            )
        if len(self._vectors) != size:
            raise UserError(
                f"teacher {self._path}: has {len(self._vectors)} rows for a dataset of {size}; row i of the file "
                "belongs to row i of the dataset, so there must be as many"
            )
        self._rows = positions
        for start in range(0, len(positions), _CHECKED):
            self.get(np.arange(start, min(start + _CHECKED, len(positions))))

    def get(self, labels: Rows) -> Floats:
        """Read them."""
        vectors = np.asarray(self._vectors[self._rows[labels]], dtype=np.float32)
        return unit_rows(vectors, f"teacher {self._path}", lambda bad: f"row {self._rows[labels[bad]]}")


def unit_rows(vectors: Floats, who: str, which: Callable[[int], str]) -> Floats:
    """Scale rows (N, d) to length 1; refuse NaN, infinities and zeros, which have no direction."""
    norms = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
    usable = np.isfinite(norms) & (norms > 0)
    if not usable.all():
        bad = int(np.argmin(usable))
        what = "all zeros" if norms[bad] == 0 else "NaN or infinite"
        raise UserError(
            f"{who}: {int((~usable).sum())} of {len(vectors)} embeddings cannot be ranked; that of {which(bad)} is "
            f"{what}: check the teacher's weights and its number format"
        )
    units: Floats = (vectors / norms[:, None]).astype(np.float32)
    return units


def _encoded(teacher: Teacher, texts: Dataset, chosen: Rows) -> Floats:
    """Return unit embeddings of the chosen texts."""
    batch = list(texts[chosen.tolist()][TEXT])
    made = teacher.encode(batch)
    if made.ndim != 2 or len(made) != len(batch):
        raise UserError(
            f"teacher {teacher.name!r}: gave {made.shape} for {len(batch)} texts; embeddings are (N, d)"
        )
    return unit_rows(made, f"teacher {teacher.name!r}", lambda bad: f"{batch[bad][:60]!r}")
