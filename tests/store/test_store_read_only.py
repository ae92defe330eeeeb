"""A store in a folder that can only be read, beside processes that write it."""

import shutil
from contextlib import contextmanager

import numpy as np
import pytest

from hundredth.errors import UserError
from hundredth.store import KnowledgeStore


def test_a_read_only_folder_can_be_searched_but_not_changed(store, fill, tmp_path, monkeypatch):
    _, keys, _ = fill(store, 5)
    store.close()
    monkeypatch.setattr("hundredth.store.store.os.access", lambda *_: False)
    before = {path: path.read_bytes() for path in (tmp_path / "store").iterdir()}
    with KnowledgeStore.open(tmp_path / "store") as again:
        assert again.search(keys, 2).ids.shape == (5, 2)
        with pytest.raises(UserError, match="read-only"):
            fill(again, 1)
    assert {path: path.read_bytes() for path in (tmp_path / "store").iterdir()} == before


@contextmanager
def _read_only(monkeypatch):
    """Open stores as a process does that may not write their folder."""
    with monkeypatch.context() as patch:
        patch.setattr("hundredth.store.store.os.access", lambda *_: False)
        yield


def _said(store):
    """All that a store tells, by every way to ask."""
    key = np.ones((1, 8))
    return (
        [(entry.id, entry.texts, entry.label) for entry in store.entries()],
        sorted(store.search(key, 40).ids[0].tolist()),
        store.search_user(key, 3, 0.9).ids.tolist(),
        store.labels,
        store.generation,
        [change.id for change in store.changes()],
    )


@pytest.mark.parametrize("first", ["reader", "writer"])
def test_a_reader_of_a_read_only_folder_knows_what_others_change(store, fill, tmp_path, monkeypatch, first):
    """Silent otherwise: it serves what was deleted, or breaks when the writer folds its log into the file."""
    folder = tmp_path / "store"
    ids, _, _ = fill(store, 20)
    if first == "reader":
        store.close()
    with _read_only(monkeypatch):
        reader = KnowledgeStore.open(folder)
    with KnowledgeStore.open(folder) as writer:
        assert not reader.writable
        assert _said(reader) == _said(writer)
        writer.correct(("said",), 1, np.ones(8))
        assert _said(reader) == _said(writer)
        writer.forget(ids[3:15])
        writer.add_label("new")
        fill(writer, 15, seed=3)
        expected = _said(writer)
        assert reader.search_user(np.ones((1, 8)), 1, 0.9).ids.tolist() == [[21]]
    store.close()
    assert _said(reader) == expected
    with KnowledgeStore.open(folder) as writer:
        fill(writer, 1, seed=4)
        assert _said(reader) == _said(writer)
    assert len(reader) == 25
    reader.close()


def test_a_reader_holds_one_state_in_a_block(store, fill, tmp_path, monkeypatch):
    ids, keys, _ = fill(store, 3)
    store.close()
    with _read_only(monkeypatch), KnowledgeStore.open(tmp_path / "store") as reader:
        with reader.unchanging():
            with monkeypatch.context() as patch:
                patch.setattr("hundredth.store.store.os.access", lambda *_: True)
                writer = KnowledgeStore.open(tmp_path / "store")
            writer.delete(ids)
            found, entries = reader.nearest(keys[0], 3)
            assert sorted(entry.id for entry in entries) == sorted(found.ids[0].tolist()) == ids
        assert len(reader) == 0
        writer.close()


def test_a_reader_stays_with_its_store_where_another_takes_its_place(store, fill, tmp_path, monkeypatch):
    ids, keys, _ = fill(store, 3)
    store.close()
    with _read_only(monkeypatch):
        reader = KnowledgeStore.open(tmp_path / "store")
    shutil.rmtree(tmp_path / "store")
    with KnowledgeStore.create(tmp_path / "store", ["a", "b"], 8, "encoder-2") as new:
        new.add([("new",)], [[1, 0]], keys[:1], "gold", [0])
    assert [entry.id for entry in reader.entries()] == ids
    assert reader.search(keys, 1).ids[:, 0].tolist() == ids
    reader.close()


def test_a_log_that_cannot_be_read_is_refused(store, fill, tmp_path, monkeypatch):
    """Silent otherwise: the entries in the log are not seen."""
    fill(store, 5)
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("store.db", "store.db-wal"):
        shutil.copy(tmp_path / "store" / name, copy)
    with _read_only(monkeypatch), pytest.raises(UserError, match=r"store\.db-wal"):
        KnowledgeStore.open(copy)


def test_while_a_log_cannot_be_read_the_store_is_as_it_was(store, fill, tmp_path, monkeypatch):
    ids, keys, _ = fill(store, 5)
    store.close()
    with _read_only(monkeypatch):
        reader = KnowledgeStore.open(tmp_path / "store")
    log = tmp_path / "store" / "store.db-wal"
    log.write_bytes(b"of another process")
    assert reader.search(keys, 1).ids[:, 0].tolist() == ids
    assert len(reader) == 5
    log.unlink()
    with KnowledgeStore.open(tmp_path / "store") as writer:
        writer.delete(ids[:2])
    assert len(reader) == 3
    reader.close()
