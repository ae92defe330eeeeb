"""Reading a corpus: every kind of source gives the same sentences, and what is dropped is counted."""

import gzip
import json
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict
from tiny_bases import sentences

from hundredth.errors import UserError
from hundredth.ranking.corpus import CorpusCounts, import_corpus, read_corpus
from hundredth.ranking.corpus_sources import Corpus


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


def test_tables_give_the_same_sentences_and_their_hard_negatives(tmp_path: Path) -> None:
    texts, negatives = sentences(30), [f"no, {text}" for text in sentences(30)]
    columns = {"id": list(range(30)), "text": texts, "hard": negatives}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "a.csv").write_text(
        "id,text,hard\r\n" + "".join(f'{i},{a},"{b}"\r\n' for i, a, b in zip(*columns.values(), strict=True)),
        encoding="utf-8-sig",
    )
    tsv = "id\ttext\thard\n" + "".join(f"{i}\t{a}\t{b}\n" for i, a, b in zip(*columns.values(), strict=True))
    (tmp_path / "a.tsv.gz").write_bytes(gzip.compress(tsv.encode()))
    files = [tmp_path / name for name in ("a.parquet", "a.jsonl", "a.csv", "a.tsv.gz")]
    for source in [*files, Dataset.from_dict(columns), Dataset.from_dict(columns).to_iterable_dataset()]:
        assert imported(source, tmp_path, "text") == (texts, CorpusCounts(30)), source
        import_corpus(source, tmp_path / "both.arrow", "text", "hard")
        found = read_corpus(tmp_path / "both.arrow")
        assert (list(found["sentence"]), list(found["negative"])) == (texts, negatives), source


def test_a_row_without_its_negative_is_no_row(tmp_path: Path) -> None:
    """Silent otherwise: every negative after it would belong to another sentence."""
    whole = (b"%d,no %d" % (i, i) for i in range(30))
    cells = [b"a,b", b"one,", b"two", "drei,Stra\xdfe".encode("latin-1"), *whole]
    (tmp_path / "a.csv").write_bytes(b"\n".join(cells))
    counts = import_corpus(tmp_path / "a.csv", tmp_path / "corpus.arrow", "a", "b")
    assert counts == CorpusCounts(30, blank=2, unreadable=1)
    found = read_corpus(tmp_path / "corpus.arrow")
    assert list(found["negative"]) == [f"no {text}" for text in found["sentence"]]


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


def test_a_cell_of_any_length_is_cut_where_no_quotation_mark_may_be_open(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text(f"id\ttext\n1\t{'x' * (1 << 20)}\n2\tnext\n")
    assert imported(tmp_path / "a.tsv", tmp_path, "text") == (["x" * 10_000, "next"], CorpusCounts(2, cut=1))


def test_parquet_may_hold_texts_of_any_kind_also_what_is_no_text(tmp_path: Path) -> None:
    good = sentences(60)
    whole = pa.array([*(one.encode() for one in good), "Stra\xdfe".encode("latin-1"), None], pa.binary())
    broken = pa.Array.from_buffers(pa.string(), len(whole), whole.buffers(), whole.null_count)
    for kind in (broken, pa.array([*good, None], pa.dictionary(pa.int32(), pa.string()))):
        pq.write_table(pa.table({"text": kind}), tmp_path / "a.parquet")
        texts, counts = imported(tmp_path / "a.parquet", tmp_path)
        assert texts == good
        assert counts == CorpusCounts(60, blank=1, unreadable=int(kind is broken))


def test_a_dataset_of_what_is_no_text_is_refused(tmp_path: Path) -> None:
    whole = pa.array(["Stra\xdfe".encode("latin-1")], pa.binary())
    broken = pa.Array.from_buffers(pa.string(), 1, whole.buffers())
    with pytest.raises(UserError, match="the dataset holds a text that is not UTF-8"):
        import_corpus(Dataset(pa.table({"text": broken})), tmp_path / "corpus.arrow")


def test_the_first_objects_may_lack_their_text(tmp_path: Path) -> None:
    """Silent otherwise: the identifiers would be taken for the sentences."""
    rows = [{"id": "a", "text": None}, {"id": "b"}, *({"id": one, "text": one} for one in sentences(30))]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert imported(tmp_path / "a.jsonl", tmp_path) == (sentences(30), CorpusCounts(30, blank=2))


def test_memory_does_not_grow_with_the_corpus(tmp_path: Path) -> None:
    """Of each sentence 8 bytes stay, whatever its length."""
    peaks = []
    for count in (20_000, 50_000):
        path = tmp_path / "a.txt"
        path.write_text("".join(f"{i} {'word ' * 40}\n" for i in range(count)))
        tracemalloc.start()
        before = pa.total_allocated_bytes()
        import_corpus(path, tmp_path / "corpus.arrow")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert pa.total_allocated_bytes() <= before + 2**20
    assert peaks[1] - peaks[0] < 30_000 * 8 * 6 < 30_000 * 200 / 4


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", b"", "a.txt is empty"),
        ("a.txt", b"\n \n", "holds no sentence: its 2 lines are blank"),
        ("a.txt", "\n".join(["ä", "ö"] * 20).encode("latin-1"), "is not UTF-8 text: 40 of 40 lines"),
        ("a.txt", "\n".join(["ä", "o"] * 20).encode("latin-1"), "is not UTF-8 text: 20 of 40 lines"),
        ("a.txt", "hello\n".encode("utf-16"), "is not UTF-8 text"),
        ("a.docx", b"a,b\n", "ends in '.docx', which is no kind of corpus read here: use .txt"),
        ("a.csv", b"text,b\n", "a.csv holds no sentence"),
        (
            "a.csv",
            b'text,b\n"x' + 200_000 * b"y\n",
            "not valid CSV (field larger than field limit (160000)); is a quotation mark left open? A text of more",
        ),
        ("a.jsonl", b'{"a": "b"}\n{"a"', "a.jsonl line 2: not valid JSON"),
        ("a.jsonl", b"[1]", "a.jsonl line 1: no JSON object but list"),
        ("a.jsonl", b'{"a": 1}', "has no column of texts; its columns are a"),
        ("a.txt.gz", b"not packed", "cannot be unpacked: Not a gzipped file"),
        ("a.txt.gz", gzip.compress(b"a\n" * 9999, mtime=0)[:40], "cannot be unpacked: Compressed file ended"),
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
    for negatives, said in (
        ("none", "has no column 'none' of texts"),
        ("text", "'text' is the column of the sent"),
    ):
        with pytest.raises(UserError, match=said):
            import_corpus(tmp_path / "a.parquet", tmp_path / "corpus.arrow", "text", negatives)
    (tmp_path / "a.txt").write_text("a line")
    with pytest.raises(UserError, match="no column 'hard' of hard negatives, only lines"):
        import_corpus(tmp_path / "a.txt", tmp_path / "corpus.arrow", negatives="hard")
    with pytest.raises(UserError, match=r"none\.txt does not exist"):
        import_corpus(tmp_path / "none.txt", tmp_path / "corpus.arrow")
    with pytest.raises(UserError, match="is no dataset that can be loaded"):
        import_corpus(tmp_path, tmp_path / "corpus.arrow")
