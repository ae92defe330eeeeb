"""Every mistake in the input gives one clear line and exit code 2, and leaves nothing half-written."""

import json
import shutil
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

Refused = Callable[..., str]
GOOD = [(f"text {number} of {label}", label) for number in range(4) for label in "ab"]


def as_csv(rows: Sequence[tuple[str, str]], header: str = "text,label") -> bytes:
    return "".join(line + "\n" for line in [header, *map(",".join, rows)]).encode()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", r"data\.csv is empty"),
        (b"\xef\xbb\xbf", r"data\.csv is empty"),
        (b"text,label\n", r"has no rows, only a header"),
        (as_csv([(text, "a") for text, _ in GOOD]), r"has only one class, 'a', in column 'label'"),
        (as_csv([*GOOD, ("alone", "c")]), r"classes with fewer than 2 examples to train on: 'c' \(1\)"),
        (as_csv([("  ", label) for _, label in GOOD]), r"every row is empty in 'text'"),
        (as_csv([(text, " ") for text, _ in GOOD]), r"column 'label' holds no label in any of 8 rows"),
        (as_csv(GOOD) + "caf\u00e9 cr\u00e8me,a\n".encode("latin-1"), r"is not UTF-8: line 10, byte 4"),
        (as_csv([*GOOD, ("one", "two", "three")]), r"line 10: 3 columns, but the header has 2"),  # type: ignore[list-item]
        (as_csv(GOOD, "text;label"), r"separated by semicolons|columns, but the header has"),
        (as_csv(GOOD, "text,text"), r"more than one column named 'text'"),
        (b'text,label\n"open,a\n', r"line 2: not valid CSV"),
    ],
)
def test_a_file_that_cannot_be_learnt_from(
    content: bytes, said: str, tmp_path: Path, out: Path, names: Sequence[str], refused: Refused
) -> None:
    (tmp_path / "data.csv").write_bytes(content)
    assert_matches(said, refused("transfer", tmp_path / "data.csv", *names, "--out", out))
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["{folder}/none.csv"], r"none\.csv does not exist \(looked in "),
        (["{folder}"], r"is a folder: name a file in it, or for a benchmark folder say which task with --task"),
        (["{folder}/data.xls"], r"ends in '\.xls', which is no kind of table read here"),
        ([], r"no data: name a file of labelled examples"),
        (["{data}", "--data", "{data}"], r"the data is named twice"),
        (["{data}", "--text-column", "body"], r"has no column 'body'; its columns are 'text', 'label'"),
        (["{data}", "--label-column", "intent"], r"has no column 'intent'; its columns are 'text', 'label'"),
        (["{data}", "--text-column", "label", "--label-column", "label"], r"a column is named twice"),
        (["{data}", "--dev", "{folder}/none.csv"], r"none\.csv does not exist"),
        (["{data}", "--dev", "{data}"], r"each of the 8 training rows repeats a text of .*data\.csv"),
        (["{data}", "--dev", "{other}"], r"has labels that the training data does not: 'z'"),
        (["{data}", "--unlabelled", "{folder}/none.txt"], r"none\.txt does not exist"),
        (["{data}", "--unlabelled-limit", "5"], r"there is no file of unlabelled texts"),
        (["{data}", "--task", "trec"], r"data\.csv"),
        (["{folder}", "--task", "trek"], r"trek"),
        (
            ["{data}", "--limit-per-class", "0"],
            r"task\.limit_per_class=0: input should be greater than or equal to 1",
        ),
        (["{data}", "--threads", "-1"], r"threads=-1: input should be greater than or equal to 0"),
        (["{data}", "--set", "student.epoch=3"], r"there is no setting student\.epoch"),
        (["{data}", "--set", "student.epochs"], r"write PATH=VALUE"),
        (["{data}", "--config", "{folder}/none.yaml"], r"none\.yaml does not exist \(looked in "),
        (["{data}", "--llm", "./no-such-llm"], r"model '\./no-such-llm': no such file or folder"),
        (["{data}", "--llm", "~no-such-user/llm"], r"model '~no-such-user/llm': no such file or folder"),
        (
            ["{data}", "--llm", "package:no_such_package/x"],
            r"the Python package 'no_such_package' is not installed",
        ),
        (["{data}", "--student", "{folder}/none"], r"none': no such file or folder"),
        (["{data}", "--student", "{llm}"], r"is a 'llama' model, not an encoder"),
        (["{data}", "--student", "{folder}"], r"cannot load the student"),
    ],
)
def test_options_that_cannot_be_followed(
    options: list[str],
    said: str,
    tmp_path: Path,
    out: Path,
    names: Sequence[str],
    refused: Refused,
    tiny_llm: Path,
) -> None:
    (tmp_path / "data.csv").write_bytes(as_csv(GOOD))
    (tmp_path / "data.xls").write_bytes(as_csv(GOOD))
    (tmp_path / "other.csv").write_bytes(as_csv([("a text", "z"), ("one more", "a")]))
    places = {
        "folder": tmp_path,
        "data": tmp_path / "data.csv",
        "other": tmp_path / "other.csv",
        "llm": tiny_llm,
    }
    filled = [option.format(**places) for option in options]
    assert_matches(said, refused("transfer", *names, *filled, "--out", out))
    assert not out.exists()


@pytest.mark.parametrize(
    ("left_out", "said"),
    [
        ("--out", r"no folder to write to: name one with --out"),
        ("--llm", r"no LLM is named: --llm NAME, or llm\.name in the file of --config"),
        ("--student", r"no encoder is named to start the student from: --student NAME"),
    ],
)
def test_what_must_be_named(
    left_out: str, said: str, tickets: Path, out: Path, names: Sequence[str], refused: Refused
) -> None:
    options = [*names, "--out", str(out)]
    place = options.index(left_out)
    assert_matches(said, refused("transfer", tickets, *options[:place], *options[place + 2 :]))


