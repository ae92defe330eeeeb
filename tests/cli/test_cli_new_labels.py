"""Labels that come after training, from the command line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hundredth
from hundredth.console import labelled_as_json
from hundredth.runtime import ModelStore

TEXT = "where is my money"
Refused = Callable[..., str]
MakeModel = Callable[..., Path]


def test_a_label_is_added_when_that_is_said_and_named_when_not(
    run: Any, refused: Refused, make_model: MakeModel
) -> None:
    model = make_model()
    for command in ("add", "correct"):
        said = refused("knowledge", command, model, TEXT, "--label", "fee")
        assert said.startswith("unknown label 'fee': this model knows card_swallowed, refund, delivery;")
        assert said.endswith("a new one is added first: --new-label does that")
    assert run("predict", model, TEXT).stdout.split("\t")[0] != "fee"
    change = run("knowledge", "correct", model, TEXT, "--label", "fee", "--new-label", "--by", "Ada").stdout
    assert change.split("\t")[2:4] == ["correct", "Ada"]
    assert run("predict", model, TEXT).stdout.split("\t")[0] == "fee"
    # The second time it is known, and the flag does no harm.
    run("knowledge", "add", model, "the fee", "--label", "fee", "--new-label")
    assert run("knowledge", "add", model, "a parcel", "--label", "damage", "--new-label", "--json").exit_code == 0
    notes = [json.loads(line)["note"] for line in run("knowledge", "log", model, "--json").stdout.splitlines()]
    assert [note for note in notes if note] == ["new label 'damage'", "new label 'fee'"]
    with hundredth.load(model) as loaded:
        assert loaded.labels[3:] == ("fee", "damage")


def test_no_label_comes_of_a_text_that_is_refused(refused: Refused, make_model: MakeModel) -> None:
    model = make_model()
    assert "is empty" in refused("knowledge", "add", model, " ", "--label", "fee", "--new-label")
    assert "cannot be named" in refused("knowledge", "correct", model, TEXT, "--label", "a\tfee", "--new-label")
    with hundredth.load(model) as loaded:
        assert loaded.labels[3:] == ()


def test_the_labels_are_listed_with_their_entries(run: Any, make_model: MakeModel) -> None:
    model = make_model(entries=((("card",), 0), (("my card",), 0), (("money",), 1)))
    run("knowledge", "correct", model, TEXT, "--label", "fee", "--new-label")
    shown = run("knowledge", "labels", model).stdout
    assert shown == "card_swallowed\t2\ttaught\nrefund\t1\ttaught\ndelivery\t0\ttaught\nfee\t1\tadded\n"
    rows = [json.loads(line) for line in run("knowledge", "labels", model, "--json").stdout.splitlines()]
    assert rows[0] == {"label": "card_swallowed", "entries": 2, "added": False}
    assert rows[3] == {"label": "fee", "entries": 1, "added": True}


def test_a_label_that_is_added_while_texts_are_predicted_or_listed(
    run: Any, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model()
    with hundredth.load(model) as loaded:
        predict = loaded.predict_proba

        def overtaken(texts: Any) -> Any:
            found = predict(texts)
            loaded.add_label("fee")
            return found

        monkeypatch.setattr(loaded, "predict_proba", overtaken)
        [line] = labelled_as_json(loaded, [(1, (TEXT,))], 0.0)
        assert list(json.loads(line)["probabilities"]) == ["card_swallowed", "refund", "delivery"]
    entries = ModelStore.entries

    def listed(store: ModelStore, *given: Any) -> Any:
        found = list(entries(store, *given))
        store.add_label("costs")
        return iter(found)

    monkeypatch.setattr(ModelStore, "entries", listed)
    [first, *_] = run("knowledge", "list", model, "--json").stdout.splitlines()
    assert list(json.loads(first)["probabilities"])[-1] == "fee"
