"""Corrections, the log of changes and undo: what a person says of a text stands, and can be taken back."""

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hundredth.errors import ConflictError, UserError
from hundredth.store import KnowledgeStore
from hundredth.store.changes import runs
from hundredth.store.database import SAME_TEXTS, SCHEMA_VERSION

LABELS = ("billing", "delivery", "other")
ONE_HOT = np.eye(3)


def _content(store):
    """All that a store holds, as it is read back and as it is found."""
    entries = [(e.id, e.texts, e.soft_label.tolist(), e.label, e.origin, e.created) for e in store.entries()]
    found = store.search(np.eye(store.dimension), max(len(store), 1))
    user = store.search_user(np.eye(store.dimension), max(len(store), 1), -2.0)
    return entries, [
        array.tolist() for part in (found, user) for array in (part.ids, part.similarities, part.soft_labels)
    ]


def test_a_correction_is_logged_with_who_what_when_and_why(store, fill):
    ids, keys, _ = fill(store, 3)
    change = store.correct(("no",), 1, keys[0], by="Ada", note="ticket 7")
    [entry] = store.get(change.added)
    assert (entry.texts, entry.label, entry.origin) == (("no",), 1, "user")
    assert entry.soft_label.tolist() == [0, 1, 0]
    assert (change.kind, change.by, change.note, change.undone) == ("correct", "Ada", "ticket 7", False)
    assert change.at.endswith("+00:00")
    last, first = store.changes()
    assert last == change
    assert (first.kind, first.added, first.by) == ("add", tuple(ids), "")
    assert store.changes(1) == [change]
    assert json.loads(json.dumps(change.to_dict()))["added"] == [[entry.id, entry.id]]


def test_a_correction_replaces_what_was_said_otherwise_about_the_very_text(store):
    """Silent otherwise: the wrong entry goes on to speak wherever the correction is too far away to decide."""
    keys = np.eye(8)
    near = keys[0] + 1e-7 * keys[1]
    ids = store.add(
        [("a",), ("A",), ("a",), ("a",), ("b",)],
        ONE_HOT[[0, 0, 1, 1, 0]],
        [near, keys[0], keys[0], keys[3], keys[0] + 0.1 * keys[1]],
        ["gold", "generated", "gold", "user", "gold"],
        [0, None, 1, 1, 0],
    )
    change = store.correct(("a",), 1, keys[0])
    # Its label was another, its key the same though its text was not, or another user had spoken of this text.
    assert change.removed == (ids[0], ids[1], ids[3])
    assert [entry.id for entry in store.entries()] == [ids[2], ids[4], *change.added]
    again = store.correct(("a",), 2, keys[0])
    assert again.removed == (ids[2], *change.added)


@pytest.mark.parametrize("indexed", [True, False])
def test_the_same_texts_are_found_whatever_they_are_made_of(store, tmp_path, indexed):
    """A store from before the index has none; its entries are found all the same."""
    hard = ['with "quotes"', "\u00e9t\u00e9", "\U0001f600 \n"]
    texts = ["a", "b", "b?", *hard, "x" * 40, "y" + "x" * 39, "x" * 100_000]
    connection = sqlite3.connect(tmp_path / "store" / "store.db")
    if not indexed:
        connection.execute("DROP INDEX entries_by_texts")
    plan = connection.execute(f"EXPLAIN QUERY PLAN SELECT id FROM entries WHERE {SAME_TEXTS}", ("a",)).fetchall()
    connection.close()
    assert ("entries_by_texts" in plan[0][3]) is indexed
    keys = np.eye(len(texts), store.dimension) + np.eye(len(texts), store.dimension, -store.dimension)
    ids = store.add([(text,) for text in texts], ONE_HOT[[0] * len(texts)], keys, "gold", [0] * len(texts))
    elsewhere = -np.ones(store.dimension)
    for id, text in zip(ids, texts, strict=True):
        assert store.correct((text,), 1, elsewhere).removed[:1] == (id,)


