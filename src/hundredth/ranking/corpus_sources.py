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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, TypeAlias, cast

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, DatasetDict, IterableDataset, IterableDatasetDict

from hundredth.errors import UserError
from hundredth.hub import names_dataset
from hundredth.models import expanded

Corpus: TypeAlias = str | Path | Sequence[str | Path] | Dataset | IterableDataset
Row: TypeAlias = Sequence[bytes | str | None]
CHUNK = 10_000  # rows read and written at a time
# Encoders read at most a few thousand characters of a text: of a line, only so many bytes are kept.
MAX_BYTES = 40_000
# Of a table with quotation marks, of which one that is left open makes a cell of all that follows.
_LONGEST_CELL, _ANY_LENGTH = 4 * MAX_BYTES, 1 << 30
# Rows of JSON Lines by which the columns of texts are found: the first may lack some.
_LOOKED_AT = 100
# What the column of the sentences is called where there are several of texts and none is named, best first.
_USUAL_NAMES = ("sentence", "text", "sentences", "texts")


@dataclass(frozen=True)
class Columns:
    """Which columns to read: that of the sentences, None: found by `choose`, and that of their hard negatives.

    `say` is told of a choice that was made.
    """

    sentences: str | None = None
    negatives: str | None = None
    say: Callable[[str], None] = lambda text: None

    def choose(self, name: str, texts: Sequence[str], columns: Sequence[str]) -> list[str]:
        """Return the columns to read of the source `name`, whose `columns` are these, of texts `texts`.

        The sentences are in the named column, else in the only one of texts, else in the one called sentence,
        text, sentences or texts, in any case and in this order.

        Raises:
            UserError: there is no such column, or several may hold the sentences.
        """
        has = f"its columns are {', '.join(columns)}"
        for one in (self.sentences, self.negatives):
            if one is not None and one not in texts:
                raise UserError(f"{name} has no column {one!r} of texts; {has}")
        if not texts:
            raise UserError(f"{name} has no column of texts; {has}")
        sentences = self.sentences or self._found(name, [one for one in texts if one != self.negatives], has)
        if self.negatives == sentences:
            raise UserError(f"{name}: {sentences!r} is the column of the sentences, so it holds no hard negatives")
        return [sentences] if self.negatives is None else [sentences, self.negatives]

    def _found(self, name: str, texts: Sequence[str], has: str) -> str:
        if not texts:
            raise UserError(f"{name} has no column of texts beside {self.negatives!r}, the hard negatives; {has}")
        if len(texts) == 1:
            return texts[0]
        usual = [one for title in _USUAL_NAMES for one in texts if one.lower() == title]
        if not usual:
            raise UserError(f"{name}: which column holds the sentences? name it with --column (column=); {has}")
        self.say(f"  sentences: column {usual[0]!r} of {name}")
        return usual[0]


def corpus_rows(corpus: Corpus, columns: Columns) -> Iterator[Row]:
    """Yield the rows of a corpus: its sentences, and where they are asked for its hard negatives.

    Raises:
        UserError: nothing to read, another kind of file, a damaged one, or one without such columns.
    """
    check_corpus(corpus)
    if isinstance(corpus, Dataset | IterableDataset):
        yield from _dataset(corpus, columns, "the dataset")
        return
    named = [corpus] if isinstance(corpus, str | Path) else list(corpus)
    if not named:
        raise UserError("no corpus is named: give at least one file of sentences")
    for one in named:
        yield from _source(one, columns)


def check_corpus(corpus: object) -> None:
    """Refuse what is no corpus.

    Raises:
        UserError: it is neither files nor a dataset; says what to pass.
    """
    if isinstance(corpus, DatasetDict | IterableDatasetDict):
        raise UserError(
            f"the corpus is a {type(corpus).__name__} of the splits {', '.join(map(str, corpus))}: pass one of "
            "them, as in corpus['train']"
        )
    if isinstance(corpus, str | Path | Dataset | IterableDataset):
        return
    for one in corpus if isinstance(corpus, Sequence) else [corpus]:
        if not isinstance(one, str | Path):
            raise UserError(
                f"the corpus holds a {type(one).__name__}: pass files, a Dataset or an IterableDataset; texts in "
                "memory go into Dataset.from_dict({'sentence': texts})"
            )


def corpus_name(corpus: Corpus) -> str:
    """Return what a corpus is called in messages."""
    if isinstance(corpus, Dataset | IterableDataset):
        return "the dataset"
    return str(corpus) if isinstance(corpus, str | Path) else ", ".join(map(str, corpus))


def _source(name: str | Path, columns: Columns) -> Iterator[Row]:
    path = expanded(name)
    if path.is_dir():
        yield from _dataset(_load_dataset(path), columns, str(path))
    elif path.is_file():
        yield from _file(path, columns)
    elif isinstance(name, str) and names_dataset(name):
        yield from _dataset(_load_dataset(name), columns, name)
    else:
        raise UserError(f"{name} does not exist (looked in {path.absolute().parent})")


