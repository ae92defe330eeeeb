import json
import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from tokenizers import Tokenizer

import hundredth
from hundredth import UserError
from hundredth.files import file_fingerprint, read_json, write_json
from hundredth.runtime import RetrievalInfo, available_threads
from hundredth.store import KnowledgeStore, calibrate, mix, neighbour_distribution, neighbour_weights

TEXTS = [
    "the machine ate my card",
    "money back",
    "where is my parcel is my parcel where",
    "refund",
    "money back",
    "card card card",
]


@pytest.fixture
def model(make_model):
    with hundredth.load(make_model(), threads=1) as loaded:
        yield loaded


def _softmax(logits):
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def test_probabilities_are_the_calibrated_mixture_of_head_and_neighbours(model, make_model):
    embeddings, logits = model.embed(TEXTS)
    head = _softmax(logits)
    keys, _ = model.embed(["machine ate card", "money back", "where is my parcel"])
    weights = neighbour_weights(embeddings @ keys.T, 0.2)
    q = np.tile(0.85 * np.eye(3) + 0.05, (len(TEXTS), 1, 1))
    expected = calibrate(mix(head, neighbour_distribution(weights, q), 0.4), 1.3)
    probabilities = model.predict_proba(TEXTS)
    assert np.allclose(probabilities, expected, atol=1e-5)
    assert np.allclose(probabilities.sum(axis=1), 1)
    assert not np.allclose(probabilities, calibrate(head, 1.3), atol=1e-2)
    assert model.predict(TEXTS) == [model.labels[best] for best in expected.argmax(axis=1)]


def test_embeddings_are_those_of_the_word_vectors(model):
    """Silent otherwise: padding or a wrong mask moves every embedding a little."""
    embeddings, _ = model.embed(["card", "money", "card money refund my the"])
    alone, _ = model.embed(["card"])
    assert np.allclose(embeddings[0], alone[0], atol=1e-6)
    assert np.allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-6)


def test_results_come_in_the_order_of_the_texts_and_each_as_if_alone(model):
    generator = np.random.default_rng(0)
    words = ["card", "money", "parcel", "refund", "is", "the"]
    texts = [" ".join(generator.choice(words, size=generator.integers(1, 12))) for _ in range(200)]
    together = model.predict_proba(texts)
    for position in range(0, 200, 7):
        assert np.allclose(together[position], model.predict_proba([texts[position]])[0], atol=1e-6)


def test_repeated_texts_are_encoded_once(model, monkeypatch):
    sizes = []
    run = model._encoder._run_batch
    monkeypatch.setattr(model._encoder, "_run_batch", lambda batch: sizes.append(len(batch)) or run(batch))
    probabilities = model.predict_proba(["money back"] * 500 + ["refund"])
    assert sum(sizes) == 2
    assert np.array_equal(probabilities[0], probabilities[499])


def test_no_texts_give_no_results(model):
    assert model.predict([]) == []
    assert model.predict_proba([]).shape == (0, 3)


@pytest.mark.parametrize("weight", [0.0, 0.4, 1.0])
def test_an_answer_is_the_prediction_and_the_nearness_in_one(make_model, weight, monkeypatch):
    with hundredth.load(make_model(retrieval=RetrievalInfo(2, 0.1, weight)), threads=1) as model:
        similarity = (-1.0, 0.9, 1.0)
        model.manifest = replace(model.manifest, dev=replace(model.manifest.dev, similarity=similarity))
        model.correct("refund card", "delivery")
        texts, encoded = [*TEXTS, "refund card"], []
        probabilities, near = model.predict_proba(texts), model.nearness(texts)
        read = model._encoder.read
        monkeypatch.setattr(model._encoder, "read", lambda rows: encoded.append(rows) or read(rows))
        found = model.answer(texts)
        assert np.array_equal(found.probabilities, probabilities)
        assert np.allclose(found.nearness.similarity, near.similarity, atol=1e-6)
        assert np.allclose(found.nearness.quantile, near.quantile, atol=1e-6)
        assert found.nearness.quantile.min() < 0.9 < found.nearness.quantile.max()
        assert len(encoded) == 1
        assert model.answer([]).probabilities.shape == (0, 3)