def test_of_the_users_entries_near_a_text_the_nearest_comes_first_and_of_equals_the_newest(store, fill):
    fill(store, 30, keys=np.tile(np.eye(8)[:1], (30, 1)))
    keys = np.array([[1, 0, 0, 0, 0, 0, 0, 0], [1, 0.1, 0, 0, 0, 0, 0, 0]])
    old, far, new = store.add([("x",), ("y",), ("z",)], ONE_HOT, keys[[0, 1, 0]], "user", [0, 1, 2])
    found = store.search_user(keys[:1], 3, 0.9)
    assert found.ids.tolist() == [[new, old, far]]
    assert found.soft_labels[0].tolist() == ONE_HOT[[2, 0, 1]].tolist()
    found = store.search_user(keys[:1], 3, 0.999)
    assert found.ids.tolist() == [[new, old, -1]]
    assert found.similarities[0, 2] == -np.inf
    assert found.soft_labels[0, 2].tolist() == [0, 0, 0]
    assert (store.search_user(-keys, 2, 0.5).ids == -1).all()


def test_of_entries_that_differ_by_rounding_the_newest_decides(store, fill):
    """Silent otherwise: a text encoded in a batch differs from itself alone, and its newest entry loses."""
    key = np.full(8, 8**-0.5, dtype=np.float32)
    sideways = np.array([1, -1, 0, 0, 0, 0, 0, 0])
    # Their cosines to the key are 1 - 4e-6, 1, 1 - 2e-5 and 1 - 8e-6.
    keys = key + np.array([2, 0, 4.5, 2.8])[:, None] * 1e-3 * sideways
    first, second, far, last = store.add(
        [(word,) for word in "abcd"], ONE_HOT[[0, 1, 2, 0]], keys, "user", [None] * 4
    )
    for queries in (key[None], np.stack([key, -key])):
        assert store.search_user(queries, 1, 0.9).ids[0].tolist() == [last]
        assert store.search_user(queries, 6, 0.9).ids[0].tolist() == [last, second, first, far, -1, -1]
    store.delete([last])
    assert store.look_up(key[None], 1, 0.9)[0].ids.tolist() == [[second]]


def test_each_kind_of_change_can_be_undone_and_the_undo_as_well(store, fill, tmp_path):
    ids, keys, _ = fill(store, 12)
    store.add([("mine",)], ONE_HOT[:1], keys[:1] + 0.01, "user", [0])
    changes = [
        lambda: store.add([("p",), ("q",)], ONE_HOT[:2], keys[:2] * 2, "user", [0, 1]),
        lambda: store.forget(ids[3:7]),
        lambda: store.correct(("text 0.1",), 2, keys[1]),
        lambda: store.update(ids[8], ONE_HOT[1], 1),
    ]
    before = _content(store)
    for make in changes:
        make()
        after = _content(store)
        assert after != before
        id = store.changes(1)[0].id
        undo = store.undo(id, by="Bo", note="no")
        assert _content(store) == before
        assert (undo.kind, undo.by, undo.note, undo.undoes) == ("undo", "Bo", "no", id)
        assert store.changes(2)[1].undone
        redo = store.undo(undo.id)
        assert _content(store) == after
        assert not store.changes(3)[2].undone
        store.close()
        store = KnowledgeStore.open(tmp_path / "store")
        assert _content(store) == after
        store.undo(redo.id)
        assert _content(store) == before
    store.rebuild()
    assert _content(store) == before
    store.close()


def test_what_cannot_be_undone_is_refused_and_nothing_is_changed(store, fill):
    ids, keys, _ = fill(store, 3)
    correction = store.correct(("x",), 0, keys[0])
    deletion = store.forget(correction.added)
    generation = store.generation
    with pytest.raises(
        UserError, match=f"change {correction.id} cannot be undone: entry {correction.added[0]} was"
    ):
        store.undo(correction.id)
    with pytest.raises(UserError, match="no change has the id 99"):
        store.undo(99)
    assert store.generation == generation
    back = store.undo(deletion.id)
    with pytest.raises(UserError, match=f"change {deletion.id} is undone already"):
        store.undo(deletion.id)
    store.undo(correction.id)
    with pytest.raises(UserError, match="was taken out later"):
        store.undo(back.id)
    with pytest.raises(UserError, match="no entry has the id 99"):
        store.forget([ids[0], 99])
    with pytest.raises(UserError, match="no ids"):
        store.forget([])
    assert [entry.id for entry in store.entries()] == ids


