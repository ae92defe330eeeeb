import io
import json

import pytest

from hundredth import UserError
from hundredth.runtime import read_texts


def _write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_a_text_file_is_one_text_a_line(tmp_path):
    path = _write(tmp_path / "a.txt", "\ufeffone text\r\nanother, with a comma\nlast")
    assert list(read_texts(path, ["text"])) == [("one text",), ("another, with a comma",), ("last",)]


@pytest.mark.parametrize(("suffix", "separator"), [(".csv", ","), (".TSV", "\t")])
def test_a_table_is_read_by_the_names_of_its_columns(tmp_path, suffix, separator):
    header = separator.join(["answer", "id", "question"])
    row = separator.join(['"yes, ""really""\nyes"', "1", "is it"])
    path = _write(tmp_path / f"a{suffix}", f"\ufeff{header}\n{row}\n")
    assert list(read_texts(path, ["question", "answer"])) == [("is it", 'yes, "really"\nyes')]


def test_json_lines_are_read_by_name(tmp_path):
    path = _write(tmp_path / "a.jsonl", '{"b": "y", "a": "ü", "c": 1}\n\n{"a": "2", "b": "3"}\n')
    assert list(read_texts(path, ["a", "b"])) == [("ü", "y"), ("2", "3")]


def test_standard_input_is_lines_for_one_field_and_json_lines_for_more():
    assert list(read_texts(io.StringIO("a\nb\n"), ["text"])) == [("a",), ("b",)]
    line = json.dumps({"x": "a", "y": "b"})
    assert list(read_texts(io.StringIO(line), ["x", "y"])) == [("a", "b")]


def test_a_cell_of_a_megabyte_is_read(tmp_path):
    path = _write(tmp_path / "a.csv", "text\n" + "x" * (1 << 20) + "\n")
    assert [len(text) for (text,) in read_texts(path, ["text"])] == [1 << 20]


@pytest.mark.parametrize(
    ("name", "content", "fields", "message"),
    [
        ("a.txt", "one\n\nthree\n", ["text"], "a.txt, line 2: 'text' is empty"),
        ("a.txt", "one\n", ["x", "y"], "cannot hold x, y"),
        ("a.txt", b"caf\xe9\n", ["text"], "not UTF-8"),
        ("a.csv", "id,body\n1,x\n", ["text"], "no column 'text': its columns are id, body"),
        ("a.csv", "", ["text"], "its columns are none"),
        ("a.csv", "id,text\n1\n", ["text"], "line 2: 'text' is None"),
        ("a.csv", "text\n1\n \n", ["text"], "line 3: 'text' is empty"),
        ("a.jsonl", '{"text": "a"}\n{"text"\n', ["text"], "line 2 is not JSON"),
        ("a.jsonl", "[1]\n", ["text"], "line 1 is not a JSON object"),
        ("a.jsonl", '{"text": 5}\n', ["text"], "line 1: 'text' is 5"),
        ("a.jsonl", '{"body": "x"}\n', ["text"], "line 1: 'text' is None"),
        ("a.xlsx", "x", ["text"], "must end in .txt, .csv, .tsv or .jsonl, not '.xlsx'"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(tmp_path, name, content, fields, message):
    path = _write(tmp_path / name, content)
    with pytest.raises(UserError) as caught:
        list(read_texts(path, fields))
    assert message in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.txt cannot be read"):
        list(read_texts(tmp_path / "nowhere.txt", ["text"]))
