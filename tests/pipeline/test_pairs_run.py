"""A task of two text fields, from the data to the deployed model: both are written, stored, read and shown."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import hundredth
from hundredth.cli import app
from hundredth.errors import UserError
from hundredth.evaluation.controls import evaluate
from hundredth.pipeline.config import make_config
from hundredth.pipeline.knowledge import read_jsonl
from hundredth.pipeline.progress import Reporter
from hundredth.pipeline.run import Run
from hundredth.pipeline.transfer import transfer
from hundredth.tasks.schema import Example

Pair = tuple[str, str, str]
UNSEEN = ("My card is gone.", "card swallowed")


@pytest.fixture(scope="module")
def pairs(ticket_rows: list[tuple[str, str]]) -> list[Pair]:
    """A message, a topic, and whether it is the message's."""
    topics = {label: label.replace("_", " ") for _, label in ticket_rows}
    others = dict(zip(topics, [*list(topics)[1:], next(iter(topics))], strict=True))
    right = [(text, topics[label], "yes") for text, label in ticket_rows]
    return right + [(text, topics[others[label]], "no") for text, label in ticket_rows]


@pytest.fixture(scope="module")
def pairs_run(
    pairs: list[Pair],
    small_settings: dict[str, Any],
    save_learnt_llm: Callable[..., Path],
    write_table: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Run:
    """A whole run on them, with an LLM that has learnt to write both fields."""
    folder = tmp_path_factory.mktemp("pairs")
    written = [f"{message}\nTopic: {topic}" for message, topic, _ in pairs]
    llm = save_learnt_llm(folder / "llm", written, [label for *_, label in pairs], steps=160)
    data = write_table(folder / "pairs.csv", pairs, ("message", "topic", "label"))
    sampling = {**small_settings["sampling"], "texts": 24}
    task = {"data": data, "text_columns": ["message", "topic"]}
    values = {**small_settings, "task": task, "llm": {"name": str(llm), "dtype": "float32"}, "sampling": sampling}
    return transfer(make_config(values), folder / "run")


def test_the_llm_writes_both_fields(pairs_run: Run) -> None:
    """Silent otherwise: a second field that holds the rest of the first, or its name."""
    samples = read_jsonl(pairs_run.root / "samples" / "samples.jsonl")
    assert len(samples) >= 6
    assert all(len(row["texts"]) == 2 for row in samples)
    assert not [text for row in samples for text in row["texts"] if "Topic:" in text or "\n" in text]
    # A topic is some words, a message a sentence: the fields are not swapped.
    lengths = np.array([[len(text) for text in row["texts"]] for row in samples])
    assert lengths[:, 0].mean() > 1.5 * lengths[:, 1].mean()


def test_the_store_keeps_both_fields_of_gold_and_generated_texts(pairs_run: Run, pairs: list[Pair]) -> None:
    knowledge = pairs_run.knowledge
    natural = [texts for texts, made in zip(knowledge.texts, knowledge.augmented, strict=True) if not made]
    with hundredth.load(pairs_run.root / "model") as model:
        entries = list(model.store.entries())
        assert model.fields == ("message", "topic")
    assert [entry.texts for entry in entries] == natural
    assert {entry.origin for entry in entries} == {"gold", "generated"}
    gold = {entry.texts: model.labels[entry.label] for entry in entries if entry.label is not None}
    assert gold.items() <= {(message, topic): label for message, topic, label in pairs}.items()


def test_tuples_and_mappings_say_the_same_and_every_field_counts(pairs_run: Run) -> None:
    with hundredth.load(pairs_run.root / "model") as model:
        as_tuple = model.predict_proba([UNSEEN])
        as_mapping = model.predict_proba([{"topic": UNSEEN[1], "message": UNSEEN[0]}])
        np.testing.assert_array_equal(as_tuple, as_mapping)
        assert not np.allclose(as_tuple, model.predict_proba([(UNSEEN[0], "refund")]), atol=1e-6)
        assert not np.allclose(as_tuple, model.predict_proba([("Where is my money?", UNSEEN[1])]), atol=1e-6)
        for wrong, said in (
            (UNSEEN[0], "has 1 fields: this task reads 2 (message, topic)"),
            ({"message": "x"}, "has no field 'topic'"),
            (("x", " "), "field 'topic', is empty"),
        ):
            with pytest.raises(UserError) as caught:
                model.predict([wrong])  # type: ignore[list-item]
            assert said in str(caught.value)


def test_an_explanation_shows_both_fields_and_a_correction_holds_for_both(pairs_run: Run) -> None:
    with hundredth.load(pairs_run.root / "model") as model:
        before = model.explain(UNSEEN)
        other = next(label for label in model.labels if label != before.label)
        change = model.correct({"message": UNSEEN[0], "topic": UNSEEN[1]}, other)
        after = model.explain(UNSEEN)
        assert (after.label, after.decided_by_user) == (other, True)
        assert after.neighbours[0].texts == UNSEEN
        model.undo(change.id)
        assert model.explain(UNSEEN).label == before.label
        assert all(len(hit.entry.texts) == 2 for hit in model.store.search(UNSEEN, 4))


def test_the_command_line_reads_both_columns(
    pairs_run: Run, write_table: Callable[..., Path], tmp_path: Path
) -> None:
    file = write_table(tmp_path / "new.csv", [UNSEEN], ("message", "topic"))
    found = CliRunner().invoke(app, ["predict", str(pairs_run.root), "--file", str(file), "--json"])
    with hundredth.load(pairs_run.root / "model") as model:
        assert json.loads(found.stdout)["label"] == model.predict([UNSEEN])[0]
    refused = CliRunner().invoke(app, ["predict", str(pairs_run.root), "one text"])
    assert "this task reads message, topic" in refused.stderr


def test_its_controls_are_measured_like_any_others(pairs_run: Run) -> None:
    labels = pairs_run.data.task.labels
    test = [
        Example(("I lost my telephone.", "lost phone"), labels.index("yes")),
        Example(UNSEEN, labels.index("yes")),
    ]
    test += [Example(("I lost my telephone.", "refund"), labels.index("no"))]
    systems = ["llm", "student", "no-prompt", "full"]
    found = evaluate(pairs_run.root, test, systems=systems, reporter=Reporter(quiet=True), threads=1)
    assert list(found.cells) == systems
    written = read_jsonl(pairs_run.root / "evaluation" / "systems" / "no-prompt-knowledge" / "knowledge.jsonl")
    assert {len(row["texts"]) for row in written} == {2}
    [f1] = found.values("full", "f1")
    assert 0 <= f1 <= 1
