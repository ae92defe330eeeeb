"""Choosing retrieval and calibration of a finished model anew, after its knowledge has changed."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import hundredth
from hundredth.cli import app
from hundredth.errors import UserError
from hundredth.files import read_json
from hundredth.pipeline.tune import mixed_by, tune, without_themselves
from hundredth.runtime import CalibrationInfo, CorrectionInfo, Manifest, RetrievalInfo
from hundredth.store import Neighbours, calibrate
from hundredth.student.selection import RetrievalGrid
from hundredth.tasks.schema import Example


@pytest.fixture
def model(finished_run: Path) -> Path:
    return finished_run / "model"


@pytest.fixture
def examples(model: Path, ticket_rows: list[tuple[str, str]]) -> list[Example]:
    """The task's texts in capitals and other punctuation: near the store's and none of them."""
    labels = Manifest.read(model).task.labels
    return [Example((f"Hello! {text} Thanks.",), labels.index(label)) for text, label in ticket_rows]


def set_retrieval(folder: Path, *values: Any, calibration: float = 1.0) -> None:
    manifest = replace(Manifest.read(folder), retrieval=RetrievalInfo(*values))
    replace(manifest, calibration=CalibrationInfo(calibration)).write(folder)


def test_what_is_chosen_is_served_and_is_likelier_than_what_was(model: Path, examples: list[Example]) -> None:
    set_retrieval(model, 1, 1.0, 0.0, calibration=20.0)
    found = tune(model, examples)
    assert (found.before.k, found.before.weight, found.before.calibration) == (1, 0.0, 20.0)
    assert found.after.log_likelihood > found.before.log_likelihood
    manifest = Manifest.read(model)
    assert manifest.retrieval == RetrievalInfo(found.after.k, found.after.temperature, found.after.weight)
    assert manifest.dev.texts == manifest.dev.answered[-1] == len(examples)
    gold = [example.label for example in examples]
    with hundredth.load(model) as loaded:
        served = loaded.predict_proba([example.texts for example in examples])
    assert np.mean(served.argmax(axis=1) == gold) == pytest.approx(found.after.accuracy)
    likelihood = np.log(served[np.arange(len(gold)), gold]).mean()
    assert likelihood == pytest.approx(found.after.log_likelihood, abs=1e-5)


def test_knowledge_that_contradicts_the_classifier_gets_its_weight(model: Path, examples: list[Example]) -> None:
    """Silent otherwise: thousands of entries are added, and lambda, chosen without them, leaves them unheard."""
    labels = Manifest.read(model).task.labels
    moved = [replace(one, label=((one.label or 0) + 1) % len(labels)) for one in examples]
    with hundredth.load(model) as loaded:
        loaded.store.delete([entry.id for entry in loaded.store.entries()])
        # As near as can be, and yet other texts: too far to decide alone.
        loaded.store.add([f"{one.texts[0]} Bye." for one in moved], [labels[one.label or 0] for one in moved])
    set_retrieval(model, 4, 0.05, 0.0)
    found = tune(model, moved)
    assert found.before.accuracy < 0.5
    assert found.after.weight > 0
    assert found.after.accuracy > found.before.accuracy + 0.2


def test_a_text_in_the_store_is_not_its_own_neighbour(model: Path, ticket_rows: list[tuple[str, str]]) -> None:
    """Silent otherwise: on texts that are stored, lambda 1 would look perfect."""
    labels = Manifest.read(model).task.labels
    with hundredth.load(model) as loaded:
        stored = [(entry.texts, entry.label) for entry in loaded.store.entries("gold")]
        wrong = [(label + 1) % len(labels) for _, label in stored if label is not None]
        loaded.store.delete([entry.id for entry in loaded.store.entries()])
        loaded.store.add([texts for texts, _ in stored], [labels[label] for label in wrong])
    examples = [Example(texts, label) for (texts, _), label in zip(stored, wrong, strict=True)]
    found = tune(model, examples, RetrievalGrid(k=(1,), temperature=(0.01,), weight=(0.0, 1.0)), save=False)
    assert max(found.before.accuracy, found.after.accuracy) < 0.9


def test_a_dry_run_changes_nothing(model: Path, examples: list[Example]) -> None:
    before = {path.name: path.read_bytes() for path in model.iterdir() if path.suffix in (".json", ".md")}
    tune(model, examples, save=False)
    assert {name: (model / name).read_bytes() for name in before} == before


def test_the_card_says_that_it_was_tuned_and_says_it_once(model: Path, examples: list[Example]) -> None:
    card = (model / "README.md").read_text()
    tune(model, examples)
    found = tune(model, examples)
    text = (model / "README.md").read_text()
    assert text.startswith(card)
    assert text.count("Tuned anew on") == 1
    assert f"on {len(examples)} labelled texts: K {found.after.k}," in text
    assert read_json(model / "hundredth.json")["provenance"]["tuned"]["after"]["k"] == found.after.k


def test_neighbours_are_moved_up_where_the_text_itself_is_left_out() -> None:
    similarities = np.array([[1.0, 1.0, 0.5, 0.4], [0.9, 0.8, 0.7, -np.inf]], dtype=np.float32)
    ids = np.array([[1, 2, 3, 4], [5, 6, 7, -1]])
    found = without_themselves(Neighbours(ids, similarities, np.ones((2, 4, 3), np.float32)), 3)
    assert found.ids.tolist() == [[3, 4, -1], [5, 6, 7]]
    np.testing.assert_array_equal(found.similarities, np.float32([[0.5, 0.4, -np.inf], [0.9, 0.8, 0.7]]))
    assert found.soft_labels.sum(axis=(1, 2)).tolist() == [6, 9]


def test_what_is_judged_is_the_mixture_that_the_model_serves(model: Path, examples: list[Example]) -> None:
    set_retrieval(model, 4, 0.05, 0.5, calibration=1.7)
    with hundredth.load(model) as loaded:
        texts = [example.texts for example in examples]
        keys, logits = loaded.embed(texts)
        head = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        found = loaded.store._store.search(keys, 4)
        ours = calibrate(mixed_by(loaded.manifest.retrieval, head.astype(np.float64), found), 1.7)
        np.testing.assert_allclose(ours, loaded.predict_proba(texts), atol=1e-6)


def test_with_one_neighbour_added_labels_are_judged_as_served(model: Path, examples: list[Example]) -> None:
    """An added label asks two neighbours whatever K is: judged by one, a setting is not what the model does."""
    with hundredth.load(model) as loaded:
        loaded.store.add_label("eaten")
        loaded.store.add([f"{one.texts[0]} Bye." for one in examples[::2]], ["eaten"] * len(examples[::2]))
        texts, gold = [one.texts for one in examples], [one.label or 0 for one in examples]
    set_retrieval(model, 1, 0.1, 0.5)
    replace(Manifest.read(model), correction=CorrectionInfo(0.9999999)).write(model)  # no entry decides alone
    found = tune(model, examples, RetrievalGrid(k=(1,)), save=False)
    with hundredth.load(model) as loaded:
        served = loaded.predict_proba(texts)
    likelihood = np.log(np.maximum(served[np.arange(len(gold)), gold], 1e-6)).mean()
    assert found.before.log_likelihood == pytest.approx(likelihood, abs=1e-5)


def test_a_store_of_nothing_but_the_texts_themselves_leaves_a_model_that_loads(model: Path) -> None:
    """Silent otherwise: a similarity of minus infinity in hundredth.json, which nothing reads again."""
    with hundredth.load(model) as loaded:
        [kept, *others] = loaded.store.entries("gold")
        loaded.store.delete([entry.id for entry in others])
        loaded.store.delete([entry.id for entry in loaded.store.entries("generated")])
    tune(model, [Example(kept.texts, kept.label), Example(("Where is my money?",), kept.label)])
    with hundredth.load(model) as loaded:
        assert np.isfinite(loaded.manifest.dev.similarity).all()
        loaded.store.delete([kept.id])
    assert tune(model, [Example(kept.texts, kept.label)] * 2).after.accuracy in (0.0, 1.0)
    assert Manifest.read(model).dev.similarity == ()


def test_a_model_without_a_store_is_refused(model: Path, examples: list[Example], tmp_path: Path) -> None:
    plain = Path(shutil.copytree(model, tmp_path / "plain"))
    set_retrieval(plain, 1, 1.0, 0.0)
    for name in ("store.db", "index.faiss"):
        (plain / name).unlink()
    with pytest.raises(UserError, match="has no knowledge store: it is a plain classifier"):
        tune(plain, examples)


def test_the_command_reads_a_file_and_says_what_was_before_and_is_after(
    model: Path, examples: list[Example], write_table: Callable[..., Path], tmp_path: Path
) -> None:
    labels = Manifest.read(model).task.labels
    rows = [(one.texts[0], labels[one.label or 0]) for one in examples]
    file = write_table(tmp_path / "dev.csv", rows, ("text", "intent"))
    command = ["knowledge", "tune", str(model.parent), str(file), "--label-column", "intent"]
    shown = CliRunner().invoke(app, [*command, "--dry-run"])
    assert [line.split()[0] for line in shown.stdout.splitlines()] == ["before", "after"]
    assert "tuned" not in read_json(model / "hundredth.json")["provenance"]
    found = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert found["texts"] == len(examples)
    assert Manifest.read(model).retrieval.k == found["after"]["k"]
    refused = CliRunner().invoke(app, command[:-2])
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "no column 'label'" in refused.stderr


def test_the_command_knows_of_labels_that_were_added(
    model: Path, ticket_rows: list[tuple[str, str]], write_table: Callable[..., Path], tmp_path: Path
) -> None:
    fees = [f"What is the fee of transfer {number}?" for number in range(6)]
    file = write_table(tmp_path / "dev.csv", [*ticket_rows, *((f"{text} Hello!", "fee") for text in fees)])
    command = ["knowledge", "tune", str(model), str(file), "--json"]
    refused = CliRunner().invoke(app, command)
    assert refused.exit_code == 2
    assert "'fee'" in refused.stderr
    with hundredth.load(model) as loaded:
        loaded.store.add(fees, ["fee"] * len(fees), new_labels=True)
    found = json.loads(CliRunner().invoke(app, command).stdout)
    assert found["texts"] == len(ticket_rows) + len(fees)
    with hundredth.load(model) as loaded:
        assert loaded.predict([f"{fees[0]} Hello!"]) == ["fee"]