@pytest.mark.parametrize(
    "kind",
    ["empty folder", "no weights", "damaged weights", "encoder", "text file"],
)
def test_an_llm_that_is_none(
    kind: str,
    tickets: Path,
    tmp_path: Path,
    out: Path,
    names: Sequence[str],
    tiny_llm: Path,
    tiny_encoder: Path,
    refused: Refused,
) -> None:
    wrong = tmp_path / "wrong"
    if kind == "text file":
        wrong.write_text("no model")
    elif kind == "empty folder":
        wrong.mkdir()
    else:
        shutil.copytree(tiny_encoder if kind == "encoder" else tiny_llm, wrong)
    if kind == "no weights":
        (wrong / "model.safetensors").unlink()
    if kind == "damaged weights":
        (wrong / "model.safetensors").write_bytes((wrong / "model.safetensors").read_bytes()[:1000])
    assert_matches(r"LLM '.*wrong'", refused("transfer", tickets, *names, "--llm", wrong, "--out", out))
    # The same folder goes on with a right one.
    assert sorted(path.name for path in out.iterdir()) == [".lock", ".unfinished", "run.yaml", "task"]


@pytest.mark.parametrize("option", ["--llm", "--student"])
def test_a_name_on_the_hub_without_a_network_is_said_at_once(
    option: str, no_network: None, tickets: Path, out: Path, names: Sequence[str], refused: Refused
) -> None:
    said = refused("transfer", tickets, *names, option, "nobody-has/this-model", "--out", out)
    assert_matches(r"'nobody-has/this-model'.*(hub|network)", said)
    # The hub's client alone would have tried again for half a minute.
    assert constants.HF_HUB_OFFLINE


def test_a_hub_that_answers_is_used(
    no_network: None, monkeypatch: pytest.MonkeyPatch, tickets: Path, out: Path, names: Sequence[str], run: Any
) -> None:
    """Silent otherwise: a machine with a network would never download anything."""
    with socket.socket() as hub:
        hub.bind(("127.0.0.1", 0))
        hub.listen()
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{hub.getsockname()[1]}")
        reached: list[bool] = []
        monkeypatch.setattr(
            "hundredth.pipeline.transfer.transfer", lambda *_: reached.append(constants.HF_HUB_OFFLINE) or 1 / 0
        )
        with pytest.raises(ZeroDivisionError):
            run("transfer", tickets, *names, "--llm", "nobody-has/this-model", "--out", out)
    assert reached == [False]


def test_the_folder_of_another_task(
    finished_run: Path, tmp_path: Path, names: Sequence[str], refused: Refused
) -> None:
    (tmp_path / "data.csv").write_bytes(as_csv(GOOD))
    said = refused("transfer", tmp_path / "data.csv", *names, "--out", finished_run)
    assert_matches(r"holds a run of another task, 'tickets' with labels .*: choose another --out; to go on", said)


def test_a_folder_that_something_else_lies_in(
    tickets: Path, tmp_path: Path, names: Sequence[str], refused: Refused
) -> None:
    (tmp_path / "student").mkdir()
    (tmp_path / "student" / "thesis.tex").write_text("mine")
    assert_matches(
        r"student was not made by a run and would be replaced",
        refused("transfer", tickets, *names, "--out", tmp_path),
    )
    assert (tmp_path / "student" / "thesis.tex").read_text() == "mine"


@pytest.mark.parametrize("place", ["file", "file/inner"])
def test_a_folder_that_cannot_be_made(
    place: str, tickets: Path, tmp_path: Path, names: Sequence[str], refused: Refused
) -> None:
    (tmp_path / "file").write_text("in the way")
    said = refused("transfer", tickets, *names, "--out", tmp_path / place)
    assert_matches(rf"{tmp_path / 'file'} is a file, where a run needs a folder: name another with --out", said)
    assert (tmp_path / "file").read_text() == "in the way"


def test_an_option_that_is_not_there(run: Any, tickets: Path) -> None:
    result = run("transfer", tickets, "--epochs", "3")
    assert result.exit_code == 2
    assert "No such option '--epochs'" in result.stderr


def test_awkward_data_that_can_be_learnt_from(
    tmp_path: Path, out: Path, small_config: Path, ticket_rows: list[tuple[str, str]], write_table: Any, run: Any
) -> None:
    """A text of 1 MB, texts with two labels, empty ones, a byte-order mark, Windows line ends, emoji."""
    rows = [
        *ticket_rows,
        ("refund " * 150_000, "refund"),
        (ticket_rows[0][0].upper(), "refund"),
        ("  ", "refund"),
        ("My \U0001f4b3 is \u201cgone\u201d \u2028 \u00e9t\u00e9", "card_swallowed"),
    ]
    data = write_table(tmp_path / "data.csv", rows)
    data.write_bytes(b"\xef\xbb\xbf" + data.read_bytes())
    result = run("transfer", data, "--config", small_config, "--out", out, "--json")
    assert result.exit_code == 0, result.stderr
    for said in (
        "data.csv: dropped 1 rows with an empty text",
        "data.csv: cut 1 rows to 20000 characters a text",
        "data.csv: 1 texts have more than one label; kept",
        "guessed text 'text' and label 'label'",
    ):
        assert said in result.stderr
    assert json.loads(result.stdout)["labels"] == ["card_swallowed", "lost_phone", "refund"]


def assert_matches(pattern: str, said: str) -> None:
    with pytest.raises(AssertionError, match=pattern):
        raise AssertionError(said)
