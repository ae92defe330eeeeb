"""The log of a store: who changed what, when and why, and enough of what was there before to undo it.

Every change, whatever its kind, is the entries that it took out and the entries that it put in; to alter an entry
is to take it out and to put it in again under its id. So an undo is the same change with the two sides swapped,
and can be undone in its turn. The functions here run inside the transaction of the change.
"""

import json
import sqlite3
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from hundredth.characters import is_unicode
from hundredth.errors import ConflictError, NotThereError, UserError

Kind = Literal["add", "correct", "delete", "update", "undo"]

ENTRY_COLUMNS = "id, texts, soft_label, label, origin, created, key"


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a store: the ids of the entries it `added` and `removed`; an altered one is in both.

    `at` is ISO 8601, UTC; `by` and `note` are what the caller said, or empty; `undoes` is the change that this
    one undid; `undone` says whether it has been undone itself.
    """

    id: int
    kind: Kind
    at: str
    by: str
    note: str
    added: tuple[int, ...]
    removed: tuple[int, ...]
    undoes: int | None
    undone: bool

    @property
    def filled(self) -> bool:
        """Whether it put in what the model was made with."""
        return _filled(self.id, self.kind, self.by, self.note)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; ids as [first, last] of each run, as a change may have added thousands."""
        return {
            "id": self.id,
            "kind": self.kind,
            "at": self.at,
            "by": self.by,
            "note": self.note,
            "added": runs(self.added),
            "removed": runs(self.removed),
            "undoes": self.undoes,
            "undone": self.undone,
        }


def record(
    connection: sqlite3.Connection,
    kind: Kind,
    by: str,
    note: str,
    removed: Iterable[int],
    added: Sequence[int],
    undoes: int | None = None,
    at: str | None = None,
) -> None:
    """Write a change, made now or `at` another time, with the entries `removed` as they stand in the table.

    Raises:
        UserError: `by` or `note` is no text.
    """
    check_said(by, note)
    at = at or datetime.now(UTC).isoformat(timespec="seconds")
    values = (kind, at, by, note, json.dumps(runs(added)), undoes)
    change = connection.execute(
        "INSERT INTO changes (kind, at, by, note, added, undoes) VALUES (?, ?, ?, ?, ?, ?)", values
    ).lastrowid
    connection.executemany(
        f"INSERT INTO replaced (change, {ENTRY_COLUMNS}) SELECT ?, {ENTRY_COLUMNS} FROM entries WHERE id = ?",
        ((change, id) for id in removed),
    )


def read_changes(connection: sqlite3.Connection, limit: int | None = None) -> list[Change]:
    """Return the changes, or the last `limit` of them, the latest first."""
    rows = connection.execute(
        "SELECT id, kind, at, by, note, added, undoes FROM changes ORDER BY id DESC LIMIT ?",
        (-1 if limit is None else min(limit, sys.maxsize),),
    ).fetchall()
    if not rows:
        return []
    removed: dict[int, list[int]] = {}
    oldest = rows[-1][0]
    for change, id in connection.execute(
        "SELECT change, id FROM replaced WHERE change >= ? ORDER BY change, id", (oldest,)
    ):
        removed.setdefault(change, []).append(id)
    undone = _undone(connection, oldest)
    return [
        Change(id, kind, at, by, note, _ids(added), tuple(removed.get(id, ())), undoes, id in undone)
        for id, kind, at, by, note, added, undoes in rows
    ]


