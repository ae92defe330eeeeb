import logging
import shutil
import sqlite3
import threading

import numpy as np
import pytest

from hundredth.store import KnowledgeStore
from hundredth.store import index as index_module
from hundredth.store.checks import unit_keys
from hundredth.store.index import SearchIndex
from hundredth.store.index_file import read_index, write_index


def _reopened(folder, caplog):
    """Open the store twice: returns the messages of each time."""
    messages = []
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.WARNING), KnowledgeStore.open(folder) as store:
            found = store.search(np.eye(8), 3)
        messages.append([record.getMessage() for record in caplog.records])
    return found, messages


def _remove(path):
    path.unlink()


def _cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def _empty(path):
    path.write_bytes(b"")


def _flip_a_byte_of_a_key(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0xFF
    path.write_bytes(content)


def _break_the_description(path):
    content = bytearray(path.read_bytes())
    content[-40] ^= 0xFF
    path.write_bytes(content)


def _wrong_length(path):
    path.write_bytes(path.read_bytes()[:-16] + (1 << 60).to_bytes(8, "little") + b"HUNDRIDX")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_remove, "missing"),
        (_cut, "damaged"),
        (_empty, "damaged"),
        (_flip_a_byte_of_a_key, "damaged"),
        (_break_the_description, "damaged"),
        (_wrong_length, "damaged"),
    ],
)
def test_an_index_that_cannot_be_used_is_made_again_with_one_warning(store, fill, tmp_path, caplog, damage, reason):
    fill(store, 40)
    before = store.search(np.eye(8), 3)
    store.close()
    damage(tmp_path / "store" / "index.faiss")
    after, (first, second) = _reopened(tmp_path / "store", caplog)
    assert np.array_equal(before.ids, after.ids)
    assert len(first) == 1
    assert reason in first[0]
    assert "40 entries" in first[0]
    assert second == []


def test_an_index_older_than_the_database_is_made_again(store, fill, tmp_path, caplog):
    """Silent otherwise: the entries added last are never found."""
    path = tmp_path / "store" / "index.faiss"
    fill(store, 10)
    store.rebuild()
    old = path.read_bytes()
    fill(store, 10, seed=1)
    before = store.search(np.eye(8), 3)
    store.close()
    path.write_bytes(old)
    after, (first, second) = _reopened(tmp_path / "store", caplog)
    assert np.array_equal(before.ids, after.ids)
    assert "generation 1, the store is at 2" in first[0]
    assert second == []


@pytest.mark.parametrize("other", ["encoder", "size"])
def test_an_index_of_another_store_is_made_again(store, fill, tmp_path, caplog, other):
    fill(store, 10)
    state = store._table.state()
    store.close()
    path = tmp_path / "store" / "index.faiss"
    proposer = read_index(path, 1, state, "encoder-1")
    if other == "size":
        proposer.remove_ids(np.array([1], dtype=np.int64))
    write_index(path, proposer, 1, state, "encoder-2" if other == "encoder" else "encoder-1")
    _, (first, second) = _reopened(tmp_path / "store", caplog)
    assert ("another encoder" if other == "encoder" else "another kind or size") in first[0]
    assert second == []


def test_an_index_that_cannot_be_saved_is_a_warning_and_the_entries_are_kept(
    store, fill, tmp_path, caplog, monkeypatch
):
    fill(store, 10)

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hundredth.store.derived.write_index", full_disk)
    with caplog.at_level(logging.WARNING):
        store.close()
    assert "No space left" in caplog.text
    monkeypatch.undo()
    with KnowledgeStore.open(tmp_path / "store") as again:
        assert len(again) == 10


def test_a_result_does_not_depend_on_the_batch_that_the_query_comes_in(store, fill):
    """Silent otherwise: the same text gets another answer in `predict` of many than in `predict` of one."""
    keys = np.random.default_rng(3).integers(-2, 3, size=(3000, 8)) + 0.25
    fill(store, 3000, keys=keys)
    together = store.search(keys[:150], 16)
    for row in range(150):
        alone = store.search(keys[row : row + 1], 16)
        assert np.array_equal(alone.ids[0], together.ids[row])
        assert np.array_equal(alone.similarities[0], together.similarities[row])


