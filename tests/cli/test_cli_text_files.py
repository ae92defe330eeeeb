"""The texts of `hundredth predict`: tables are read as every other command reads them, lines one by one."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hundredth import UserError
from hundredth.text_files import read_texts

Refused = Callable[..., str]
MakeModel = Callable[..., Path]


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def texts_of(*arguments: Any) -> list[tuple[str, ...]]:
    return [texts for _, texts in read_texts(*arguments)]


def test_a_text_file_is_one_text_a_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.TXT", "\ufeffone text\r\nanother, with a comma\nlast")
    assert texts_of(path, ["text"]) == [("one text",), ("another, with a comma",), ("last",)]


@pytest.mark.parametrize(
    ("suffix", "separator", "cell", "text"),
    [
        (".csv", ",", '"yes, ""really""\nyes"', 'yes, "really"\nyes'),
        (".TSV", "\t", '"yes, really', '"yes, really'),  # no quoting: an inch sign must not swallow the rows below
    ],
)
def test_a_table_is_read_by_the_names_of_its_columns(
    tmp_path: Path, suffix: str, separator: str, cell: str, text: str
) -> None:
    rows = [["answer", "id", "question"], [cell, "1", "is it"], ["no", "2", "was it"]]
    content = "".join(separator.join(row) + "\n" for row in rows)
    path = write(tmp_path / f"a{suffix}", f"\ufeff{content}")
    assert texts_of(path, ["question", "answer"]) == [("is it", text), ("was it", "no")]


@pytest.mark.parametrize("suffix", [".jsonl", ".ndjson"])
def test_json_lines_are_read_by_name(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"a{suffix}", '{"b": "y", "a": "ü", "c": 1}\n\n{"a": "2", "b": "3"}\n')
    assert texts_of(path, ["a", "b"]) == [("ü", "y"), ("2", "3")]


def test_parquet_is_read_where_it_is_installed(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table({"id": [1, 2], "text": ["a", "b"]}), tmp_path / "a.parquet")
    assert texts_of(tmp_path / "a.parquet", ["text"]) == [("a",), ("b",)]


def test_standard_input_is_lines_for_one_field_and_json_lines_for_more() -> None:
    assert texts_of(io.StringIO("a\nb\n"), ["text"]) == [("a",), ("b",)]
    line = json.dumps({"x": "a", "y": "b"})
    assert texts_of(io.StringIO(f"{line}\n\n"), ["x", "y"]) == [("a", "b")]


def test_lines_are_given_as_they_come_and_a_table_not_before_it_is_read() -> None:
    """Silent otherwise: what is piped in would be answered at its end alone."""
    texts = read_texts(io.StringIO("first\n\ud800\n"), ["text"])
    assert next(texts) == (1, ("first",))
    with pytest.raises(UserError, match="standard input line 2: 'text' holds half of a surrogate pair"):
        next(texts)


def test_blank_lines_are_passed_over_and_told(tmp_path: Path) -> None:
    content = "\none\n \t\r\nthree\n\n"
    for source in (io.StringIO(content), write(tmp_path / "a.txt", content)):
        blank: list[int] = []
        assert list(read_texts(source, ["text"], (), blank)) == [(2, ("one",)), (4, ("three",))]
        assert blank == [1, 3, 5]
    blank = []
    assert list(read_texts(io.StringIO('\n{"x": "a", "y": "b"}\n'), ["x", "y"], (), blank)) == [(2, ("a", "b"))]
    assert blank == [1]


def test_columns_may_have_other_names(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'b,a,x\n"two\nlines",one,1\nfour,three,2\n')
    found = [(2, ("one", "two\nlines")), (4, ("three", "four"))]
    assert list(read_texts(path, ["x", "y"], ["a", "b"])) == found
    piped = io.StringIO('{"b": "four", "a": "three"}\n')
    assert texts_of(piped, ["x", "y"], ["a", "b"]) == [("three", "four")]
    with pytest.raises(UserError, match="'a' are not one column for each field: this task reads 'x', 'y'"):
        read_texts(path, ["x", "y"], ["a"])
    with pytest.raises(UserError, match="no column 'text'; its columns are 'b', 'a', 'x': see --text-column"):
        read_texts(path, ["text"])
    for plain in (write(tmp_path / "a.txt", "one\n"), io.StringIO("one\n")):
        with pytest.raises(UserError, match="one text a line, and no columns: leave --text-column a out"):
            read_texts(plain, ["text"], ["a"])


def test_a_bad_row_of_a_table_is_told_before_the_first_answer(
    refused: Refused, make_model: MakeModel, tmp_path: Path
) -> None:
    rows = "".join(f"card {number}\n" for number in range(600))
    path = write(tmp_path / "a.csv", f"text\n{rows}a, b\n")
    assert "a.csv line 602: 2 columns, but the header has 1" in refused("predict", make_model(), "--file", path)


def test_a_cell_of_a_megabyte_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text\n" + "x" * (1 << 20) + "\n")
    assert [len(text) for (text,) in texts_of(path, ["text"])] == [1 << 20]


@pytest.mark.parametrize(
    ("name", "content", "fields", "message"),
    [
        ("a.txt", "one\n", ["x", "y"], "cannot hold x, y: use .csv, .tsv"),
        ("a.txt", b"one\n" * 9000 + b"caf\xe9\n", ["text"], "a.txt line 9001 is not UTF-8"),
        ("a.csv", "text\n1\n \n", ["text"], "a.csv line 3: 'text' is empty"),
        ("a.jsonl", '{"text": 5}\n', ["text"], "a.jsonl line 1: 'text' is 5"),
        ("a.jsonl", '{"x": "a"}\n{"x": "b", "y": "c"}\n', ["x", "y"], "a.jsonl line 1: 'y' is None"),
        ("a.jsonl", '{"text": "\\ud800"}\n', ["text"], "line 1: 'text' holds half of a surrogate pair"),
        (
            "a.xlsx",
            "x",
            ["text"],
            "a.xlsx ends in '.xlsx', which is no kind of file of texts read here: use .txt, .c",
        ),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(
    tmp_path: Path, name: str, content: str | bytes, fields: list[str], message: str
) -> None:
    path = write(tmp_path / name, content)
    with pytest.raises(UserError) as caught:
        texts_of(path, fields)
    assert message in str(caught.value)


def test_a_text_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.txt cannot be read"):
        texts_of(tmp_path / "nowhere.txt", ["text"])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tsv", "text\tlabel\nfine\trefund\none\ttwo\trefund\n"),
        ("a.tsv", "text\tlabel\nfine\trefund\n \trefund\n"),
        ("a.csv", "text,label\nmy card, please,refund\n"),
        ("a.csv", 'text,label\n"my" card,refund\n'),
        ("a.csv", "text;label\nmy card;refund\n"),
        ("a.csv", b"text,label\ncaf\xe9,refund\n"),
        ("a.csv", "text,label\n"),
        ("a.csv", ""),
        ("a.jsonl", '{"text": "a", "label": "refund"}\n{"text"\n'),
        ("a.jsonl", '{"text": null, "label": "refund"}\n'),
        ("a.jsonl", "[1]\n"),
        ("missing.csv", None),
        (".", None),
    ],
)
def test_a_table_is_refused_in_the_words_in_which_an_import_refuses_it(
    name: str, content: str | bytes | None, refused: Refused, make_model: MakeModel, tmp_path: Path
) -> None:
    path = tmp_path / name
    if content is not None:
        write(path, content)
    model = make_model()
    said = refused("predict", model, "--file", path)
    assert said == refused("knowledge", "import", model, path)
    assert "--task" not in said


def test_a_table_is_predicted_with_the_texts_that_an_import_adds(
    run: Any, make_model: MakeModel, tmp_path: Path
) -> None:
    """Silent otherwise: a correction that was imported would not hold for the very row it came of."""
    path = write(tmp_path / "a.tsv", 'label\ttext\nrefund\t"my card" 3"\nrefund\tthe parcel""\ndelivery\t card\r\n')
    model = make_model()
    run("knowledge", "import", model, path)
    shown = [
        json.loads(line)
        for line in run("knowledge", "list", model, "--origin", "user", "--json").stdout.splitlines()
    ]
    assert [tuple(one["texts"]) for one in shown] == texts_of(path, ["text"])
    assert [text for (text,) in texts_of(path, ["text"])] == ['"my card" 3"', 'the parcel""', " card"]