def undo(connection: sqlite3.Connection, id: int, by: str, note: str) -> None:
    """Take a change back, which is a change too.

    Raises:
        NotThereError: there is no such change.
        ConflictError: it is undone already, a later one touched its entries, it filled the store or added a label.
    """
    query = "SELECT kind, added, by, note FROM changes WHERE id = ?"
    row = connection.execute(query, (id,)).fetchone() if id.bit_length() <= 63 else None
    if row is None:
        raise NotThereError(f"no change has the id {id}: see the log for those there are")
    if id in _undone(connection, id):
        raise ConflictError(f"change {id} is undone already: to bring it back, undo the change that undid it")
    if _filled(id, row[0], row[2], row[3]) and _is_of_the_model(connection, row[1]):
        raise ConflictError(
            "change 1 cannot be undone: it put in what the model was made with; delete entries instead"
        )
    going = list(_ids(row[1]))
    back = [one for (one,) in connection.execute("SELECT id FROM replaced WHERE change = ? ORDER BY id", (id,))]
    if not going and not back:
        raise ConflictError(f"change {id} cannot be undone: it added a label, which stays; no entry need have it")
    for one in going:
        if not _is_there(connection, one):
            raise ConflictError(f"change {id} cannot be undone: entry {one} was taken out later; undo that first")
    altered = _altered_since(connection, id, going)
    if altered is not None:
        raise ConflictError(f"change {id} cannot be undone: entry {altered} was altered later; undo that first")
    for one in set(back).difference(going):
        if _is_there(connection, one):
            raise ConflictError(f"change {id} cannot be undone: entry {one} was put back later; undo that first")
    record(connection, "undo", by, note, going, back, undoes=id)
    connection.executemany("DELETE FROM entries WHERE id = ?", ((one,) for one in going))
    connection.execute(
        f"INSERT INTO entries ({ENTRY_COLUMNS}) SELECT {ENTRY_COLUMNS} FROM replaced WHERE change = ?", (id,)
    )


def runs(ids: Sequence[int]) -> list[list[int]]:
    """Return ascending ids as [first, last] of each run without a gap."""
    found: list[list[int]] = []
    for id in ids:
        if found and found[-1][1] == id - 1:
            found[-1][1] = id
        else:
            found.append([id, id])
    return found


def _ids(added: str) -> tuple[int, ...]:
    return tuple(id for first, last in json.loads(added) for id in range(first, last + 1))


def _filled(id: int, kind: Kind, by: str, note: str) -> bool:
    """Whether a change filled its store: the first, an adding by nobody, unless users made it all the same."""
    return id == 1 and kind == "add" and not by and not note


def _is_there(connection: sqlite3.Connection, id: int) -> bool:
    return connection.execute("SELECT 1 FROM entries WHERE id = ?", (id,)).fetchone() is not None


def _altered_since(connection: sqlite3.Connection, change: int, ids: Iterable[int]) -> int | None:
    """Return one of the entries `ids` that is not as this change left it; None where all are."""
    query = "SELECT id, MIN(change) FROM replaced WHERE change > ? GROUP BY id"
    later = dict(connection.execute(query, (change,)).fetchall())
    content = "SELECT texts, soft_label, label, origin, created, key FROM"
    for id in ids:
        if id in later:
            left = connection.execute(f"{content} replaced WHERE change = ? AND id = ?", (later[id], id)).fetchone()
            if left != connection.execute(f"{content} entries WHERE id = ?", (id,)).fetchone():
                return id
    return None


def check_said(by: object, note: object) -> None:
    """Refuse what cannot stand in the log as who made a change, and why."""
    for name, value in (("by", by), ("note", note)):
        if not isinstance(value, str):
            raise UserError(f"{name} is {value!r}: give a text for the log, or leave it out")
        if not is_unicode(value):
            raise UserError(f"{name} is {value!r}, which is not valid Unicode: write it anew")


def _is_of_the_model(connection: sqlite3.Connection, added: str) -> bool:
    """Whether entries that users did not make are among those with the ids `added`."""
    query = "SELECT 1 FROM entries WHERE id BETWEEN ? AND ? AND origin != 'user'"
    return any(connection.execute(query, run).fetchone() is not None for run in json.loads(added))


def _undone(connection: sqlite3.Connection, first: int) -> set[int]:
    """Return the changes from `first` on that are undone: an undo that is undone itself no longer counts."""
    undone: set[int] = set()
    # The latest first: whether an undo counts is settled by later changes alone.
    for id, target in connection.execute(
        "SELECT id, undoes FROM changes WHERE id > ? AND undoes IS NOT NULL ORDER BY id DESC", (first,)
    ):
        if id not in undone:
            undone.add(target)
    return undone
