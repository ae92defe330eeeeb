"""The history of a store: read while nobody adds to it, and made again in another one."""

import sqlite3
from dataclasses import replace

import numpy as np
import pytest

from hundredth.errors import UnavailableError, UserError
from hundredth.store import Entry, KnowledgeStore
from hundredth.store.history import held_history, repeating

ONE_HOT = np.eye(3, dtype=np.float32)
AT = "2026-01-02T03:04:05+00:00"


def entry(text, label=0, origin="user", width=3):
    soft_label = np.eye(width, dtype=np.float32)[label]
    return Entry(0, (text,), soft_label, label, origin, "2025-12-31T00:00:00+00:00")


def content(store):
    return [(one.id, one.texts, one.soft_label.tolist(), one.label, one.origin) for one in store.entries()]


def test_a_history_has_entries_labels_and_the_log_with_what_it_replaced(store, fill, tmp_path):
    ids, keys, soft_labels = fill(store, 4)
    store.add_label("refund", by="Di")
    deleted = store.forget(ids[:2], by="Ada")
    corrected = store.correct(("text 0.2",), 3, keys[2], by="Bo")
    with held_history(tmp_path / "store") as found:
        assert found.base_labels == ("billing", "delivery", "other")
        assert found.labels == (*found.base_labels, "refund")
        assert [one.id for one in found.entries] == [ids[3], *corrected.added]
        assert found.changes == store.changes()[::-1]
        told = [(change, one.id, one.texts) for change, one in found.replaced]
        assert told == [
            (deleted.id, ids[0], ("text 0.0",)),
            (deleted.id, ids[1], ("text 0.1",)),
            (corrected.id, ids[2], ("text 0.2",)),
        ]
        np.testing.assert_allclose(found.replaced[0][1].soft_label, [*soft_labels[0], 0], atol=1e-6)


def test_nobody_changes_a_store_while_its_history_is_held(store, fill, tmp_path, monkeypatch):
    """Silent otherwise: a correction that comes while a model is made anew is lost with the old one."""
    ids, keys, _ = fill(store, 2)
    monkeypatch.setattr("hundredth.store.access.BUSY_MS", 50)
    with held_history(tmp_path / "store") as found:
        with pytest.raises(UnavailableError, match="another process keeps it locked"):
            store.correct(("x",), 0, keys[0])
        assert store.search(keys[:1], 1).ids.tolist() == [ids[:1]]
        assert len(found.entries) == 2
    assert store.correct(("x",), 0, keys[0]).added


def test_a_store_that_is_being_changed_is_waited_for_but_not_for_ever(store, fill, tmp_path, monkeypatch):
    fill(store, 2)
    monkeypatch.setattr("hundredth.store.history.BUSY_MS", 50)
    other = sqlite3.connect(tmp_path / "store" / "store.db")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(UnavailableError, match="kept locked by another process"), held_history(tmp_path / "store"):
        pass
    other.close()
    with held_history(tmp_path / "store") as found:
        assert len(found.entries) == 2


def test_a_store_that_cannot_be_written_or_has_no_log_is_read(store, fill, tmp_path, monkeypatch):
    ids, _, _ = fill(store, 2)
    store.close()
    connection = sqlite3.connect(tmp_path / "store" / "store.db")
    for statement in ("DROP TABLE replaced", "DROP TABLE changes", "PRAGMA user_version = 1"):
        connection.execute(statement)
    connection.commit()
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()
    monkeypatch.setattr("hundredth.store.history.os.access", lambda *_: False)
    with held_history(tmp_path / "store") as found:
        assert [one.id for one in found.entries] == ids
        assert (found.changes, found.replaced) == ([], [])
    with pytest.raises(UserError, match="no knowledge store"), held_history(tmp_path):
        pass


