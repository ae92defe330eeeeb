"""What users taught a model, taken over by the one that takes its place: with who said it, and when.

The new store is filled without what users had deleted. Then their changes are made again, each under its own time
and author, so that each can be undone as before. Nothing is matched by number: texts are told by themselves, fields
and labels by their names.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from hundredth.pipeline.knowledge import Knowledge, write_jsonl
from hundredth.pipeline.lessons import LEFT_BEHIND, Key, Lesson, Lessons
from hundredth.runtime import Model
from hundredth.store import Entry
from hundredth.store.history import Said, repeating
from hundredth.tasks.schema import Task


@dataclass(frozen=True)
class TakenOver:
    """What became of the lessons: entries that users added, deleted and altered, and labels that they added.

    The entries `left_behind`, and the deletions `forgotten`, need what is `missing` in the task.
    """

    added: int = 0
    deleted: int = 0
    altered: int = 0
    left_behind: int = 0
    forgotten: int = 0
    labels: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    def lines(self, file: Path) -> list[str]:
        """Say so, a line each, where there is something to say; `file` has the entries left behind."""
        said, missing = [], ", ".join(self.missing)
        if self.added or self.deleted or self.altered:
            parts = [f"{_counted(self.added, 'entry', 'entries')} added", f"{self.deleted:,} deleted"]
            parts += [f"{self.altered:,} altered"] if self.altered else []
            said.append(f"{', '.join(parts[:-1])} and {parts[-1]} by users were taken over")
        if self.labels:
            said.append(f"labels added by users were taken over: {', '.join(map(repr, self.labels))}")
        if self.left_behind:
            left = _counted(self.left_behind, "entry", "entries")
            said.append(
                f"not taken over, as the task no longer has {missing}: {left} of users; "
                f"{file} keeps them until it has, and `hundredth knowledge import` with --new-labels adds them now"
            )
        if self.forgotten:
            said.append(
                f"not taken over, as the task no longer has {missing} and the new knowledge not their texts: "
                f"{_counted(self.forgotten, 'deletion', 'deletions')} by users"
            )
        return said


class Carry:
    """What users taught, fitted to new knowledge and its task.

    `kept` (N,) is the part of the knowledge that they neither took out nor altered. The new store is filled with
    that; `repeat` then makes their changes in it.
    """

    def __init__(self, lessons: Lessons, knowledge: Knowledge, task: Task) -> None:
        self.kept = np.ones(len(knowledge), dtype=np.bool_)
        self._knowledge, self._soft_labels, self._task = knowledge, knowledge.stored_labels(), task
        self._labels = [(name, said) for name, said in lessons.labels if name not in task.labels]
        self._names = (*task.labels, *(name for name, _ in self._labels))
        self._rows: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for row, texts in enumerate(knowledge.texts):
            self._rows[texts].append(row)
        self._again: dict[Said, tuple[list[Entry], list[Entry]]] = defaultdict(lambda: ([], []))
        self._left: list[Lesson] = []
        self._missing: set[str] = set()
        self._counts = Counter[str]()
        self._remove(lessons)
        for before, after in lessons.altered:
            self._alter(before, after, lessons.remaining[before.key])
        for lesson in lessons.added:
            self._add(lesson, lessons.remaining[lesson.texts, None])

    @property
    def taken_over(self) -> TakenOver:
        """What becomes of what was taught."""
        counts = self._counts
        return TakenOver(
            counts["added"],
            counts["deleted"],
            counts["altered"],
            len(self._left),
            counts["forgotten"],
            tuple(name for name, _ in self._labels),
            tuple(sorted(self._missing)),
        )

    def repeat(self, folder: Path, encoder: Model) -> None:
        """Make the changes in the store of `folder`, with keys of its encoder, and write what is left behind.

        Raises:
            UserError: the encoder makes nothing of a text.
        """
        if self._left:
            left = sorted(self._left, key=lambda one: one.said)
            write_jsonl(folder / LEFT_BEHIND, [one.to_row() for one in left])
        if not self._again and not self._labels:
            return
        changes = sorted(self._again.items(), key=lambda change: change[0])
        keys, _logits = encoder.embed([entry.texts for _, parts in changes for part in parts for entry in part])
        start = 0
        with repeating(folder) as store:
            for name, said in self._labels:
                store.repeat_label(name, said.at, said.by, said.note)
            for said, (removed, added) in changes:
                end = start + len(removed) + len(added)
                store.repeat(said.kind, said.at, said.by, said.note, removed, added, keys[start:end])
                start = end

    def _remove(self, lessons: Lessons) -> None:
        """Take out what users deleted."""
        different: dict[Key, Lesson] = {}
        for lesson in lessons.removed:
            different.setdefault(lesson.key, lesson)
        for lesson in different.values():
            copies = lessons.remaining[lesson.key]  # of several rows with one text a user may have deleted some
            found = self._take(self._about(lesson)[copies:])
            if not found and not copies:
                # Remembered all the same: it may be among the texts of the next model again.
                found = self._entry(lesson)
                self._counts["forgotten"] += not found
            if found:
                self._again[lesson.said][0].extend(found)
            self._counts["deleted"] += len(found)

    def _alter(self, before: Lesson, after: Lesson, copies: int) -> None:
        """Alter an entry as a user did, beside so many with the same text that were left as they were."""
        entry = self._entry(after)
        if not entry:
            self._left.append(replace(after, said=replace(after.said, kind="add"), origin="user"))
            return
        found = self._take(self._about(before)[copies:])[:1] or self._entry(before)
        removed, added = self._again[after.said if found else replace(after.said, kind="add")]
        removed.extend(found)
        added.extend(entry)
        self._counts["altered"] += 1

    def _add(self, lesson: Lesson, copies: int) -> None:
        """Add an entry as a user did; a correction replaces what new texts without a gold label say otherwise.

        `copies` of its text were there without a gold label, and had not been replaced.
        """
        entry = self._entry(lesson)
        if not entry:
            self._left.append(lesson)
            return
        removed, added = self._again[lesson.said]
        added.extend(entry)
        self._counts["added"] += 1
        if lesson.said.kind == "correct":
            rows = self._about(replace(lesson, label=None))[copies:]
            found = self._take([row for row in rows if self._soft_labels[row].argmax() != entry[0].shown_label])
            removed.extend(found)
            self._counts["deleted"] += len(found)

    def _about(self, lesson: Lesson) -> list[int]:
        """Return the rows of the new knowledge that a lesson is about, as far as they are not taken yet.

        They have its texts. One with a gold label must have the lesson's: where the data have come to say something
        else of a text, that is newer than what a user said of the old.
        """
        texts, labels = self._texts(lesson), self._knowledge.labels
        return [
            row
            for row in (self._rows.get(texts, []) if texts else [])
            if self.kept[row] and (labels[row] < 0 or self._task.labels[labels[row]] == lesson.label)
        ]

    def _take(self, rows: list[int]) -> list[Entry]:
        """Leave rows out of what the store is filled with, and return them as entries."""
        self.kept[rows] = False
        knowledge, now = self._knowledge, datetime.now(UTC).isoformat(timespec="seconds")
        entries = []
        for row in rows:
            label = int(knowledge.labels[row])
            soft_label = np.pad(self._soft_labels[row], (0, len(self._labels)))
            origin = knowledge.origins[row]
            entries.append(Entry(0, knowledge.texts[row], soft_label, label if label >= 0 else None, origin, now))
        return entries

    def _entry(self, lesson: Lesson) -> list[Entry]:
        """Return the lesson as an entry of the new store, or nothing where that lacks what it needs."""
        texts = self._texts(lesson)
        missing = {f"label {name!r}" for name in lesson.labels.difference(self._names)}
        if texts is None:
            missing.add(f"the fields {', '.join(map(repr, lesson.fields))}")
        self._missing |= missing
        if texts is None or missing:
            return []
        soft_label = np.zeros(len(self._names), dtype=np.float32)
        for name, probability in lesson.probabilities.items():
            soft_label[self._names.index(name)] = probability
        label = None if lesson.label is None else self._names.index(lesson.label)
        return [Entry(0, texts, soft_label, label, lesson.origin, lesson.created)]

    def _texts(self, lesson: Lesson) -> tuple[str, ...] | None:
        """Return its texts in the order of the task's fields, or None where those are others."""
        fields = self._task.fields
        if len(fields) == len(lesson.fields) == 1:  # however they are called
            return lesson.texts
        if set(fields) != set(lesson.fields):
            return None
        by_field = dict(zip(lesson.fields, lesson.texts, strict=True))
        return tuple(by_field[field] for field in fields)


def _counted(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"
