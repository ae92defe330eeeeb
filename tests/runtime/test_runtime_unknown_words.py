"""Words that the tokenizer does not know: to the encoder all of them are one."""

import pytest
from tokenizers import Tokenizer, normalizers

import hundredth
from hundredth.runtime import Encoder, RetrievalInfo

UP, DOWN = "👍", "👎"


@pytest.fixture(params=[0.0, 0.5], ids=lambda weight: f"lambda {weight}")
def model(make_model, request):
    with hundredth.load(make_model(retrieval=RetrievalInfo(3, 0.1, request.param)), threads=1) as loaded:
        yield loaded


@pytest.mark.parametrize("rest", ["", "my card "])
def test_a_correction_holds_for_texts_with_the_same_unknown_words_alone(model, rest):
    """Silent otherwise: what is said of one of them is the answer to all, with probability 1."""
    up, down, plain = f"{rest}{UP}", f"{rest}{DOWN}", rest or "card"
    keys, _ = model.embed([up, down])
    assert (keys[0] == keys[1]).all()
    others = [down, plain, f"{up} {up}"]
    before = model.predict_proba(others)
    model.correct(up, "delivery")
    assert model.predict_proba([up]).tolist() == [[0, 0, 1]]
    assert model.predict_proba(others).max() < 1
    if model.manifest.retrieval.weight == 0:
        assert (model.predict_proba(others) == before).all()
    assert [model.explain(text).decided_by_user for text in (up, down)] == [True, False]
    model.correct(down, "refund")
    assert [entry.texts for entry in model.store.entries("user")] == [(up,), (down,)]
    for texts in ([up, down], [down], [up]):
        assert model.predict(texts) == [{up: "delivery", down: "refund"}[text] for text in texts]
    model.correct(up, "refund")
    assert [entry.texts for entry in model.store.entries("user")] == [(down,), (up,)]
    assert model.predict([up, down]) == ["refund", "refund"]


def test_a_correction_is_found_among_many_with_its_key(model):
    signs = [chr(0x4E00 + number) for number in range(40)]
    labels = [model.labels[number % 3] for number in range(40)]
    model.store.add(signs, labels)
    assert model.predict(signs) == labels
    why = model.explain(signs[0])
    assert (why.label, why.neighbours[0].texts) == (labels[0], (signs[0],))
    model.store.add([signs[0]], [labels[1]])
    assert model.predict([signs[0]]) == [labels[1]]
    assert model.explain(signs[0]).neighbours[0].label_without == labels[0]


def test_a_text_of_known_words_is_not_read_again(model, monkeypatch):
    read, asked = model._encoder.unknown_words, []
    model.correct("money back", "delivery")
    monkeypatch.setattr(model._encoder, "unknown_words", lambda texts: asked.append(texts) or read(texts))
    for _ in range(3):
        assert model.predict(["back money", "where is my parcel"])[0] == "delivery"
    assert len(asked) <= 2
    assert model.predict([UP]) != [None]
    assert len(asked) <= 2


def test_unknown_words_are_those_of_both_texts_in_the_tokenizers_spelling(make_model):
    folder = make_model(entries=None, fields=("one", "two"), max_length=16)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.save(str(folder / "tokenizer.json"))
    encoder = Encoder(folder / "encoder.onnx", folder / "tokenizer.json", 16, threads=1)
    assert encoder.unknown_words(("My ÄRGER card", f"is {UP}ärger  Xyz")) == ("ärger", UP, "ärger", "xyz")
    assert encoder.unknown_words(("my card", "MY CARD")) == ()
    read = encoder.read([("my", "Xyz"), ("my", "card"), ("my", "Xyz")])
    assert read.unknown == [True, False, True]
    many = [("my", "Xyz" if number % 3 else "card " * (number + 1)) for number in range(40)]
    assert encoder.read(many).unknown == [number % 3 > 0 for number in range(40)]


def test_what_is_cut_off_is_no_word_of_the_text(make_model):
    folder = make_model(entries=None, max_length=5)
    encoder = Encoder(folder / "encoder.onnx", folder / "tokenizer.json", 5, threads=1)
    assert encoder.unknown_words((f"my {UP} card {DOWN}",)) == (UP,)


def test_entries_are_not_read_again_for_their_words(model, monkeypatch):
    """Reading all entries of a key at every call took half a minute for a batch of 64, and others waited for it."""
    signs = [chr(0x4E00 + number) for number in range(40)]
    model.store.add(signs, ["refund"] * 40)
    read = []
    get = type(model._knowledge).get

    def counted(store, ids):
        found = list(ids)
        read.extend(found)
        return get(store, found)

    monkeypatch.setattr(type(model._knowledge), "get", counted)
    model.predict([UP])
    assert len(read) == 40
    model.predict([DOWN, signs[3]])
    assert len(read) == 41
