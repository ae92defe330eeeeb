"""Several processes and one store: each knows at once what the others have changed, and nothing is lost."""

import logging
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hundredth.errors import ConflictError, NotThereError, UnavailableError
from hundredth.store import KnowledgeStore
from hundredth.store.connection import Connection

LABELS = ("billing", "delivery", "other")
ONE_HOT = np.eye(3)


def _found(store):
    """What the store says of every direction, by all entries and by the users'."""
    queries = np.concatenate([np.eye(store.dimension), -np.eye(store.dimension)])
    every, user = store.search(queries, 9), store.search_user(queries, 9, -2.0)
    return [array.tolist() for part in (every, user) for array in (part.ids, part.similarities, part.soft_labels)]


@pytest.fixture
def other(store, tmp_path):
    """The same store as another process has it open."""
    with KnowledgeStore.open(tmp_path / "store") as opened:
        yield opened


steps = st.lists(
    st.tuples(
        st.booleans(),
        st.sampled_from(["add", "correct", "update", "delete", "undo", "search", "label"]),
        st.integers(0, 9),
    ),
    max_size=14,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps, st.integers(0, 2**32 - 1))
def test_each_finds_what_a_store_that_is_opened_anew_would_find(taken, seed):
    """Silent otherwise: one of the workers of a service goes on answering from an older state."""
    generator = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as name:
        first = KnowledgeStore.create(Path(name), LABELS, 3, "e")
        first.add([("a",), ("b",), ("c",)], ONE_HOT, np.eye(3), "gold", [0, 1, 2])
        second = KnowledgeStore.open(Path(name))
        for which, what, number in taken:
            store = second if which else first
            key = generator.normal(size=3)
            try:
                if what == "add":
                    store.add([("x",)] * 2, ONE_HOT[:2], np.stack([key, -key]), ["user", "generated"], [0, None])
                elif what == "correct":
                    store.correct((f"text {number}",), number % 3, key)
                elif what == "update":
                    store.update(number, ONE_HOT[number % 3], None)
                elif what == "label":
                    store.add_label(f"label {number}")
                    last = len(store.labels) - 1
                    store.add([("y",)], np.eye(last + 1)[[last]], key[None], "user", [last])
                elif what == "delete":
                    store.delete([number, number + 1])
                elif what == "undo":
                    store.undo(number)
                else:
                    store.search(key[None], 2)
            except (NotThereError, ConflictError):
                pass
        second.rebuild()
        expected = _found(second)
        assert _found(first) == expected
        assert len(first) == len(second) == sum(first.counts().values())
        assert first.generation == second.generation == len(first.changes())
        first.close()
        second.close()


def test_a_change_goes_unnoticed_neither_in_a_search_nor_in_a_list(store, other, fill):
    _, keys, _ = fill(store, 5)
    assert len(other) == 5
    change = other.correct(("no",), 1, keys[0])
    [id] = change.added
    assert store.search_user(keys[:1], 1, 0.9).ids.tolist() == [[id]]
    assert [entry.id for entry in store.nearest(keys[0], 1)[1]] in ([id], [1])
    assert store.changes(1) == [change]
    assert store.undo(change.id).removed == (id,)
    assert (other.search_user(keys[:1], 1, 0.9).ids == -1).all()


def test_a_block_sees_one_state_whatever_others_change_meanwhile(store, other, fill):
    ids, keys, _ = fill(store, 3)
    with store.unchanging():
        other.delete(ids)
        found, entries = store.nearest(keys[0], 3)
        assert sorted(found.ids[0].tolist()) == ids == sorted(entry.id for entry in entries)
    assert len(store) == 0


def test_the_nearest_and_their_entries_are_of_one_state(store, other, fill, monkeypatch):
    """Silent otherwise, but for an error now and then: what was found is gone when its entry is read."""
    ids, keys, _ = fill(store, 3)
    search = store.search

    def and_then_another_deletes(*given):
        found = search(*given)
        other.delete(ids)
        return found

    monkeypatch.setattr(store, "search", and_then_another_deletes)
    found, entries = store.nearest(keys[0], 3)
    assert found.ids[0].tolist() == [entry.id for entry in entries]
    assert sorted(entry.id for entry in entries) == ids
    assert len(store) == 0


