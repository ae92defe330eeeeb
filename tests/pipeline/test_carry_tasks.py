"""What users taught a model is taken over where the new task has other labels or fields."""

from pathlib import Path

import numpy as np
import pytest
from carried_models import (
    LABELS,
    ROWS,
    Row,
    add,
    backdate,
    content,
    everything,
    ids_of,
    key,
    knowledge_of,
    make,
    shown,
    task_of,
)

from hundredth.pipeline.carry import TakenOver
from hundredth.pipeline.knowledge import read_jsonl
from hundredth.pipeline.lessons import LEFT_BEHIND
from hundredth.store import KnowledgeStore


def test_labels_are_matched_by_name(old: Path, tmp_path: Path) -> None:
    labels = ("a new one", "other", "delivery", "billing")
    with KnowledgeStore.open(old) as store:
        add(store, "x", "billing")
        store.add([("y",)], [[0.25, 0, 0.75]], [key("y")], "user", [None])
        store.forget([ids_of(store)["paid twice"]])
    make(tmp_path / "new", old, knowledge_of(ROWS, labels), task_of(labels))
    assert ("x", "billing", "user") in content(tmp_path / "new")
    assert "paid twice" not in dict.fromkeys(text for text, *_ in content(tmp_path / "new"))
    with KnowledgeStore.open(tmp_path / "new") as store:
        soft = next(one for one in store.entries("user") if one.texts == ("y",))
        assert (soft.soft_label.tolist(), soft.label) == ([0, 0.75, 0, 0.25], None)


def test_what_has_no_label_any_more_is_kept_in_a_file_until_the_label_is_back(old: Path, tmp_path: Path) -> None:
    """Silent otherwise: the old store is deleted, and what was in it with it."""
    with KnowledgeStore.open(old) as store:
        store.correct(("x",), 2, key("x"), by="Ada", note="ticket 7")
        add(store, "y", "billing", "Bo")
        store.forget([ids_of(store)["hello"]])
        before = shown(store)
    backdate(old)
    fewer, rows = LABELS[:2], ROWS[:4]
    found = make(tmp_path / "new", old, knowledge_of(rows, fewer), task_of(fewer))
    assert found == TakenOver(added=1, left_behind=1, forgotten=1, missing=("label 'other'",))
    assert found.lines(Path("model/left-behind.jsonl")) == [
        "1 entry added and 0 deleted by users were taken over",
        "not taken over, as the task no longer has label 'other': 1 entry of users; model/left-behind.jsonl keeps "
        "them until it has, and `hundredth knowledge import` with --new-labels adds them now",
        "not taken over, as the task no longer has label 'other' and the new knowledge not their texts: 1 "
        "deletion by users",
    ]
    [row] = read_jsonl(tmp_path / "new" / LEFT_BEHIND)
    assert (row["texts"], row["label"], row["change"]["by"], row["change"]["note"]) == (
        ["x"],
        "other",
        "Ada",
        "ticket 7",
    )
    # Made once more it is still there; and users may have said more meanwhile.
    with KnowledgeStore.open(tmp_path / "new") as store:
        store.correct(("x",), 1, key("x"), by="Cy")
    make(tmp_path / "newer", tmp_path / "new", knowledge_of(rows, fewer), task_of(fewer))
    assert (tmp_path / "newer" / LEFT_BEHIND).read_bytes() == (tmp_path / "new" / LEFT_BEHIND).read_bytes()
    assert make(tmp_path / "back", tmp_path / "newer") == TakenOver(added=3)
    assert not (tmp_path / "back" / LEFT_BEHIND).exists()
    # The deletion alone is forgotten.
    assert content(tmp_path / "back") == sorted(
        [*before, ("hello", "other", "unlabelled"), ("x", "delivery", "user")]
    )
    with KnowledgeStore.open(tmp_path / "back") as store:
        told = [(one.at[:7], one.by) for one in store.changes()[::-1][1:3]]
        assert told == [("2020-02", "Ada"), ("2020-03", "Bo")]
        # Of two things said of one text, the later one still decides.
        assert store.search_user([key("x")], 1, 0.99).soft_labels.tolist() == [[[0, 1, 0]]]


