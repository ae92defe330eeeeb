"""Labels that were added: how many neighbours are asked, and when they are known of."""

import math
from dataclasses import replace

import numpy as np
import pytest

import hundredth
from hundredth.runtime import CorrectionInfo, RetrievalInfo
from hundredth.store import calibrate, mixture, neighbours_needed

NEW = ["the machine swallowed my parcel", "the machine ate the parcel back"]


@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_a_label_that_another_process_adds_counts_in_the_very_next_answer(make_model, weight, k):
    """Silent otherwise: the first answer after it is that of a model without the label."""
    folder = make_model(retrieval=RetrievalInfo(k, 0.2, weight))
    text = "the machine ate my parcel"
    for ask in ("predict_proba", "answer"):
        with hundredth.load(folder, 1) as one, hundredth.load(folder, 1) as other:
            other.predict([text])
            one.store.add(NEW, [f"by {ask}"] * 2, new_labels=True)
            first, second = (getattr(other, ask)([text]) for _ in range(2))
            first, second = (getattr(found, "probabilities", found) for found in (first, second))
            assert np.array_equal(first, second)
            assert np.array_equal(first, one.predict_proba([text]))
            assert first[0, -1] > 0.1


@pytest.mark.parametrize("weight", [0.0, 0.4])
@pytest.mark.parametrize("text", ["card refund", "my parcel where is"])
def test_two_neighbours_are_asked_for_added_labels_where_k_is_one(make_model, text, weight):
    folder = make_model(retrieval=RetrievalInfo(1, 0.2, weight))
    with hundredth.load(folder, 1) as model:
        model.manifest = replace(model.manifest, correction=CorrectionInfo(0.99999))  # nothing decides alone
        model.store.add(["card refund my parcel"], ["new"], new_labels=True)
        embeddings, logits = model.embed([text])
        found = model.store._store.search(embeddings, 2)
        weights = np.exp((found.similarities[0] - found.similarities[0, 0]) / 0.05)
        late = float((weights / weights.sum()) @ found.soft_labels[0, :, 3])
        assert 0 < late < 1
        nearest = found.soft_labels[0, 0, :3]  # K is 1
        share = weight * float(nearest.any())
        head = np.exp(logits[0]) / np.exp(logits[0]).sum()
        old = (1 - share) * head + share * nearest / (nearest.sum() or 1)
        mixed = np.append((1 - late) * old, late)
        served = model.predict_proba([text])[0]
        assert served == pytest.approx(calibrate(mixed[None], 1.3)[0], abs=1e-5)
        why = model.explain(text)
        assert list(why.probabilities.values()) == pytest.approx(served.tolist(), abs=1e-6)
        assert why.mixed_probability == pytest.approx(mixed.max(), abs=1e-5)
        assert math.fsum([why.head_contribution, *(one.contribution for one in why.neighbours)]) == pytest.approx(
            why.mixed_probability, abs=1e-12
        )
        for one in why.neighbours:
            deletion = model.forget([one.id])
            without = model.predict_proba([text])[0]
            assert one.probability_without == pytest.approx(without.max(), abs=1e-9)
            model.undo(deletion.id)


def test_only_k_neighbours_speak_for_the_labels_that_were_taught():
    head, cosines = np.array([[0.5, 0.5]]), np.array([[0.9, 0.9]])
    soft = np.array([[[1.0, 0, 0], [0, 1.0, 0]]])
    assert mixture(head, cosines, soft, 0.1, 0.5, 1).tolist() == [[0.75, 0.25, 0]]
    assert mixture(head, cosines, soft, 0.1, 0.5).tolist() == [[0.5, 0.5, 0]]
    assert [neighbours_needed(k, late) for k, late in ((1, False), (1, True), (5, True))] == [1, 2, 5]
