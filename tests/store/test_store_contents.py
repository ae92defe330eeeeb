import logging
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hundredth.errors import UserError
from hundredth.store import ORIGINS, KnowledgeStore
from hundredth.store.checks import unit_keys

LABELS = ("billing", "delivery", "other")
ONE_HOT = np.eye(3)


def test_what_is_added_comes_back_whole(store):
    soft_labels = [[0.7, 0.2, 0.1], [0.0, 0.0, 1.0]]
    texts = [("where is my parcel", 'a "second" field\nüñ\0'), ("hello", "")]
    ids = store.add(texts, soft_labels, np.eye(8)[:2], ["gold", "user"], [1, None])
    first, second = store.get(ids)
    assert (first.id, first.texts, first.label, first.origin) == (ids[0], texts[0], 1, "gold")
    assert (second.texts, second.label, second.origin) == (texts[1], None, "user")
    assert first.soft_label.dtype == np.float32
    assert np.allclose([first.soft_label, second.soft_label], soft_labels)
    assert first.created.endswith("+00:00")
    assert store.counts() == {"gold": 1, "generated": 0, "unlabelled": 0, "user": 1}
    assert [entry.id for entry in store.entries("user")] == [ids[1]]
    assert len(store) == 2


def test_everything_is_there_after_closing_and_opening(store, tmp_path, fill, caplog):
    ids, keys, soft_labels = fill(store, 30)
    before = store.search(keys[:5], 4)
    store.close()
    with caplog.at_level(logging.WARNING), KnowledgeStore.open(tmp_path / "store") as again:
        after = again.search(keys[:5], 4)
        assert (again.labels, again.dimension, again.encoder) == (LABELS, 8, "encoder-1")
        assert [entry.id for entry in again.entries()] == ids
    assert np.array_equal(before.ids, after.ids)
    assert np.array_equal(before.similarities, after.similarities)
    assert np.allclose(after.soft_labels, soft_labels[after.ids - ids[0]], atol=1e-6)
    assert not caplog.records
    assert sorted(path.name for path in (tmp_path / "store").iterdir()) == ["index.faiss", "store.db"]


def test_entries_survive_without_close_when_the_process_ends(tmp_path, caplog):
    script = (
        "import sys, numpy as np; from pathlib import Path; from hundredth.store import KnowledgeStore\n"
        "store = KnowledgeStore.create(Path(sys.argv[1]), ['a', 'b'], 2, 'e')\n"
        "store.add([('x',)], [[1, 0]], [[1, 0]], 'gold', [0])"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "s")], check=True)
    with caplog.at_level(logging.WARNING), KnowledgeStore.open(tmp_path / "s") as store:
        assert len(store) == 1
    assert not caplog.records


def test_what_is_added_is_on_the_disk_before_it_is_told(store):
    """Silent otherwise, also where a process is killed: only a power cut would show it."""
    assert store._table._connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_a_search_of_an_empty_store_is_all_padding(store):
    found = store.search(np.ones((2, 8)), 3)
    assert (found.ids == -1).all()
    assert (found.similarities == -np.inf).all()
    assert (found.soft_labels == 0).all()
    assert found.soft_labels.shape == (2, 3, 3)


def test_padding_fills_up_when_the_store_holds_fewer_than_k(store, fill):
    ids, keys, _ = fill(store, 2)
    found = store.search(keys[:1], 5)
    assert found.ids[0].tolist() == [*ids, -1, -1, -1]
    assert (found.similarities[0, 2:] == -np.inf).all()
    assert (found.soft_labels[0, 2:] == 0).all()


def test_leave_one_out_leaves_out_the_own_entry_and_nothing_else(store, fill):
    """Silent otherwise: every entry finds itself and the chosen lambda looks far too good."""
    ids, keys, _ = fill(store, 20)
    everything = store.search(keys, 20)
    left_out = store.search(keys, 19, exclude_ids=np.array(ids))
    for row, id in enumerate(ids):
        assert everything.ids[row, 0] == id
        assert left_out.ids[row].tolist() == [other for other in everything.ids[row] if other != id]
    padded = store.search(keys, 20, exclude_ids=np.array(ids))
    assert (padded.ids[:, 19] == -1).all()
    assert (padded.soft_labels[:, 19] == 0).all()


def test_equal_keys_come_in_the_order_they_were_added(store):
    keys = np.tile(np.arange(1.0, 9.0), (200, 1))
    ids = store.add([("same",)] * 200, np.tile(ONE_HOT[0], (200, 1)), keys, "gold", [0] * 200)
    assert store.search(keys[:1], 16).ids[0].tolist() == ids[:16]
    store.delete(ids[:3])
    assert store.search(keys[:1], 16).ids[0].tolist() == ids[3:19]


