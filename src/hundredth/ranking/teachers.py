"""How teachers rank texts: T_ij = sum_t alpha_t cos(e^t_i, e^t_j) (METHODS 1.3), each text encoded once.

Letters of the shapes: N texts, B texts of a batch, d the width of a teacher's embedding, W that of a row.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from platformdirs import user_cache_dir
from torch import Tensor

from hundredth.errors import UserError
from hundredth.ranking.teacher_cache import Keys, text_keys
from hundredth.ranking.teacher_models import TeacherSpec, open_teacher
from hundredth.ranking.teacher_rows import TEXT, CachedRows, FileRows, LiveRows, Progress, Rows, TeacherRows

LABEL = "label"
_READ = 10_000


class TeacherRankings:
    """Any number of frozen teachers, whose scores are averaged with the weights alpha.

    Args:
        teachers: each a SentenceTransformer, its name (a folder, `package:PACKAGE/PATH`, a hub name),
            `HFTeacher(...)`, a callable from texts to embeddings (N, d), or a .npy file of embeddings (N, d), whose
            row i belongs to row i of the dataset.
        weights: alpha, one a teacher, at least 0, with sum 1; None: all alike.
        cache: the folder that keeps embeddings between runs, 4 d bytes a text and teacher; None: in the user's
            cache. What a callable made is kept as long as this object.
        live: encode texts whenever they are asked for, and keep nothing.
        batch_tokens: about how many tokens a teacher reads at a time; None: what suits the machine.
        progress: called with texts done, texts in all, and the teacher's name.

    Embeddings are kept as float32: scores that tie in half precision would be ranked by chance.

    Raises:
        UserError: a teacher cannot be had, or the weights do not fit.
    """

    def __init__(
        self,
        teachers: Sequence[TeacherSpec],
        weights: Sequence[float] | None = None,
        cache: str | Path | None = None,
        live: bool = False,
        batch_tokens: int | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.weights = checked_weights(weights, len(teachers))
        root = Path(user_cache_dir("hundredth")) / "rankings" if cache is None else Path(cache)

        def rows_of(spec: TeacherSpec) -> TeacherRows:
            if isinstance(spec, str | Path) and str(spec).endswith(".npy"):
                return FileRows(Path(spec))
            teacher = open_teacher(spec, batch_tokens)
            return LiveRows(teacher) if live else CachedRows(teacher, root, progress)

        self._teachers = [rows_of(spec) for spec in teachers]
        self._keys: Keys = text_keys([])

    @property
    def width(self) -> int:
        """The width W of a row, the widths of all teachers together; known once texts are ranked."""
        return self.rows(torch.zeros(1, dtype=torch.long)).shape[1]

    def rank(self, dataset: Dataset, column: str | None = None) -> Dataset:
        """Encode each distinct text once and return the dataset with the column `label`, which `rows` takes.

        `column` is the text column to rank by; None: the first one of texts. It comes first in what is returned,
        since the Trainer takes the first column for the anchor. Another dataset may follow, a development set
        say: its labels go on where these end, and a text that both have has one label.

        Raises:
            UserError: it is no `Dataset`, or empty, has no such column of texts or already a column `label`, a
                file of embeddings has other rows or belongs to other data, a teacher gives NaN, infinities or
                zeros, or the disk is full.
        """
        column = _text_column(dataset, column)
        keys = np.concatenate([text_keys(texts) for texts in _read(dataset, column)])
        labels, positions = self._label(keys)
        if len(positions):
            texts = dataset.with_format(None).select_columns([column]).select(positions)
            if column != TEXT:
                texts = texts.rename_column(column, TEXT)
            # Files first: that one does not fit is known at once.
            for teacher in sorted(self._teachers, key=lambda one: not isinstance(one, FileRows)):
                teacher.add(texts, keys[positions], positions, len(dataset), len(self._keys))
            self._keys = np.concatenate([self._keys, keys[positions]])
        if dataset.column_names[0] != column:
            others = [name for name in dataset.column_names if name != column]
            dataset = dataset.select_columns([column, *others])
        return dataset.add_column(LABEL, labels)

    def rows(self, labels: Tensor) -> Tensor:
        """Return rows (B, W), float32, for labels (B,): the plain dot product of two of them is T_ij.

        A row is sqrt(alpha_t) e^t of all teachers side by side, each e^t of length 1.

        Raises:
            UserError: a label that `rank` did not give, or a live teacher gives NaN, infinities or zeros.
        """
        wanted = labels.detach().cpu().numpy()
        if not (np.issubdtype(wanted.dtype, np.integer) and ((wanted >= 0) & (wanted < len(self._keys))).all()):
            raise UserError(
                f"labels {wanted.min()} to {wanted.max()} are not those of the {len(self._keys)} texts that these "
                "teachers have ranked: dataset = teachers.rank(dataset)"
            )
        scaled = [
            math.sqrt(weight) * teacher.get(wanted)
            for weight, teacher in zip(self.weights, self._teachers, strict=True)
        ]
        return torch.from_numpy(np.concatenate(scaled, axis=1, dtype=np.float32))

    def _label(self, keys: Keys) -> tuple[Rows, Rows]:
        """Return the label of each row, and the rows whose texts are new, in the order of their labels."""
        known = len(self._keys)
        _, first, inverse = np.unique(np.concatenate([self._keys, keys]), return_index=True, return_inverse=True)
        order = np.argsort(first)
        labels = np.empty_like(order)
        labels[order] = np.arange(len(order))
        return labels[inverse[known:]], first[order[known:]] - known


def checked_weights(weights: Sequence[float] | None, teachers: int) -> list[float]:
    """Return alpha, one a teacher.

    Raises:
        UserError: there is no teacher, or the weights do not fit.
    """
    if not teachers:
        raise UserError("no teacher is given: name at least one")
    if weights is None:
        return [1 / teachers] * teachers
    if len(weights) != teachers:
        raise UserError(f"{len(weights)} weights for {teachers} teachers: give one a teacher")
    if not all(weight >= 0 for weight in weights) or abs(sum(weights) - 1) > 1e-6:
        raise UserError(
            f"the teachers' weights {', '.join(f'{weight:g}' for weight in weights)} sum to {sum(weights):g}: "
            "each must be at least 0, and the sum 1"
        )
    return [float(weight) for weight in weights]


def _text_column(dataset: Dataset, column: str | None) -> str:
    if not isinstance(dataset, Dataset):
        raise UserError(
            f"teachers rank a datasets.Dataset, and this is a {type(dataset).__name__}: pass one split of a "
            "DatasetDict, as in dataset['train'], and of anything else make a Dataset, as in "
            "Dataset.from_list(list(rows))"
        )
    if not len(dataset):
        raise UserError("the dataset is empty: there is no text to rank")
    if LABEL in dataset.column_names:
        raise UserError(f"the dataset has a column {LABEL!r} already, where the rankings go: rename or remove it")
    texts = [
        name for name, kind in dataset.features.items() if getattr(kind, "dtype", "") in ("string", "large_string")
    ]
    if not texts:
        raise UserError(f"the dataset has no column of texts, only {', '.join(dataset.column_names)}")
    if column is not None and column not in texts:
        raise UserError(f"the dataset has no column of texts {column!r}; its columns of texts: {', '.join(texts)}")
    return column or texts[0]


def _read(dataset: Dataset, column: str) -> Iterator[list[str]]:
    done = 0
    for batch in dataset.with_format(None).select_columns([column]).iter(_READ):
        texts = batch[column]
        if None in texts:
            raise UserError(f"row {done + texts.index(None)} of the dataset has no text: remove it")
        done += len(texts)
        yield texts
