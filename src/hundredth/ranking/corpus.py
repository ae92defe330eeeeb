"""Reading sentences from text files, Parquet and datasets into one memory-mapped Arrow file.

The corpus is streamed, so that memory stays bounded however large it is: a chunk of sentences, and 8 bytes a
sentence to count repetitions by.
"""

import codecs
import gzip
import zlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, DatasetDict, IterableDataset

from hundredth.errors import UserError
from hundredth.files import atomic_path

COLUMN = "sentence"
Corpus: TypeAlias = str | Path | Sequence[str | Path] | Dataset | IterableDataset
CHUNK = 10_000  # sentences written at a time
# Of a longer text only the beginning is kept: encoders read at most a few thousand characters of it anyway.
_MAX_CHARACTERS = 10_000
_MAX_BYTES = 4 * _MAX_CHARACTERS
# A file with more unreadable lines than this share is no UTF-8 text, and what is left of it no corpus.
_MAX_UNREADABLE = 0.1


@dataclass(frozen=True)
class CorpusCounts:
    """What was read: sentences kept, and of the lines what was dropped or changed.

    `blank` and `unreadable` (not UTF-8, or with a NUL in it) lines are dropped, `cut` ones shortened to 10,000
    characters, `repeated` ones kept: how many sentences are the same as an earlier one.
    """

    sentences: int
    blank: int = 0
    unreadable: int = 0
    cut: int = 0
    repeated: int = 0

    @property
    def dropped(self) -> int:
        """Lines that did not become a sentence."""
        return self.blank + self.unreadable

    def describe(self) -> str:
        """Return the counts in words, those of 0 left out."""
        found = {
            "blank": self.blank,
            "not UTF-8": self.unreadable,
            "cut to 10,000 characters": self.cut,
            "repeated": self.repeated,
        }
        counted = [f"{count:,} {what}" for what, count in found.items() if count]
        return f"{self.sentences:,} sentences" + (f" ({', '.join(counted)})" if counted else "")

    def to_dict(self) -> dict[str, int]:
        """Return the counts by name."""
        return asdict(self)


def import_corpus(corpus: Corpus, target: Path, column: str | None = None) -> CorpusCounts:
    """Write the sentences of `corpus` into the Arrow file `target`, in their order; `read_corpus` opens it.

    Args:
        corpus: a file, several of them, a dataset in memory, a folder that `Dataset.save_to_disk` wrote, or the
            name of a dataset on the hub. Files are .txt with a sentence a line, .gz of such, or .parquet.
        target: the file to write; it appears when it is whole.
        column: the column of the sentences in Parquet and datasets; by default the first one of texts.

    Raises:
        UserError: nothing to read or no sentence in it, another kind of file, a damaged one, or one that is not
            UTF-8.
    """
    texts = _Sieve(_sources(corpus, column))
    schema = pa.schema({COLUMN: pa.string()})
    with atomic_path(target) as temporary, pa.OSFile(str(temporary), "wb") as sink:
        with pa.ipc.new_stream(sink, schema) as writer:
            for chunk in chunks(texts, CHUNK):
                writer.write_batch(pa.record_batch([pa.array(chunk, pa.string())], schema=schema))
        counts = texts.counts()
        lines = counts.sentences + counts.dropped
        if counts.unreadable > _MAX_UNREADABLE * lines:
            raise UserError(
                f"{_name(corpus)} is not UTF-8 text: {counts.unreadable:,} of {lines:,} lines cannot be read; "
                "convert it first, for example with 'iconv -f WINDOWS-1252 -t UTF-8'"
            )
        if not counts.sentences:
            raise UserError(f"{_name(corpus)} holds no sentence: its {lines:,} lines are blank")
    return counts


def read_corpus(path: Path) -> Dataset:
    """Open what `import_corpus` wrote, memory-mapped, with the column `sentence`."""
    return Dataset.from_file(str(path))


def chunks(texts: Iterable[str], size: int) -> Iterator[list[str]]:
    """Yield lists of `size` texts, the last one shorter."""
    chunk: list[str] = []
    for text in texts:
        chunk.append(text)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


class _Sieve:
    """Goes through lines, bytes or texts, and lets the sentences pass, counting all others."""

    def __init__(self, lines: Iterable[bytes | str | None]) -> None:
        self.lines = lines
        self.hashes = array("q")
        self.blank = self.unreadable = self.cut = 0

    def __iter__(self) -> Iterator[str]:
        for line in self.lines:
            text = _decoded(line) if isinstance(line, bytes) else line or ""
            if text is None or "\0" in text:
                self.unreadable += 1
                continue
            text = text.strip()
            if len(text) > _MAX_CHARACTERS:
                text = text[:_MAX_CHARACTERS]
                self.cut += 1
            if not text:
                self.blank += 1
                continue
            self.hashes.append(hash(text))
            yield text

    def counts(self) -> CorpusCounts:
        distinct = len(np.unique(np.frombuffer(self.hashes, dtype=np.int64))) if self.hashes else 0
        found = len(self.hashes)
        return CorpusCounts(found, self.blank, self.unreadable, self.cut, found - distinct)