def test_an_undo_that_would_put_an_entry_in_twice_is_refused(store, fill):
    fill(store, 2)
    first = store.forget([1])
    back = store.undo(first.id)
    store.undo(store.forget([1]).id)
    again = store.undo(back.id)  # takes the entry out
    store.undo(first.id)  # and puts it back
    with pytest.raises(ConflictError, match="entry 1 was put back later"):
        store.undo(again.id)
    assert [one.id for one in store.entries()] == [1, 2]


def test_nothing_deleted_is_nothing_logged(store, fill):
    fill(store, 2)
    assert store.delete([77]) == 0
    assert len(store.changes()) == 1


def test_a_deletion_among_many_entries_is_undone_in_the_index_too(store, fill, monkeypatch):
    """Silent otherwise: faiss leaves codes of deleted entries behind, which spoil those of entries added later."""
    monkeypatch.setattr("hundredth.store.index.EXACT_LIMIT", 200)
    ids, keys, _ = fill(store, 300)
    assert not store._index.search.exact
    before = store.search(keys, 1)
    assert before.ids[:, 0].tolist() == ids
    deletion = store.forget(ids[40:60])
    assert not np.isin(ids[40:60], store.search(keys, 1).ids).any()
    store.undo(deletion.id)
    assert store.search(keys, 1).ids[:, 0].tolist() == ids
    store.delete(ids[::7])
    new, new_keys, _ = fill(store, 40, seed=1)
    assert store.search(new_keys, 1).ids[:, 0].tolist() == new


operations = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["add", "correct", "update", "undo"]), st.integers(0, 12)),
        st.tuples(st.just("delete"), st.lists(st.integers(0, 12), max_size=3)),
    ),
    max_size=14,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(operations, st.integers(0, 2**32 - 1))
def test_undoing_everything_backwards_leaves_the_store_as_it_was(steps, seed):
    generator = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = KnowledgeStore.create(folder, LABELS, 3, "e")
        store.add(
            [(str(row),) for row in range(4)], ONE_HOT[[0, 1, 2, 0]], _directions(generator, 4), "gold", [None] * 4
        )
        states = [_content(store)]
        for what, value in steps:
            made = len(store.changes())
            try:
                if what == "add":
                    store.add([("n",)], ONE_HOT[:1], _directions(generator, 1), "user", [0])
                elif what == "correct":
                    store.correct((str(value),), value % 3, _directions(generator, 1)[0])
                elif what == "update":
                    store.update(value, ONE_HOT[value % 3], None)
                elif what == "delete":
                    store.delete(value)
                else:
                    store.undo(value)
            except UserError:
                assert len(store.changes()) == made
            if len(store.changes()) > made:
                states.append(_content(store))
        store.close()
        store = KnowledgeStore.open(folder)
        assert _content(store) == states[-1]
        for id in range(len(states), 1, -1):
            assert _content(store) == states[id - 1]
            store.undo(id)
        assert _content(store) == states[0]
        store.close()


def _directions(generator, count):
    keys = generator.integers(-1, 2, size=(count, 3)).astype(float)
    keys[~keys.any(axis=1)] = 1.0
    return keys


def test_ids_are_told_as_runs():
    assert runs([]) == []
    assert runs([1, 2, 3, 7, 9, 10]) == [[1, 3], [7, 7], [9, 10]]


def _without_log(folder):
    """Make a store one of the version that had no log."""
    connection = sqlite3.connect(folder / "store.db")
    for statement in ("DROP TABLE replaced", "DROP TABLE changes", "PRAGMA user_version = 1"):
        connection.execute(statement)
    connection.commit()
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()


