"""Correcting a live model, explaining what it then says, and knowing when to trust it."""

import json
import math
import shutil
import sqlite3
import threading
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hundredth
from hundredth import UserError
from hundredth.files import read_json, write_json
from hundredth.runtime import DevInfo, Manifest, RetrievalInfo, dev_record, risk_coverage
from hundredth.runtime.trust import quantile_of, threshold_for
from hundredth.store import calibrate

WORDS = ["card", "swallowed", "machine", "ate", "my", "the", "refund", "money", "back", "where", "is", "parcel"]
TEXT = "the machine ate my card"


def _similarity(model, one, other):
    keys, _ = model.embed([one, other])
    return float(keys[0] @ keys[1])


@pytest.fixture(params=[0.0, 0.4, 1.0], ids=lambda weight: f"lambda {weight}")
def model(make_model, request):
    with hundredth.load(make_model(retrieval=RetrievalInfo(3, 0.1, request.param)), threads=1) as loaded:
        yield loaded


def test_a_correction_holds_at_once_for_the_text_and_its_near_copies_and_for_no_other(model):
    model.manifest = replace(model.manifest, correction=replace(model.manifest.correction, similarity=0.98))
    copies = [TEXT, TEXT.replace(" ", "  "), " ".join(reversed(TEXT.split()))]
    other = "where is my parcel"
    assert _similarity(model, TEXT, other) < 0.98
    for label in model.labels:
        model.correct(TEXT, label)
        assert model.predict(copies) == [label] * 3
        assert model.predict_proba(copies[:1])[0].tolist() == [float(name == label) for name in model.labels]
        assert [entry.texts for entry in model.store.entries("user")] == [(TEXT,)]


def test_only_user_entries_within_the_threshold_decide(model):
    nearness = _similarity(model, TEXT, "the machine ate my money")
    assert 0.3 < nearness < 0.999
    before = model.predict_proba(["the machine ate my money"])[0]
    model.correct(TEXT, "delivery")
    for threshold, decides in ((nearness - 1e-3, True), (nearness + 1e-3, False)):
        model.manifest = replace(
            model.manifest, correction=replace(model.manifest.correction, similarity=threshold)
        )
        explanation = model.explain("the machine ate my money")
        assert explanation.decided_by_user is decides
        found = model.predict_proba(["the machine ate my money"])[0]
        assert (found.tolist() == [0, 0, 1]) is decides
        if not decides and model.manifest.retrieval.weight == 0:
            assert np.array_equal(found, before)


def test_the_nearest_correction_decides(model):
    model.manifest = replace(model.manifest, correction=replace(model.manifest.correction, similarity=0.2))
    model.correct("money back", "delivery")
    model.correct("money back refund", "refund")
    assert model.predict(["money back", "money back refund"]) == ["delivery", "refund"]
    assert model.explain("money back").neighbours[0].label_without == "refund"


def test_what_is_added_decides_too(model):
    model.store.add([TEXT], ["delivery"], by="Ada", note="import")
    assert model.predict([TEXT]) == ["delivery"]
    assert (model.log(1)[0].by, model.log(1)[0].note) == ("Ada", "import")


def test_corrections_and_their_log_outlast_the_process_and_are_undone(make_model):
    folder = make_model(retrieval=RetrievalInfo(3, 0.1, 0.0))
    with hundredth.load(folder) as model:
        [before] = model.predict([TEXT])
        label = next(name for name in model.labels if name != before)
        change = model.correct(TEXT, label, by="Ada", note="ticket 7")
    (folder / "index.faiss").unlink()
    with hundredth.load(folder) as model:
        assert model.predict([TEXT]) == [label]
        assert model.log(1) == [change]
        undo = model.undo(change.id, by="Bo")
        assert model.predict([TEXT]) == [before]
        model.undo(undo.id)
        assert model.predict([TEXT]) == [label]
        forgotten = model.forget(change.added, by="Cy")
        assert (forgotten.kind, forgotten.by, forgotten.removed) == ("delete", "Cy", change.added)
        assert model.predict([TEXT]) == [before]
        assert [one.kind for one in model.log()] == ["delete", "undo", "undo", "correct", "add"]