def _file(path: Path, columns: Columns) -> Iterator[Row]:
    kind = (Path(path.stem).suffix if path.suffix == ".gz" else path.suffix).lower()
    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty")
    if kind in (".parquet", ".pq"):
        yield from _parquet(path, columns)
    elif kind in (".csv", ".tsv"):
        yield from _cells(path, kind == ".csv", columns)
    elif kind in (".jsonl", ".ndjson"):
        yield from _objects(path, columns)
    elif kind not in ("", ".txt"):
        raise UserError(
            f"{path} ends in {kind!r}, which is no kind of corpus read here: use .txt or .txt.gz with a sentence "
            "a line, .csv, .tsv, .jsonl, .parquet, or a folder saved by datasets"
        )
    elif columns.negatives is not None:
        raise UserError(
            f"{path} has no column {columns.negatives!r} of hard negatives, only lines: use .csv, .tsv, .jsonl "
            "or .parquet"
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


def _cells(path: Path, quoted: bool, columns: Columns) -> Iterator[Row]:
    """Yield the rows below a table's header. A quotation mark that is left open must not swallow the whole file."""
    with _opened(path) as file:
        # What is not UTF-8 goes through, and back to the bytes that it was.
        text = io.TextIOWrapper(file, "utf-8-sig", "surrogateescape", newline="")
        options: Any = {} if quoted else {"delimiter": "\t", "quoting": csv.QUOTE_NONE}
        reader = csv.reader(text, **options)
        before = csv.field_size_limit(_LONGEST_CELL if quoted else _ANY_LENGTH)
        try:
            header = [name.strip() for name in next(reader, [])]
            places = [header.index(name) for name in columns.choose(str(path), header, header)]
            for row in reader:
                yield [
                    row[place].encode("utf-8", "surrogateescape") if place < len(row) else None for place in places
                ]
        except csv.Error as error:
            raise UserError(
                f"{path} line {reader.line_num}: not valid CSV ({error}); is a quotation mark left open? A text of "
                f"more than {_LONGEST_CELL:,} characters can stand in .jsonl or .parquet"
            ) from error
        finally:
            csv.field_size_limit(before)


def _objects(path: Path, columns: Columns) -> Iterator[Row]:
    with _opened(path) as file:
        values = _parsed(path, file)
        first = list(islice(values, _LOOKED_AT))
        objects = [value for value in first if isinstance(value, dict)]
        names = dict.fromkeys(name for value in objects for name in value)
        texts = [name for name in names if any(isinstance(value.get(name), str) for value in objects)]
        wanted = columns.choose(str(path), texts, list(names))
        for value in chain(first, values):
            if isinstance(value, bytes):
                yield (value,)
            else:
                cells = [value.get(name) for name in wanted]
                yield [cell if isinstance(cell, str) else None for cell in cells]


def _parsed(path: Path, file: IO[bytes]) -> Iterator[dict[str, Any] | bytes]:
    """Yield the object of each line that is not blank, or the line itself where it is not UTF-8."""
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line.decode("utf-8-sig"))
        except UnicodeDecodeError:
            yield line
            continue
        except json.JSONDecodeError as error:
            raise UserError(f"{path} line {number}: not valid JSON ({error.msg})") from None
        if not isinstance(value, dict):
            raise UserError(f"{path} line {number}: no JSON object but {type(value).__name__}")
        yield value


def _parquet(path: Path, columns: Columns) -> Iterator[Row]:
    try:
        with pq.ParquetFile(path) as file:
            fields = {field.name: field.type for field in file.schema_arrow}
            texts = [name for name, kind in fields.items() if _holds_texts(kind)]
            wanted = columns.choose(str(path), texts, list(fields))
            for batch in file.iter_batches(CHUNK, columns=wanted):
                yield from zip(*(_bytes(batch.column(name)) for name in wanted), strict=True)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}") from error


def _holds_texts(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _holds_texts(kind.value_type)
    return any(one(kind) for one in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))


def _bytes(column: pa.Array) -> list[bytes | None]:
    """Return the cells of a column of texts as bytes: Parquet does not look whether they are UTF-8."""
    plain = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
    binary: list[bytes | None] = plain.cast(pa.large_binary()).to_pylist()
    return binary


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


def _dataset(dataset: Dataset | IterableDataset, columns: Columns, name: str) -> Iterator[Row]:
    if dataset.features is None:  # a stream may say only row by row what it holds
        first: dict[str, Any] = next(iter(dataset), {})
        names, texts = list(first), [key for key, cell in first.items() if isinstance(cell, str)]
    else:
        names = list(dataset.features)
        kinds = dataset.features.items()
        texts = [key for key, kind in kinds if getattr(kind, "dtype", None) in ("string", "large_string")]
    wanted = columns.choose(name, texts, names)
    try:
        for batch in dataset.with_format(None).select_columns(wanted).iter(batch_size=CHUNK):
            rows: Any = batch
            yield from zip(*(rows[one] for one in wanted), strict=True)
    except UnicodeDecodeError as error:
        raise UserError(f"{name} holds a text that is not UTF-8: {error}; mend it where it was made") from error
