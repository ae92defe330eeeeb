"""Labels that a deployed model was not taught: added to its knowledge, predicted, explained."""

import math

import numpy as np
import pytest

from hundredth.errors import UnknownLabelError, UserError
from hundredth.files import read_json, write_json
from hundredth.runtime import RetrievalInfo, load
from hundredth.runtime.knowledge import Given
from hundredth.store import (
    KnowledgeStore,
    calibrate,
    mix,
    mixture,
    neighbour_distribution,
    neighbour_weights,
    softmax,
)

TEXT = "where is the money"
PAIRED = (("machine ate card",), ("money back",), ("where is my parcel",), ("my refund is where",))


def _grown(folder):
    """A model whose store has entries of a fourth label; none of a user's is near enough to decide."""
    manifest = read_json(folder / "hundredth.json")
    write_json(folder / "hundredth.json", {**manifest, "correction": {"similarity": 0.999999}})
    model = load(folder)
    model.add_label("complaint", by="Ada")
    model.store.add(["where is the refund", "the money where"], ["complaint"] * 2)
    return model


@pytest.mark.parametrize("weight", [0.0, 0.4, 1.0])
def test_an_added_label_counts_in_full_and_head_and_store_share_the_rest(make_model, weight):
    """Silent otherwise: a head that does not know of a label outvotes all that the store says of it."""
    folder = make_model(retrieval=RetrievalInfo(k=4, temperature=0.2, weight=weight))
    with load(folder) as model:
        before = model.predict_proba([TEXT, "my card"])
    with _grown(folder) as model, KnowledgeStore.open(folder) as store:
        keys, logits = model.embed([TEXT, "my card"])
        found = store.search(keys, 4)
        probabilities = model.predict_proba([TEXT, "my card"])
    head = softmax(logits)
    retrieved = neighbour_distribution(neighbour_weights(found.similarities, 0.2), found.soft_labels)[:, :3]
    nearest = neighbour_weights(found.similarities[:, :2], 0.05)
    late = neighbour_distribution(nearest, found.soft_labels[:, :2])[:, 3:]
    of_store = retrieved / retrieved.sum(axis=1, keepdims=True)
    others = (1 - late) * ((1 - weight) * head + weight * of_store)
    np.testing.assert_allclose(others.sum(axis=1) + late[:, 0], 1, atol=1e-6)
    np.testing.assert_allclose(probabilities, calibrate(np.hstack([others, late]), 1.3), atol=1e-6)
    assert probabilities[0, 3] > 0.3
    assert model.labels == ("card_swallowed", "refund", "delivery", "complaint")
    assert before.shape == (2, 3)


