"""What users taught a deployed model, read from its store: what they added, deleted and altered, and who did.

Only what holds in the end is read, each entry with the change that it is due to: what a user added and deleted
again is no lesson, nor is what was undone.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hundredth.errors import UserError
from hundredth.pipeline.knowledge import read_jsonl
from hundredth.runtime import Manifest
from hundredth.store import Entry, Origin
from hundredth.store.database import DATABASE
from hundredth.store.history import History, Said, held_history

# In the folder of a model: what users taught one before it and what its labels had no place for.
LEFT_BEHIND = "left-behind.jsonl"

Key = tuple[tuple[str, ...], str | None]


@dataclass(frozen=True)
class Lesson:
    """An entry by the names of its fields and labels, and the change that it is due to.

    `label` is the gold label; `probabilities` are those of the soft label above 0.
    """

    said: Said
    fields: tuple[str, ...]
    texts: tuple[str, ...]
    label: str | None
    probabilities: dict[str, float]
    origin: Origin
    created: str

    @property
    def key(self) -> Key:
        """What tells it from others: its texts and its gold label."""
        return self.texts, self.label

    @property
    def labels(self) -> set[str]:
        """The labels without which it cannot be stored."""
        return {*self.probabilities, *([] if self.label is None else [self.label])}

    def to_row(self) -> dict[str, Any]:
        """Return plain values for JSON: an entry as `hundredth knowledge list --json` shows it, and whose it is."""
        return {
            "texts": self.texts,
            "label": self.label,
            "probabilities": self.probabilities,
            "origin": self.origin,
            "created": self.created,
            "fields": self.fields,
            "change": self.said.to_dict(),
        }

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> "Lesson":
        """Read what `to_row` returned.

        Raises:
            ValueError, KeyError, TypeError: it is something else.
        """
        return cls(
            Said.from_dict(row["change"]),
            tuple(row["fields"]),
            tuple(row["texts"]),
            row["label"],
            {name: float(value) for name, value in row["probabilities"].items()},
            row["origin"],
            row["created"],
        )


@dataclass(frozen=True)
class Lessons:
    """All that users taught a model.

    `labels` are those that they added. Of the model's own entries they `removed` some, which are given as the model
    was made with them, and `altered` the labels of others: before and after. `remaining` counts its own entries
    that are still there.
    """

    labels: tuple[tuple[str, Said], ...] = ()
    added: tuple[Lesson, ...] = ()
    removed: tuple[Lesson, ...] = ()
    altered: tuple[tuple[Lesson, Lesson], ...] = ()
    remaining: Counter[Key] = field(default_factory=Counter)


@contextmanager
def held_lessons(model: Path) -> Iterator[Lessons]:
    """Read what users taught the model in a folder, if there is one; inside the block nobody can teach it more.

    So nothing is lost where the block lasts until another model has taken its place: a change that comes too late
    is refused, and who makes it is told so.

    Raises:
        UserError: it cannot be read.
    """
    if not (model / DATABASE).exists():
        yield Lessons()
        return
    with ExitStack() as held:
        try:
            fields = Manifest.read(model).task.fields
            history = held.enter_context(held_history(model))
            found, known = lessons_of(history, fields), _known(history)
            # What was left behind may have been imported since, and even deleted after that.
            left = [one for one in read_left_behind(model / LEFT_BEHIND) if one.key not in known]
            found = replace(found, added=(*left, *found.added))
        except UserError as error:
            raise UserError(
                f"what users taught {model} cannot be taken over: {error} (or move {model} away, to make a model "
                "without it)"
            ) from error
        yield found


def lessons_of(history: History, fields: Sequence[str]) -> Lessons:
    """Return what users taught a store whose entries have these fields.

    Theirs are the entries of the origin "user", and those of any origin that they imported: that a change put in
    other than the one that filled the store. All others are the model's own.
    """
    put, out, altered, labels = _told_by_entry(history)
    names, late = history.labels, history.labels[len(history.base_labels) :]
    before: dict[int, Entry] = {}
    for _, entry in history.replaced:
        before.setdefault(entry.id, entry)

    def lesson(entry: Entry, said: Said) -> Lesson:
        label = None if entry.label is None else names[entry.label]
        soft = zip(names, entry.soft_label.tolist(), strict=True)
        chances = {name: value for name, value in soft if value > 0}
        return Lesson(said, tuple(fields), entry.texts, label, chances, entry.origin, entry.created)

    def is_users(entry: Entry) -> bool:
        return entry.origin == "user" or entry.id in put

    there = {entry.id for entry in history.entries}
    added, changed, remaining = [], [], Counter[Key]()
    for entry in history.entries:
        said = altered.get(entry.id) if _differ(before.get(entry.id), entry) else None
        if is_users(entry):
            unknown = Said(entry.created, 0, "add", "", "")
            added.append(lesson(entry, replace(said, kind="add") if said else put.get(entry.id, unknown)))
            continue
        found = lesson(entry, said or Said("", 0, "add", "", ""))
        remaining[found.key] += 1
        if said:
            changed.append((lesson(before[entry.id], said), found))
    removed = [lesson(entry, out[id]) for id, entry in before.items() if id not in there and not is_users(entry)]
    told = tuple(zip(late, labels, strict=True))
    return Lessons(told, tuple(added), tuple(removed), tuple(changed), remaining)


def read_left_behind(path: Path) -> list[Lesson]:
    """Read the lessons of a file of them; none where there is no file.

    Raises:
        UserError: it is not as it was written.
    """
    if not path.exists():
        return []
    try:
        return [Lesson.from_row(row) for row in read_jsonl(path)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} cannot be read ({type(error).__name__}: {error}): mend it, or remove it"
        ) from error


def _told_by_entry(
    history: History,
) -> tuple[dict[int, Said], dict[int, Said], dict[int, Said], list[Said]]:
    """Return by entry the change that put it in later on, that took it out last and that altered it last.

    And those that added a label. In the place of an undo stands the change at the end of what it undid: where the
    undo of an undo counts, that is the change itself.
    """
    by_id = {change.id: change for change in history.changes}
    put: dict[int, Said] = {}
    out: dict[int, Said] = {}
    altered: dict[int, Said] = {}
    labels = []
    for change in history.changes:
        root = change
        while root.undoes is not None:
            root = by_id[root.undoes]
        said = Said(root.at, root.id, root.kind, root.by, root.note)
        added, removed = set(change.added), set(change.removed)
        if change.undoes is None and change.kind != "update" and not change.filled:
            put |= dict.fromkeys(added, said)
        out |= dict.fromkeys(removed - added, said)
        if root.kind == "update":
            altered |= dict.fromkeys(added & removed, said)
        if not added and not removed:
            labels.append(said)
    return put, out, altered, labels


def _known(history: History) -> set[Key]:
    """Return the keys of all entries that are or have been there."""
    entries = (*history.entries, *(entry for _, entry in history.replaced))
    return {(one.texts, None if one.label is None else history.labels[one.label]) for one in entries}


def _differ(before: Entry | None, after: Entry) -> bool:
    if before is None:
        return False
    return before.label != after.label or before.soft_label.tolist() != after.soft_label.tolist()