@pytest.mark.parametrize("entries", [None, ()], ids=["no store", "an empty store"])
def test_without_entries_an_answer_does_not_say_how_near_it_is(make_model, entries):
    with hundredth.load(make_model(entries=entries), threads=1) as model:
        found = model.answer(TEXTS)
        assert np.array_equal(found.probabilities, model.predict_proba(TEXTS))
        assert np.isnan(found.nearness.similarity).all()
        assert np.isnan(found.nearness.quantile).all()


def test_a_graph_without_token_types_is_fed_without_them(make_model):
    with hundredth.load(make_model(token_types=False)) as model:
        assert len(model.predict(TEXTS)) == len(TEXTS)


def test_a_model_without_knowledge_predicts_by_its_head(make_model):
    folder = make_model(entries=None)
    assert not (folder / "store.db").exists()
    with hundredth.load(folder) as model:
        _, logits = model.embed(TEXTS)
        assert np.allclose(model.predict_proba(TEXTS), calibrate(_softmax(logits), 1.3))
        explanation = model.explain(TEXTS[0])
        assert (explanation.head_share, explanation.neighbours) == (1.0, ())
        assert not model.has_store
        with pytest.raises(UserError, match="no knowledge store"):
            _ = model.store
        assert sorted(path.name for path in folder.iterdir()) == [
            "encoder.onnx",
            "hundredth.json",
            "tokenizer.json",
        ]


def test_an_empty_store_leaves_the_head_alone(make_model):
    with hundredth.load(make_model(entries=())) as model:
        _, logits = model.embed(TEXTS)
        assert np.allclose(model.predict_proba(TEXTS), calibrate(_softmax(logits), 1.3))
        assert model.explain(TEXTS[0]).head_share == 1.0
        assert model.store.search(TEXTS[0]) == []


@pytest.mark.parametrize("weight", [0.0, 0.4, 1.0])
def test_the_shares_of_an_explanation_add_up_to_one(make_model, weight):
    folder = make_model(retrieval=RetrievalInfo(k=2, temperature=0.1, weight=weight))
    with hundredth.load(folder) as model:
        for text in TEXTS:
            explanation = model.explain(text)
            shares = [neighbour.share for neighbour in explanation.neighbours]
            assert explanation.head_share + sum(shares) == pytest.approx(1, abs=1e-9)
            assert all(share >= 0 for share in shares)
            probabilities = model.predict_proba([text])[0]
            assert list(explanation.probabilities) == list(model.labels)
            assert np.allclose(list(explanation.probabilities.values()), probabilities)
            assert explanation.label == model.predict([text])[0]
            assert explanation.probability == explanation.probabilities[explanation.label]
            assert len(shares) == (2 if weight else 0)


def test_an_explanation_shows_the_entry_that_decided_and_can_be_written_as_json(make_model):
    with hundredth.load(make_model(retrieval=RetrievalInfo(3, 0.01, 0.9))) as model:
        explanation = model.explain("where is my parcel")
    first = explanation.neighbours[0]
    assert (first.texts, first.label, first.origin) == (("where is my parcel",), "delivery", "gold")
    assert first.similarity == pytest.approx(1, abs=1e-5)
    assert first.share > 0.8
    shown = json.loads(json.dumps(explanation.to_dict()))
    assert shown["label"] == "delivery"
    assert shown["neighbours"][0]["texts"] == ["where is my parcel"]


def test_a_neighbour_without_gold_label_shows_its_likeliest(make_model):
    folder = make_model()
    with KnowledgeStore.open(folder) as store:
        store.update(1, [0.1, 0.7, 0.2], None)
    with hundredth.load(folder) as model:
        labels = {neighbour.id: neighbour.label for neighbour in model.explain("card").neighbours}
    assert labels == {1: "refund", 2: "refund", 3: "delivery"}