_WRITER = """
import sys, numpy as np
from pathlib import Path
from hundredth.store import KnowledgeStore
with KnowledgeStore.open(Path(sys.argv[1])) as store:
    print("open", flush=True)
    sys.stdin.readline()
    for number in range(20):
        key = np.random.default_rng(number).normal(size=8)
        change = store.correct((f"{sys.argv[2]} {number}",), number % 3, key, by=sys.argv[2])
        if number % 4 == 3:
            store.undo(change.id)
"""


def test_processes_that_write_at_the_same_time_lose_nothing(store, fill, tmp_path):
    fill(store, 10)
    command = [sys.executable, "-c", _WRITER, str(tmp_path / "store")]
    writers = [
        subprocess.Popen([*command, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for name in ("Ada", "Bo")
    ]
    for writer in writers:
        assert writer.stdout.readline() == "open\n"
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    mine = [store.add([(f"mine {number}",)], ONE_HOT[:1], [np.ones(8)], "user", [0]) for number in range(10)]
    assert [writer.communicate()[0] for writer in writers] == ["", ""]
    assert [writer.returncode for writer in writers] == [0, 0]
    log = store.changes()
    assert len(log) == store.generation == 1 + 10 + 2 * 25
    there = set()
    for change in reversed(log):
        assert set(change.removed) <= there
        there = there.difference(change.removed).union(change.added)
    assert there == {entry.id for entry in store.entries()}
    assert {id for [id] in mine} <= there
    before = _found(store)
    store.rebuild()
    assert _found(store) == before


def _lock(folder):
    """Keep the store locked as a process does that is in the middle of a change."""
    connection = sqlite3.connect(folder / "store.db", isolation_level=None, check_same_thread=False)
    connection.execute("BEGIN IMMEDIATE")
    return connection


def test_a_locked_store_is_searched_meanwhile_and_the_change_is_made_afterwards(store, fill, tmp_path, monkeypatch):
    _, keys, _ = fill(store, 4)
    locking = _lock(tmp_path / "store")
    made, found, tried, begin = [], [], threading.Event(), store._table.begin_change
    monkeypatch.setattr(store._table, "begin_change", lambda: begin() or tried.set())
    writer = threading.Thread(target=lambda: made.append(store.correct(("x",), 1, keys[0])), daemon=True)
    writer.start()
    assert tried.wait(10)
    reader = threading.Thread(target=lambda: found.extend(store.nearest(keys[0], 4)[1]), daemon=True)
    reader.start()
    reader.join(5)
    assert len(found) == 4
    assert not made
    locking.execute("ROLLBACK")
    locking.close()
    writer.join()
    assert store.search_user(keys[:1], 1, 0.9).ids.tolist() == [list(made[0].added)]


def test_a_store_that_stays_locked_is_given_up_on_and_unchanged(store, fill, tmp_path, monkeypatch):
    _, keys, _ = fill(store, 4)
    monkeypatch.setattr("hundredth.store.access.BUSY_MS", 30)
    locking = _lock(tmp_path / "store")
    with pytest.raises(UnavailableError, match="another process keeps it locked"):
        store.correct(("x",), 1, keys[0])
    locking.close()
    assert len(store.changes()) == 1
    assert store.correct(("x",), 1, keys[0]).added


def _replace(folder):
    """Put another store in the place of the one in `folder`, as a new model does."""
    shutil.rmtree(folder)
    with KnowledgeStore.create(folder, LABELS, 8, "encoder-1") as new:
        new.add([("new",)] * 3, ONE_HOT, np.eye(8)[:3], "gold", [0, 1, 2])


def test_a_store_that_was_replaced_is_searched_but_takes_no_change(store, fill, tmp_path):
    """Silent otherwise: what a user says goes into a file that is deleted already."""
    ids, keys, _ = fill(store, 3)
    _replace(tmp_path / "store")
    assert store.search(keys, 1).ids[:, 0].tolist() == ids
    with pytest.raises(UnavailableError, match="was replaced or removed since it was opened"):
        store.correct(("x",), 1, keys[0])


def test_a_store_that_is_replaced_while_a_change_waits_for_its_lock_takes_none(store, fill, tmp_path, monkeypatch):
    """Silent otherwise: the change is told to be made, and is gone with the old file."""
    _, keys, _ = fill(store, 3)
    begin, check = Connection.begin_change, Connection._check_current

    def slow(self):
        def checked(_):
            check(self)
            monkeypatch.setattr(Connection, "_check_current", check)
            _replace(tmp_path / "store")

        monkeypatch.setattr(Connection, "begin_change", begin)
        monkeypatch.setattr(Connection, "_check_current", checked)
        return begin(self)

    monkeypatch.setattr(Connection, "begin_change", slow)
    with pytest.raises(UnavailableError, match="was replaced or removed since it was opened"):
        store.correct(("x",), 1, keys[0])
    with KnowledgeStore.open(tmp_path / "store") as new:
        assert len(new.changes()) == 1
        new.correct(("x",), 1, keys[0])


def test_a_store_that_was_replaced_leaves_the_new_ones_index_alone(store, fill, tmp_path, caplog):
    """Silent otherwise: with as many entries and changes the old index passes for that of the new store."""
    fill(store, 3)
    _replace(tmp_path / "store")
    index = (tmp_path / "store" / "index.faiss").read_bytes()
    store.close()
    assert (tmp_path / "store" / "index.faiss").read_bytes() == index
    with caplog.at_level(logging.WARNING), KnowledgeStore.open(tmp_path / "store") as new:
        assert new.search(np.eye(8)[:3], 1).ids.tolist() == [[1], [2], [3]]
        assert np.allclose(new.search(np.eye(8)[:3], 1).similarities, 1)
    assert not caplog.records


def test_a_store_that_was_replaced_leaves_the_new_ones_changes_alone(store, fill, tmp_path):
    """Silent otherwise: closing the old one removes the log of the new one, and with it what was just said."""
    fill(store, 3)
    folder = tmp_path / "store"
    _replace(folder)
    with KnowledgeStore.open(folder) as new:
        change = new.correct(("said of the new one",), 1, np.ones(8))
        store.close()
        assert (folder / "store.db-wal").exists()
        with KnowledgeStore.open(folder) as third:
            assert third.changes(1) == [change]
    with KnowledgeStore.open(folder) as again:
        assert again.changes(1) == [change]


def test_who_closes_last_leaves_an_index_that_is_current(store, other, fill, tmp_path, caplog):
    fill(store, 3)
    assert len(other) == 3
    fill(store, 2, seed=1)
    store.close()
    with caplog.at_level(logging.WARNING):
        other.close()
        with KnowledgeStore.open(tmp_path / "store") as again:
            assert len(again) == 5
    assert not caplog.records


def test_changes_that_left_no_trace_in_the_log_are_found_all_the_same(store, fill, tmp_path, caplog):
    ids, keys, _ = fill(store, 4)
    connection = sqlite3.connect(tmp_path / "store" / "store.db")
    connection.execute("DELETE FROM entries WHERE id = ?", (ids[0],))
    connection.execute("UPDATE meta SET value = '7' WHERE name = 'generation'")
    connection.commit()
    connection.close()
    with caplog.at_level(logging.WARNING):
        assert sorted(store.search(keys[:1], 4).ids[0].tolist()) == [-1, *ids[1:]]
    assert "without a trace" in caplog.text
    assert store.generation == 7


def test_what_the_model_was_made_with_cannot_be_undone(store, fill):
    """Silent otherwise: one wrong number empties the store."""
    fill(store, 3)
    with pytest.raises(ConflictError, match="change 1 cannot be undone: it put in what the model was made with"):
        store.undo(1)
    assert len(store) == 3


def test_a_users_addition_can_be_undone_though_it_is_the_first_change(store, fill):
    fill(store, 1, origin="user")
    store.undo(1)
    assert len(store) == 0