def test_many_equal_keys_are_compared_in_parts_that_fit_into_memory(store, fill, monkeypatch):
    """Silent otherwise: one text near a thousand equal keys makes the candidates of all others a thousand too."""
    keys = np.random.default_rng(5).normal(size=(1500, 8))
    keys[200:1200] = keys[0]
    fill(store, 1500, keys=keys)
    queries = np.concatenate([keys[1200:], keys[:5], keys[1200:]])
    expected = store.search(queries, 8)
    sizes, candidates = [], SearchIndex._candidates

    def counted(self, some, proposals, lists):
        sizes.append((len(some), len(some) * proposals * 8))
        return candidates(self, some, proposals, lists)

    monkeypatch.setattr(SearchIndex, "_candidates", counted)
    monkeypatch.setattr("hundredth.store.index._CANDIDATES", 20_000)
    found = store.search(queries, 8)
    assert np.array_equal(found.ids, expected.ids)
    assert np.array_equal(found.similarities, expected.similarities)
    assert found.ids[300].tolist() == [1, *range(201, 208)]
    assert all(numbers <= 20_000 for _, numbers in sizes)
    assert max(rows for rows, _ in sizes) > 50


def test_among_near_ties_the_result_is_that_of_a_comparison_with_every_key(store, fill):
    """Silent otherwise: faiss rounds in its own order and cuts off entries that belong to the nearest."""
    generator = np.random.default_rng(4)
    numbers = generator.uniform(0.1, 1.0, size=8)
    # In any order, the same numbers have the same sum: 400 cosines that differ only by rounding.
    keys = np.array([generator.permutation(numbers) for _ in range(400)])
    fill(store, 400, keys=keys)
    queries = np.ones((40, 8))
    found = store.search(queries, 5)
    cosines = np.einsum("bd,bfd->bf", unit_keys(queries[:1], 8), store._index.search.keys[None])[0]
    assert len(set(cosines.tolist())) > 1
    expected = np.lexsort((np.arange(400), -cosines))[:5]
    assert found.ids.tolist() == [store._index.search.ids[expected].tolist()] * 40


def test_searches_and_a_writer_can_share_a_store(store, fill):
    _, keys, _ = fill(store, 300)
    failures = []
    done = threading.Event()

    def search():
        try:
            while not done.is_set():
                found = store.search(keys[:4], 5)
                assert (found.ids > 0).all()
                assert np.allclose(found.soft_labels.sum(axis=2), 1, atol=1e-5)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for round_ in range(15):
        ids, _, _ = fill(store, 5, seed=round_ + 1)
        store.delete(ids[:3])
    done.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(store) == 330


def test_an_index_of_another_history_of_the_store_is_made_again(store, fill, tmp_path, caplog):
    """Silent otherwise: after as many other changes its entries have other keys, and are not found."""
    keys = np.random.default_rng(1).normal(size=(20, 8))
    folder = tmp_path / "store"
    fill(store, 30)
    store.close()
    shutil.copytree(folder, tmp_path / "copy")
    for place, made in ((folder, -keys), (tmp_path / "copy", keys)):
        with KnowledgeStore.open(place) as one:
            fill(one, 20, keys=made)
    shutil.copy(tmp_path / "copy/store.db", folder)
    for warnings in (1, 0):
        caplog.clear()
        with caplog.at_level(logging.WARNING), KnowledgeStore.open(folder) as again:
            assert again.search(keys, 1).ids[:, 0].tolist() == list(range(31, 51))
        assert ["another history" in record.getMessage() for record in caplog.records] == [True] * warnings


def test_the_index_of_a_store_from_before_it_had_a_state_is_read(store, fill, tmp_path, caplog):
    fill(store, 10)
    store.close()
    path = tmp_path / "store" / "index.faiss"
    connection = sqlite3.connect(tmp_path / "store" / "store.db")
    [(state,)] = connection.execute("SELECT value FROM meta WHERE name = 'state'").fetchall()
    connection.execute("DELETE FROM meta WHERE name = 'state'")
    connection.commit()
    connection.close()
    content = path.read_bytes()
    write_index(path, read_index(path, 1, state, "encoder-1"), 1, None, "encoder-1")
    assert path.read_bytes() != content
    with caplog.at_level(logging.WARNING), KnowledgeStore.open(tmp_path / "store") as again:
        assert len(again) == 10
        fill(again, 1)
    with KnowledgeStore.open(tmp_path / "store") as again:
        assert again._table.state() not in (None, state)
    assert not caplog.records