def _decoded(line: bytes) -> str | None:
    # A line that was cut may end within a character: the decoder keeps that back, and no final call asks for it.
    try:
        return codecs.getincrementaldecoder("utf-8")().decode(line, final=len(line) < _MAX_BYTES)
    except UnicodeDecodeError:
        return None


def _sources(corpus: Corpus, column: str | None) -> Iterator[bytes | str | None]:
    if isinstance(corpus, Dataset | IterableDataset):
        yield from _dataset(corpus, column, "the dataset")
    elif isinstance(corpus, str | Path):
        yield from _source(corpus, column)
    else:
        if not corpus:
            raise UserError("no corpus is named: give at least one file of sentences")
        for one in corpus:
            yield from _source(one, column)


def _source(name: str | Path, column: str | None) -> Iterator[bytes | str | None]:
    path = Path(name).expanduser()
    if path.is_dir():
        yield from _dataset(_load_dataset(path), column, str(path))
    elif path.is_file():
        kind = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
        if path.stat().st_size == 0:
            raise UserError(f"{path} is empty")
        if path.suffix.lower() in (".parquet", ".pq"):
            yield from _parquet(path, column)
        elif kind.lower() in ("", ".txt"):
            yield from _lines(path)
        else:
            raise UserError(
                f"{path} ends in {kind!r}, which is no kind of corpus read here: use .txt or .txt.gz with a "
                "sentence a line, .parquet, or a folder saved by datasets"
            )
    elif (
        isinstance(name, str) and name.count("/") == 1 and not name.startswith((".", "/", "~")) and not path.suffix
    ):
        yield from _dataset(_load_dataset(name), column, name)
    else:
        raise UserError(f"{name} does not exist (looked in {path.absolute().parent})")


def _lines(path: Path) -> Iterator[bytes]:
    """Yield a file's lines, of a line of any length only the first 40,000 bytes."""
    first = True
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            while line := file.readline(_MAX_BYTES):
                rest = line
                while len(rest) == _MAX_BYTES and not rest.endswith(b"\n"):
                    rest = file.readline(_MAX_BYTES)
                yield line.removeprefix(codecs.BOM_UTF8) if first else line
                first = False
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be unpacked: {error}; is the file whole?") from error


def _parquet(path: Path, column: str | None) -> Iterator[str | None]:
    try:
        with pq.ParquetFile(path) as file:
            fields = {field.name: field.type for field in file.schema_arrow}
            texts = [
                name for name, kind in fields.items() if pa.types.is_string(kind) or pa.types.is_large_string(kind)
            ]
            wanted = _column(str(path), column, texts, list(fields))
            for batch in file.iter_batches(CHUNK, columns=[wanted]):
                yield from batch.column(0).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}") from error


def _load_dataset(name: str | Path) -> Dataset | IterableDataset:
    try:
        if isinstance(name, Path):
            found = datasets.load_from_disk(str(name))
            loaded = found.get("train") if isinstance(found, DatasetDict) else found
        else:
            loaded = datasets.load_dataset(name, split="train", streaming=True)
    except (OSError, ValueError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{name} is no dataset that can be loaded: {said}") from error
    if loaded is None:
        raise UserError(f"{name} has no split 'train': its splits are {', '.join(map(str, found))}")
    return loaded


def _dataset(dataset: Dataset | IterableDataset, column: str | None, name: str) -> Iterator[str | None]:
    features = dataset.features or (dataset.resolve_features() if isinstance(dataset, IterableDataset) else {})
    texts = [key for key, kind in features.items() if getattr(kind, "dtype", None) in ("string", "large_string")]
    wanted = _column(name, column, texts, list(features))
    for batch in dataset.with_format(None).select_columns([wanted]).iter(batch_size=CHUNK):
        rows: Any = batch
        yield from rows[wanted]


def _column(name: str, column: str | None, texts: Sequence[str], columns: Sequence[str]) -> str:
    if column is not None and column not in texts:
        raise UserError(f"{name} has no column {column!r} of texts; its columns are {', '.join(columns)}")
    if column is None and not texts:
        raise UserError(f"{name} has no column of texts; its columns are {', '.join(columns)}")
    return column or texts[0]


def _name(corpus: Corpus) -> str:
    if isinstance(corpus, Dataset | IterableDataset):
        return "the dataset"
    return str(corpus) if isinstance(corpus, str | Path) else ", ".join(map(str, corpus))