def test_what_is_added_and_deleted_changes_the_next_prediction(make_model):
    with hundredth.load(make_model(retrieval=RetrievalInfo(1, 0.05, 0.95))) as model:
        before = model.predict_proba(["refund my card"])
        for label in model.labels:
            (id,) = model.store.add(["refund my card"], [label])
            assert model.predict(["refund my card"]) == [label]
            (entry,) = model.store.entries("user")
            assert (entry.id, entry.label, entry.origin) == (id, model.labels.index(label), "user")
            assert entry.soft_label.tolist() == np.eye(3)[entry.label].tolist()
            assert model.store.search("refund my card", 1)[0].entry.id == id
            (neighbour,) = model.explain("refund my card").neighbours
            assert (neighbour.id, neighbour.label, neighbour.origin) == (id, label, "user")
            assert model.store.delete([id]) == 1
        assert np.array_equal(model.predict_proba(["refund my card"]), before)
        assert len(model.store) == 3


def test_a_corrected_entry_changes_the_next_prediction_and_what_is_added_lasts(make_model):
    folder = make_model(retrieval=RetrievalInfo(1, 0.05, 0.95))
    with hundredth.load(folder) as model:
        (id,) = model.store.add(["the machine ate my money"], ["refund"])
    with KnowledgeStore.open(folder) as store:
        store.update(id, np.eye(3)[2], 2)
    with hundredth.load(folder) as model:
        assert model.predict(["the machine ate my money"]) == ["delivery"]
        assert len(model.store) == 4


def test_what_cannot_be_added_is_refused(model):
    with pytest.raises(UserError, match="unknown label 'refunds': this model knows card_swallowed, refund, deliv"):
        model.store.add(["x y"], ["refunds"])
    with pytest.raises(UserError, match="1 texts need a list of as many labels"):
        model.store.add(["x y"], [])
    with pytest.raises(UserError, match="as many labels"):
        model.store.add(["x y"], "refund")
    with pytest.raises(UserError, match="text 1 is empty"):
        model.store.add(["x", " "], ["refund", "refund"])
    assert model.store.add([], []) == []
    assert len(model.store) == 3


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("money back", "pass a list"),
        ({"text": "money back"}, "pass a list"),
        (["money", ""], "text 1 is empty"),
        (["money", " \n\t"], "text 1 is empty"),
        ([None], "text 0 is None"),
        ([3.5], "text 0 is 3.5"),
        ([("a", "b")], "text 0 has 2 fields"),
        ([{"body": "a"}], "text 0 has no field 'text'"),
        ([{"text": None}], "text 0 is None"),
        (["ok", "bad \ud800"], "text 1 holds half of a surrogate pair"),
    ],
)
def test_what_is_no_text_is_refused_by_position(model, texts, message):
    for method in (model.predict, model.predict_proba, model.embed):
        with pytest.raises(UserError, match=message):
            method(texts)


def test_a_text_of_one_field_may_come_as_string_tuple_or_mapping(model):
    forms = [["money back"], [("money back",)], [{"text": "money back", "other": 1}]]
    results = [model.predict_proba(form) for form in forms]
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0], results[2])


def test_pairs_are_encoded_as_two_segments_with_the_longer_cut_first(make_model):
    entries = ((("money back", "refund"), 1),)
    with hundredth.load(make_model(entries=entries, fields=("question", "answer"), max_length=8)) as model:
        rows = [("money back", "refund"), {"answer": "refund", "question": "money back"}]
        one, two = model.predict_proba(rows)
        assert np.array_equal(one, two)
        assert not np.allclose(one, model.predict_proba([("refund", "money back")])[0])
        # 8 tokens: 3 special, 4 of the long field, 1 of the short one.
        long, cut = model.embed([("card " * 50, "refund"), ("card " * 4, "refund")])[0]
        assert np.allclose(long, cut, atol=1e-6)
        with pytest.raises(UserError, match=r"text 0, field 'answer', is empty"):
            model.predict([("money", "")])
        with pytest.raises(UserError, match="text 0 has 1 fields"):
            model.predict(["money"])


def test_of_three_fields_the_later_ones_share_a_segment(make_model):
    entries = ((("a", "b", "c"), 1),)
    with (
        hundredth.load(make_model(entries=entries, fields=("x", "y", "z"))) as three,
        hundredth.load(make_model(entries=None, fields=("x", "y"))) as two,
    ):
        joined = two.embed([("money", "card refund parcel")])[0]
        assert np.array_equal(three.embed([("money", "card refund", "parcel")])[0], joined)


