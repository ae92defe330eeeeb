"""Arguments that cannot be right: told as such, and never as damage of the file."""

from pathlib import Path

import numpy as np
import pytest

from hundredth.errors import ConflictError, NotThereError, UserError

ONE_HOT = np.eye(3)


@pytest.mark.parametrize("name", ["by", "note"])
@pytest.mark.parametrize("value", [None, 7, Path("x"), "\udcff"], ids=["none", "number", "path", "surrogate"])
def test_who_and_why_must_be_texts(store, fill, name, value):
    """Silent otherwise: a whole store is called damaged because of one argument."""
    ids, keys, _ = fill(store, 3)
    said = {name: value}
    calls = [
        lambda: store.add([("x",)], ONE_HOT[:1], keys[:1], "user", [0], **said),
        lambda: store.correct(("x",), 0, keys[0], **said),
        lambda: store.forget(ids[:1], **said),
        lambda: store.delete(ids[:1], **said),
        lambda: store.update(ids[0], ONE_HOT[0], 0, **said),
        lambda: store.undo(1, **said),
    ]
    for call in calls[:-1]:
        with pytest.raises(UserError, match=f"{name} is "):
            call()
    assert len(store) == 3
    assert store.generation == 1


@pytest.mark.parametrize("id", [2**63, 10**30, -(10**30)])
def test_a_number_of_many_digits_is_no_id(store, fill, id):
    fill(store, 3)
    with pytest.raises(NotThereError, match=f"no entry has the id {id}"):
        store.forget([id])
    with pytest.raises(NotThereError, match=f"no entry has the id {id}"):
        store.update(id, ONE_HOT[0], 0)
    with pytest.raises(NotThereError, match=f"no change has the id {id}"):
        store.undo(id)
    assert store.delete([id]) == 0
    assert len(store) == 3


def test_what_is_no_number_is_no_id(store, fill):
    fill(store, 3)
    for call in (store.forget, store.get, store.delete):
        with pytest.raises(UserError, match="an id is 'x': give whole numbers"):
            call(["x"])
    with pytest.raises(UserError, match=r"an id is 1\.5"):
        store.undo(1.5)
    assert store.delete(np.array([1])) == 1


def test_as_many_as_there_are_is_all_that_can_be_asked_for(store, fill):
    _, keys, _ = fill(store, 3)
    assert len(store.changes(10**30)) == 1
    found, entries = store.nearest(keys[0], 10**13)
    assert found.ids.shape == (1, 3)
    assert len(entries) == 3
    store.delete([1, 2, 3])
    assert store.nearest(keys[0], 10**13)[1] == []


def test_an_older_change_is_not_undone_over_a_later_one(store, fill):
    """Silent otherwise: what somebody said later is taken back with it, and its change still counts as made."""
    ids, _, _ = fill(store, 3)
    first = store.update(ids[0], ONE_HOT[1], 1, by="Ada")
    second = store.update(ids[0], ONE_HOT[2], 2, by="Bo")
    with pytest.raises(
        ConflictError, match=f"change {first.id} cannot be undone: entry {ids[0]} was altered later"
    ):
        store.undo(first.id)
    assert store.get(ids[:1])[0].label == 2
    back = store.undo(second.id)
    assert store.get(ids[:1])[0].label == 1
    undone = store.undo(first.id)
    assert store.get(ids[:1])[0].label is None
    with pytest.raises(ConflictError, match="was altered later"):
        store.undo(back.id)
    store.undo(undone.id)
    store.undo(back.id)
    assert store.get(ids[:1])[0].label == 2


def test_an_addition_is_not_undone_over_a_later_update(store, fill):
    fill(store, 3)
    [id] = store.add([("x",)], ONE_HOT[:1], np.ones((1, 8)), "user", [0])
    update = store.update(id, ONE_HOT[1], 1)
    with pytest.raises(ConflictError, match="was altered later"):
        store.undo(2)
    store.undo(update.id)
    store.undo(2)
    assert len(store) == 3
