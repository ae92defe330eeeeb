"""Looking through the entries page by page, by origin, label and words."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import nsmallest

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
    """Some `entries` of `total` that match; `following` is the id to go on after, None where nothing goes on."""

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


def find(
    access: Access,
    table: EntryTable,
    index: Derived,
    wanted: Filter,
    after: int = 0,
    limit: int = 50,
    *,
    least_sure: bool = False,
) -> Page:
    """Return up to `limit` matching entries with ids above `after`; the store may change meanwhile.

    With `least_sure` they are of those without a gold label the ones with the least certain soft label, the one
    whose likeliest label has the smallest probability first; there is no page after them.
    """
    check_origin(wanted.origin)
    if limit < 1:
        raise UserError(f"limit is {limit}: ask for at least 1 entry")
    if least_sure and after:
        raise UserError(f"after is {after}, but the least sure entries come in no order of id: leave one out")
    with access.reading():
        ids: list[int] = index.search.ids.tolist()
    if least_sure:
        without = (entry for entry in _matching(access, table, ids, wanted) if entry.label is None)
        certain = [(float(entry.soft_label.max()), entry.id) for entry in without]
        return Page(_there(access, table, [id for _, id in nsmallest(limit, certain)]), None, len(certain))
    if wanted != Filter():
        ids = [entry.id for entry in _matching(access, table, ids, wanted)]
    start = bisect_right(ids, after)
    asked = ids[start : start + limit]
    return Page(_there(access, table, asked), asked[-1] if start + limit < len(ids) else None, len(ids))


def _matching(access: Access, table: EntryTable, ids: list[int], wanted: Filter) -> Iterator[Entry]:
    needle, last = wanted.contains.casefold(), ids[-1] if ids else 0
    for first in range(1, last + 1, _SCANNED):
        with access.reading():
            page = table.between(first, min(first + _SCANNED - 1, last), wanted.origin)
        for entry in page:
            if (wanted.label is None or wanted.label == entry.shown_label) and (
                not needle or any(needle in text.casefold() for text in entry.texts)
            ):
                yield entry


def _there(access: Access, table: EntryTable, ids: Iterable[int]) -> list[Entry]:
    """Return the entries with these ids that have not been deleted meanwhile."""
    with access.reading():
        return [entry for entry in map(table.get, ids) if entry is not None]
