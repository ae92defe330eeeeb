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
from hundredth.pipeline.tune import clearly_likelier, mixed_by, tune, without_themselves
from hundredth.pipeline.tuned import untune
from hundredth.runtime import CalibrationInfo, CorrectionInfo, DevInfo, Manifest, RetrievalInfo
from hundredth.store import Neighbours, calibrate
from hundredth.student.selection import RetrievalGrid, expected_calibration_error
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


def contradicted(model: Path, examples: list[Example]) -> list[Example]:
    """Return the examples with other labels than the classifier's, and fill the store with texts that say so."""
    labels = Manifest.read(model).task.labels
    moved = [replace(one, label=((one.label or 0) + 1) % len(labels)) for one in examples]
    with hundredth.load(model) as loaded:
        loaded.store.delete([entry.id for entry in loaded.store.entries()])
        # As near as can be, and yet other texts: too far to decide alone.
        loaded.store.add([f"{one.texts[0]} Bye." for one in moved], [labels[one.label or 0] for one in moved])
    return moved


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
    error = expected_calibration_error(served, np.array(gold))
    assert found.after.ece == pytest.approx(error, abs=1e-6)
    said = f"Calibration error on these {error:.3f} (before calibration {found.after.ece_before:.3f})."
    assert said in (model / "README.md").read_text(encoding="utf-8")


def test_a_gain_is_clear_beyond_its_standard_error() -> None:
    gold = np.zeros(40, dtype=np.int64)
    theirs = np.tile([0.6, 0.4], (40, 1))
    better = np.tile([0.7, 0.3], (40, 1))
    mixed = np.where(np.arange(40)[:, None] % 2 == 0, [0.7, 0.3], [0.5, 0.5])
    assert clearly_likelier(better, theirs, gold)
    assert not clearly_likelier(mixed, theirs, gold)
    assert not clearly_likelier(theirs, theirs, gold)


def test_knowledge_that_contradicts_the_classifier_gets_its_weight(model: Path, examples: list[Example]) -> None:
    """Silent otherwise: thousands of entries are added, and lambda, chosen without them, leaves them unheard."""
    moved = contradicted(model, examples)
    set_retrieval(model, 4, 0.05, 0.0)
    found = tune(model, moved)
    assert found.before.accuracy < 0.5
    assert found.after.weight > 0
    assert found.after.accuracy > found.before.accuracy + 0.2


def test_a_text_in_the_store_is_not_its_own_neighbour(model: Path, ticket_rows: list[tuple[str, str]]) -> None:
    """Silent otherwise: on texts that are stored, lambda 1 would look perfect."""
    labels = Manifest.read(model).task.labels
    set_retrieval(model, 1, 0.01, 1.0)
    with hundredth.load(model) as loaded:
        stored = [(entry.texts, entry.label) for entry in loaded.store.entries("gold")]
        # By chance: a text's neighbours say nothing of its label, however well the model was trained.
        wrong = [int(label) for label in np.random.default_rng(0).integers(len(labels), size=len(stored))]
        loaded.store.delete([entry.id for entry in loaded.store.entries()])
        loaded.store.add([texts for texts, _ in stored], [labels[label] for label in wrong])
    examples = [Example(texts, label) for (texts, _), label in zip(stored, wrong, strict=True)]
    found = tune(model, examples, RetrievalGrid(k=(1,), temperature=(0.01,), weight=(0.0, 1.0)), save=False)
    assert max(found.before.accuracy, found.after.accuracy) < 0.9


def contents(model: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in model.iterdir() if path.suffix in (".json", ".md")}


def test_a_dry_run_changes_nothing(model: Path, examples: list[Example]) -> None:
    set_retrieval(model, 1, 1.0, 0.0, calibration=20.0)
    before = contents(model)
    assert tune(model, examples, save=False).rejected is None
    assert contents(model) == before


def test_too_few_texts_are_refused(model: Path, examples: list[Example]) -> None:
    """Silent otherwise: one text alone gave lambda 1 and calibration 20, and the model was ruined."""
    before = contents(model)
    for count in (1, 19):
        with pytest.raises(UserError, match=f"^the labelled texts are {count}, too few .* give at least 20"):
            tune(model, examples[:count])
    assert contents(model) == before
    tune(model, examples[:20], save=False)


def test_settings_that_are_clearly_less_likely_are_not_taken(model: Path, examples: list[Example]) -> None:
    moved = contradicted(model, examples)
    assert tune(model, moved).after.weight > 0
    before = contents(model)
    found = tune(model, moved, RetrievalGrid(weight=(0.0,), preferred=0.0))
    assert found.rejected is not None
    assert (found.rejected.weight, found.after) == (0.0, found.before)
    assert found.lines()[2].endswith("the others are clearly less likely on these texts")
    assert contents(model) == before


