"""What users taught a model outlives its being made again."""

import json
import sqlite3
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hundredth.errors import UserError
from hundredth.pipeline.carry import Carry, TakenOver
from hundredth.pipeline.knowledge import Knowledge, read_jsonl
from hundredth.pipeline.lessons import LEFT_BEHIND, held_lessons
from hundredth.runtime import CalibrationInfo, EncoderInfo, Manifest, RetrievalInfo, TaskInfo
from hundredth.store import KnowledgeStore
from hundredth.tasks.schema import Task
from hundredth.tasks.verbalisation import Verbalisation

LABELS = ("billing", "delivery", "other")
Row = tuple[str | tuple[str, ...], str, int | str | None]
# Of a task with the labels above: text, origin, and the gold label or, as a number, the likeliest of a soft one.
ROWS: tuple[Row, ...] = (
    ("paid twice", "gold", "billing"),
    ("late again", "gold", "delivery"),
    ("where is it", "generated", 1),
    ("no invoice", "generated", 0),
    ("hello", "unlabelled", 2),
)


class Encoder:
    """Stands for an exported encoder: each text has a direction of its own."""

    def embed(self, texts: Sequence[tuple[str, ...]]) -> tuple[Any, Any]:
        keys = [np.random.default_rng(crc32("|".join(one).encode())).normal(size=8) for one in texts]
        return np.reshape(keys, (len(texts), 8)), None


def key(*texts: str) -> Any:
    return Encoder().embed([texts])[0][0]


def task_of(labels: Sequence[str] = LABELS, fields: Sequence[str] = ("text",)) -> Task:
    return Task("tickets", tuple(fields), tuple(labels), Verbalisation.default(tuple(fields), tuple(labels)))


def knowledge_of(rows: Sequence[Row] = ROWS, labels: Sequence[str] = LABELS) -> Knowledge:
    texts = [one if isinstance(one, tuple) else (one,) for one, _, _ in rows]
    gold = [labels.index(label) if isinstance(label, str) else -1 for _, _, label in rows]
    likeliest = [
        label if isinstance(label, int) else known for (_, _, label), known in zip(rows, gold, strict=True)
    ]
    soft = (0.7 * np.eye(len(labels))[likeliest] + 0.3 / len(labels)).astype(np.float32)
    origins: Any = [origin for _, origin, _ in rows]
    return Knowledge(texts, origins, np.array(gold), soft, soft, np.zeros(len(rows), np.bool_))


def make(
    folder: Path, before: Path | None = None, knowledge: Knowledge | None = None, task: Task | None = None
) -> TakenOver:
    """Make a model folder as a run does, but for the model itself, with what users taught the one `before`."""
    knowledge, task = knowledge or knowledge_of(), task or task_of()
    folder.mkdir()
    Manifest(
        TaskInfo(task.name, task.fields, task.labels),
        EncoderInfo("encoder.onnx", "fingerprint", 8, 16, "float32"),
        RetrievalInfo(1, 1.0, 0.5),
        CalibrationInfo(1.0),
        provenance={},
    ).write(folder)
    with held_lessons(before or folder / "nothing") as lessons:
        carry = Carry(lessons, knowledge, task)
    kept = knowledge.rows(carry.kept)
    labels = [label if label >= 0 else None for label in kept.labels.tolist()]
    with KnowledgeStore.create(folder, task.labels, 8, "fingerprint") as store:
        store.add(kept.texts, kept.stored_labels(), Encoder().embed(kept.texts)[0], kept.origins, labels)
        carry.repeat(folder, Encoder())  # type: ignore[arg-type]
        assert len(store) == len(list(store.entries()))
    return carry.taken_over


@pytest.fixture
def old(tmp_path: Path) -> Path:
    make(tmp_path / "old")
    return tmp_path / "old"


def backdate(folder: Path) -> None:
    """Let each change of a log have been made in another month, long ago."""
    connection = sqlite3.connect(folder / "store.db")
    connection.execute("UPDATE changes SET at = '2020-' || substr('0' || id, -2) || '-01T00:00:00+00:00'")
    connection.commit()
    connection.close()


def add(store: KnowledgeStore, text: str, label: str, by: str = "") -> int:
    index = store.labels.index(label)
    [id] = store.add([(text,)], np.eye(len(store.labels))[[index]], [key(text)], "user", [index], by)
    return id


def ids_of(store: KnowledgeStore) -> dict[str, int]:
    return {one.texts[0]: one.id for one in store.entries()}


def shown(store: KnowledgeStore) -> list[tuple[str, str, str]]:
    """The entries by text, label and origin, sorted."""
    return sorted((" | ".join(one.texts), store.labels[one.shown_label], one.origin) for one in store.entries())


def content(folder: Path) -> list[tuple[str, str, str]]:
    with KnowledgeStore.open(folder) as store:
        return shown(store)


def everything(folder: Path) -> Any:
    """All of a store but the moments at which it was filled, and what its state was called then."""
    connection = sqlite3.connect(folder / "store.db")
    rows = [
        connection.execute(query).fetchall()
        for query in (
            "SELECT id, texts, hex(soft_label), label, origin, hex(key) FROM entries ORDER BY id",
            "SELECT id, created FROM entries WHERE origin = 'user' ORDER BY id",
            "SELECT id, kind, CASE id WHEN 1 THEN '' ELSE at END, by, note, added, undoes FROM changes ORDER BY id",
            "SELECT change, id, texts, hex(soft_label), label, origin, hex(key) FROM replaced ORDER BY change, id",
            "SELECT name, value FROM meta WHERE name != 'state' ORDER BY name",
        )
    ]
    connection.close()
    return rows


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


def test_what_cannot_be_read_stops_it_and_says_what_to_do(old: Path, tmp_path: Path) -> None:
    """Nothing is lost meanwhile: the old model stays until the new one is whole."""
    row = {"texts": ["x"], "label": "gone", "change": {"kind": "drop"}}
    for content, said in (
        ("{", "JSONDecodeError"),
        (json.dumps(row), "change.kind is 'drop'"),
        ("[]", "TypeError"),
    ):
        (old / LEFT_BEHIND).write_text(content)
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
