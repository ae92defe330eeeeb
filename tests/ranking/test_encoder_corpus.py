"""Reading a corpus: every kind of source gives the same sentences, and what is dropped is counted."""

import gzip
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict
from tiny_bases import sentences

from hundredth.errors import UserError
from hundredth.ranking.corpus import Corpus, CorpusCounts, import_corpus, read_corpus


def imported(corpus: Corpus, folder: Path, column: str | None = None) -> tuple[list[str], CorpusCounts]:
    counts = import_corpus(corpus, folder / "corpus.arrow", column)
    found = read_corpus(folder / "corpus.arrow")
    assert counts.sentences == len(found)
    return list(found["sentence"]), counts


def test_every_kind_of_source_gives_the_same_sentences(tmp_path: Path) -> None:
    texts = sentences(50)
    plain, packed, parquet = tmp_path / "a.txt", tmp_path / "a.txt.gz", tmp_path / "a.parquet"
    plain.write_text("\r\n".join(texts), encoding="utf-8-sig")
    packed.write_bytes(gzip.compress("\n".join(texts).encode()))
    pq.write_table(pa.table({"id": list(range(50)), "text": texts}), parquet, row_group_size=7)
    dataset = Dataset.from_dict({"number": list(range(50)), "text": texts})
    dataset.save_to_disk(str(tmp_path / "saved"))
    DatasetDict({"train": dataset}).save_to_disk(str(tmp_path / "splits"))
    sources: list[Corpus] = [plain, str(packed), parquet, tmp_path / "saved", tmp_path / "splits", dataset]
    for source in [*sources, dataset.to_iterable_dataset(), dataset.with_format("numpy")]:
        assert imported(source, tmp_path) == (texts, CorpusCounts(50)), source
    assert imported([plain, parquet], tmp_path) == (texts + texts, CorpusCounts(100, repeated=50))


def test_what_is_no_sentence_is_dropped_and_counted(tmp_path: Path) -> None:
    good = [f"sentence {i}" for i in range(60)]
    lines = [
        b"",
        b"  \t",
        "Stra\xdfe".encode("latin-1"),
        b"wi\0de",
        *(one.encode() for one in good),
        b"sentence 0 ",
    ]
    (tmp_path / "a.txt").write_bytes(b"\n".join(lines))
    texts, counts = imported(tmp_path / "a.txt", tmp_path)
    assert texts == [*good, "sentence 0"]
    assert counts == CorpusCounts(61, blank=2, unreadable=2, repeated=1)
    assert counts.describe() == "61 sentences (2 blank, 2 not UTF-8, 1 repeated)"


@pytest.mark.parametrize("size", [39_999, 40_000, 40_001, 1 << 20])
def test_a_line_of_any_length_is_cut_and_the_next_one_is_whole(tmp_path: Path, size: int) -> None:
    """Silent otherwise: the rest of a long line would be taken for sentences of its own. é has two bytes."""
    for letter in ("x", "é"):
        long = letter * (size // len(letter.encode())) + "x" * (size % len(letter.encode()))
        (tmp_path / "a.txt").write_text(f"{long}\nnext\n", encoding="utf-8")
        texts, counts = imported(tmp_path / "a.txt", tmp_path)
        assert texts == [letter * 10_000, "next"]
        assert counts == CorpusCounts(2, cut=1)


def test_memory_does_not_grow_with_the_corpus(tmp_path: Path) -> None:
    """Of each sentence 8 bytes stay, whatever its length."""
    peaks = []
    for count in (20_000, 80_000):
        path = tmp_path / "a.txt"
        path.write_text("".join(f"{i} {'word ' * 40}\n" for i in range(count)))
        tracemalloc.start()
        before = pa.total_allocated_bytes()
        import_corpus(path, tmp_path / "corpus.arrow")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert pa.total_allocated_bytes() <= before + 2**20
    assert peaks[1] - peaks[0] < 60_000 * 8 * 6 < 60_000 * 200 / 4


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", b"", "a.txt is empty"),
        ("a.txt", b"\n \n", "holds no sentence: its 2 lines are blank"),
        ("a.txt", "\n".join(["ä", "ö"] * 20).encode("latin-1"), "is not UTF-8 text: 40 of 40 lines"),
        ("a.txt", "\n".join(["ä", "o"] * 20).encode("latin-1"), "is not UTF-8 text: 20 of 40 lines"),
        ("a.txt", "hello\n".encode("utf-16"), "is not UTF-8 text"),
        ("a.csv", b"a,b\n", "ends in '.csv', which is no kind of corpus read here: use .txt"),
        ("a.txt.gz", b"not packed", "cannot be unpacked: Not a gzipped file"),
        ("a.txt.gz", gzip.compress(b"a\n" * 9999)[:40], "cannot be unpacked: Compressed file ended"),
        ("a.parquet", b"nothing", "cannot be read as Parquet"),
    ],
)
def test_what_is_no_corpus(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as error:
        import_corpus(tmp_path / name, tmp_path / "corpus.arrow")
    assert said in str(error.value)
    assert not (tmp_path / "corpus.arrow").exists()


def test_columns_and_names_that_are_not_there(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": [1], "text": ["a"], "other": ["b"]}), tmp_path / "a.parquet")
    assert imported(tmp_path / "a.parquet", tmp_path, "other")[0] == ["b"]
    with pytest.raises(UserError, match="has no column 'id' of texts; its columns are id, text, other"):
        import_corpus(tmp_path / "a.parquet", tmp_path / "corpus.arrow", "id")
    with pytest.raises(UserError, match="has no column of texts; its columns are number"):
        import_corpus(Dataset.from_dict({"number": [1]}), tmp_path / "corpus.arrow")
    with pytest.raises(UserError, match=r"none\.txt does not exist"):
        import_corpus(tmp_path / "none.txt", tmp_path / "corpus.arrow")
    with pytest.raises(UserError, match="is no dataset that can be loaded"):
        import_corpus(tmp_path, tmp_path / "corpus.arrow")