def test_an_update_changes_the_labels_that_a_search_returns(store, fill, tmp_path):
    ids, keys, _ = fill(store, 5)
    store.update(ids[2], [0, 1, 0], 1)
    assert store.search(keys[2:3], 1).soft_labels[0, 0].tolist() == [0, 1, 0]
    store.close()
    with KnowledgeStore.open(tmp_path / "store") as again:
        assert again.search(keys[2:3], 1).soft_labels[0, 0].tolist() == [0, 1, 0]
        assert again.get([ids[2]])[0].label == 1


def test_deleted_entries_are_gone_and_their_ids_are_never_used_again(store, fill):
    ids, keys, _ = fill(store, 3)
    assert store.delete([ids[2], 999, ids[2]]) == 1
    assert ids[2] not in store.search(keys, 3).ids
    new, _, _ = fill(store, 1, seed=1)
    assert new[0] > ids[2]
    with pytest.raises(UserError, match=str(ids[2])):
        store.get([ids[2]])
    with pytest.raises(UserError, match=str(ids[2])):
        store.update(ids[2], ONE_HOT[0], None)


def test_going_through_entries_allows_changes_meanwhile(store, fill):
    ids, _, _ = fill(store, 1500)
    seen = []
    for entry in store.entries():
        seen.append(entry.id)
        if entry.id == ids[10]:
            store.delete(ids[1200:])
    assert seen == ids[:1200]


def test_a_refused_addition_leaves_the_store_as_it_was(store, fill):
    fill(store, 4)
    generation = store.generation
    with pytest.raises(UserError, match="9"):
        store.add([("a",), ("b",)], ONE_HOT[:2], np.eye(8)[:2], "gold", [0, 9])
    assert (len(store), store.generation) == (4, generation)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keys": np.zeros((1, 8))}, "key 0 is all zeros"),
        ({"keys": np.full((1, 8), np.nan)}, "key 0 is not finite"),
        ({"keys": np.full((1, 8), np.inf)}, "key 0 is not finite"),
        ({"keys": np.ones((1, 7))}, r"\(1, 7\)"),
        ({"keys": np.ones((2, 8))}, "2 keys"),
        ({"soft_labels": [[0.5, 0.2, 0.1]]}, "0.8"),
        ({"soft_labels": [[1.5, -0.5, 0.0]]}, "-0.5"),
        ({"soft_labels": [[np.nan, 1.0, 0.0]]}, "nan"),
        ({"soft_labels": [[1.0, 0.0]]}, r"\(1, 2\)"),
        ({"labels": [3]}, "unknown label 3"),
        ({"labels": [-1]}, "unknown label -1"),
        ({"labels": []}, "0 labels"),
        ({"origins": "found"}, "'found'"),
        ({"origins": []}, "0 origins"),
        ({"texts": ["a plain string"]}, "a plain string"),
        ({"texts": [()]}, r"\(\)"),
        ({"texts": [("\ud800",)]}, "not valid Unicode"),
    ],
)
def test_what_cannot_be_an_entry_is_refused_with_the_value_seen(store, change, message):
    entry = {
        "texts": [("a",)],
        "soft_labels": ONE_HOT[:1],
        "keys": np.ones((1, 8)),
        "origins": "gold",
        "labels": [0],
    }
    with pytest.raises(UserError, match=message):
        store.add(**(entry | change))
    assert len(store) == 0


def test_a_bad_query_is_refused(store):
    with pytest.raises(UserError, match="k is 0"):
        store.search(np.ones((1, 8)), 0)
    with pytest.raises(UserError, match=r"\(1, 3\)"):
        store.search(np.ones((1, 3)), 1)
    with pytest.raises(UserError, match="exclude_ids"):
        store.search(np.ones((2, 8)), 1, exclude_ids=np.array([1]))


def test_a_closed_store_says_so(store):
    store.close()
    store.close()
    with pytest.raises(UserError, match="closed"):
        store.search(np.ones((1, 8)), 1)


def test_a_store_is_never_made_over_another(store, tmp_path):
    with pytest.raises(UserError, match="already exists"):
        KnowledgeStore.create(tmp_path / "store", LABELS, 8, "encoder-1")


def test_a_store_does_not_take_the_log_of_one_that_is_gone_for_its_own(store, fill, tmp_path):
    """Silent otherwise: SQLite plays it into the new file, and the store is the old one."""
    fill(store, 3)
    folder = tmp_path / "new"
    folder.mkdir()
    shutil.copy(tmp_path / "store" / "store.db-wal", folder)
    with pytest.raises(UserError, match=r"store.db-wal is left of a store"):
        KnowledgeStore.create(folder, ("a", "b"), 4, "encoder-2")
    (folder / "store.db-wal").unlink()
    with KnowledgeStore.create(folder, ("a", "b"), 4, "encoder-2") as new:
        assert (len(new), new.labels, new.dimension) == (0, ("a", "b"), 4)


@pytest.mark.parametrize("labels", ["ab", [], ["a", "a"]])
def test_labels_must_be_different_names(tmp_path, labels):
    with pytest.raises(UserError, match="labels"):
        KnowledgeStore.create(tmp_path, labels, 8, "e")