def test_what_was_left_behind_and_is_imported_is_not_taken_over_twice(old: Path, tmp_path: Path) -> None:
    with KnowledgeStore.open(old) as store:
        for text in ("x", "y", "z"):
            add(store, text, "other", "Ada")
    backdate(old)
    fewer = LABELS[:2]
    make(tmp_path / "new", old, knowledge_of(ROWS[:4], fewer), task_of(fewer))
    with KnowledgeStore.open(tmp_path / "new") as store:
        store.add_label("other", by="Bo")
        add(store, "x", "other", "Bo")
        store.forget([add(store, "y", "other", "Bo")])
    found = make(tmp_path / "newer", tmp_path / "new", knowledge_of(ROWS[:4], fewer), task_of(fewer))
    assert found == TakenOver(added=2, labels=("other",))
    users = [one for one in content(tmp_path / "newer") if one[2] == "user"]
    assert users == [("x", "other", "user"), ("z", "other", "user")]
    with KnowledgeStore.open(tmp_path / "newer") as store:
        assert [one.by for one in store.changes()[::-1] if one.added and one.by] == ["Ada", "Bo"]


def test_labels_that_users_added_are_there_again_with_what_has_them(old: Path, tmp_path: Path) -> None:
    with KnowledgeStore.open(old) as store:
        store.add_label("praise", by="Di", note="new this week")
        store.add_label("unused")
        add(store, "well done", "praise", "Di")
    backdate(old)
    found = make(tmp_path / "new", old)
    assert found == TakenOver(added=1, labels=("praise", "unused"))
    assert found.lines(Path())[1] == "labels added by users were taken over: 'praise', 'unused'"
    with KnowledgeStore.open(tmp_path / "new") as store:
        assert (store.base_labels, store.labels[3:]) == (LABELS, ("praise", "unused"))
        label = store.changes()[::-1][1]
        assert (label.at[:7], label.by, label.note) == ("2020-02", "Di", "new label 'praise': new this week")
        assert store.search([key("well done")], 1).soft_labels.tolist() == [[[0, 0, 0, 1, 0]]]
    make(tmp_path / "again", tmp_path / "new")
    assert everything(tmp_path / "again") == everything(tmp_path / "new")
    # The task has come to have one of them.
    more = (*LABELS, "praise")
    assert make(tmp_path / "grown", old, knowledge_of(ROWS, more), task_of(more)).labels == ("unused",)
    with KnowledgeStore.open(tmp_path / "grown") as store:
        assert (store.base_labels, store.labels[4:]) == (more, ("unused",))
        assert ("well done", "praise", "user") in shown(store)


@pytest.mark.parametrize(
    ("fields", "texts"),
    [(("topic", "text"), ("late", "my parcel")), (("text", "topic"), ("my parcel", "late")), (("text",), None)],
    ids=["swapped", "same", "fewer"],
)
def test_fields_are_matched_by_name(fields: tuple[str, ...], texts: tuple[str, ...] | None, tmp_path: Path) -> None:
    rows: list[Row] = [(("where is it", "late"), "gold", "delivery"), (("hello", "none"), "generated", 2)]
    make(tmp_path / "old", None, knowledge_of(rows), task_of(fields=("text", "topic")))
    with KnowledgeStore.open(tmp_path / "old") as store:
        store.add([("my parcel", "late")], np.eye(3)[[1]], [key("x")], "user", [1])
        store.forget([2])
    order = [("text", "topic").index(field) for field in fields]
    new: list[Row] = [(tuple(one[place] for place in order), origin, label) for one, origin, label in rows]
    found = make(tmp_path / "new", tmp_path / "old", knowledge_of(new), task_of(fields=fields))
    with KnowledgeStore.open(tmp_path / "new") as store:
        assert [one.texts for one in store.entries("user")] == ([] if texts is None else [texts])
        assert len(store) == 2
    if texts is None:
        assert (found.left_behind, found.forgotten, found.missing) == (1, 1, ("the fields 'text', 'topic'",))
        assert (
            make(tmp_path / "back", tmp_path / "new", knowledge_of(rows), task_of(fields=("text", "topic"))).added
            == 1
        )


def test_the_only_field_may_have_another_name(old: Path, tmp_path: Path) -> None:
    with KnowledgeStore.open(old) as store:
        add(store, "x", "other")
        before = shown(store)
    make(tmp_path / "new", old, None, task_of(fields=("message",)))
    assert content(tmp_path / "new") == before
