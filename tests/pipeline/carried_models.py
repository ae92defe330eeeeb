"""Small models as a run makes them, but for the encoder, and what their stores hold."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from hundredth.pipeline.carry import Carry, TakenOver
from hundredth.pipeline.knowledge import Knowledge
from hundredth.pipeline.lessons import held_lessons
from hundredth.runtime import CalibrationInfo, EncoderInfo, Manifest, RetrievalInfo, TaskInfo
from hundredth.store import KnowledgeStore
from hundredth.tasks.schema import Task
from hundredth.tasks.verbalisation import Verbalisation

LABELS = ("billing", "delivery", "other")
Row = tuple[str | tuple[str, ...], str, int | str | None]
# Of a task with the labels above: text, origin, and the gold label or, as a number, the likeliest of a soft one.
ROWS: tuple[Row, ...] = (
    ("paid twice", "gold", "billing"),
    ("late again", "gold", "delivery"),
    ("where is it", "generated", 1),
    ("no invoice", "generated", 0),
    ("hello", "unlabelled", 2),
)


class Encoder:
    """Stands for an exported encoder: each text has a direction of its own."""

    def embed(self, texts: Sequence[tuple[str, ...]]) -> tuple[Any, Any]:
        keys = [np.random.default_rng(crc32("|".join(one).encode())).normal(size=8) for one in texts]
        return np.reshape(keys, (len(texts), 8)), None


def key(*texts: str) -> Any:
    return Encoder().embed([texts])[0][0]


def task_of(labels: Sequence[str] = LABELS, fields: Sequence[str] = ("text",)) -> Task:
    return Task("tickets", tuple(fields), tuple(labels), Verbalisation.default(tuple(fields), tuple(labels)))


def knowledge_of(rows: Sequence[Row] = ROWS, labels: Sequence[str] = LABELS) -> Knowledge:
    texts = [one if isinstance(one, tuple) else (one,) for one, _, _ in rows]
    gold = [labels.index(label) if isinstance(label, str) else -1 for _, _, label in rows]
    likeliest = [
        label if isinstance(label, int) else known for (_, _, label), known in zip(rows, gold, strict=True)
    ]
    soft = (0.7 * np.eye(len(labels))[likeliest] + 0.3 / len(labels)).astype(np.float32)
    origins: Any = [origin for _, origin, _ in rows]
    return Knowledge(texts, origins, np.array(gold), soft, soft, np.zeros(len(rows), np.bool_))


def make(
    folder: Path, before: Path | None = None, knowledge: Knowledge | None = None, task: Task | None = None
) -> TakenOver:
    """Make a model folder as a run does, but for the model itself, with what users taught the one `before`."""
    knowledge, task = knowledge or knowledge_of(), task or task_of()
    folder.mkdir()
    Manifest(
        TaskInfo(task.name, task.fields, task.labels),
        EncoderInfo("encoder.onnx", "fingerprint", 8, 16, "float32"),
        RetrievalInfo(1, 1.0, 0.5),
        CalibrationInfo(1.0),
        provenance={},
    ).write(folder)
    with held_lessons(before or folder / "nothing") as lessons:
        carry = Carry(lessons, knowledge, task)
    kept = knowledge.rows(carry.kept)
    labels = [label if label >= 0 else None for label in kept.labels.tolist()]
    with KnowledgeStore.create(folder, task.labels, 8, "fingerprint") as store:
        store.add(kept.texts, kept.stored_labels(), Encoder().embed(kept.texts)[0], kept.origins, labels)
        carry.repeat(folder, Encoder())  # type: ignore[arg-type]
        assert len(store) == len(list(store.entries()))
    return carry.taken_over


def backdate(folder: Path) -> None:
    """Let each change of a log have been made in another month, long ago."""
    connection = sqlite3.connect(folder / "store.db")
    connection.execute("UPDATE changes SET at = '2020-' || substr('0' || id, -2) || '-01T00:00:00+00:00'")
    connection.commit()
    connection.close()


def add(store: KnowledgeStore, text: str, label: str, by: str = "") -> int:
    index = store.labels.index(label)
    [id] = store.add([(text,)], np.eye(len(store.labels))[[index]], [key(text)], "user", [index], by)
    return id


def ids_of(store: KnowledgeStore) -> dict[str, int]:
    return {one.texts[0]: one.id for one in store.entries()}


def shown(store: KnowledgeStore) -> list[tuple[str, str, str]]:
    """The entries by text, label and origin, sorted."""
    return sorted((" | ".join(one.texts), store.labels[one.shown_label], one.origin) for one in store.entries())


def content(folder: Path) -> list[tuple[str, str, str]]:
    with KnowledgeStore.open(folder) as store:
        return shown(store)


def everything(folder: Path) -> Any:
    """All of a store but the moments at which it was filled, and what its state was called then."""
    connection = sqlite3.connect(folder / "store.db")
    rows = [
        connection.execute(query).fetchall()
        for query in (
            "SELECT id, texts, hex(soft_label), label, origin, hex(key) FROM entries ORDER BY id",
            "SELECT id, created FROM entries WHERE origin = 'user' ORDER BY id",
            "SELECT id, kind, CASE id WHEN 1 THEN '' ELSE at END, by, note, added, undoes FROM changes ORDER BY id",
            "SELECT change, id, texts, hex(soft_label), label, origin, hex(key) FROM replaced ORDER BY change, id",
            "SELECT name, value FROM meta WHERE name != 'state' ORDER BY name",
        )
    ]
    connection.close()
    return rows