@pytest.mark.parametrize("weight", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("text", [TEXT, "my card", "money back"])
def test_an_explanation_adds_up_and_without_an_entry_is_as_if_it_were_deleted(make_model, weight, text):
    with _grown(make_model(retrieval=RetrievalInfo(k=3, temperature=0.2, weight=weight))) as model:
        why = model.explain(text)
        [probabilities] = model.predict_proba([text])
        assert list(why.probabilities.values()) == pytest.approx(probabilities.tolist(), abs=1e-9)
        assert why.label == model.predict([text])[0]
        parts = [why.head_contribution, *(one.contribution for one in why.neighbours)]
        assert math.fsum(parts) == why.mixed_probability
        assert why.head_share + sum(one.share for one in why.neighbours) == pytest.approx(1)
        keys, logits = model.embed([text])
        found = model._knowledge.search(keys, 3)
        mixed = mixture(softmax(logits), found.similarities, found.soft_labels, 0.2, weight)
        assert why.mixed_probability == pytest.approx(mixed.max(), abs=1e-6)
        for one in why.neighbours:
            change = model.forget([one.id])
            [without] = model.predict_proba([text])
            assert one.label_without == model.labels[without.argmax()]
            assert one.probability_without == pytest.approx(without.max(), abs=1e-6)
            model.undo(change.id)


def test_a_few_entries_of_a_new_label_are_not_lost_among_many_neighbours(make_model):
    """Silent otherwise: a model that looks at 32 neighbours never says a label that five entries have."""
    many = [((f"{word} money {other}",), 1) for word in ("my", "the", "where", "is") for other in ("back", "card")]
    folder = make_model(entries=many, retrieval=RetrievalInfo(k=10, temperature=0.2, weight=0.3))
    with _grown(folder) as model:
        assert model.predict(["is the refund", "my money back"]) == ["complaint", "refund"]
        why = model.explain("is the refund")
        assert [one.label for one in why.neighbours] == ["complaint", "refund"]  # of ten
        assert why.head_share == 0


def test_of_neighbours_that_all_have_added_labels_the_head_alone_speaks_for_the_others():
    head, late = np.array([[0.9, 0.1]]), np.array([[0.6]])
    np.testing.assert_allclose(mix(head, np.array([[0.0, 0.0, 1.0]]), 0.5, late), [[0.36, 0.04, 0.6]])
    np.testing.assert_allclose(mix(head, np.array([[0.0, 0.3, 0.7]]), 0.5, late), [[0.18, 0.22, 0.6]])


def test_a_correction_with_an_added_label_decides(make_model):
    with load(make_model()) as model:
        with pytest.raises(UnknownLabelError, match=r"unknown label 'complaint': .*; a new one is added first"):
            model.correct(TEXT, "complaint")
        model.add_label("complaint")
        model.correct(TEXT, "complaint")
        assert model.predict([TEXT]) == ["complaint"]
        why = model.explain(TEXT)
        assert (why.label, why.decided_by_user, why.head_share) == ("complaint", True, 0)
        assert why.neighbours[0].label == "complaint"
        assert why.neighbours[0].label_without != "complaint"


def test_a_label_that_no_entry_has_is_not_predicted(make_model):
    with load(make_model()) as model:
        before = model.predict_proba(PAIRED[0])
        model.add_label("complaint")
        np.testing.assert_allclose(model.predict_proba(PAIRED[0]), np.pad(before, ((0, 0), (0, 1))), atol=1e-9)
        assert model.explain(PAIRED[0][0]).probabilities["complaint"] == 0


def test_another_model_of_the_same_folder_knows_of_it_at_once(make_model):
    folder = make_model()
    with load(folder) as one, load(folder) as other:
        one.add_label("complaint")
        one.correct(TEXT, "complaint")
        assert other.predict([TEXT]) == ["complaint"]
        assert other.labels[3:] == ("complaint",)
    with load(folder) as again:
        assert again.predict([TEXT]) == ["complaint"]


def test_a_model_without_knowledge_takes_no_label(make_model):
    with load(make_model(entries=None)) as model, pytest.raises(UserError, match="no knowledge store"):
        model.add_label("complaint")


def test_batches_around_an_addition_are_as_wide_as_the_widest(make_model, monkeypatch):
    """Silent otherwise: a large batch fails where a label is added while it is answered."""
    monkeypatch.setattr("hundredth.runtime.model._CHUNK", 2)
    with load(make_model()) as model:
        mixed = model._mixed

        def adding(*given):
            found = mixed(*given)
            if len(model.labels) == 3:
                model.add_label("complaint")
            return found

        monkeypatch.setattr(model, "_mixed", adding)
        assert model.predict_proba(["my card", "money", "my parcel"]).shape == (3, 4)


def test_labels_may_be_added_with_the_texts_that_have_them(make_model):
    with load(make_model()) as model:
        model.store.add(
            ["where is the refund", "money"], ["complaint", "refund"], new_labels=True, by="Ada", note="n"
        )
        model.correct(TEXT, "praise", new_label=True)
        model.correct(TEXT, "praise", new_label=True)
        assert model.labels[3:] == ("complaint", "praise")
        assert model.predict([TEXT]) == ["praise"]
        log = [(one.kind, one.by, one.note) for one in model.log()[::-1][1:4]]
        assert log == [
            ("add", "Ada", "new label 'complaint': n"),
            ("add", "Ada", "n"),
            ("add", "", "new label 'praise'"),
        ]


@pytest.mark.parametrize("name", ["", " ", " fee", "fee ", "a  fee", "a\tfee", "fee\u202e", None, 7])
def test_what_is_no_name_for_a_label_is_refused(make_model, name):
    with load(make_model()) as model:
        for add in (
            lambda: model.add_label(name),
            lambda: model.correct(TEXT, name, new_label=True),
            lambda: model.store.add([TEXT, TEXT], ["fee", name], new_labels=True),
        ):
            said = r"a label needs a name|a new label cannot be named|has no label|did you mean 'fee'\?"
            with pytest.raises(UserError, match=said):
                add()
        assert (model.labels[3:], len(model.log())) == ((), 1)


@pytest.mark.parametrize("name", ["Refund", "REFUND", " refund", "refund\n"])
def test_a_label_that_differs_by_case_or_white_space_alone_is_refused(make_model, name):
    """Silent otherwise: a label for good beside the one that was meant."""
    with load(make_model()) as model:
        known = model.labels
        for add in (
            lambda: model.add_label(name),
            lambda: model.correct(TEXT, name),
            lambda: model.correct(TEXT, name, new_label=True),
            lambda: model.store.add([TEXT], [name], new_labels=True),
        ):
            with pytest.raises(UserError, match=r"unknown label .*: did you mean 'refund'\?"):
                add()
        assert (model.labels, len(model.log())) == (known, 1)


def test_labels_that_a_model_was_taught_may_differ_by_case_alone(make_model):
    with load(make_model(labels=("us", "US", "delivery"))) as model:
        model.correct(TEXT, "US")
        assert model.predict([TEXT]) == ["US"]
        model.correct(TEXT, "us", new_label=True)
        assert model.predict([TEXT]) == ["us"]


def test_no_label_is_left_of_texts_that_are_refused(make_model):
    """Silent otherwise: a label cannot be removed, and a request that fails would add it all the same."""
    with load(make_model()) as model:
        for add in (
            lambda: model.correct(" ", "fee", new_label=True),
            lambda: model.store.add(["card", ""], ["fee", "fee"], new_labels=True),
            lambda: model.store.add(["card"], ["fee", "fee"], new_labels=True),
            lambda: model.store.put([Given(("card",), "fee", {"fee": 0.5})], new_labels=True),
            lambda: model.store.put([Given(("card",), "fee", None, "web")], new_labels=True),
            lambda: model.store.add(["card", "money"], ["fee", "costs"]),
            lambda: model.correct("card", "fee", new_label=True, note=5),
            lambda: model.correct("card", "fee", new_label=True, by=5),
        ):
            with pytest.raises(UserError):
                add()
        assert (model.labels[3:], len(model.log())) == ((), 1)


def test_what_somebody_else_adds_at_the_same_time_is_no_conflict(make_model, monkeypatch):
    folder = make_model()
    with load(folder) as one, load(folder) as other:
        encode = one.store._encoder.encode

        def quicker(rows):
            other.add_label("fee")
            return encode(rows)

        monkeypatch.setattr(one._encoder, "encode", quicker)
        one.correct(TEXT, "fee", new_label=True)
        assert one.labels[3:] == ("fee",)
        # Each knows of a label that the other has added, also when that is the first thing it is asked about.
        other.add_label("costs")
        monkeypatch.setattr(one._encoder, "encode", encode)
        one.correct(TEXT, "costs")
        assert other.predict([TEXT]) == ["costs"]


def test_a_label_that_is_nearly_one_that_somebody_else_added_is_refused(make_model):
    """Silent otherwise: both would be there for good."""
    folder = make_model()
    with load(folder) as one, load(folder) as other:
        other.add_label("complaint")
        for add in (
            lambda: one.add_label("Complaint"),
            lambda: one.correct(TEXT, " complaint", new_label=True),
            lambda: one.store.add([TEXT, TEXT], ["fee", "COMPLAINT"], new_labels=True),
            lambda: one.add_label("com\u200cplaint"),
        ):
            with pytest.raises(UserError, match="did you mean 'complaint'"):
                add()
        assert other.labels[3:] == one.labels[3:] == ("complaint",)


def test_a_name_may_have_what_joins_letters_but_not_that_alone(make_model):
    with load(make_model()) as model:
        for name in ("\u200c", "a\u202eb", "a\u200bb"):
            with pytest.raises(UserError):
                model.add_label(name)
        model.correct(TEXT, "\u0639\u0644\u06cc\u200c\u0631\u0636\u0627", new_label=True)
        assert model.predict([TEXT]) == [model.labels[3]]


def test_an_unknown_label_is_told_with_some_of_many(make_model):
    labels = tuple(f"label_{number}" for number in range(30))
    with load(make_model(labels=labels)) as model, pytest.raises(UnknownLabelError) as refused:
        model.correct(TEXT, "fee")
    assert "label_19 and 10 more; a new one is added first" in str(refused.value)
    assert "label_20" not in str(refused.value)


def test_entries_are_put_in_as_they_are_said_to_be(make_model):
    given = [
        Given(("my card",), None, {"refund": 0.25, "fee": 0.75}, "generated"),
        Given(("my card ate",), "refund"),
        Given(("the parcel",), "delivery", {"delivery": 0.5, "refund": 0.5}, "gold"),
    ]
    done = []
    with load(make_model()) as model:
        with pytest.raises(UnknownLabelError, match="'fee'"):
            model.store.put(given)
        change = model.store.put(given, new_labels=True, progress=done.append)
        assert change == model.log(1)[0]
        ids = list(change.added)
        entries = [model.store.get(id) for id in ids]
        assert [entry.soft_label.tolist() for entry in entries] == [
            [0, 0.25, 0, 0.75],
            [0, 1, 0, 0],
            [0, 0.5, 0.5, 0],
        ]
        assert [(entry.label, entry.origin) for entry in entries] == [(None, "generated"), (1, "user"), (2, "gold")]
        assert [one.shown_label for one in given] == [model.labels[entry.shown_label] for entry in entries]
        keys, _ = model.embed([entry.texts for entry in entries])
        assert [model.store.search(entry.texts)[0].entry.id for entry in entries] == ids
        assert (sum(done), keys.shape) == (3, (3, 8))
        assert model.store.put([]) is None


def test_the_progress_of_many_texts_is_told_in_parts(make_model, monkeypatch):
    monkeypatch.setattr("hundredth.runtime.knowledge._AT_ONCE", 2)
    words = ["card", "swallowed", "machine", "ate", "money"]
    done = []
    with load(make_model()) as model:
        ids = model.store.put([Given((word,), "refund") for word in words], progress=done.append).added
        assert done == [2, 2, 1]
        for id, word in zip(ids, words, strict=True):
            assert [hit.entry.id for hit in model.store.search(word, 2) if hit.similarity > 0.9999] == [id]
