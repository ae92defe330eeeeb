"""All that a prediction asks of a store, in one call: the same as one by one, and as current."""

import logging
import sqlite3

import faiss
import numpy as np
import pytest

from hundredth.errors import UnavailableError
from hundredth.store import KnowledgeStore
from hundredth.store import index as index_module
from hundredth.store.index_file import read_index, write_index


def same(one, other):
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in one.__slots__)


def test_it_is_what_the_two_searches_give(store, fill):
    _, keys, _ = fill(store, 40)
    fill(store, 6, seed=1, origin="user")
    queries = np.concatenate([keys[:3], store._index.user.keys[:2]])
    user, found = store.look_up(queries, 5, 0.99)
    assert same(user, store.search_user(queries, 1, 0.99))
    assert same(found, store.search(queries, 5))
    assert (user.ids[:3] == -1).all()
    assert (user.ids[3:] > 0).all()


def test_without_entries_of_users_there_is_nobody_to_decide(store, fill):
    _, keys, _ = fill(store, 40)
    user, found = store.look_up(keys[:2], 0, 0.9)
    assert user is None
    assert found.ids.shape == (2, 0)
    assert found.soft_labels.shape == (2, 0, 3)


def test_what_another_process_has_changed_is_known_to_the_next_search(store, fill, tmp_path):
    """Silent otherwise: the cheap question whether anything has changed is answered no."""
    _, keys, _ = fill(store, 10)
    store.look_up(keys[:1], 1, 0.9)
    with KnowledgeStore.open(tmp_path / "store") as other:
        for turn in range(3):
            (id,), new, _ = fill(other, 1, seed=turn + 5, origin="user")
            user, found = store.look_up(new, 1, 0.99)
            assert user.ids.tolist() == found.ids.tolist() == [[id]]
            assert store.search(new, 1).ids.tolist() == [[id]]
            other.delete([id])
            assert store.search_user(new, 1, 0.99).ids.tolist() == [[-1]]
            (mine,), again, _ = fill(store, 1, seed=turn + 20)
            assert other.search(again, 1).ids.tolist() == store.search(again, 1).ids.tolist() == [[mine]]


def test_a_list_that_holds_fewer_than_asked_for_is_not_the_end_of_a_search(tmp_path, fill, monkeypatch):
    monkeypatch.setattr(index_module, "EXACT_LIMIT", 1000)
    monkeypatch.setattr(index_module, "LISTS_VISITED", 1)
    with KnowledgeStore.create(tmp_path / "large", ["a", "b"], 16, "e") as large:
        ids, keys, _ = fill(large, 1500)
        assert not large._index.search.exact
        found = large.search(keys[:5], 400, exclude_ids=np.array(ids[:5]))
        assert (found.ids > 0).all()
        assert not (found.ids == np.array(ids[:5])[:, None]).any()


def test_an_index_that_codes_whole_keys_is_made_again(tmp_path, fill, monkeypatch, caplog):
    """Silent otherwise: the few lists that are visited now find a good part less in it."""
    monkeypatch.setattr(index_module, "EXACT_LIMIT", 1000)
    folder = tmp_path / "large"
    with KnowledgeStore.create(folder, ["a", "b"], 16, "e") as large:
        ids, keys, _ = fill(large, 1500)
        state = large._table.state()
    old = faiss.index_factory(16, "IVF38,PQ8x4fs", faiss.METRIC_INNER_PRODUCT)
    unit = (keys / np.linalg.norm(keys, axis=1, keepdims=True)).astype(np.float32)
    old.train(unit)
    old.add_with_ids(unit, np.array(ids))
    write_index(folder / "index.faiss", old, 1, state, "e")
    for warnings in (1, 0):
        caplog.clear()
        with caplog.at_level(logging.WARNING), KnowledgeStore.open(folder) as again:
            assert again.search(keys[:3], 1).ids[:, 0].tolist() == ids[:3]
        assert len(caplog.records) == warnings
    assert read_index(folder / "index.faiss", 1, state, "e").by_residual


def test_a_correction_holds_among_many_like_it(tmp_path, monkeypatch):
    """Codes cannot tell the keys of nearly equal texts apart, and a user's entry decides alone."""
    monkeypatch.setattr(index_module, "EXACT_LIMIT", 1000)
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(3, 32))
    keys = centres[np.arange(3000) % 3] + 0.01 * generator.normal(size=(3000, 32))
    texts = [(f"text {number}",) for number in range(3000)]
    with KnowledgeStore.create(tmp_path / "large", ["a", "b"], 32, "e") as large:
        large.add(texts, np.eye(2)[np.zeros(3000, int)], keys, "user", [0] * 3000)
        assert not large._index.user.exact
        for number in range(0, 3000, 100):
            large.correct(texts[number], 1, keys[number])
            user, _ = large.look_up(keys[number][None], 4, 0.95)
            assert user.soft_labels[0, 0].tolist() == [0.0, 1.0]
        # As many that the encoder takes for one: the newest decides.
        same = large.add(
            [(f"again {n}",) for n in range(300)], np.eye(2)[[0] * 300], keys[[5] * 300], "user", [0] * 300
        )
        assert large.search_user(keys[5][None], 1, 0.95).ids.tolist() == [same[-1:]]


@pytest.mark.parametrize("newest_first", [False, True])
def test_ties_go_by_age_also_where_the_index_pads(newest_first):
    keys = np.eye(4, dtype=np.float32)[[0, 1, 0, 0, 2]]
    soft_labels = np.eye(2, dtype=np.float32)[[0, 1, 0, 1, 1]]
    vectors = index_module.Vectors(np.array([3, 5, 8, 9, 12]), keys, soft_labels, np.zeros(5, dtype=np.bool_))
    search = index_module.SearchIndex(vectors, newest_first=newest_first)
    found = search.search(keys[:1], 7)
    equal, rest = found.ids[0, :3].tolist(), found.ids[0, 3:5].tolist()
    assert equal == ([9, 8, 3] if newest_first else [3, 8, 9])
    assert rest == ([12, 5] if newest_first else [5, 12])
    assert found.ids[0, 5:].tolist() == [-1, -1]
    assert np.isneginf(found.similarities[0, 5:]).all()
    assert not found.soft_labels[0, 5:].any()
    search.delete(np.array([8]))
    assert search.search(keys[:1], 2).ids[0].tolist() == ([9, 3] if newest_first else [3, 9])
    search.add(np.array([8]), keys[2:3], soft_labels[2:3])
    assert search.search(keys[:1], 3).ids[0].tolist() == equal


def test_a_store_whose_file_cannot_be_read_says_so(store, fill, monkeypatch):
    _, keys, _ = fill(store, 3)

    class Broken:
        in_transaction = False

        def execute(self, *_):
            raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(store._table, "_connection", Broken())
        with pytest.raises(UnavailableError, match=r"store\.db could not be read: disk I/O error"):
            store.search(keys, 1)
    assert store.search(keys, 1).ids.shape == (3, 1)
