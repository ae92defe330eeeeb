"""What users taught a model outlives its being made again."""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from carried_models import (
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
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hundredth.errors import UserError
from hundredth.pipeline.carry import TakenOver
from hundredth.pipeline.lessons import LEFT_BEHIND
from hundredth.store import KnowledgeStore


def test_what_users_added_is_there_with_who_added_it_and_when_and_can_be_undone(old: Path, tmp_path: Path) -> None:
    with KnowledgeStore.open(old) as store:
        add(store, "card lost", "other", "Ada")
        store.correct(("fee?",), 0, key("fee?"), by="Bo", note="ticket 7")
        created = [one.created for one in store.entries("user")]
    backdate(old)
    found = make(tmp_path / "new", old)
    assert found == TakenOver(added=2)
    assert found.lines(Path("f")) == ["2 entries added and 0 deleted by users were taken over"]
    with KnowledgeStore.open(tmp_path / "new") as store:
        _, added, corrected = store.changes()[::-1]
        assert (added.kind, added.at, added.by) == ("add", "2020-02-01T00:00:00+00:00", "Ada")
        assert (corrected.kind, corrected.at) == ("correct", "2020-03-01T00:00:00+00:00")
        assert (corrected.by, corrected.note) == ("Bo", "ticket 7")
        assert [one.created for one in store.entries("user")] == created
        assert store.search_user([key("fee?")], 1, 0.99).ids.tolist() == [list(corrected.added)]
        store.undo(added.id)
        assert [one.texts for one in store.entries("user")] == [("fee?",)]


def test_what_users_deleted_or_corrected_stays_so_and_an_undo_brings_back_the_new_entry(
    old: Path, tmp_path: Path
) -> None:
    """Silent otherwise: the mistake that a user took out speaks again."""
    with KnowledgeStore.open(old) as store:
        ids = ids_of(store)
        store.forget([ids["late again"], ids["hello"]], by="Ada", note="wrong")
        store.correct(("no invoice",), 2, key("no invoice"), by="Bo")
        before = shown(store)
    backdate(old)
    other = knowledge_of([*ROWS[:2], ("where is it", "generated", 0), ("no invoice", "generated", 1), *ROWS[4:]])
    assert make(tmp_path / "new", old, other) == TakenOver(added=1, deleted=3)
    assert content(tmp_path / "new") == [
        one if one[0] != "where is it" else ("where is it", "billing", "generated") for one in before
    ]
    with KnowledgeStore.open(tmp_path / "new") as store:
        filled, deleted, corrected = store.changes()[::-1]
        assert filled.added == (1, 2)
        assert (deleted.kind, deleted.by, deleted.note) == ("delete", "Ada", "wrong")
        assert deleted.at == "2020-02-01T00:00:00+00:00"
        assert corrected.by == "Bo"
        store.undo(deleted.id)
        store.undo(corrected.id)
        assert shown(store) == sorted(
            [
                ("hello", "other", "unlabelled"),
                ("late again", "delivery", "gold"),
                ("no invoice", "delivery", "generated"),
                ("paid twice", "billing", "gold"),
                ("where is it", "billing", "generated"),
            ]
        )
        np.testing.assert_allclose(
            store.search([key("no invoice")], 1).soft_labels[0, 0], [0.1, 0.8, 0.1], atol=1e-6
        )


def test_only_what_holds_in_the_end_is_taken_over(old: Path, tmp_path: Path) -> None:
    """And with that what users added and deleted again is gone for good: the documentation says so."""
    with KnowledgeStore.open(old) as store:
        ids = ids_of(store)
        store.delete([add(store, "a secret of mine", "other")])
        store.undo(store.forget([ids["hello"]]).id)
        once = store.undo(store.forget([ids["no invoice"]], by="Ada").id)
        store.undo(once.id, by="Bo")
        taken_back = store.correct(("where is it",), 2, key("where is it"))
        store.undo(taken_back.id)
        before = shown(store)
    assert make(tmp_path / "new", old) == TakenOver(deleted=1)
    assert content(tmp_path / "new") == before
    with KnowledgeStore.open(tmp_path / "new") as store:
        assert [(one.kind, one.by) for one in store.changes()] == [("delete", "Ada"), ("add", "")]
    assert b"a secret of mine" not in (tmp_path / "new" / "store.db").read_bytes()


def test_a_deletion_is_remembered_while_its_text_is_away(old: Path, tmp_path: Path) -> None:
    """Silent otherwise: another draw of the texts and back, and the deleted entry is there again."""
    with KnowledgeStore.open(old) as store:
        store.forget([ids_of(store)["where is it"]], by="Ada")
        before = shown(store)
    assert make(tmp_path / "other", old, knowledge_of(ROWS[:2])) == TakenOver(deleted=1)
    assert content(tmp_path / "other") == [("late again", "delivery", "gold"), ("paid twice", "billing", "gold")]
    assert make(tmp_path / "back", tmp_path / "other") == TakenOver(deleted=1)
    assert content(tmp_path / "back") == before
    with KnowledgeStore.open(tmp_path / "other") as store:
        store.undo(store.changes(1)[0].id)
        assert ("where is it", "delivery", "generated") in shown(store)


def test_a_correction_replaces_what_new_texts_say_otherwise(old: Path, tmp_path: Path) -> None:
    with KnowledgeStore.open(old) as store:
        for text in ("new text", "newer text", "other text"):
            store.correct((text,), 0, key(text))
    rows: list[Row] = [
        ("new text", "generated", 1),
        ("newer text", "generated", 0),
        ("other text", "gold", "other"),
    ]
    assert make(tmp_path / "new", old, knowledge_of([*ROWS, *rows])) == TakenOver(added=3, deleted=1)
    found = [one for one in content(tmp_path / "new") if "text" in one[0]]
    assert found == [
        ("new text", "billing", "user"),
        ("newer text", "billing", "generated"),
        ("newer text", "billing", "user"),
        ("other text", "billing", "user"),
        ("other text", "other", "gold"),
    ]


def test_what_the_data_have_come_to_say_is_no_longer_what_a_user_deleted(old: Path, tmp_path: Path) -> None:
    with KnowledgeStore.open(old) as store:
        ids = ids_of(store)
        store.forget([ids["paid twice"], ids["late again"], ids["hello"], ids["no invoice"]])
    rows: list[Row] = [
        ("paid twice", "gold", "billing"),  # as it was
        ("late again", "gold", "other"),  # set right
        ("hello", "gold", "other"),  # labelled since
        ("no invoice", "unlabelled", 1),  # still nobody's word
    ]
    make(tmp_path / "new", old, knowledge_of(rows))
    assert content(tmp_path / "new") == [("hello", "other", "gold"), ("late again", "other", "gold")]


def test_of_several_rows_with_one_text_as_many_are_left_as_users_left(tmp_path: Path) -> None:
    rows: list[Row] = [("again", "gold", "other")] * 3 + [("gone", "gold", "other")] * 2
    make(tmp_path / "old", None, knowledge_of(rows))
    with KnowledgeStore.open(tmp_path / "old") as store:
        store.forget([2, 4, 5])
    for one, other in (("old", "new"), ("new", "newer")):
        make(tmp_path / other, tmp_path / one, knowledge_of(rows))
        assert content(tmp_path / other) == [("again", "other", "gold")] * 2
    assert everything(tmp_path / "new") == everything(tmp_path / "newer")
    make(tmp_path / "more", tmp_path / "new", knowledge_of([*rows, ("gone", "gold", "other")]))
    assert content(tmp_path / "more") == [("again", "other", "gold")] * 2


def test_what_users_imported_with_another_origin_is_theirs_too(old: Path, tmp_path: Path) -> None:
    soft = [[0.5, 0.5, 0], [0, 0.5, 0.5]]
    with KnowledgeStore.open(old) as store:
        ids = store.add(
            [("a",), ("b",)], soft, [key("a"), key("b")], ["gold", "generated"], [0, None], "Ada", "file"
        )
        store.add([("c",)], soft[:1], [key("c")], "gold", [0], "Ada")
        store.forget([ids[1]])
        before = shown(store)
    assert make(tmp_path / "new", old) == TakenOver(added=2)
    assert content(tmp_path / "new") == before
    assert make(tmp_path / "newer", tmp_path / "new", knowledge_of(ROWS[:1])) == TakenOver(added=2)
    assert [one[0] for one in content(tmp_path / "newer")] == ["a", "c", "paid twice"]


def test_an_import_into_a_store_that_nothing_filled_can_be_undone(old: Path, tmp_path: Path) -> None:
    with KnowledgeStore.open(old) as store:
        store.add([("a",)], [[1, 0, 0]], [key("a")], "gold", [0], "Ada")
        store.forget([one.id for one in store.entries() if one.texts != ("a",)])
    for one, other in (("old", "new"), ("new", "newer")):
        make(tmp_path / other, tmp_path / one)
        assert content(tmp_path / other) == [("a", "billing", "gold")]
    with KnowledgeStore.open(tmp_path / "newer") as store:
        assert [change.filled for change in store.changes()] == [False, False]
        store.undo(next(change.id for change in store.changes() if change.kind == "add"))
        assert len(store) == 0


def test_what_users_altered_in_place_is_altered_again(old: Path, tmp_path: Path) -> None:
    with KnowledgeStore.open(old) as store:
        ids = ids_of(store)
        store.update(ids["where is it"], [0, 0, 1], 2, by="Ada")
        store.update(ids["late again"], [1, 0, 0], 0, by="Bo")
        store.undo(store.update(ids["hello"], [1, 0, 0], 0).id)
        store.update(add(store, "x", "other", "Cy"), [1, 0, 0], 0, by="Di")
        before = shown(store)
    found = make(tmp_path / "new", old)
    assert found == TakenOver(added=1, altered=2)
    assert found.lines(Path()) == ["1 entry added, 0 deleted and 2 altered by users were taken over"]
    assert content(tmp_path / "new") == before
    with KnowledgeStore.open(tmp_path / "new") as store:
        told = [(one.kind, one.by) for one in store.changes()[::-1]]
        assert told == [("add", ""), ("update", "Ada"), ("update", "Bo"), ("add", "Di")]
        store.undo(2)
        assert ("where is it", "delivery", "generated") in shown(store)
    make(tmp_path / "without", old, knowledge_of(ROWS[:1]))
    assert content(tmp_path / "without") == [one for one in before if one[0] not in ("hello", "no invoice")]


def test_what_cannot_be_read_stops_it_and_says_what_to_do(old: Path, tmp_path: Path) -> None:
    """Nothing is lost meanwhile: the old model stays until the new one is whole."""
    row = {"texts": ["x"], "label": "gone", "change": {"kind": "drop"}}
    for line, said in (
        ("{", "JSONDecodeError"),
        (json.dumps(row), "change.kind is 'drop'"),
        ("[]", "TypeError"),
    ):
        (old / LEFT_BEHIND).write_text(line)
        with pytest.raises(
            UserError, match=f"what users taught .*old cannot be taken over: .*{said}.*mend it"
        ) as caught:
            make(tmp_path / f"new-{len(said)}", old)
        assert "\n" not in str(caught.value)
    (old / LEFT_BEHIND).unlink()
    (old / "store.db").write_bytes(b"no database")
    with pytest.raises(UserError, match=r"store.db is damaged: .*or move .*old away, to make a model without it"):
        make(tmp_path / "new", old)


def test_without_a_model_before_there_is_nothing_to_take_over(tmp_path: Path) -> None:
    found = make(tmp_path / "new", tmp_path)
    assert (found, found.lines(Path())) == (TakenOver(), [])


steps = st.lists(
    st.tuples(
        st.sampled_from(["add", "gold", "correct", "correct", "update", "delete", "undo", "undo", "label"]),
        st.integers(0, 9),
        st.integers(0, 4),
    ),
    max_size=14,
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps)
def test_a_model_made_again_from_the_same_knowledge_knows_the_same(taken: list[tuple[str, int, int]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        make(root / "old")
        with KnowledgeStore.open(root / "old") as store:
            filled = shown(store)
            for what, number, label in taken:
                text = ROWS[number][0] if number < len(ROWS) else f"text {number}"
                label %= len(store.labels)
                one_hot = np.eye(len(store.labels))[[label]]
                try:
                    if what in ("add", "gold"):
                        origin: Any = "user" if what == "add" else "gold"
                        store.add([(str(text),)], one_hot, [key(str(text))], origin, [label], "Ada")
                    elif what == "correct":
                        store.correct((str(text),), label, key(str(text)), "Bo", str(number))
                    elif what == "update":
                        store.update(number, one_hot[0], label, "Cy")
                    elif what == "delete":
                        store.delete([number, number + 1], "Di")
                    elif what == "label":
                        store.add_label(f"label {label}")
                    else:
                        store.undo(number)
                except UserError:
                    pass
            before, labels = shown(store), store.labels
        make(root / "new", root / "old")
        with KnowledgeStore.open(root / "new") as store:
            assert (shown(store), store.labels) == (before, labels)
        make(root / "again", root / "new")
        assert everything(root / "again") == everything(root / "new")
        with KnowledgeStore.open(root / "again") as store:
            for change in store.changes():
                if change.by and (change.added or change.removed):
                    store.undo(change.id)
            assert shown(store) == filled
