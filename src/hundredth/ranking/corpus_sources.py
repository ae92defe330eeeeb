"""What a corpus is read from, row after row: text files, tables, datasets.

A row holds the sentence, and where hard negatives are asked for that one too. Cells are bytes where their encoding
is still to be checked, and None where there is no text.
"""

import codecs
import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeAlias, cast

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, DatasetDict, IterableDataset

from hundredth.errors import UserError
from hundredth.hub import names_dataset

Corpus: TypeAlias = str | Path | Sequence[str | Path] | Dataset | IterableDataset
Row: TypeAlias = Sequence[bytes | str | None]
CHUNK = 10_000  # rows read and written at a time
# Encoders read at most a few thousand characters of a text: of a line, only so many bytes are kept.
MAX_BYTES = 40_000


def corpus_rows(corpus: Corpus, column: str | None, negatives: str | None) -> Iterator[Row]:
    """Yield the rows of a corpus: its `column` of sentences, by default the first of texts, and its `negatives`.

    Raises:
        UserError: nothing to read, another kind of file, a damaged one, or one without such columns.
    """
    if isinstance(corpus, Dataset | IterableDataset):
        yield from _dataset(corpus, column, negatives, "the dataset")
        return
    named = [corpus] if isinstance(corpus, str | Path) else list(corpus)
    if not named:
        raise UserError("no corpus is named: give at least one file of sentences")
    for one in named:
        yield from _source(one, column, negatives)


def corpus_name(corpus: Corpus) -> str:
    """Return what a corpus is called in messages."""
    if isinstance(corpus, Dataset | IterableDataset):
        return "the dataset"
    return str(corpus) if isinstance(corpus, str | Path) else ", ".join(map(str, corpus))


def _source(name: str | Path, column: str | None, negatives: str | None) -> Iterator[Row]:
    path = Path(name).expanduser()
    if path.is_dir():
        yield from _dataset(_load_dataset(path), column, negatives, str(path))
    elif path.is_file():
        yield from _file(path, column, negatives)
    elif isinstance(name, str) and names_dataset(name):
        yield from _dataset(_load_dataset(name), column, negatives, name)
    else:
        raise UserError(f"{name} does not exist (looked in {path.absolute().parent})")


def _file(path: Path, column: str | None, negatives: str | None) -> Iterator[Row]:
    kind = (Path(path.stem).suffix if path.suffix == ".gz" else path.suffix).lower()
    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty")
    if kind in (".parquet", ".pq"):
        yield from _parquet(path, column, negatives)
    elif kind in (".csv", ".tsv"):
        yield from _cells(path, kind == ".csv", column, negatives)
    elif kind in (".jsonl", ".ndjson"):
        yield from _objects(path, column, negatives)
    elif kind not in ("", ".txt"):
        raise UserError(
            f"{path} ends in {kind!r}, which is no kind of corpus read here: use .txt or .txt.gz with a sentence "
            "a line, .csv, .tsv, .jsonl, .parquet, or a folder saved by datasets"
        )
    elif negatives is not None:
        raise UserError(
            f"{path} has no column {negatives!r} of hard negatives, only lines: use .csv, .tsv, .jsonl or .parquet"
        )
    else:
        yield from _lines(path)


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    try:
        # What gzip opens reads like a file.
        with cast(IO[bytes], gzip.open(path)) if path.suffix == ".gz" else path.open("rb") as file:
            yield file
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be unpacked: {error}; is the file whole?") from error


def _lines(path: Path) -> Iterator[Row]:
    """Yield a file's lines, of a line of any length only its beginning."""
    first = True
    with _opened(path) as file:
        while line := file.readline(MAX_BYTES):
            rest = line
            while len(rest) == MAX_BYTES and not rest.endswith(b"\n"):
                rest = file.readline(MAX_BYTES)
            yield (line.removeprefix(codecs.BOM_UTF8) if first else line,)
            first = False


def _cells(path: Path, quoted: bool, column: str | None, negatives: str | None) -> Iterator[Row]:
    """Yield the rows below a table's header. A quotation mark that is left open must not swallow the whole file."""
    with _opened(path) as file:
        # What is not UTF-8 goes through, and back to the bytes that it was.
        text = io.TextIOWrapper(file, "utf-8-sig", "surrogateescape", newline="")
        options: Any = {} if quoted else {"delimiter": "\t", "quoting": csv.QUOTE_NONE}
        reader = csv.reader(text, **options)
        before = csv.field_size_limit(MAX_BYTES * 4)
        try:
            header = [name.strip() for name in next(reader, [])]
            places = [header.index(name) for name in _columns(str(path), column, negatives, header, header)]
            for row in reader:
                yield [
                    row[place].encode("utf-8", "surrogateescape") if place < len(row) else None for place in places
                ]
        except csv.Error as error:
            raise UserError(
                f"{path} line {reader.line_num}: not valid CSV ({error}); is a quotation mark left open?"
            ) from error
        finally:
            csv.field_size_limit(before)


def _objects(path: Path, column: str | None, negatives: str | None) -> Iterator[Row]:
    wanted: list[str] = []
    with _opened(path) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                value = json.loads(line.decode("utf-8-sig"))
            except UnicodeDecodeError:
                yield (line,)
                continue
            except json.JSONDecodeError as error:
                raise UserError(f"{path} line {number}: not valid JSON ({error.msg})") from None
            if not isinstance(value, dict):
                raise UserError(f"{path} line {number}: no JSON object but {type(value).__name__}")
            if not wanted:
                texts = [name for name, cell in value.items() if isinstance(cell, str)]
                wanted = _columns(str(path), column, negatives, texts, list(value))
            cells = [value.get(name) for name in wanted]
            yield [cell if isinstance(cell, str) else None for cell in cells]


def _parquet(path: Path, column: str | None, negatives: str | None) -> Iterator[Row]:
    try:
        with pq.ParquetFile(path) as file:
            fields = {field.name: field.type for field in file.schema_arrow}
            texts = [
                name for name, kind in fields.items() if pa.types.is_string(kind) or pa.types.is_large_string(kind)
            ]
            wanted = _columns(str(path), column, negatives, texts, list(fields))
            for batch in file.iter_batches(CHUNK, columns=wanted):
                yield from zip(*(batch.column(name).to_pylist() for name in wanted), strict=True)
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


def _dataset(
    dataset: Dataset | IterableDataset, column: str | None, negatives: str | None, name: str
) -> Iterator[Row]:
    features = dataset.features or (dataset.resolve_features() if isinstance(dataset, IterableDataset) else {})
    texts = [key for key, kind in features.items() if getattr(kind, "dtype", None) in ("string", "large_string")]
    wanted = _columns(name, column, negatives, texts, list(features))
    for batch in dataset.with_format(None).select_columns(wanted).iter(batch_size=CHUNK):
        rows: Any = batch
        yield from zip(*(rows[one] for one in wanted), strict=True)


def _columns(
    name: str, column: str | None, negatives: str | None, texts: Sequence[str], columns: Sequence[str]
) -> list[str]:
    """Return the columns to read."""
    for one in (column, negatives):
        if one is not None and one not in texts:
            raise UserError(f"{name} has no column {one!r} of texts; its columns are {', '.join(columns)}")
    if not texts:
        raise UserError(f"{name} has no column of texts; its columns are {', '.join(columns)}")
    sentences = column or texts[0]
    if negatives == sentences:
        raise UserError(f"{name}: {negatives!r} is the column of the sentences, so it holds no hard negatives")
    return [sentences] if negatives is None else [sentences, negatives]
