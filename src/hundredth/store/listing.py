"""Looking through the entries page by page, by origin, label and words."""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from hundredth.errors import UserError
from hundredth.store.access import Access
from hundredth.store.derived import Derived
from hundredth.store.entries import ORIGINS, Entry, EntryTable, Origin

_SCANNED = 1000  # ids looked at while the store is held still: predictions go on in between


@dataclass(frozen=True)
class Filter:
    """Which entries are wanted: of an origin, with a label's index, with some words; by default all.

    An entry's label is its gold label, or where it has none the likeliest of its soft label. `contains` is looked
    for in each of its texts; upper and lower case are the same.
    """

    origin: Origin | None = None
    label: int | None = None
    contains: str = ""


@dataclass(frozen=True)
class Page:
    """Some `entries` in order of id, of `total` that match; `following` is the id to go on after, or None."""

    entries: list[Entry]
    following: int | None
    total: int


def check_origin(origin: Origin | None) -> None:
    """Refuse what is no origin; None is any."""
    if origin is not None and origin not in ORIGINS:
        raise UserError(f"unknown origin {origin!r}: use one of {', '.join(ORIGINS)}")


def every(access: Access, table: EntryTable, origin: Origin | None) -> Iterator[Entry]:
    """Go through all entries, or those of one origin, in order of id; the store may change meanwhile."""
    after = 0
    while True:
        with access.reading():
            page = table.page(after, origin)
        if not page:
            return
        yield from page
        after = page[-1].id


def find(access: Access, table: EntryTable, index: Derived, wanted: Filter, after: int, limit: int) -> Page:
    """Return up to `limit` matching entries with ids above `after`; the store may change meanwhile."""
    check_origin(wanted.origin)
    if limit < 1:
        raise UserError(f"limit is {limit}: ask for at least 1 entry")
    with access.reading():
        ids: list[int] = index.search.ids.tolist()
    if wanted != Filter():
        last = ids[-1] if ids else 0
        ids = []
        for first in range(1, last + 1, _SCANNED):
            with access.reading():
                ids += _matching(table, wanted, first, min(first + _SCANNED - 1, last))
    start = bisect_right(ids, after)
    asked = ids[start : start + limit]
    with access.reading():
        entries = [entry for entry in map(table.get, asked) if entry is not None]
    return Page(entries, asked[-1] if start + limit < len(ids) else None, len(ids))


def _matching(table: EntryTable, wanted: Filter, first: int, last: int) -> list[int]:
    needle = wanted.contains.casefold()
    return [
        entry.id
        for entry in table.between(first, last, wanted.origin)
        if (wanted.label is None or wanted.label == entry.shown_label)
        and (not needle or any(needle in text.casefold() for text in entry.texts))
    ]
