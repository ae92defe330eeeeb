"""Editing a model's knowledge from the command line, and predictions that abstain."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hundredth
from hundredth.files import read_json, write_json
from hundredth.store import KnowledgeStore

TEXT = "My phone was eaten by the machine."
Refused = Callable[..., str]


@pytest.fixture
def model(finished_run: Path) -> Path:
    return finished_run / "model"


@pytest.fixture
def wrong(model: Path) -> str:
    """A label that the model does not give the text by itself."""
    with hundredth.load(model) as loaded:
        [label] = loaded.predict([TEXT])
        return next(name for name in loaded.labels if name != label)


def test_a_correction_changes_the_answer_is_logged_and_is_undone(run: Any, model: Path, wrong: str) -> None:
    before = run("predict", model, TEXT).stdout
    said = run("knowledge", "correct", model, TEXT, "--label", wrong, "--by", "Ada", "--note", "ticket\n17").stdout
    number, at, kind, by, added, note = said.rstrip("\n").split("\t")
    assert (kind, by, note) == ("correct", "Ada", "ticket 17")
    assert run("predict", model, TEXT).stdout.split("\t")[0] == wrong
    assert run("knowledge", "log", model, "--limit", "1").stdout == said
    shown = run("knowledge", "list", model, "--origin", "user").stdout
    assert shown == f"{added.removeprefix('+')}\t{wrong}\tuser\t{TEXT}\n"
    # The folder of the run does for that of the model.
    undone = run("knowledge", "undo", model.parent, number, "--by", "Bo").stdout.split("\t")
    assert undone[2:4] == [f"undo {number}", "Bo"]
    assert run("predict", model, TEXT).stdout == before
    assert run("knowledge", "log", model).stdout.splitlines()[1].endswith("\t(undone)")
    assert at <= undone[1]


def test_what_is_told_of_an_addition_is_not_what_somebody_else_does_at_once(
    run: Any, model: Path, wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silent otherwise: the number is that of the other's change, and an undo of it takes that back."""
    put = KnowledgeStore.put

    def quicker(self: KnowledgeStore, *given: Any) -> Any:
        change = put(self, *given)
        with hundredth.load(model) as other:
            other.correct(f"{TEXT} too", wrong, by="Bo")
        return change

    monkeypatch.setattr(KnowledgeStore, "put", quicker)
    added = json.loads(run("knowledge", "add", model, TEXT, "--label", wrong, "--by", "A\tda", "--json").stdout)
    assert (added["kind"], added["by"]) == ("add", "A\tda")
    (tmp_path / "some.csv").write_text(f"text,label\n{TEXT} again,{wrong}\n")
    told = run("knowledge", "import", model, tmp_path / "some.csv", "--by", "Cy").stdout
    assert told.split("\t")[2:4] == ["add", "Cy"]
    shown = run("knowledge", "log", model, "--limit", "4").stdout.splitlines()
    assert [line.split("\t")[3] for line in shown] == ["Bo", "Cy", "Bo", "A da"]


def test_everything_as_json(run: Any, model: Path, wrong: str) -> None:
    added = json.loads(run("knowledge", "add", model, TEXT, "--label", wrong, "--json").stdout)
    assert added["kind"] == "add"
    assert added["by"]
    [[id, _last]] = added["added"]
    [found] = run("knowledge", "list", model, "--search", TEXT, "--limit", "1", "--json").stdout.splitlines()
    found = json.loads(found)
    assert (found["id"], found["texts"], found["label"], found["origin"]) == (id, [TEXT], wrong, "user")
    assert found["similarity"] == pytest.approx(1, abs=1e-4)
    assert found["probabilities"][wrong] == 1
    deleted = json.loads(run("knowledge", "delete", model, id, "--json", "--note", "no").stdout)
    assert (deleted["removed"], deleted["note"]) == ([[id, id]], "no")
    log = [json.loads(line) for line in run("knowledge", "log", model, "--json").stdout.splitlines()]
    assert log[:2] == [deleted, added]
    listed = run("knowledge", "list", model, "--limit", "3", "--json").stdout.splitlines()
    assert [json.loads(line)["id"] for line in listed] == [1, 2, 3]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["correct", "{model}", TEXT, "--label", "nonsense"], "unknown label 'nonsense': this model knows"),
        (["correct", "{model}", TEXT, "more", "--label", "{label}"], "text 0 has 2 fields: this task reads 1"),
        (["add", "{model}", " ", "--label", "{label}"], "text 0 is empty"),
        (["delete", "{model}", "9999"], "no entry has the id 9999"),
        (["undo", "{model}", "9999"], "no change has the id 9999"),
        (["list", "{model}", "--origin", "mine"], "unknown origin 'mine'"),
        (["list", "{model}", "--origin", "user", "--search", "a"], "leave one out"),
        (["log", "{model}/none"], "none is not a model folder"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    arguments: list[str], said: str, refused: Refused, model: Path, wrong: str
) -> None:
    filled = [one.format(model=model, label=wrong) for one in arguments]
    assert said in refused("knowledge", *filled)


def test_a_prediction_that_is_not_sure_enough_is_not_given(run: Any, refused: Refused, model: Path) -> None:
    label, probability, _text = run("predict", model, TEXT).stdout.split("\t")
    assert run("predict", model, "--abstain-below", "1", TEXT).stdout.split("\t")[:2] == ["-", probability]
    assert run("predict", model, "--abstain-below", "0.01", TEXT).stdout.split("\t")[0] == label
    shown = json.loads(run("predict", model, "--abstain-below", "1", "--json", TEXT).stdout)
    assert (shown["label"], max(shown["probabilities"], key=shown["probabilities"].get)) == (None, label)
    assert run("predict", model, "--explain", "--abstain-below", "1", TEXT).stdout.startswith("-\t")
    explained = json.loads(run("predict", model, "--explain", "--json", "--abstain-below", "1", TEXT).stdout)
    assert (explained["label"], explained["explained"]) == (None, label)
    told = run("predict", model, "--explain", "--abstain-below", "1", TEXT).stdout.splitlines()[1]
    assert told == f"  not sure enough to say {label}:"
    said = refused("predict", model, "--abstain-below", "0.5", "--max-error", "0.1", TEXT)
    assert said == "--abstain-below and --max-error are both given: leave one out"
    assert "--max-error is 1e-06" in refused("predict", model, "--max-error", "0.000001", TEXT)


def test_the_run_keeps_what_the_thresholds_are_chosen_by(run: Any, model: Path) -> None:
    manifest = read_json(model / "hundredth.json")
    dev = manifest["dev"]
    assert (dev["answered"][-1], len(dev["similarity"]) > 0) == (dev["texts"], True)
    assert 0.95 <= manifest["correction"]["similarity"] <= 0.99
    dev = {**dev, "texts": 50, "threshold": [0.999, 0.001], "answered": [20, 50], "wrong": [0, 10]}
    write_json(model / "hundredth.json", {**manifest, "dev": dev})
    probability = float(run("predict", model, TEXT).stdout.split("\t")[1])
    assert (run("predict", model, "--max-error", "0.05", TEXT).stdout[0] == "-") is (probability < 0.999)
    assert run("predict", model, "--max-error", "0.5", TEXT).stdout[0] != "-"
