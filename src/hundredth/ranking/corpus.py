"""Reading sentences from text files, tables and datasets into one memory-mapped Arrow file.

The corpus is streamed, so that memory stays bounded however large it is: a chunk of sentences, and 8 bytes a
sentence to count repetitions by.
"""

import codecs
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from datasets import Dataset

from hundredth.characters import is_unicode
from hundredth.errors import UserError
from hundredth.files import atomic_path
from hundredth.ranking.corpus_sources import (
    CHUNK,
    MAX_BYTES,
    Columns,
    Corpus,
    Row,
    corpus_name,
    corpus_rows,
)

COLUMN, NEGATIVE = "sentence", "negative"
_MAX_CHARACTERS = MAX_BYTES // 4
# A file with more unreadable lines than this share is no UTF-8 text, and what is left of it no corpus.
_MAX_UNREADABLE = 0.1


@dataclass(frozen=True)
class CorpusCounts:
    """What was read: sentences kept, and of the lines what was dropped or changed.

    `blank` and `unreadable` (not UTF-8, or with a NUL or half of a surrogate pair in it) lines are dropped, `cut`
    ones shortened to 10,000 characters, `repeated` ones kept: how many sentences are the same as an earlier one.
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


def import_corpus(
    corpus: Corpus,
    target: Path,
    column: str | None = None,
    negatives: str | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> CorpusCounts:
    """Write the sentences of `corpus` into the Arrow file `target`, in their order; `read_corpus` opens it.

    Args:
        corpus: a file, several of them, a dataset in memory, a folder that `Dataset.save_to_disk` wrote, or the
            name of a dataset on the hub. Files are .txt with a sentence a line, .csv and .tsv with a header,
            .jsonl, .gz of such, or .parquet.
        target: the file to write; it appears when it is whole.
        column: the column of the sentences in tables and datasets; None: the only one of texts, else the one that
            is called sentence, text, sentences or texts.
        negatives: the column that holds a hard negative of each sentence; None: there are none.
        say: told which column was chosen, where there were several.

    Raises:
        UserError: nothing to read or no sentence in it, another kind of file, a damaged one, one that is not
            UTF-8, or one of several columns of which none is known to hold the sentences.
    """
    rows = _Sieve(corpus_rows(corpus, Columns(column, negatives, say)))
    schema = pa.schema({name: pa.string() for name in (COLUMN, NEGATIVE)[: 1 if negatives is None else 2]})
    with atomic_path(target) as temporary, pa.OSFile(str(temporary), "wb") as sink:
        with pa.ipc.new_stream(sink, schema) as writer:
            for chunk in _chunks(rows):
                columns = [pa.array(texts, pa.string()) for texts in zip(*chunk, strict=True)]
                writer.write_batch(pa.record_batch(columns, schema=schema))
        counts = rows.counts()
        lines = counts.sentences + counts.dropped
        if counts.unreadable > _MAX_UNREADABLE * lines:
            raise UserError(
                f"{corpus_name(corpus)} is not UTF-8 text: {counts.unreadable:,} of {lines:,} lines cannot be "
                "read; convert it first, for example with 'iconv -f WINDOWS-1252 -t UTF-8'"
            )
        if not counts.sentences:
            blank = f": its {lines:,} lines are blank" if lines else ""
            raise UserError(f"{corpus_name(corpus)} holds no sentence{blank}")
    return counts


def read_corpus(path: Path) -> Dataset:
    """Open what `import_corpus` wrote, memory-mapped: `sentence` and, where it was asked for, `negative`."""
    return Dataset.from_file(str(path))


def _chunks(rows: Iterable[tuple[str, ...]]) -> Iterator[list[tuple[str, ...]]]:
    chunk: list[tuple[str, ...]] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


class _Sieve:
    """Goes through rows of bytes or texts, and lets those of sentences pass, counting all others."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self.rows = rows
        self.hashes = array("q")
        self.blank = self.unreadable = self.cut = 0

    def __iter__(self) -> Iterator[tuple[str, ...]]:
        for row in self.rows:
            found = tuple(map(_text, row))
            texts = tuple(filter(None, found))
            if len(texts) < len(found):
                self.unreadable += None in found
                self.blank += None not in found
                continue
            if max(map(len, texts)) > _MAX_CHARACTERS:
                texts = tuple(text[:_MAX_CHARACTERS] for text in texts)
                self.cut += 1
            self.hashes.append(hash(texts[0]))
            yield texts

    def counts(self) -> CorpusCounts:
        distinct = len(np.unique(np.frombuffer(self.hashes, dtype=np.int64))) if self.hashes else 0
        found = len(self.hashes)
        return CorpusCounts(found, self.blank, self.unreadable, self.cut, found - distinct)


def _text(cell: bytes | str | None) -> str | None:
    """Return a cell's text without white space around it, None where it cannot be read."""
    if cell is None:
        return ""
    text = _decoded(cell) if isinstance(cell, bytes) else cell if is_unicode(cell) else None
    return None if text is None or "\0" in text else text.strip()


def _decoded(line: bytes) -> str | None:
    try:
        if len(line) < MAX_BYTES:
            return line.decode()
        # It may be cut within a character: the decoder keeps that back, and no final call asks for it.
        return codecs.getincrementaldecoder("utf-8")().decode(line)
    except UnicodeDecodeError:
        return None
