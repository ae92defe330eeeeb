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


def test_a_text_file_is_one_text_a_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.TXT", "\ufeffone text\r\nanother, with a comma\nlast")
    assert list(read_texts(path, ["text"])) == [("one text",), ("another, with a comma",), ("last",)]


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
    assert list(read_texts(path, ["question", "answer"])) == [("is it", text), ("was it", "no")]


@pytest.mark.parametrize("suffix", [".jsonl", ".ndjson"])
def test_json_lines_are_read_by_name(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"a{suffix}", '{"b": "y", "a": "ü", "c": 1}\n\n{"a": "2", "b": "3"}\n')
    assert list(read_texts(path, ["a", "b"])) == [("ü", "y"), ("2", "3")]


def test_parquet_is_read_where_it_is_installed(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table({"id": [1, 2], "text": ["a", "b"]}), tmp_path / "a.parquet")
    assert list(read_texts(tmp_path / "a.parquet", ["text"])) == [("a",), ("b",)]


def test_standard_input_is_lines_for_one_field_and_json_lines_for_more() -> None:
    assert list(read_texts(io.StringIO("a\nb\n"), ["text"])) == [("a",), ("b",)]
    line = json.dumps({"x": "a", "y": "b"})
    assert list(read_texts(io.StringIO(f"{line}\n\n"), ["x", "y"])) == [("a", "b")]


def test_lines_are_given_as_they_come_and_a_table_not_before_it_is_read() -> None:
    """Silent otherwise: what is piped in would be answered at its end alone."""
    texts = read_texts(io.StringIO("first\n \n"), ["text"])
    assert next(texts) == ("first",)
    with pytest.raises(UserError, match="standard input line 2: 'text' is empty"):
        next(texts)


def test_a_bad_row_of_a_table_is_told_before_the_first_answer(
    refused: Refused, make_model: MakeModel, tmp_path: Path
) -> None:
    rows = "".join(f"card {number}\n" for number in range(600))
    path = write(tmp_path / "a.csv", f"text\n{rows}a, b\n")
    assert "a.csv line 602: 2 columns, but the header has 1" in refused("predict", make_model(), "--file", path)


def test_a_cell_of_a_megabyte_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text\n" + "x" * (1 << 20) + "\n")
    assert [len(text) for (text,) in read_texts(path, ["text"])] == [1 << 20]


@pytest.mark.parametrize(
    ("name", "content", "fields", "message"),
    [
        ("a.txt", "one\n\nthree\n", ["text"], "a.txt line 2: 'text' is empty"),
        ("a.txt", "one\n", ["x", "y"], "cannot hold x, y: use .csv, .tsv"),
        ("a.txt", b"caf\xe9\n", ["text"], "a.txt is not UTF-8"),
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
        list(read_texts(path, fields))
    assert message in str(caught.value)


def test_a_text_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.txt cannot be read"):
        list(read_texts(tmp_path / "nowhere.txt", ["text"]))


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
    assert [tuple(one["texts"]) for one in shown] == list(read_texts(path, ["text"]))
    assert [text for (text,) in read_texts(path, ["text"])] == ['"my card" 3"', 'the parcel""', " card"]