def test_what_cannot_be_corrected_is_refused(model, make_model):
    with pytest.raises(UserError, match="unknown label 'refunds'"):
        model.correct(TEXT, "refunds")
    with pytest.raises(UserError, match="text 0 is empty"):
        model.correct(" ", "refund")
    with pytest.raises(UserError, match="no entry has the id 99"):
        model.forget([99])
    with pytest.raises(UserError, match=r"the ids are 3: give a list of ids, such as \[3\]"):
        model.forget(3)
    assert len(model.log()) == 1
    with (
        hundredth.load(make_model(entries=None)) as plain,
        pytest.raises(UserError, match="no knowledge store"),
    ):
        plain.correct(TEXT, "refund")


texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=5).map(" ".join)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=texts,
    k=st.integers(1, 9),
    temperature=st.floats(0.005, 2),
    weight=st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1)),
    similarity=st.floats(0.3, 0.999),
    corrections=st.lists(st.tuples(texts, st.integers(0, 2)), max_size=4),
)
def test_an_explanation_adds_up_exactly_and_without_an_entry_is_as_if_it_were_deleted(
    base, text, k, temperature, weight, similarity, corrections
):
    """Silent otherwise: an explanation that is not that of the prediction still looks like one."""
    base.manifest = replace(
        base.manifest,
        retrieval=RetrievalInfo(k, temperature, weight),
        correction=replace(base.manifest.correction, similarity=similarity),
    )
    made = [base.correct(words, base.labels[label]) for words, label in corrections]
    why = base.explain(text)
    served = base.predict_proba([text])[0]
    assert np.allclose(list(why.probabilities.values()), served, atol=1e-12)
    assert why.label == base.labels[int(np.argmax(list(why.probabilities.values())))]
    parts = [why.head_contribution, *(one.contribution for one in why.neighbours)]
    assert math.fsum(parts) == why.mixed_probability
    assert why.head_share + sum(one.share for one in why.neighbours) == pytest.approx(1, abs=1e-12)
    assert all(part >= 0 for part in parts)
    mixed = _mixed(base, text)
    assert why.mixed_probability == pytest.approx(mixed[base.labels.index(why.label)], abs=1e-6)
    assert len(why.neighbours) == (1 if why.decided_by_user else min(k, len(base.store)) if weight else 0)
    for one in why.neighbours:
        deletion = base.forget([one.id])
        without = base.predict_proba([text])[0]
        assert one.probability_without == pytest.approx(without.max(), abs=1e-12)
        assert without[base.labels.index(one.label_without)] == pytest.approx(without.max(), abs=1e-9)
        base.undo(deletion.id)
    for change in reversed(made):
        base.undo(change.id)
    assert [entry.id for entry in base.store.entries()] == [1, 2, 3, 4, 5]


def _mixed(model, text):
    """The mixture before calibration: what calibration makes the served probabilities of."""
    served = model.predict_proba([text])
    return calibrate(served, 1 / model.manifest.calibration.temperature)[0]


@pytest.fixture
def base(make_model):
    entries = [
        ((words,), number % 3)
        for number, words in enumerate(("machine ate card", "money back", "parcel is", "the refund", "my card"))
    ]
    with hundredth.load(make_model(entries=entries), threads=1) as loaded:
        yield loaded


def test_an_explanation_says_what_the_head_alone_would_say_and_goes_into_json(model):
    _, logits = model.embed([TEXT])
    model.correct(TEXT, "delivery")
    why = model.explain(TEXT)
    assert (why.label, why.head_share, why.decided_by_user) == ("delivery", 0.0, True)
    assert why.head_label == model.labels[int(logits.argmax())]
    assert (why.neighbours[0].share, why.neighbours[0].contribution, why.mixed_probability) == (1, 1, 1)
    shown = json.loads(json.dumps(why.to_dict()))
    assert shown["decided_by_user"] is True
    assert shown["neighbours"][0]["label_without"] == why.neighbours[0].label_without