@pytest.fixture
def large(tmp_path, monkeypatch):
    """A store with inverted lists: the limit for exact search is lowered, so that it needs few entries."""
    monkeypatch.setattr(index_module, "EXACT_LIMIT", 1000)
    monkeypatch.setattr(index_module, "LISTS_VISITED", 24)
    with KnowledgeStore.create(tmp_path / "large", ["a", "b"], 33, "e") as store:
        yield store


def _clusters(count, seed=0):
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(9).normal(size=(60, 33))
    return centres[generator.integers(0, 60, count)] + 0.3 * generator.normal(size=(count, 33))


def _truth(keys, queries, k):
    unit = keys / np.linalg.norm(keys, axis=1, keepdims=True)
    wanted = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    cosines = wanted @ unit.T
    order = np.argsort(-cosines, axis=1)[:, :k]
    return order, np.take_along_axis(cosines, order, axis=1)


def test_a_large_store_finds_nearly_all_true_neighbours_with_exact_similarities(large, fill):
    keys = _clusters(4000)
    ids, _, _ = fill(large, 4000, keys=keys)
    assert not large._index.search.exact
    queries = _clusters(200, seed=1)
    found = large.search(queries, 10)
    truth, _ = _truth(keys, queries, 10)
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found.ids - ids[0], truth, strict=True)])
    assert recall > 0.98
    unit, wanted = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (keys, queries))
    exact = np.einsum("bd,bkd->bk", wanted, unit[found.ids - ids[0]])
    assert np.allclose(found.similarities, exact, atol=1e-5)
    assert (np.diff(found.similarities, axis=1) <= 0).all()


def test_a_large_store_knows_at_once_what_is_added_and_forgets_what_is_deleted(large, fill):
    """Silent otherwise: a text unlike all before falls between the lists and is never found again."""
    fill(large, 3000, keys=_clusters(3000))
    strange = np.random.default_rng(5).normal(size=(30, 33))
    new, _, _ = fill(large, 30, seed=1, keys=strange)
    assert large.search(strange, 1).ids[:, 0].tolist() == new
    large.delete(new[:10])
    assert not set(new[:10]) & set(large.search(strange, 20).ids.ravel().tolist())
    assert large.search(strange[10:], 1).ids[:, 0].tolist() == new[10:]


def test_a_large_store_pads_only_when_it_really_holds_fewer(large, fill):
    fill(large, 1200, keys=_clusters(1200))
    found = large.search(_clusters(3, seed=1), 1300)
    assert ((found.ids > 0).sum(axis=1) == 1200).all()
    left_out = large.search(_clusters(3, seed=1), 1300, exclude_ids=np.array([1, 2, 3]))
    assert ((left_out.ids > 0).sum(axis=1) == 1199).all()


def test_a_large_store_is_read_back_without_being_made_again(large, fill, tmp_path, caplog):
    fill(large, 2500, keys=_clusters(2500))
    before = large.search(_clusters(50, seed=1), 5)
    large.close()
    with caplog.at_level(logging.WARNING), KnowledgeStore.open(tmp_path / "large") as again:
        after = again.search(_clusters(50, seed=1), 5)
    assert not caplog.records
    assert np.array_equal(before.ids, after.ids)
    assert np.array_equal(before.similarities, after.similarities)


def test_a_store_goes_from_exact_to_lists_and_back_as_it_grows_and_shrinks(large, fill):
    ids, keys, _ = fill(large, 1000)
    assert large._index.search.exact
    fill(large, 1, seed=1)
    assert not large._index.search.exact
    lists = large._index.search.proposer.nlist
    fill(large, 4000, seed=2)
    assert large._index.search.proposer.nlist > lists
    later = [entry.id for entry in large.entries() if entry.id > ids[799]]
    large.delete(later)
    assert large._index.search.exact
    assert large.search(keys[:20], 1).ids[:, 0].tolist() == ids[:20]
