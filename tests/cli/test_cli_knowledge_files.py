"""Files of knowledge, in and out of a model."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hundredth
from hundredth.cli import app
from hundredth.runtime.knowledge import Given

ROWS = [("where is my money", "refund"), ("card ate machine", "card_swallowed"), ("back parcel", "fee")]
Refused = Callable[..., str]
MakeModel = Callable[..., Path]


def write(path: Path, rows: list[tuple[str, str]], columns: tuple[str, str] = ("text", "label")) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(dict(zip(columns, row, strict=True))) + "\n" for row in rows))
    elif path.suffix == ".parquet":
        pytest.importorskip("pyarrow")
        import pyarrow
        from pyarrow import parquet

        cells = [list(column) for column in zip(*rows, strict=True)]
        parquet.write_table(pyarrow.table(dict(zip(columns, cells, strict=True))), path)
    else:
        with path.open("w", newline="") as file:
            csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",").writerows([columns, *rows])
    return path


def entries_of(model: Path) -> list[tuple[Any, ...]]:
    with hundredth.load(model) as loaded:
        return [
            (entry.texts, entry.label, entry.soft_label.round(5).tolist(), entry.origin)
            for entry in loaded.store.entries()
        ]


def as_json(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_a_file_is_one_change_which_is_taken_back_by_one_undo(
    suffix: str, run: Any, make_model: MakeModel, tmp_path: Path
) -> None:
    model = make_model()
    before = entries_of(model)
    file = write(tmp_path / f"some{suffix}", ROWS)
    told = run("knowledge", "import", model, file, "--new-labels", "--by", "Ada").stdout.splitlines()
    number, _at, kind, by, added, note = told[0].split("\t")
    assert (kind, by, added, note) == ("add", "Ada", "+4..6", file.name)
    assert told[1:] == ["3 entries added", "new labels: 'fee'"]
    assert [(texts[0], label, origin) for texts, label, _, origin in entries_of(model)[3:]] == [
        ("where is my money", 1, "user"),
        ("card ate machine", 0, "user"),
        ("back parcel", 3, "user"),
    ]
    assert [run("predict", model, text).stdout.split("\t")[0] for text, _ in ROWS] == [label for _, label in ROWS]
    run("knowledge", "undo", model, number)
    assert [(texts, label) for texts, label, _, _ in entries_of(model)] == [
        (texts, label) for texts, label, _, _ in before
    ]


def test_columns_may_have_other_names_and_fields_any_number(
    run: Any, refused: Refused, make_model: MakeModel, tmp_path: Path
) -> None:
    entries = ((("my card", "the machine"), 0), (("money", "is back"), 1))
    model = make_model(entries=entries, fields=("premise", "claim"))
    file = tmp_path / "some.csv"
    file.write_text("b,intent,a\nis my parcel,delivery,where\n")
    options = ["--label-column", "intent", "--text-column", "a"]
    assert "are not one column for each field" in refused("knowledge", "import", model, file, *options)
    options += ["--text-column", "b"]
    run("knowledge", "import", model, file, *options)
    assert entries_of(model)[2][:2] == (("where", "is my parcel"), 2)
    said = refused("knowledge", "import", model, file)
    assert said.endswith("has no column 'label'; its columns are 'b', 'intent', 'a': see --label-column")
    said = refused("knowledge", "import", model, file, "--label-column", "intent")
    assert said.endswith("has no column 'premise'; its columns are 'b', 'intent', 'a': see --text-column")
    options = ["--text-column", "a", "--text-column", "b", "--label-column", "b"]
    assert "both texts and labels" in refused("knowledge", "import", model, file, *options)


def test_what_is_known_or_said_twice_is_left_out_and_told(run: Any, make_model: MakeModel, tmp_path: Path) -> None:
    model = make_model()
    rows = [
        ("where is my money", "refund"),
        ("machine ate card", "card_swallowed"),  # in the store
        ("where is my money", "refund"),
        ("money back", "delivery"),  # a refund in the store
        ("my card", "refund"),
        ("my card", "delivery"),
        ("my card", " refund "),
    ]
    file = write(tmp_path / "some.csv", rows)
    dry = run("knowledge", "import", model, file, "--dry-run").stdout
    assert dry == (
        "4 entries would be added, 2 repeated in the file, 1 known already\n"
        "2 texts have entries with another label too: of users' entries the newest decides\n"
    )
    assert len(entries_of(model)) == 3
    [told] = as_json(run("knowledge", "import", model, file, "--json", "--note", "n").stdout)
    [change] = told.pop("changes")
    assert (change["added"], change["note"]) == ([[4, 7]], "n")
    doubts = {"outdated": 0, "contradictory": 0}
    assert told == {**doubts, "added": 4, "repeated": 2, "known": 1, "disputed": 2, "new_labels": []}
    [again] = as_json(run("knowledge", "import", model, file, "--json").stdout)
    none = {**doubts, "changes": [], "added": 0, "repeated": 0, "disputed": 0, "new_labels": []}
    assert again == {**none, "known": 7}
    assert run("predict", model, "my card").stdout.split("\t")[0] == "delivery"
    assert len(entries_of(model)) == 7


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "text,label\nmy card,refund\nmoney,fee\n", "a.csv line 3: unknown label 'fee': this model knows"),
        ("a.csv", "text,label\nmy card,refund\n ,refund\n", "a.csv line 3: 'text' is empty"),
        ("a.csv", "text,label\nmy card,\n", "a.csv line 2: the text ('my card',) has no label"),
        ("a.csv", "text,label\nmy card, please,refund\n", "a.csv line 2: 3 columns, but the header has 2"),
        ("a.jsonl", '{"text": "a", "label": "refund"}\n{"text": 7, "label": "refund"}\n', "line 2: 'text' is 7"),
        ("a.jsonl", '{"text": "a", "label": ["refund"]}\n', "line 1: its label is ['refund'], which is no name"),
        ("a.jsonl", '{"text": "\\ud800", "label": "refund"}\n', "line 1: 'text' holds half of a surrogate pair"),
        ("a.jsonl", '{"text": "a", "label": null, "soft_label": {"refund": 0.7}}\n', "line 1: a soft label is"),
        ("a.jsonl", '{"text": "a", "label": null, "soft_label": {"refund": NaN}}\n', "line 1: a soft label is"),
        (
            "a.jsonl",
            '{"text": "a", "label": null, "soft_label": {"refund": -1, "delivery": 2}}\n',
            "a soft label is",
        ),
        ("a.jsonl", '{"text": "a", "label": null, "soft_label": [1]}\n', "line 1: a soft label is [1]"),
        ("a.csv", 'text,label,soft_label\na,refund,"{"\n', "line 2: its soft label '{' is not JSON"),
        (
            "a.jsonl",
            '{"text": "a", "label": "refund", "soft_label": {"refund": 1}, "origin": "web"}\n',
            "line 1: unknown origin 'web': use one of gold, generated, unlabelled, user",
        ),
        (
            "a.jsonl",
            '{"fields": ["x", "y"], "texts": ["a"], "probabilities": {}, "label": "fee"}\n',
            "the same length",
        ),
        (
            "a.jsonl",
            '{"fields": ["x", "y"], "texts": ["a", "b"], "probabilities": {}, "label": "fee"}\n',
            "line 1: it has the fields 'x', 'y': this task reads 'text'",
        ),
        ("a.txt", "my card\n", "'.txt', which is no kind of table"),
        ("a.csv", "", "a.csv is empty"),
    ],
)
def test_a_file_with_a_bad_row_is_refused_as_a_whole(
    name: str, content: str, said: str, refused: Refused, make_model: MakeModel, tmp_path: Path
) -> None:
    model = make_model()
    file = tmp_path / name
    file.write_text(content)
    assert said in refused("knowledge", "import", model, file)
    assert len(entries_of(model)) == 3


def test_labels_of_a_file_are_checked_before_any_is_added(
    refused: Refused, make_model: MakeModel, tmp_path: Path
) -> None:
    model = make_model()
    file = tmp_path / "some.jsonl"
    file.write_text('{"text": "a card", "label": "fee"}\n{"text": "my card", "label": "bad\\u202e"}\n')
    said = refused("knowledge", "import", model, file, "--new-labels")
    assert "some.jsonl line 2: a new label cannot be named" in said
    said = refused("knowledge", "import", model, file)
    assert "line 1: unknown label 'fee'" in said
    assert said.endswith("a new one is added first: --new-labels does that")
    with hundredth.load(model) as loaded:
        assert loaded.labels[3:] == ()


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_what_is_exported_is_read_back_as_it_was(
    suffix: str, run: Any, make_model: MakeModel, tmp_path: Path
) -> None:
    fields = ("premise", "claim")
    model, other = (make_model(entries=((("my card", "ate"), 0),), fields=fields) for _ in range(2))
    given = [
        Given(("my, card", 'the "machine"'), "refund"),
        Given(("line\nbreak", "\ttab ; ünd"), "fee"),
        Given(("money", "back"), None, {"refund": 0.75, "delivery": 0.25}, "generated"),
    ]
    with hundredth.load(model) as loaded:
        loaded.store.put(given, new_labels=True)
    file = tmp_path / f"out/some{suffix}"
    assert run("knowledge", "export", model, file).stdout == f"4 entries: {file}\n"
    told = run("knowledge", "import", other, file, "--new-labels").stdout.splitlines()
    assert told[1:] == ["3 entries added, 1 known already", "new labels: 'fee'"]
    assert entries_of(other) == entries_of(model)
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_an_export_has_all_that_is_known_of_an_entry(
    run: Any, refused: Refused, make_model: MakeModel, tmp_path: Path
) -> None:
    model = make_model(entries=((("money",), 1),))
    run("knowledge", "correct", model, "my card", "--label", "fee", "--new-label")
    lines = as_json(run("knowledge", "export", model).stdout)
    assert list(lines[0]) == ["text", "label", "likeliest", "soft_label", "origin", "id", "created"]
    assert lines[0]["soft_label"] == pytest.approx({"card_swallowed": 0.05, "refund": 0.9, "delivery": 0.05})
    [line] = as_json(run("knowledge", "export", model, "-", "--origin", "user").stdout)
    assert line.pop("created").endswith("+00:00")
    about = {"text": "my card", "label": "fee", "likeliest": "fee", "soft_label": {"fee": 1}}
    assert line == {**about, "origin": "user", "id": 2}
    run("knowledge", "export", model, tmp_path / "a.csv", "--origin", "user", "--label-column", "intent")
    [row] = csv.DictReader(io.StringIO((tmp_path / "a.csv").read_text()))
    assert (row["text"], row["intent"], row["soft_label"]) == ("my card", "fee", '{"fee": 1.0}')
    assert "unknown origin 'mine'" in refused("knowledge", "export", model, tmp_path / "b.csv", "--origin", "mine")
    assert "ends in '.txt'" in refused("knowledge", "export", model, tmp_path / "b.txt")
    assert "field 'text'" in refused("knowledge", "export", model, tmp_path / "b.csv", "--label-column", "text")
    assert [path.name for path in tmp_path.glob("b*")] == []


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_an_entry_without_a_label_of_its_own_has_its_likeliest(
    suffix: str, run: Any, make_model: MakeModel, tmp_path: Path
) -> None:
    model, other = make_model(entries=()), make_model(entries=())
    with hundredth.load(model) as loaded:
        loaded.store.put([Given(("money",), None, {"refund": 0.75, "delivery": 0.25}, "generated")])
    file = tmp_path / f"a{suffix}"
    run("knowledge", "export", model, file)
    [row] = as_json(file.read_text()) if suffix == ".jsonl" else csv.DictReader(io.StringIO(file.read_text()))
    assert (row["label"] or None, row["likeliest"]) == (None, "refund")
    run("knowledge", "import", other, file)
    assert entries_of(other) == entries_of(model)
    run("knowledge", "export", model, file, "--label-column", "likeliest")
    [row] = as_json(file.read_text()) if suffix == ".jsonl" else csv.DictReader(io.StringIO(file.read_text()))
    assert (row["likeliest"] or None) is None


def test_a_new_label_that_is_one_but_for_its_case_is_refused_with_its_line(
    refused: Refused, make_model: MakeModel, tmp_path: Path
) -> None:
    model = make_model()
    for rows, said in (
        (
            [("my card", "refund"), ("my parcel", "Delivery")],
            "line 3: unknown label 'Delivery': did you mean 'delivery'?",
        ),
        ([("my card", "fee"), ("my parcel", "Fee")], "line 3: unknown label 'Fee': did you mean 'fee'?"),
    ):
        file = write(tmp_path / "a.csv", rows)
        assert refused("knowledge", "import", model, file, "--new-labels").endswith(said)
    for command in ("add", "correct"):
        told = refused("knowledge", command, model, "my card", "--label", "REFUND", "--new-label")
        assert told == "unknown label 'REFUND': did you mean 'refund'?"
    assert len(entries_of(model)) == 3


def test_a_field_may_have_the_name_of_another_column(run: Any, make_model: MakeModel, tmp_path: Path) -> None:
    fields = ("origin", "soft_label")
    model, other = (make_model(entries=((("my card", "ate"), 0),), fields=fields) for _ in range(2))
    run("knowledge", "add", model, "money", "back", "--label", "refund")
    run("knowledge", "export", model, tmp_path / "a.jsonl", "--origin", "user")
    run("knowledge", "import", other, tmp_path / "a.jsonl")
    assert entries_of(other) == entries_of(model)


def change_of(id: int, kind: str, at: str, by: str, note: str = "") -> dict[str, Any]:
    return {"id": id, "at": f"2026-{at}T12:00:00+00:00", "kind": kind, "by": by, "note": note}


def left_behind(text: str, label: str | None, change: dict[str, Any] | None, **more: Any) -> str:
    """Return a row as a run writes it beside the model that it makes anew."""
    told = {"texts": [text], "label": label, "probabilities": {label: 1.0}, "origin": "user", "created": "?"}
    return json.dumps({**told, "fields": ["message"], "change": change, **more}) + "\n"


def test_what_a_new_model_had_no_place_for_is_added_with_who_said_it_and_when(
    run: Any, refused: Refused, make_model: MakeModel, tmp_path: Path
) -> None:
    """Silent otherwise: the log would name whoever has imported the file."""
    added = change_of(4, "add", "02-03", "Ada")
    soft = {"probabilities": {"refund": 0.5, "fee": 0.5}, "origin": "generated"}
    file = tmp_path / "left-behind.jsonl"
    file.write_text(
        left_behind("my card", "fee", added)
        + left_behind("money", "fee", change_of(7, "correct", "05-06", "Bo", "ticket 7"))
        + left_behind("my card", None, added, **soft)
        + left_behind("the machine", "costs", None)
        + left_behind("back", "refund", change_of(2, "add", "01-02", "Ada"))
    )
    model = make_model()
    assert "line 1: unknown label 'fee'" in refused("knowledge", "import", model, file)
    with hundredth.load(model) as served:
        told = run("knowledge", "import", model, file, "--new-labels", "--by", "Cy").stdout.splitlines()
        assert [entry.id for entry in served.store.entries()] == [1, 2, 3, 4, 5, 6, 7, 8]
        assert served.predict(["money", "the machine"]) == ["fee", "costs"]
        log = [(one.kind, one.at[:10], one.by, one.note, one.added) for one in served.log()[::-1]]
        assert [line.split("\t")[3:5] for line in told[:4]] == [
            ["Ada", "+4"],
            ["Ada", "+5..6"],
            ["Bo", "+7"],
            ["Cy", "+8"],
        ]
        assert told[4:6] == ["5 entries added", "new labels: 'fee', 'costs'"]
        assert log[1][2:] == ("Cy", "new label 'fee': left-behind.jsonl", ())
        assert log[2:5] == [
            ("add", "2026-01-02", "Ada", "", (4,)),
            ("add", "2026-02-03", "Ada", "", (5, 6)),
            ("correct", "2026-05-06", "Bo", "ticket 7", (7,)),
        ]
        assert log[5][2:] == ("Cy", "new label 'costs': left-behind.jsonl", ())
        assert log[6][2:] == ("Cy", "left-behind.jsonl", (8,))
        assert served.store.get(7).created == log[4][1] + "T12:00:00+00:00"
        served.undo(4)
    assert entries_of(model)[3:] == [
        (("back",), 1, [0, 1, 0, 0, 0], "user"),
        (("money",), 3, [0, 0, 0, 1, 0], "user"),
        (("the machine",), 4, [0, 0, 0, 0, 1], "user"),
    ]
    [again] = as_json(run("knowledge", "import", model, file, "--json").stdout)
    assert [one["by"] for one in again["changes"]] == ["Ada"]
    assert (again["added"], again["known"]) == (2, 3)
    assert entries_of(model)[6:] == [
        (("my card",), 3, [0, 0, 0, 1, 0], "user"),
        (("my card",), None, [0, 0.5, 0, 0.5, 0], "generated"),
    ]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("kind", "delete", "ValueError: change.kind is 'delete'"),
        ("at", "yesterday", "ValueError: Invalid isoformat string: 'yesterday'"),
        ("at", 7, "TypeError"),
        ("id", "4", "TypeError: change.id is '4'"),
        ("by", None, "TypeError: change.by is None"),
        ("note", 7, "TypeError: change.note is 7"),
    ],
)
def test_a_change_that_is_none_is_refused(
    name: str, value: Any, said: str, refused: Refused, make_model: MakeModel, tmp_path: Path
) -> None:
    model = make_model()
    change = change_of(4, "add", "02-03", "Ada")
    file = tmp_path / "left-behind.jsonl"
    broken = left_behind("money", "refund", {**change, name: value})
    file.write_text(left_behind("my card", "refund", change) + broken)
    assert f"line 2: its change cannot be read ({said}" in refused("knowledge", "import", model, file)
    file.write_text(left_behind("my card", "refund", change) + left_behind("money", "refund", {"id": 4}))
    assert "line 2: its change cannot be read (KeyError: 'kind')" in refused("knowledge", "import", model, file)
    assert len(entries_of(model)) == 3


def test_a_model_without_knowledge_has_none_to_export(
    refused: Refused, make_model: MakeModel, tmp_path: Path
) -> None:
    model = make_model(entries=None)
    assert "no knowledge store" in refused("knowledge", "export", model)
    assert "no knowledge store" in refused("knowledge", "import", model, write(tmp_path / "a.csv", ROWS[:1]))


def test_a_bar_shows_on_a_terminal_how_far_many_texts_are(
    make_model: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    file = write(tmp_path / "some.csv", ROWS[:2])
    for least, stream, shows in ((2, Terminal(), True), (3, Terminal(), False), (2, io.StringIO(), False)):
        monkeypatch.setattr("hundredth.knowledge_files._LONG", least)
        monkeypatch.setattr("sys.stderr", stream)
        app(["knowledge", "import", str(make_model()), str(file)], standalone_mode=False)
        assert ("encoding" in stream.getvalue()) is shows
        assert ("100%" in stream.getvalue()) is shows