def test_abstaining_leaves_out_exactly_what_is_below_the_threshold(model):
    rows = [TEXT, "money back", "where is my parcel", "refund", "swallowed"]
    sure = model.predict_proba(rows).max(axis=1)
    labels = model.predict(rows)
    for least in (0.0, float(np.sort(sure)[2]), 1.0):
        expected = [label if p >= least else None for label, p in zip(labels, sure, strict=True)]
        assert model.predict(rows, abstain_below=least) == expected
    assert model.predict(rows, abstain_below=float(np.sort(sure)[2])).count(None) == 2
    for bad in (-0.1, 1.5, float("nan"), "0.5", True):
        with pytest.raises(UserError, match="abstain_below is"):
            model.predict(rows, abstain_below=bad)
    with pytest.raises(UserError, match="both given"):
        model.predict(rows, abstain_below=0.5, max_error=0.1)


def test_a_target_error_takes_the_threshold_of_the_development_texts(model):
    with pytest.raises(UserError, match="no record of its development texts: `hundredth knowledge tune` makes one"):
        model.predict([TEXT], max_error=0.1)
    dev = DevInfo(40, (0.9, 0.6, 0.4), (20, 30, 40), (0, 1, 9))
    model.manifest = replace(model.manifest, dev=dev)
    assert model.threshold(max_error=0.05) == 0.9  # 1 of 22 expected
    assert model.threshold(max_error=0.07) == 0.6  # 2 of 32
    assert model.threshold(max_error=0.5) == 0.4
    assert model.threshold() == 0.0
    probability = float(model.predict_proba([TEXT]).max())
    assert (model.predict([TEXT], max_error=0.05) == [None]) is (probability < 0.9)
    with pytest.raises(UserError, match=r"max_error is 0.01, but 40 development texts show no error below 0.045"):
        model.predict([TEXT], max_error=0.01)
    for bad in (0, 1, -1, "x"):
        with pytest.raises(UserError, match="max_error is"):
            model.threshold(max_error=bad)


def test_what_is_no_argument_is_said_in_one_line(model):
    for bad in (None, 7):
        with pytest.raises(UserError, match="was given for the texts: pass a list of them"):
            model.predict(bad)
    for bad in (-1, "all", 1.5):
        with pytest.raises(UserError, match=r"limit is .*: give a number of changes"):
            model.log(bad)
    with pytest.raises(UserError, match="a label of 501 characters is given: at most 500"):
        model.add_label("x" * 501)


def test_a_model_says_what_it_is_and_how_it_computes(model):
    assert (model.precision, model.threads, model.engine) == ("float32", 1, "onnxruntime")
    assert repr(model).startswith("<hundredth.Model of ")
    assert repr(model).endswith("entries, float32 weights with onnxruntime, 1 thread>")


@given(st.lists(st.tuples(st.integers(1, 6), st.booleans()), min_size=1, max_size=30))
def test_the_curve_counts_what_each_threshold_answers_and_gets_wrong(rows):
    confidence = np.array([value / 6 for value, _ in rows])
    right = np.array([ok for _, ok in rows])
    threshold, answered, wrong = risk_coverage(confidence, right)
    assert threshold.tolist() == sorted(set(confidence.tolist()), reverse=True)
    for least, count, errors in zip(threshold, answered, wrong, strict=True):
        assert count == (confidence >= least).sum()
        assert errors == (~right[confidence >= least]).sum()


def test_the_record_of_many_development_texts_stays_small_and_true():
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet(np.ones(4), size=3000)
    gold = generator.integers(0, 4, size=3000)
    similarity = generator.uniform(size=3000)
    dev = dev_record(probabilities, gold, similarity)
    assert len(dev.threshold) <= 200
    assert (dev.answered[-1], dev.texts) == (3000, 3000)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == gold
    for least, count, errors in zip(dev.threshold, dev.answered, dev.wrong, strict=True):
        assert (count, errors) == ((confidence >= least).sum(), (~right[confidence >= least]).sum())
    assert quantile_of(dev, np.array([-1.0, 0.25, 2.0])) == pytest.approx([0, 0.25, 1], abs=0.03)
    assert threshold_for(dev, 0.9) == dev.threshold[-1]


