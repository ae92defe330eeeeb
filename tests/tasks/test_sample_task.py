"""The sample task in examples/parcels: whole, balanced, and without copies between its splits."""

from pathlib import Path

import pytest

from hundredth.tasks import TaskConfig, counts_per_label, load_labelled, load_task, max_similarity, near_copies

PARCELS = Path(__file__).parents[2] / "examples" / "parcels"
SIZES = {"train": 20, "dev": 10, "test": 45}


def texts_of(split: str) -> list[str]:
    data = load_task(TaskConfig(data=PARCELS / "train.csv", dev=PARCELS / "dev.csv"))
    examples = {"train": data.train, "dev": data.dev}.get(split) or load_labelled(PARCELS / "test.csv", data.task)
    return [example.texts[0] for example in examples]


def test_the_splits_have_the_rows_and_labels_they_should() -> None:
    data = load_task(TaskConfig(data=PARCELS / "train.csv", dev=PARCELS / "dev.csv"))
    notes: list[str] = []
    test = load_labelled(PARCELS / "test.csv", data.task, notes=notes)
    assert data.task.fields == ("text",)
    assert data.task.label_column == "label"
    assert len(data.task.labels) == 10
    for split, examples in (("train", data.train), ("dev", data.dev), ("test", test)):
        assert counts_per_label(examples, data.task.labels) == dict.fromkeys(data.task.labels, SIZES[split])
    assert notes == []
    assert not [
        note for note in data.notes if any(word in note for word in ("removed", "dropped", "repeat", "cut"))
    ]


@pytest.mark.parametrize("split", list(SIZES))
def test_no_split_holds_a_text_twice(split: str) -> None:
    assert not near_copies(texts_of(split)).any()


@pytest.mark.parametrize(("split", "other"), [("train", "dev"), ("train", "test"), ("dev", "test")])
def test_no_text_is_like_one_of_another_split(split: str, other: str) -> None:
    """Rewritten copies across splits would make every score of the sample task too good."""
    mine, others = texts_of(split), texts_of(other)
    similarity = max_similarity(mine, others)
    worst = int(similarity.argmax())
    assert similarity[worst] < 0.5, mine[worst]
