"""Knowledge on disk and on its way to the store."""

from pathlib import Path

import numpy as np
import pytest

from hundredth.pipeline.knowledge import Knowledge, read_examples, write_examples
from hundredth.store import Origin
from hundredth.tasks.schema import Example


@pytest.fixture
def knowledge() -> Knowledge:
    generator = np.random.default_rng(0)
    soft = generator.dirichlet(np.ones(3), size=5).astype(np.float32)
    embeddings = generator.normal(size=(5, 8)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    texts = [("a", "b"), ('with "quotes"', "line\nend"), ("ümlaut \u2028 \U0001f4a9", "x"), ("d", "e"), ("f", "g")]
    origins: list[Origin] = ["gold", "generated", "gold", "unlabelled", "generated"]
    return Knowledge(texts, origins, np.array([2, -1, 0, -1, -1]), soft, embeddings, np.arange(5) == 4)


def test_what_is_saved_is_loaded_in_the_same_order(knowledge: Knowledge, tmp_path: Path) -> None:
    knowledge.save(tmp_path)
    loaded = Knowledge.load(tmp_path)
    assert loaded.texts == knowledge.texts
    assert loaded.origins == knowledge.origins
    assert loaded.labels.tolist() == knowledge.labels.tolist()
    assert loaded.augmented.tolist() == [False, False, False, False, True]
    np.testing.assert_array_equal(loaded.soft_labels, knowledge.soft_labels)
    # Embeddings are kept in 16 bits: half the space, and far less than the noise of a ranking.
    np.testing.assert_allclose(loaded.embeddings, knowledge.embeddings, atol=1e-3)
    assert loaded.embeddings.dtype == np.float32


def test_no_knowledge_at_all_can_be_saved(tmp_path: Path) -> None:
    nothing = np.zeros((0, 3), np.float32)
    Knowledge([], [], np.zeros(0, np.int64), nothing, nothing, np.zeros(0, np.bool_)).save(tmp_path)
    loaded = Knowledge.load(tmp_path)
    assert len(loaded) == 0
    assert loaded.soft_labels.shape == (0, 3)


def test_a_part_keeps_texts_and_numbers_together(knowledge: Knowledge) -> None:
    """Silent otherwise: soft labels that slip against their texts still train a model."""
    part = knowledge.of(("generated", "unlabelled"))
    assert part.texts == [knowledge.texts[i] for i in (1, 3, 4)]
    assert part.origins == ["generated", "unlabelled", "generated"]
    assert part.labels.tolist() == [-1, -1, -1]
    np.testing.assert_array_equal(part.soft_labels, knowledge.soft_labels[[1, 3, 4]])
    np.testing.assert_array_equal(part.embeddings, knowledge.embeddings[[1, 3, 4]])
    assert len(knowledge.of(())) == 0
    chosen = knowledge.rows(np.array([False, True, False, True, True]))
    assert (chosen.texts, chosen.origins) == (part.texts, part.origins)
    np.testing.assert_array_equal(chosen.soft_labels, part.soft_labels)
    assert chosen.augmented.tolist() == [False, False, True]


def test_recombined_texts_can_be_left_out(knowledge: Knowledge) -> None:
    assert knowledge.of(("generated",)).texts == [knowledge.texts[1], knowledge.texts[4]]
    assert knowledge.of(("generated",), augmented=False).texts == [knowledge.texts[1]]


def test_a_stored_label_is_the_gold_one_where_there_is_one(knowledge: Knowledge) -> None:
    stored = knowledge.stored_labels()
    np.testing.assert_array_equal(stored[0], [0, 0, 1])
    np.testing.assert_array_equal(stored[2], [1, 0, 0])
    np.testing.assert_array_equal(stored[[1, 3, 4]], knowledge.soft_labels[[1, 3, 4]])
    assert stored.dtype == np.float32


def test_examples_are_read_back_as_written(tmp_path: Path) -> None:
    examples = [Example(("a \u2028 b", "c\n\td"), 1), Example(("",), None)]
    write_examples(tmp_path / "some.jsonl", examples)
    assert read_examples(tmp_path / "some.jsonl") == examples
