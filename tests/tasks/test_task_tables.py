"""Reading tables: what is read exactly, and the one clear line for what cannot be."""

import csv
import json
import sys
from pathlib import Path

import pytest

from hundredth.errors import MissingExtraError, UserError
from hundredth.tables import read_csv, read_lines, read_table, read_tsv


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    return path


def test_csv_keeps_quotes_commas_and_line_breaks_inside_quoted_texts(tmp_path: Path) -> None:
    table = read_table(
        write(tmp_path / "a.csv", 'text,label\r\n"He said ""no"", twice\nand left",x\r\nplain,y\r\n')
    )
    assert table.columns == ("text", "label")
    assert table.rows == [('He said "no", twice\nand left', "x"), ("plain", "y")]
    assert table.lines == [2, 4]


def test_tsv_is_read_without_quoting(tmp_path: Path) -> None:
    """With quoting, one stray quote would silently swallow every row up to the next one."""
    table = read_table(write(tmp_path / "a.tsv", 'text\tlabel\n"open quote\t1\nnext\t0\n'))
    assert table.rows == [('"open quote', "1"), ("next", "0")]


def test_only_line_feeds_end_a_line(tmp_path: Path) -> None:
    """str.splitlines would cut a text at these characters and shift its label into a row of its own."""
    table = read_table(write(tmp_path / "a.tsv", "text\tlabel\none\u2028two\x85three\x0c\t1\r\n"))
    assert table.rows == [("one\u2028two\x85three\x0c", "1")]


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    for name, content in (("a.csv", "text,label\na,b\n"), ("a.tsv", "text\tlabel\na\tb\n")):
        table = read_table(write(tmp_path / name, b"\xef\xbb\xbf" + content.encode()))
        assert table.columns == ("text", "label")


def test_jsonl_takes_the_columns_of_all_objects_and_skips_blank_lines(tmp_path: Path) -> None:
    table = read_table(write(tmp_path / "a.jsonl", '{"text": "a", "label": 1}\n\n{"label": 2, "more": [1]}\n'))
    assert table.columns == ("text", "label", "more")
    assert table.rows == [("a", 1, None), (None, 2, [1])]
    assert table.lines == [1, 3]


def test_parquet_is_read_and_takes_label_names_from_hugging_face_metadata(tmp_path: Path) -> None:
    """Without the names the model would learn and show numbers where the file knows words."""
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    features = {"label": {"names": ["no", "yes"], "_type": "ClassLabel"}, "text": {"_type": "Value"}}
    table = arrow.table({"text": ["a", "b", "c"], "label": [1, 0, -1]})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    parquet.write_table(table, tmp_path / "a.parquet")
    assert read_table(tmp_path / "a.parquet").rows == [("a", "yes"), ("b", "no"), ("c", None)]
    parquet.write_table(table.replace_schema_metadata({"huggingface": b"{}"}), tmp_path / "b.parquet")
    assert read_table(tmp_path / "b.parquet").rows == [("a", 1), ("b", 0), ("c", -1)]


def test_parquet_label_numbers_beyond_the_names_are_refused(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    features = {"label": {"names": ["no", "yes"], "_type": "ClassLabel"}}
    table = arrow.table({"label": [7]})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(UserError, match="holds 7, but the file names 2 classes"):
        read_table(tmp_path / "a.parquet")


def test_a_missing_pyarrow_names_the_extra_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"pip install '.\[train\]'"):
        read_table(write(tmp_path / "a.parquet", b"PAR1"))