def test_a_text_far_from_all_knowledge_shows(model):
    near, far = "machine ate card", "back back"
    model.manifest = replace(model.manifest, dev=replace(model.manifest.dev, similarity=(0.94, 0.95, 0.999)))
    found = model.nearness([near, far])
    assert found.similarity[0] == pytest.approx(1, abs=1e-5)
    assert found.quantile[0] == 1
    keys, _ = model.embed([far, "machine ate card", "money back", "where is my parcel"])
    assert found.similarity[1] == pytest.approx((keys[1:] @ keys[0]).max(), abs=1e-5)
    assert found.quantile[1] == 0
    why = model.explain(far)
    assert (why.similarity, why.similarity_quantile) == (pytest.approx(found.similarity[1], abs=1e-6), 0)


def test_nearness_is_unknown_without_entries_or_record(make_model, model):
    assert np.isnan(model.nearness([TEXT]).quantile).all()
    assert model.explain(TEXT).similarity_quantile is None
    assert model.nearness([]).similarity.shape == (0,)
    for entries in (None, ()):
        with hundredth.load(make_model(entries=entries)) as bare:
            assert np.isnan(bare.nearness([TEXT]).similarity).all()
            assert (bare.explain(TEXT).similarity, bare.explain(TEXT).similarity_quantile) == (None, None)


def test_readers_see_a_correction_whole_or_not_at_all(make_model):
    """Silent otherwise: an answer made half of the store before a change and half of the one after it."""
    failures = []
    with hundredth.load(make_model(retrieval=RetrievalInfo(3, 0.1, 0.5)), threads=1) as model:
        before = tuple(model.predict_proba([TEXT])[0].tolist())
        allowed = {before, (0.0, 0.0, 1.0), (0.0, 1.0, 0.0)}
        done = threading.Event()

        def read():
            try:
                while not done.is_set():
                    found = model.predict_proba([TEXT, "money back"])[0]
                    assert any(np.allclose(found, one, atol=1e-9) for one in allowed)
                    why = model.explain(TEXT)
                    parts = [why.head_contribution, *(one.contribution for one in why.neighbours)]
                    assert math.fsum(parts) == why.mixed_probability
                    model.log(3)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=read) for _ in range(3)]
        for thread in threads:
            thread.start()
        for number in range(15):
            first = model.correct(TEXT, "delivery", by=f"writer {number}")
            second = model.correct(TEXT, "refund")
            model.undo(second.id)
            model.undo(first.id)
        done.set()
        for thread in threads:
            thread.join()
        assert failures == []
        assert np.allclose(model.predict_proba([TEXT])[0], before)


def test_a_model_folder_of_the_first_version_still_loads_and_can_be_corrected(make_model, tmp_path):
    folder = make_model(retrieval=RetrievalInfo(3, 0.1, 0.0))
    content = read_json(folder / "hundredth.json")
    del content["correction"], content["dev"]
    write_json(folder / "hundredth.json", {**content, "format_version": 1})
    connection = sqlite3.connect(folder / "store.db")
    for statement in ("DROP TABLE replaced", "DROP TABLE changes", "PRAGMA user_version = 1"):
        connection.execute(statement)
    connection.commit()
    connection.close()
    shutil.copytree(folder, tmp_path / "copy")
    assert Manifest.read(folder).correction.similarity == 0.98
    with hundredth.load(folder) as model:
        for label in model.labels:
            model.correct(TEXT, label)
            assert model.predict([TEXT]) == [label]
    write_json(folder / "hundredth.json", {**read_json(folder / "hundredth.json"), "dev": {}})
    with pytest.raises(UserError, match="dev is not known in format version 1"):
        hundredth.load(folder)
