"""Labels that are added to a store: entries from before them, other processes, the log."""

import sqlite3

import numpy as np
import pytest

from hundredth.errors import ConflictError, UserError
from hundredth.store import KnowledgeStore

ONE_HOT = np.eye(4)


def test_entries_can_have_an_added_label_and_the_others_give_it_nothing(store, fill, tmp_path, caplog):
    ids, keys, soft_labels = fill(store, 3)
    change = store.add_label("refund", by="Ada", note="new this week")
    assert store.labels == ("billing", "delivery", "other", "refund")
    assert store.base_labels == ("billing", "delivery", "other")
    assert (change.kind, change.by, change.added, change.removed) == ("add", "Ada", (), ())
    assert change.note == "new label 'refund': new this week"
    [new] = store.add([("money back",)], ONE_HOT[[3]], -keys[:1], "user", [3])
    corrected = store.correct(("text 0.2",), 3, keys[2]).added[0]
    store.update(ids[1], [0.5, 0, 0, 0.5], None)
    expected = {
        ids[0]: [*soft_labels[0], 0],
        ids[1]: [0.5, 0, 0, 0.5],
        new: [0, 0, 0, 1],
        corrected: [0, 0, 0, 1],
    }

    def check(one):
        assert [entry.id for entry in one.entries()] == list(expected)
        for entry in one.entries():
            np.testing.assert_allclose(entry.soft_label, expected[entry.id], atol=1e-6)
        found = one.search(keys, 4)
        for row, soft in zip(found.ids.ravel(), found.soft_labels.reshape(-1, 4), strict=True):
            np.testing.assert_allclose(soft, expected[row], atol=1e-6)

    check(store)
    store.close()
    with KnowledgeStore.open(tmp_path / "store") as again:
        assert (again.labels[3:], again.base_labels) == (("refund",), ("billing", "delivery", "other"))
        check(again)
        again.rebuild()
        check(again)
        # What was there before the label can come back.
        again.undo(next(one.id for one in again.changes() if one.kind == "correct"))
        assert again.get([ids[2]])[0].soft_label[3] == 0
        np.testing.assert_allclose(again.search(keys[2:], 1).soft_labels[0, 0], [*soft_labels[2], 0], atol=1e-6)
    assert not caplog.records


def test_an_empty_store_finds_nothing_of_an_added_label(store):
    store.add_label("refund")
    assert store.search(np.eye(8)[:2], 3).soft_labels.shape == (2, 3, 4)


def test_another_process_knows_of_an_added_label(store, fill, tmp_path):
    _, keys, _ = fill(store, 3)
    with KnowledgeStore.open(tmp_path / "store") as other:
        store.add_label("refund")
        assert len(other) == 3
        assert other.labels[3:] == ("refund",)
        store.add_label("fee")
        store.add([("b",)], np.eye(5)[[4]], -keys[:1], "user", [4])
        assert other.search(-keys[:1], 1).soft_labels.tolist() == [[[0, 0, 0, 0, 1]]]
        # Who was made sure of the labels before the last was added still says what they mean.
        other.add([("c",)], ONE_HOT[[3]], keys[:1], "user", [3])
        assert store.get([5])[0].soft_label.tolist() == [0, 0, 0, 1, 0]


def test_a_label_is_added_once_and_for_good(store):
    change = store.add_label("refund")
    with pytest.raises(ConflictError, match=r"change 1 cannot be undone: it added a label, which stays"):
        store.undo(change.id)
    for name in ("refund", "billing"):
        with pytest.raises(ConflictError, match=f"there is a label '{name}' already"):
            store.add_label(name)
    for name in ("", "  ", None):
        with pytest.raises(UserError, match="a label needs a name"):
            store.add_label(name)
    for name in (" fee", "a  fee", "a\nfee", "fee\u202e"):
        with pytest.raises(UserError, match="a new label cannot be named"):
            store.add_label(name)
    assert store.labels[3:] == ("refund",)
    assert [one.id for one in store.changes()] == [1]


@pytest.mark.parametrize("width", [0, 2, 5])
def test_a_soft_label_of_another_width_is_refused(store, fill, tmp_path, width):
    fill(store, 2)
    store.add_label("refund")
    with pytest.raises(UserError, match=r"soft labels have shape \(1, .\): this store needs \(N, 4\)"):
        store.add([("a",)], np.ones((1, width)), np.ones((1, 8)), "user", [0])
    store.close()
    connection = sqlite3.connect(tmp_path / "store" / "store.db")
    connection.execute("UPDATE entries SET soft_label = ? WHERE id = 2", (np.zeros(width, "<f4").tobytes(),))
    connection.commit()
    connection.close()
    with pytest.raises(UserError, match="a soft label is not 4 numbers wide"):
        KnowledgeStore.open(tmp_path / "store")