@pytest.mark.parametrize("word", ["card ", "card", " \n"])
def test_a_text_of_a_megabyte_costs_little(model, word):
    text = (word * (1 << 20))[: 1 << 20] + " money"
    started = time.perf_counter()
    model.predict([text])
    assert time.perf_counter() - started < 0.5


def test_a_very_long_text_reads_as_its_beginning(model):
    long, short = model.embed([" " * 100_000 + "card money " * 100_000, "card money " * 7])[0]
    assert np.allclose(long, short, atol=1e-6)


def test_what_lies_far_beyond_the_limit_is_never_handed_to_the_tokenizer(model):
    """Silent otherwise: one huge text holds a service up for as long as its tokenisation takes."""
    huge, unknown = model.embed(["x" * 2000 + " money", "x"])[0]
    assert np.array_equal(huge, unknown)


def test_words_that_the_tokenizer_does_not_know_are_no_error(model):
    assert len(model.predict(["日本語 🎉 ﷽", "xyzzy"])) == 2


def test_a_text_of_which_no_token_is_left_is_named(make_model):
    folder = make_model()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    content = json.loads(tokenizer.to_str()) | {"post_processor": None}
    content["pre_tokenizer"] = {
        "type": "Split",
        "pattern": {"Regex": "[^a-z]+"},
        "behavior": "Removed",
        "invert": False,
    }
    write_json(folder / "tokenizer.json", content)
    manifest = read_json(folder / "hundredth.json")
    manifest["encoder"]["fingerprint"] = file_fingerprint(folder / "encoder.onnx", folder / "tokenizer.json")
    manifest["retrieval"]["weight"] = 0.0
    write_json(folder / "hundredth.json", manifest)
    for name in ("store.db", "index.faiss"):
        (folder / name).unlink()
    with hundredth.load(folder) as model:
        assert len(model.predict(["money"])) == 1
        with pytest.raises(UserError, match=r"no token is left of the text \('123'"):
            model.predict(["money", "123"])


def test_threads_may_share_a_model_while_knowledge_is_edited(model):
    failures = []
    done = threading.Event()

    def predict():
        try:
            while not done.is_set():
                assert len(model.predict(TEXTS)) == len(TEXTS)
                explanation = model.explain("money back")
                total = explanation.head_share + sum(item.share for item in explanation.neighbours)
                assert total == pytest.approx(1)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=predict) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        model.store.delete(model.store.add(["money back", "refund"], ["refund", "delivery"]))
    done.set()
    for thread in threads:
        thread.join()
    assert failures == []


def test_threads_are_those_given_or_those_of_the_machine(make_model):
    folder = make_model()
    with pytest.raises(UserError, match="threads is 0"):
        hundredth.load(folder, threads=0)
    for threads, expected in ((None, available_threads()), (1, 1)):
        with hundredth.load(folder, threads=threads) as model:
            options = model._encoder._engine.session.get_session_options()
            assert (options.intra_op_num_threads, options.inter_op_num_threads) == (expected, 1)
            assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


_FORBIDDEN = ("torch", "transformers", "sentence_transformers", "pydantic", "sklearn", "scipy", "pyarrow", "pandas")


def test_predicting_imports_nothing_of_the_training_stack(make_model):
    script = (
        "import sys, hundredth\n"
        "assert 'numpy' not in sys.modules and 'onnxruntime' not in sys.modules\n"
        "with hundredth.load(sys.argv[1]) as model:\n"
        "    model.predict(['money back']); model.explain('refund'); model.store.add(['card'], ['refund'])\n"
        f"print([name for name in {_FORBIDDEN!r} if name in sys.modules])"
    )
    command = [sys.executable, "-c", script, str(make_model())]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout.strip(), ran.stderr) == (0, "[]", "")


def test_importing_hundredth_is_quick():
    script = "import time; t = time.perf_counter(); import hundredth; print(time.perf_counter() - t)"
    times = [
        float(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout)
        for _ in range(3)
    ]
    assert min(times) < 0.3
