import numpy as np
import pytest

from hundredth.store import KnowledgeStore

LABELS = ("billing", "delivery", "other")


def _fill(store, count, seed=0, origin="generated", keys=None):
    generator = np.random.default_rng(seed)
    keys = generator.normal(size=(count, store.dimension)) if keys is None else keys
    soft_labels = generator.dirichlet(np.ones(len(store.labels)), size=count)
    texts = [(f"text {seed}.{row}",) for row in range(count)]
    return store.add(texts, soft_labels, keys, origin, [None] * count), keys, soft_labels


@pytest.fixture
def fill():
    """Add random entries to a store: returns ids, keys and soft labels."""
    return _fill


@pytest.fixture
def store(tmp_path):
    with KnowledgeStore.create(tmp_path / "store", LABELS, 8, "encoder-1") as made:
        yield made
