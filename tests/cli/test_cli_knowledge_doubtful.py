"""What files and arguments say that cannot be taken as it stands."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import hundredth
from hundredth.cli import app
from hundredth.runtime.knowledge import Given

Refused = Callable[..., str]
MakeModel = Callable[..., Path]


def entries_of(model: Path) -> list[tuple[Any, ...]]:
    with hundredth.load(model) as loaded:
        return [
            (entry.texts[0], entry.label, entry.soft_label.astype(float).round(5).tolist())
            for entry in loaded.store.entries("user")
        ]


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_label_that_was_edited_in_an_export_counts(
    suffix: str, run: Any, make_model: MakeModel, tmp_path: Path
) -> None:
    """Silent otherwise: the list shows the new label, and the answer stays the old one."""
    model, other = make_model(), make_model()
    run("knowledge", "correct", model, "where is my card", "--label", "refund")
    run("knowledge", "add", model, "my money", "--label", "refund")
    file = tmp_path / f"taught{suffix}"
    run("knowledge", "export", model, file, "--origin", "user")
    content = file.read_text().splitlines(keepends=True)
    edited = [line.replace("refund", "delivery", 1) if "where is my card" in line else line for line in content]
    file.write_text("".join(edited))
    told = run("knowledge", "import", other, file).stdout.splitlines()
    assert told[1:] == ["2 entries added", "1 row has a soft label that is not of the label: the label counts"]
    assert entries_of(other) == [("where is my card", 2, [0, 0, 1]), ("my money", 1, [0, 1, 0])]
    assert run("predict", other, "where is my card").stdout.startswith("delivery\t1.0")


def test_a_soft_label_that_agrees_with_the_label_stays(run: Any, make_model: MakeModel, tmp_path: Path) -> None:
    model = make_model()
    rows = [
        {"text": "my card", "label": "refund", "soft_label": {"refund": 0.5, "delivery": 0.5}},
        {"text": "my money", "label": "refund", "soft_label": {"delivery": 0.6, "refund": 0.4}},
        {"text": "parcel", "label": None, "soft_label": {"delivery": 0.6, "refund": 0.4}},
    ]
    [told] = run("knowledge", "import", model, write(tmp_path / "a.jsonl", *rows), "--json").stdout.splitlines()
    assert json.loads(told)["contradictory"] == 1
    assert entries_of(model) == [
        ("my card", 1, [0, 0.5, 0.5]),
        ("my money", 1, [0, 1, 0]),
        ("parcel", None, [0, 0.4, 0.6]),
    ]


def test_a_label_with_no_chance_is_not_added(run: Any, make_model: MakeModel, tmp_path: Path) -> None:
    """Silent otherwise: a typing error becomes a label for good."""
    model = make_model()
    row = {"text": "my card", "label": "refund", "soft_label": {"refund": 1.0, "TYPO": 0.0}}
    told = run("knowledge", "import", model, write(tmp_path / "a.jsonl", row), "--new-labels").stdout.splitlines()
    assert told[1:] == ["1 entry added"]
    assert "TYPO" not in run("knowledge", "labels", model).stdout


def left_behind(text: str, label: str, at: str, id: int) -> dict[str, Any]:
    change = {"id": id, "at": at, "kind": "correct", "by": "Bo", "note": ""}
    told = {"texts": [text], "label": label, "probabilities": {label: 1.0}, "origin": "user", "created": at}
    return {**told, "fields": ["text"], "change": change}


def test_what_was_left_behind_does_not_outdo_what_was_said_since(
    run: Any, make_model: MakeModel, tmp_path: Path
) -> None:
    """Silent otherwise: a correction of last year takes the place of one of today."""
    model = make_model()
    run("knowledge", "correct", model, "where is my card", "--label", "refund", "--by", "Ada")
    old, new = "2020-01-01T00:00:00", "2999-01-01T00:00:00+00:00"
    rows = [
        left_behind("where is my card", "gone", old, 3),
        left_behind("my money", "fee", old, 4),
        left_behind("where is my card", "refund", old, 5),
    ]
    file = write(tmp_path / "left-behind.jsonl", *rows)
    told = run("knowledge", "import", model, file, "--new-labels").stdout.splitlines()
    assert told[1:] == ["1 entry added, 1 known already, 1 older than what users said since", "new labels: 'fee'"]
    assert run("predict", model, "where is my card").stdout.startswith("refund\t1.0")
    assert [entry[0] for entry in entries_of(model)] == ["where is my card", "my money"]
    write(file, left_behind("where is my card", "delivery", new, 3))
    [told] = run("knowledge", "import", model, file, "--json").stdout.splitlines()
    assert (json.loads(told)["added"], json.loads(told)["outdated"]) == (1, 0)
    assert run("predict", model, "where is my card").stdout.startswith("delivery\t1.0")


@pytest.mark.parametrize("text", ["1" + "0" * 400, "1e400", "-1"])
def test_a_chance_that_is_none_is_refused(
    text: str, refused: Refused, make_model: MakeModel, tmp_path: Path
) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(f'{{"text": "my card", "label": "refund", "soft_label": {{"refund": {text}}}}}\n')
    assert "a.jsonl line 1: a soft label is {'refund': " in refused("knowledge", "import", make_model(), file)


def test_a_change_that_cannot_be_written_is_refused(
    refused: Refused, make_model: MakeModel, tmp_path: Path
) -> None:
    row = left_behind("my card", "refund", "2020-01-01T00:00:00+00:00", 3)
    row["change"]["by"] = "\ud800"
    said = refused("knowledge", "import", make_model(), write(tmp_path / "a.jsonl", row))
    assert "line 1: its change cannot be read (UnicodeEncodeError" in said


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_a_file_in_utf_16_is_called_that(
    encoding: str, refused: Refused, make_model: MakeModel, tmp_path: Path
) -> None:
    file = tmp_path / "a.csv"
    file.write_bytes("\ufefftext,label\nmy card,refund\n".encode(encoding))
    said = refused("knowledge", "import", make_model(), file)
    assert said.endswith(
        "a.csv is UTF-16, not UTF-8: convert it first, for example with 'iconv -f UTF-16 -t UTF-8'"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["delete", "9" * 20], f"no entry has the id {'9' * 20}"),
        (["undo", "9" * 20], f"no change has the id {'9' * 20}"),
        (["correct", "my card", "--label", "refund", "--note", "\udcff"], "note is '\\udcff', which is not valid"),
        (["add", "my card", "--label", "refund", "--by", "\udcff"], "by is '\\udcff', which is not valid"),
    ],
    ids=["delete", "undo", "note", "by"],
)
def test_arguments_that_cannot_be_right_are_told(
    arguments: list[str], said: str, refused: Refused, make_model: MakeModel
) -> None:
    model = make_model()
    assert said in refused("knowledge", arguments[0], model, *arguments[1:])
    with hundredth.load(model) as loaded:
        assert len(loaded.log()) == 1


@pytest.mark.parametrize(
    "options", [["list"], ["log"], ["list", "--search", "my card"]], ids=["list", "log", "near"]
)
def test_a_limit_above_all_there_is_shows_all(options: list[str], run: Any, make_model: MakeModel) -> None:
    model = make_model()
    found = run("knowledge", options[0], model, *options[1:], "--limit", "9" * 20)
    assert found.exit_code == 0
    assert len(found.stdout.splitlines()) == (1 if options == ["log"] else 3)


def test_the_least_sure_are_shown_with_the_probability_of_their_label(run: Any, make_model: MakeModel) -> None:
    model = make_model()
    with hundredth.load(model) as loaded:
        labels = loaded.labels
        for text, first in (("where is it", 0.8), ("the money", 0.4), ("my parcel", 0.6)):
            rest = (1 - first) / (len(labels) - 1)
            soft = {label: first if label == "delivery" else rest for label in labels}
            loaded.store.put([Given((text,), None, soft, "generated")])
    found = run("knowledge", "list", model, "--least-sure", "--limit", "2")
    lines = [line.split("\t") for line in found.stdout.splitlines()]
    assert [(line[0], line[2], line[3], line[4]) for line in lines] == [
        ("0.400", "delivery", "generated", "the money"),
        ("0.600", "delivery", "generated", "my parcel"),
    ]
    found = run("knowledge", "list", model, "--least-sure", "--origin", "generated", "--json")
    shown = [json.loads(line) for line in found.stdout.splitlines()]
    assert [one["probability"] for one in shown] == pytest.approx([0.4, 0.6, 0.8], abs=1e-6)
    found = run("knowledge", "list", model, "--least-sure", "--origin", "gold")
    assert (found.exit_code, found.stdout) == (0, "")


def test_the_least_sure_and_the_nearest_are_not_asked_for_at_once(refused: Refused, make_model: MakeModel) -> None:
    said = refused("knowledge", "list", make_model(), "--least-sure", "--search", "my card")
    assert said == "--search and --least-sure are both given: leave one out"


def test_a_file_name_that_is_not_utf_8_is_readable_in_the_log(make_model: MakeModel, tmp_path: Path) -> None:
    model = make_model()
    file = tmp_path / "f\udcff.csv"
    try:
        file.write_text("text,label\nmy card,refund\n")
    except OSError:
        pytest.skip("this file system knows only UTF-8")
    assert CliRunner().invoke(app, ["knowledge", "import", str(model), str(file)]).exit_code == 0
    with hundredth.load(model) as loaded:
        assert loaded.log(1)[0].note == "f\ufffd.csv"


def test_commands_take_the_url_of_a_folder(run: Any, make_model: MakeModel, tmp_path: Path) -> None:
    root = tmp_path / "my run"
    root.mkdir()
    make_model().rename(root / "model")
    for given in (root.as_uri(), (root / "model").as_uri()):
        run("knowledge", "correct", given, "my card", "--label", "delivery")
        assert run("predict", given, "my card").stdout.startswith("delivery\t1.0")
    assert entries_of(root / "model") == [("my card", 2, [0, 0, 1])]
