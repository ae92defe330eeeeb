"""Looking through a store page by page."""

import numpy as np
import pytest

from hundredth.errors import UserError
from hundredth.store import Filter

ONE_HOT = np.eye(3)
TEXTS = [("Where is my PARCEL", "x"), ("my card", 'say "hi"'), ("ÄRGER", "y"), ("a parcel", "z"), ("none", "\n")]


@pytest.fixture
def filled(store):
    soft = [[0.2, 0.7, 0.1], [1, 0, 0], [0, 0, 1], [0.6, 0.4, 0], [0, 1, 0]]
    origins = ["generated", "gold", "user", "unlabelled", "gold"]
    store.add(TEXTS, soft, np.eye(8)[:5], origins, [None, 0, 2, 1, 1])
    return store


def _ids(page):
    return [entry.id for entry in page.entries]


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        (Filter(), [1, 2, 3, 4, 5]),
        (Filter(origin="gold"), [2, 5]),
        # Entry 4 is billing rather than delivery by its soft label, but its own label says otherwise.
        (Filter(label=1), [1, 4, 5]),
        (Filter(label=0), [2]),
        (Filter(contains="parcel"), [1, 4]),
        (Filter(contains="ärger"), [3]),
        (Filter(contains='say "HI'), [2]),
        (Filter(contains="\n"), [5]),
        (Filter(contains='", "'), []),  # how the texts are kept is nothing that can be found
        (Filter(origin="gold", label=1, contains="NON"), [5]),
        (Filter(origin="user", label=0), []),
    ],
    ids=str,
)
def test_entries_are_found_by_origin_label_and_words(filled, wanted, ids):
    page = filled.find(wanted)
    assert (_ids(page), page.following, page.total) == (ids, None, len(ids))


@pytest.mark.parametrize("wanted", [Filter(), Filter(contains="text")], ids=["all", "by words"])
def test_pages_follow_each_other_without_gaps(store, fill, wanted, monkeypatch):
    monkeypatch.setattr("hundredth.store.listing._SCANNED", 7)
    ids, _, _ = fill(store, 25)
    store.delete(ids[3:6])
    left, seen, after = ids[:3] + ids[6:], [], 0
    while after is not None:
        page = store.find(wanted, after, 5)
        assert page.total == 22
        seen.append(_ids(page))
        after = page.following
    assert [id for part in seen for id in part] == left
    assert [len(part) for part in seen] == [5, 5, 5, 5, 2]
    assert _ids(store.find(wanted, 10_000, 5)) == []


def test_the_least_sure_come_first_and_what_people_labelled_not_at_all(store, monkeypatch):
    monkeypatch.setattr("hundredth.store.listing._SCANNED", 2)
    soft = [[0.1, 0.8, 0.1], [0.4, 0.3, 0.3], [0.3, 0.4, 0.3], [0, 0.6, 0.4], [0.5, 0.5, 0]]
    store.add(
        TEXTS,
        soft,
        np.eye(8)[:5],
        ["generated", "unlabelled", "gold", "user", "generated"],
        [*[None] * 2, 1, *[None] * 2],
    )
    page = store.find(Filter(), least_sure=True)
    assert (_ids(page), page.following, page.total) == ([2, 5, 4, 1], None, 4)
    page = store.find(Filter(), limit=2, least_sure=True)
    assert (_ids(page), page.following, page.total) == ([2, 5], None, 4)
    assert _ids(store.find(Filter(origin="generated"), least_sure=True)) == [5, 1]
    assert _ids(store.find(Filter(label=1, contains="parcel"), least_sure=True)) == [4, 1]
    with pytest.raises(UserError, match="after is 3, but the least sure entries come in no order of id"):
        store.find(Filter(), after=3, least_sure=True)


def test_an_empty_store_has_an_empty_page(store):
    for least_sure in (False, True):
        page = store.find(Filter(contains="x"), least_sure=least_sure)
        assert (page.entries, page.following, page.total) == ([], None, 0)


def test_what_cannot_be_looked_for_is_refused(store):
    with pytest.raises(UserError, match="unknown origin 'mine'"):
        store.find(Filter(origin="mine"))
    with pytest.raises(UserError, match="limit is 0"):
        store.find(Filter(), limit=0)