def test_settings_that_are_chosen_again_stay(model: Path, examples: list[Example]) -> None:
    set_retrieval(model, 1, 1.0, 0.0, calibration=20.0)
    taken = tune(model, examples)
    before = contents(model)
    again = tune(model, examples)
    assert again.rejected == taken.after == again.after == again.before
    assert again.lines()[1].startswith("chosen K ")
    assert again.lines()[2].startswith("the settings stay as they were: the same are chosen again")
    assert contents(model) == before


def test_a_missing_record_of_texts_is_made_though_the_settings_stay(model: Path, examples: list[Example]) -> None:
    """What `max_error` tells the user of an old model to do."""
    set_retrieval(model, 1, 1.0, 0.0, calibration=20.0)
    tune(model, examples)
    tuned = Manifest.read(model)
    replace(tuned, dev=DevInfo()).write(model)
    found = tune(model, examples)
    assert found.rejected is not None
    made = Manifest.read(model)
    assert (made.retrieval, made.calibration) == (tuned.retrieval, tuned.calibration)
    assert made.dev.texts == len(examples)
    np.testing.assert_allclose(made.dev.threshold, tuned.dev.threshold)


def test_the_last_choice_is_taken_back(model: Path, examples: list[Example]) -> None:
    with pytest.raises(UserError, match="keeps no settings from before a tuning"):
        untune(model)
    set_retrieval(model, 1, 1.0, 0.0, calibration=20.0)
    first = contents(model)
    tune(model, examples)
    undone = untune(model)
    assert contents(model) == first
    assert undone.to_dict() == {"k": 1, "temperature": 1.0, "weight": 0.0, "calibration": 20.0}
    tune(model, examples)
    set_retrieval(model, 1, 1.0, 0.0, calibration=15.0)
    second = Manifest.read(model)
    tune(model, examples[:30])
    untune(model)
    found = Manifest.read(model)
    assert (found.retrieval, found.calibration, found.dev) == (second.retrieval, second.calibration, second.dev)
    assert (
        f"on {len(examples)} labelled texts: K 1, t 1, lambda 0, calibration 15."
        in contents(model)["README.md"].decode()
    )
    with pytest.raises(UserError, match="there is nothing to undo"):  # one step is kept
        untune(model)


def test_the_card_says_that_it_was_tuned_and_says_it_once(model: Path, examples: list[Example]) -> None:
    card = (model / "README.md").read_text()
    for calibration in (20.0, 15.0):
        set_retrieval(model, 1, 1.0, 0.0, calibration=calibration)
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
    set_retrieval(model, 1, 1.0, 0.0, calibration=20.0)
    both = [Example(kept.texts, kept.label), Example(("Where is my money?",), kept.label)]
    assert tune(model, both, least=2).rejected is None
    with hundredth.load(model) as loaded:
        assert np.isfinite(loaded.manifest.dev.similarity).all()
        loaded.store.delete([kept.id])
    replace(Manifest.read(model), dev=DevInfo(texts=1)).write(model)
    assert tune(model, [Example(kept.texts, kept.label)] * 2, least=2).after.accuracy in (0.0, 1.0)
    assert (Manifest.read(model).dev.texts, Manifest.read(model).dev.similarity) == (2, ())


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
    file = write_table(tmp_path / "dev.csv", rows, ("mail", "intent"))
    set_retrieval(model, 1, 1.0, 0.0, calibration=20.0)
    command = [
        "knowledge",
        "tune",
        str(model.parent),
        str(file),
        "--text-column",
        "mail",
        "--label-column",
        "intent",
    ]
    shown = CliRunner().invoke(app, [*command, "--dry-run"])
    assert [line.split()[0] for line in shown.stdout.splitlines()] == ["before", "after"]
    assert "tuned" not in read_json(model / "hundredth.json")["provenance"]
    found = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert found["texts"] == len(examples)
    assert Manifest.read(model).retrieval.k == found["after"]["k"]
    refused = CliRunner().invoke(app, command[:-2])
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "no column 'label'; its columns are 'mail', 'intent': see --label-column" in refused.stderr
    refused = CliRunner().invoke(app, [*command[:4], *command[-2:]])
    assert "no column 'text'; its columns are 'mail', 'intent': see --text-column" in refused.stderr
    both = CliRunner().invoke(app, [*command[:-1], "mail"])
    assert (both.exit_code, "cannot be the column of both texts and labels" in both.stderr) == (2, True)
    undo = ["knowledge", "tune", str(model.parent), "--undo"]
    assert CliRunner().invoke(app, [*undo, "--dry-run"]).exit_code == 2
    assert CliRunner().invoke(app, [*command, "--undo"]).exit_code == 2
    assert "no file of labelled texts" in CliRunner().invoke(app, command[:3]).stderr
    assert CliRunner().invoke(app, undo).stdout == "back   K 1, t 1, lambda 0, calibration 20\n"
    assert Manifest.read(model).calibration.temperature == 20.0
    again = CliRunner().invoke(app, [*undo, "--json"])
    assert (again.exit_code, again.stdout) == (2, "")


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