# A few directions with many repeats: equal keys and equal similarities are where a search goes wrong.
directions = st.tuples(*[st.integers(-2, 2)] * 3).filter(any)
operations = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.lists(directions, min_size=1, max_size=6)),
        st.tuples(st.just("delete"), st.lists(st.integers(0, 30), max_size=4)),
        st.tuples(st.just("update"), st.integers(0, 30)),
        st.tuples(st.just("reopen"), st.booleans()),
    ),
    max_size=10,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(operations, st.lists(directions, min_size=1, max_size=3), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_a_store_does_what_a_dict_and_a_matrix_product_do(steps, queries, k, seed):
    """Silent otherwise: an index out of step with the entries still returns neighbours, the wrong ones."""
    generator = np.random.default_rng(seed)
    expected = {}  # id -> (unit key, soft label)
    with tempfile.TemporaryDirectory() as name:
        store = KnowledgeStore.create(Path(name), LABELS, 3, "e")
        for what, value in steps:
            if what == "add":
                soft_labels = generator.dirichlet(np.ones(3), size=len(value))
                ids = store.add(
                    [(str(key),) for key in value],
                    soft_labels,
                    value,
                    [ORIGINS[position % 4] for position in range(len(value))],
                    [None] * len(value),
                )
                assert min(ids) > max(expected, default=0)
                expected |= dict(zip(ids, zip(unit_keys(value, 3), soft_labels, strict=True), strict=True))
            elif what == "delete":
                there = [id for id in set(value) if expected.pop(id, None) is not None]
                assert store.delete(value) == len(there)
            elif what == "update" and value in expected:
                soft_label = generator.dirichlet(np.ones(3))
                store.update(value, soft_label, None)
                expected[value] = (expected[value][0], soft_label)
            elif what == "reopen":
                store.close()
                if value:
                    (Path(name) / "index.faiss").unlink()
                store = KnowledgeStore.open(Path(name))
            _check_against(store, expected, np.array(queries), k)
        store.close()


def _check_against(store, expected, queries, k):
    assert [entry.id for entry in store.entries()] == list(expected)
    found = store.search(queries, k)
    count = min(k, len(expected))
    assert (found.ids[:, count:] == -1).all()
    for row, query in enumerate(unit_keys(queries, 3)):
        cosines = {id: float(key.astype(np.float64) @ query) for id, (key, _) in expected.items()}
        ids = found.ids[row, :count].tolist()
        assert len(set(ids)) == count
        best = sorted(cosines.values(), reverse=True)[:count]
        assert np.allclose(found.similarities[row, :count], best, atol=1e-6)
        assert np.allclose([cosines[id] for id in ids], best, atol=1e-6)
        for position, id in enumerate(ids):
            assert np.allclose(found.soft_labels[row, position], expected[id][1], atol=1e-6)
            same = [other for other in expected if np.array_equal(expected[other][0], expected[id][0])]
            older = [other for other in same if other < id]
            assert set(older) <= set(ids[:position])


def test_a_store_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no knowledge store at .*store\.db"):
        KnowledgeStore.open(tmp_path)


@pytest.mark.parametrize("content", [b"", b"SQLite format 3\0 but not really" * 100, b"\x80\x81 plain bytes"])
def test_a_file_that_is_no_store_is_refused(tmp_path, content):
    (tmp_path / "store.db").write_bytes(content)
    with pytest.raises(UserError, match=r"store\.db"):
        KnowledgeStore.open(tmp_path)


def test_a_damaged_page_is_reported(store, fill, tmp_path):
    fill(store, 500)
    store.close()
    path = tmp_path / "store" / "store.db"
    content = bytearray(path.read_bytes())
    content[3 * 4096 : 8 * 4096] = b"\xff" * (5 * 4096)
    path.write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        KnowledgeStore.open(tmp_path / "store")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("PRAGMA user_version = 3", "schema version 3"),
        ("PRAGMA application_id = 1", "not a knowledge store"),
        ("DELETE FROM meta WHERE name = 'labels'", "labels"),
        ("UPDATE meta SET value = 'many' WHERE name = 'dimension'", "many"),
        ("UPDATE entries SET key = zeroblob(32) WHERE id = 3", "entry 3: key is not of length 1"),
        ("UPDATE entries SET key = zeroblob(31) WHERE id = 3", "a key is not 8 numbers wide"),
        ("UPDATE entries SET soft_label = zeroblob(12) WHERE id = 4", "entry 4: soft label"),
        ("DROP TABLE entries", "entries"),
    ],
)
def test_a_database_with_other_content_is_refused_by_name(store, fill, tmp_path, change, message):
    fill(store, 5)
    store.close()
    path = tmp_path / "store" / "store.db"
    connection = sqlite3.connect(path)
    connection.execute(change)
    connection.commit()
    connection.close()
    with pytest.raises(UserError, match=message):
        KnowledgeStore.open(tmp_path / "store")
