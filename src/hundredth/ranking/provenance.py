"""What an encoder was trained from, as JSON: what tells one training from another, and what its card says."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset, IterableDataset
from sentence_transformers import SentenceTransformer

from hundredth.encoders import encoder_fingerprint
from hundredth.files import fingerprint
from hundredth.models import expanded, model_stamp
from hundredth.ranking.base import Base
from hundredth.ranking.config import EncoderTrainingConfig
from hundredth.ranking.corpus_sources import Corpus
from hundredth.ranking.pairs import ScoredPairs
from hundredth.ranking.teacher_models import HFTeacher, TeacherSpec


def training_settings(
    base: Base,
    corpus: Corpus,
    column: str | None,
    negatives: str | None,
    teachers: Sequence[TeacherSpec],
    weights: Sequence[float] | None,
    dev: ScoredPairs | None,
    config: EncoderTrainingConfig,
    processes: int,
) -> dict[str, Any]:
    """Return all that decides the result of a training: a stopped one goes on only where none of it has changed.

    Models are told apart by the sizes and samples of their files, those in memory by their weights, and the files
    of a corpus and of a teacher's embeddings by all of their content.
    """
    return {
        "base": name_of(base),
        "base_weights": _stamp(base),
        "corpus": _corpus_stamp(corpus),
        # Beside the stamp, of which records of earlier versions hold nothing more: they stay comparable.
        "corpus_content": _corpus_content(corpus),
        "column": column,
        "negatives": negatives,
        "teachers": [name_of(teacher) for teacher in teachers],
        "teacher_weights": [_stamp(teacher) for teacher in teachers],
        "weights": None if weights is None else [float(weight) for weight in weights],
        "dev": None if dev is None else fingerprint([dev.first, dev.second, dev.scores.tolist()]),
        "processes": processes,
        "config": config.model_dump(),
    }


def name_of(one: Base | TeacherSpec) -> str:
    """Return the name by which a model is shown."""
    if isinstance(one, str | Path):
        return str(one)
    if isinstance(one, HFTeacher):
        return one.name
    return getattr(one, "__name__", type(one).__name__)


def _stamp(one: Base | TeacherSpec) -> str | None:
    """Return what tells whether a model has changed; None for a function, of which nothing tells."""
    if isinstance(one, SentenceTransformer):
        return encoder_fingerprint(one)
    if isinstance(one, HFTeacher):
        return fingerprint([model_stamp(one.name), one.pooling, one.prompt, one.max_length])
    if isinstance(one, str | Path) and str(one).endswith(".npy"):
        return _digest(Path(one))
    return fingerprint(model_stamp(str(one))) if isinstance(one, str | Path) else None


def untold(corpus: Corpus, teachers: Sequence[TeacherSpec]) -> list[str]:
    """Return what `training_settings` cannot tell from another of its kind, in words."""
    found = ["a corpus that is an IterableDataset"] if isinstance(corpus, IterableDataset) else []
    return found + [f"a teacher that is a function ({name_of(one)!r})" for one in teachers if _stamp(one) is None]


def _corpus_stamp(corpus: Corpus) -> str | None:
    if isinstance(corpus, Dataset):
        return str(corpus._fingerprint)
    if isinstance(corpus, IterableDataset):
        return None
    return fingerprint([model_stamp(str(one)) for one in _sources(corpus)])


def _corpus_content(corpus: Corpus) -> str | None:
    """Return a hash of all that the files of a corpus hold; None for datasets in memory and on the hub."""
    if isinstance(corpus, Dataset | IterableDataset):
        return None
    digests: list[str] = []
    for source in _sources(corpus):
        path = expanded(source)
        files = [path] if path.is_file() else sorted(one for one in path.rglob("*") if one.is_file())
        digests += map(_digest, files)
    return fingerprint(digests) if digests else None


def _digest(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _sources(corpus: str | Path | Sequence[str | Path]) -> list[str | Path]:
    return [corpus] if isinstance(corpus, str | Path) else list(corpus)
