"""The knowledge of a run on its way from the LLM to the student: texts, labels, soft labels, embeddings."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from hundredth.files import atomic_path
from hundredth.store import Origin
from hundredth.tasks.schema import Example

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Knowledge:
    """N texts with the LLM's soft labels (N, C) and sentence embeddings (N, E).

    `labels` is a gold label's index, or -1. Soft labels of gold texts come from models that did not see them.
    `augmented` marks texts that were recombined from those of their origin: they teach, but are never stored.
    """

    texts: list[tuple[str, ...]]
    origins: list[Origin]
    labels: NDArray[np.int64]
    soft_labels: Floats
    embeddings: Floats
    augmented: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.texts)

    def of(self, origins: Collection[Origin], *, augmented: bool = True) -> "Knowledge":
        """Return the part with these origins, with or without its augmented texts."""
        chosen = [
            origin in origins and (augmented or not made)
            for origin, made in zip(self.origins, self.augmented.tolist(), strict=True)
        ]
        return self.rows(np.array(chosen, dtype=np.bool_))

    def rows(self, chosen: NDArray[np.bool_]) -> "Knowledge":
        """Return the chosen (N,) part."""
        rows = np.flatnonzero(chosen).tolist()
        return Knowledge(
            [self.texts[i] for i in rows],
            [self.origins[i] for i in rows],
            self.labels[rows],
            self.soft_labels[rows],
            self.embeddings[rows],
            self.augmented[rows],
        )

    def stored_labels(self) -> Floats:
        """Return what an entry of the store says: the gold label where there is one, else the soft label."""
        gold = np.eye(self.soft_labels.shape[1], dtype=np.float32)[np.maximum(self.labels, 0)]
        out: Floats = np.where((self.labels >= 0)[:, None], gold, self.soft_labels)
        return out

    def save(self, folder: Path) -> None:
        """Write knowledge.jsonl and knowledge.safetensors."""
        rows = zip(self.texts, self.origins, self.labels.tolist(), self.augmented.tolist(), strict=True)
        write_jsonl(
            folder / "knowledge.jsonl",
            [
                {"texts": texts, "origin": origin, "label": label, "augmented": augmented}
                for texts, origin, label, augmented in rows
            ],
        )
        embeddings = self.embeddings.astype(np.float16)
        arrays: dict[str, NDArray[Any]] = {"soft_labels": self.soft_labels, "embeddings": embeddings}
        save_file(arrays, folder / "knowledge.safetensors")

    @classmethod
    def load(cls, folder: Path) -> "Knowledge":
        """Read what `save` wrote."""
        rows = read_jsonl(folder / "knowledge.jsonl")
        arrays = load_file(folder / "knowledge.safetensors")
        return cls(
            [tuple(row["texts"]) for row in rows],
            [row["origin"] for row in rows],
            np.array([row["label"] for row in rows], dtype=np.int64),
            arrays["soft_labels"],
            arrays["embeddings"].astype(np.float32),
            np.array([row.get("augmented", False) for row in rows], dtype=np.bool_),
        )


def write_jsonl(path: Path, rows: Sequence[object]) -> None:
    """Write one JSON value a line."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Read one JSON object a line."""
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def write_examples(path: Path, examples: Sequence[Example]) -> None:
    """Write examples as JSON lines."""
    write_jsonl(path, [{"texts": example.texts, "label": example.label} for example in examples])


def read_examples(path: Path) -> list[Example]:
    """Read what `write_examples` wrote."""
    return [Example(tuple(row["texts"]), row["label"]) for row in read_jsonl(path)]