def test_what_is_made_again_has_its_time_and_author_and_can_be_undone(store, fill, tmp_path):
    ids, keys, _ = fill(store, 3)
    before = content(store)
    new_keys = np.stack([-keys[0], keys[1]])
    with repeating(tmp_path / "store") as table:
        table.repeat("correct", AT, "Ada", "ticket 7", [entry("old", 2, "generated")], [entry("new", 1)], new_keys)
    [change] = store.changes(1)
    assert (change.kind, change.at, change.by, change.note) == ("correct", AT, "Ada", "ticket 7")
    assert (change.removed, change.added) == ((ids[-1] + 1,), (ids[-1] + 2,))
    [new] = store.get(change.added)
    assert (new.texts, new.label, new.origin, new.created) == (("new",), 1, "user", entry("").created)
    # What it took out was never here, and comes with the undo.
    assert content(store)[:-1] == before
    assert store.search(-keys[:1], 1).ids[0, 0] != change.removed[0]
    store.undo(change.id)
    assert content(store) == [*before, (change.removed[0], ("old",), [0, 0, 1], 2, "generated")]
    assert store.search(-keys[:1], 1).ids[0, 0] == change.removed[0]
    store.undo(store.changes(1)[0].id)
    assert [one.texts for one in store.entries("user")] == [("new",)]
    [later] = store.add([("later",)], ONE_HOT[:1], keys[:1], "user", [0])
    assert later > max(*change.added, *change.removed)


def test_an_update_made_again_keeps_the_id_and_its_undo_brings_back_what_was_before(store, fill, tmp_path):
    fill(store, 2)
    pair = [entry("x", 0, "gold")], [entry("x", 2, "gold")]
    with repeating(tmp_path / "store") as table:
        change = table.repeat("update", AT, "Bo", "", *pair, np.ones((2, 8)))
    assert change.added == change.removed == (3,)
    assert store.get([3])[0].label == 2
    store.undo(change.id)
    assert store.get([3])[0].label == 0


def test_a_label_made_again_can_be_had_by_what_follows_it(store, fill, tmp_path):
    fill(store, 2)
    with repeating(tmp_path / "store") as table:
        for name in ("refund", "fee"):
            table.repeat_label(name, AT, "Di", f"new label {name!r}")
        table.repeat("add", AT, "Ed", "", [], [entry("money", 3, width=5)], np.ones((1, 8)))
    assert [(one.at, one.by, one.note) for one in store.changes(3)][::-1] == [
        (AT, "Di", "new label 'refund'"),
        (AT, "Di", "new label 'fee'"),
        (AT, "Ed", ""),
    ]
    assert store.labels[3:] == ("refund", "fee")
    assert store.search(np.ones((1, 8)), 1).soft_labels.tolist() == [[[0, 0, 0, 1, 0]]]


def test_all_changes_are_made_again_or_none(store, fill, tmp_path):
    fill(store, 2)
    before = content(store), len(store.changes())
    broken = replace(entry("broken"), soft_label=2 * ONE_HOT[0])

    def make():
        with repeating(tmp_path / "store") as table:
            for one in (entry("fine"), broken):
                table.repeat("add", AT, "Ada", "", [], [one], np.ones((1, 8)))

    with pytest.raises(UserError, match="soft label 0 sums to 2"):
        make()
    assert (content(store), len(store.changes())) == before


def test_holding_a_history_leaves_the_store_that_takes_the_place_of_its_own_alone(store, fill, tmp_path):
    """Silent otherwise: to close the old database would delete the log of changes that lies at its path by now."""
    _, keys, _ = fill(store, 3)
    store.close()
    old, new = tmp_path / "store", tmp_path / "new"
    made = KnowledgeStore.create(new, store.labels, 8, "encoder-2")
    made.close()
    with held_history(old):
        old.rename(tmp_path / "gone")
        new.rename(old)
        opened = KnowledgeStore.open(old)
        [id] = opened.add([("x",)], ONE_HOT[:1], keys[:1], "user", [0])
    log = sqlite3.connect(f"file:{old / 'store.db'}?mode=ro", uri=True)
    assert log.execute("SELECT id FROM entries").fetchall() == [(id,)]
    log.close()
    opened.add([("y",)], ONE_HOT[:1], keys[:1], "user", [0])
    opened.close()
    with KnowledgeStore.open(old) as again:
        assert [one.texts for one in again.entries()] == [("x",), ("y",)]