def test_a_store_from_before_the_log_is_read_and_gets_one(store, fill, tmp_path, monkeypatch):
    ids, keys, _ = fill(store, 4)
    store.close()
    folder = tmp_path / "store"
    _without_log(folder)
    with monkeypatch.context() as patch:
        patch.setattr("hundredth.store.store.os.access", lambda *_: False)
        with KnowledgeStore.open(folder) as read_only:
            assert read_only.changes() == []
            assert read_only.search(keys[:1], 1).ids.tolist() == [ids[:1]]
            with pytest.raises(UserError, match="read-only"):
                read_only.correct(("x",), 0, keys[0])
    with KnowledgeStore.open(folder) as opened:
        assert opened.changes() == []
        change = opened.correct(("x",), 0, keys[0])
    connection = sqlite3.connect(folder / "store.db")
    assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
    connection.close()
    with KnowledgeStore.open(folder) as again:
        assert again.changes() == [change]
        assert [entry.id for entry in again.entries("user")] == list(change.added)


def test_a_reader_of_a_store_from_before_the_log_sees_the_one_it_gets(store, fill, tmp_path, monkeypatch, caplog):
    fill(store, 4)
    store.close()
    folder = tmp_path / "store"
    _without_log(folder)
    with monkeypatch.context() as patch:
        patch.setattr("hundredth.store.store.os.access", lambda *_: False)
        read_only = KnowledgeStore.open(folder)
    with read_only, KnowledgeStore.open(folder) as writer:
        assert read_only.changes() == []
        change = writer.correct(("x",), 0, np.ones(8))
        assert len(read_only) == 5
        assert read_only.changes() == [change]
        writer.undo(change.id)
        assert (len(read_only), len(read_only.changes())) == (4, 2)
    assert "without a trace" not in caplog.text


_WRITER = """
import sys, numpy as np
from pathlib import Path
from hundredth.store import KnowledgeStore
store = KnowledgeStore.open(Path(sys.argv[1]))
number = 0
while True:
    key = np.eye(8)[number % 8] + 0.001 * (number + 1)
    change = store.correct((f"text {number}",), number % 3, key, by="w", note=str(number))
    if number % 3 == 2:
        store.undo(change.id)
    if number % 5 == 4:
        store.forget(change.added) if number % 3 != 2 else None
    print(number, flush=True)
    number += 1
"""


@pytest.mark.parametrize("acknowledged", [1, 6, 25])
def test_a_process_killed_while_it_corrects_leaves_entries_and_log_that_agree(store, fill, tmp_path, acknowledged):
    """Silent otherwise: a change without its trace, or the trace of a change that never was."""
    fill(store, 8)
    store.close()
    folder = tmp_path / "store"
    writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(folder)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    last = 0
    for _ in range(acknowledged):
        last = json.loads(writer.stdout.readline())
    writer.send_signal(signal.SIGKILL)
    for line in writer.stdout:
        last = json.loads(line)
    writer.wait()
    writer.stdout.close()
    with KnowledgeStore.open(folder) as store:
        log = store.changes()[::-1]
        there = set()
        for change in log:
            assert set(change.removed) <= there
            there = there.difference(change.removed).union(change.added)
        assert there == {entry.id for entry in store.entries()}
        corrected = [int(change.note) for change in log if change.kind == "correct"]
        assert corrected == list(range(len(corrected)))
        assert len(corrected) > last
        found = store.search_user(np.eye(8), len(store), -1.0)
        assert {int(id) for id in found.ids.flat} - {-1} == {entry.id for entry in store.entries("user")}
        assert store.correct(("after",), 1, np.ones(8)).added


def test_a_change_that_fails_half_way_leaves_no_trace(store, fill, monkeypatch):
    _, keys, _ = fill(store, 4)
    before = _content(store)

    def full(*_, **__):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("hundredth.store.entries.changes.read_changes", full)
    with pytest.raises(UserError, match="could not be written: database or disk is full"):
        store.correct(("x",), 0, keys[0])
    monkeypatch.undo()
    assert _content(store) == before
    assert len(store.changes()) == 1


def test_a_copy_of_the_folder_brings_its_log_along(store, fill, tmp_path):
    _, keys, _ = fill(store, 4)
    change = store.correct(("x",), 0, keys[0], by="Ada")
    store.close()
    shutil.copytree(tmp_path / "store", tmp_path / "copy")
    with KnowledgeStore.open(tmp_path / "copy") as copy:
        assert copy.changes(1) == [change]
        copy.undo(change.id)
        assert list(copy.entries("user")) == []