def test_a_text_of_a_megabyte_is_read_and_the_csv_limit_is_put_back(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    long = "word " * 200_000
    assert read_table(write(tmp_path / "a.csv", f"text,label\n{long},x\n")).rows[0][0] == long
    assert csv.field_size_limit() == before


def test_a_column_without_a_name_gets_one(tmp_path: Path) -> None:
    assert read_table(write(tmp_path / "a.csv", ",text,label\n0,a,b\n")).columns == ("column_1", "text", "label")


def test_blank_lines_of_a_csv_file_are_no_rows(tmp_path: Path) -> None:
    assert read_csv(write(tmp_path / "a.csv", "\n\ntext,label\n\na,b\n\n")).rows == [("a", "b")]


def test_a_file_without_a_header_takes_the_columns_given(tmp_path: Path) -> None:
    table = read_tsv(write(tmp_path / "a.tsv", "a\t1\nb\t0"), columns=("text", "label"))
    assert table.rows == [("a", "1"), ("b", "0")]
    assert table.lines == [1, 2]


def test_another_encoding_is_read_when_the_layout_prescribes_it(tmp_path: Path) -> None:
    assert read_lines(write(tmp_path / "a.txt", b"caf\xe9\n"), encoding="latin-1") == ["café"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "is empty"),
        ("a.tsv", b"\xef\xbb\xbf", "is empty"),
        ("a.csv", b"text,label\n", "has no rows, only a header"),
        ("a.tsv", b"text\tlabel\n", "has no rows, only a header"),
        ("a.jsonl", b"\n\n", "has no rows"),
        ("a.csv", b"text,label\na,b\nc\n", "line 3: 1 columns, but the header has 2"),
        ("a.csv", b"text,label\na,b\nc, d,e\n", "line 3: 3 columns, but the header has 2"),
        ("a.csv", b'text,label\n"one\ntwo",b\nc,d,e\n', "line 4: 3 columns, but the header has 2"),
        ("a.csv", b'text,label\na,b\n"open,x\nmore,y\n', "line 3: not valid CSV"),
        ("a.csv", b'text,label\n"a" b,x\n', "line 2: not valid CSV"),
        ("a.csv", b"text;label\na;b\n", "seems to be separated by semicolons"),
        ("a.csv", b"text\tlabel\na\tb\n", "seems to be separated by tabs"),
        ("a.csv", b"text|label\na, b|c\n", "seems to be separated by vertical bars"),
        ("a.csv", b"sep=,\ntext,label\na,b\n", "begins with a line 'sep=', which only Excel reads: remove"),
        ("a.csv", b"sep=;\r\ntext;label\r\na;b\r\n", "begins with a line 'sep=', which only Excel reads"),
        ("a.csv", b'"SEP=,"\ntext,label\na,b\n', "begins with a line 'sep=', which only Excel reads"),
        ("a.tsv", b"sep=\t\ntext\tlabel\na\tb\n", "begins with a line 'sep=', which only Excel reads"),
        ("a.csv", b"text,label\na,b\nc\0d,b\n", "line 3: holds a NUL byte"),
        ("a.tsv", b"text\tlabel\na\0\tb\n", "line 2: holds a NUL byte"),
        ("a.jsonl", b'{"text": "a"}\n{"text": "\0"}\n', "line 2: holds a NUL byte"),
        ("a.csv", b"text,text\na,b\n", "more than one column named 'text'"),
        ("a.tsv", b"text\tlabel\na\tb\tc\n", "line 2: 3 columns, but the header has 2"),
        ("a.csv", b"text,label\nfine,a\ncaf\xe9,b\n", "not UTF-8: line 3, byte 4 of the line is 0xe9; convert"),
        ("a.tsv", b"\xef\xbb\xbfcaf\xe9\tlabel\n", "not UTF-8: line 1, byte 4 of the line is 0xe9; convert"),
        ("a.csv", "text,label\na,b\n".encode("utf-16"), "is UTF-16, not UTF-8: convert it first"),
        ("a.csv", "text,label\na,b\n".encode("utf-16-le"), "is UTF-16, not UTF-8.*'iconv -f UTF-16LE -t UTF-8'"),
        ("a.csv", "text,label\ncaf\xe9,b\n".encode("utf-16-be"), "UTF-16, .*'iconv -f UTF-16BE -t UTF-8'"),
        ("a.csv", b"PK\x03\x04\0\0\0\0\xff\0", "not UTF-8: line 1, byte 9 of the line is 0xff"),
        ("a.jsonl", b'{"text": "a"}\n{"text": \n', "line 2: not valid JSON"),
        ("a.jsonl", b"[1, 2]\n", "line 1: a JSON list, where an object is needed"),
        ("a.jsonl", b"[" * 100_000, "line 1: JSON nested too deeply"),
        ("a.jsonl", b'{"text": ' + b"7" * 5000 + b"}", "line 1: JSON with a number of too many digits"),
        ("a.parquet", b"not parquet at all", "cannot be read as Parquet"),
        ("a.xlsx", b"PK", "ends in '.xlsx', which is no kind of table read here: use .csv"),
    ],
)
def test_a_damaged_file_is_refused_with_its_name_and_place(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    with pytest.raises(UserError) as caught:
        read_table(write(tmp_path / name, content))
    for part in message.split(".*"):
        assert part in str(caught.value)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(UserError, match=r"is a folder: name a file in it$"):
        read_table(tmp_path)


def test_an_unknown_column_lists_the_columns_there_are(tmp_path: Path) -> None:
    table = read_table(write(tmp_path / "a.csv", "text,label\na,b\n"))
    with pytest.raises(UserError, match="no column 'intent'; its columns are 'text', 'label'"):
        table.column("intent")
