"""What each route answers, held against the model itself."""

import math
from dataclasses import replace
from importlib.util import find_spec

import pytest
from callers import BEARER, TEXT, said

import hundredth
from hundredth.files import write_json
from hundredth.runtime import DevInfo, Manifest

LABELS = ["card_swallowed", "refund", "delivery"]
openvino = pytest.mark.skipif(find_spec("openvino") is None, reason="the package openvino is not installed")


@pytest.fixture
def model(client):
    return client.app.state.service.models.served.model


def test_predictions_are_those_of_the_model(client, model):
    texts = [TEXT, "money back", "where is my parcel"]
    body = client.post("/v1/predict", json={"texts": texts}).json()
    assert list(body) == ["model_version", "predictions"]
    near = model.nearness(texts)
    for number, (one, row) in enumerate(zip(body["predictions"], model.predict_proba(texts), strict=True)):
        assert list(one) == ["label", "probability", "probabilities", "similarity", "quantile"]
        assert list(one["probabilities"]) == LABELS
        assert list(one["probabilities"].values()) == pytest.approx(row.tolist(), abs=1e-6)
        assert one["label"] == max(one["probabilities"], key=one["probabilities"].get)
        assert one["probability"] == max(one["probabilities"].values())
        assert one["similarity"] == pytest.approx(near.similarity[number], abs=1e-6)
        assert one["quantile"] is None
    [alone] = client.post("/v1/predict", json={"text": TEXT}).json()["predictions"]
    assert alone["probabilities"] == pytest.approx(body["predictions"][0]["probabilities"], abs=1e-6)
    assert client.post("/v1/predict", json={"texts": []}).json()["predictions"] == []


def test_a_text_may_come_by_fields(client, serve, make_model):
    forms = [TEXT, [TEXT], {"text": TEXT}]
    one, two, three = client.post("/v1/predict", json={"texts": forms}).json()["predictions"]
    assert one == two == three
    pairs = serve(make_model(entries=((("money", "refund"), 1),), fields=("question", "answer")))
    forms = [["money back", "refund"], {"answer": "refund", "question": "money back"}]
    one, two = pairs.post("/v1/predict", json={"texts": forms}).json()["predictions"]
    assert one == two
    assert "this task reads 2" in said(pairs.post("/v1/predict", json={"text": "money"}), 422, "bad_request")


def test_a_prediction_that_is_not_sure_enough_is_not_given(client, model):
    least = float(model.predict_proba([TEXT]).max())
    for asked, answered in ((least - 1e-6, True), (least + 1e-6, False)):
        [one] = client.post("/v1/predict", json={"text": TEXT, "abstain_below": asked}).json()["predictions"]
        assert (one["label"] is not None) is answered
        assert one["probability"] == pytest.approx(least)
    refused = client.post("/v1/predict", json={"text": TEXT, "max_error": 0.1})
    assert "no record of its development texts" in said(refused, 422, "bad_request")
    model.manifest = replace(model.manifest, dev=DevInfo(40, (0.99, 0.0), (20, 40), (0, 9), (0.999, 1.0)))
    [one] = client.post("/v1/predict", json={"text": TEXT, "max_error": 0.05}).json()["predictions"]
    assert (one["label"], one["quantile"]) == (None, 0.0)
    both = {"text": TEXT, "max_error": 0.05, "abstain_below": 0.5}
    assert "both given" in said(client.post("/v1/predict", json=both), 422, "bad_request")


def test_an_explanation_is_that_of_the_model(client, model):
    why = client.post("/v1/explain", json={"text": TEXT}).json()
    version = why.pop("model_version")
    assert version == client.get("/v1/model").json()["model_version"]
    expected = model.explain(TEXT).to_dict()
    assert list(why) == list(expected)
    assert (why["label"], why["probability"]) == (expected["label"], pytest.approx(expected["probability"]))
    assert [one["id"] for one in why["neighbours"]] == [one["id"] for one in expected["neighbours"]]
    assert math.fsum([why["head_share"], *(one["share"] for one in why["neighbours"])]) == pytest.approx(1)


def test_what_a_tuning_keeps_to_be_taken_back_is_not_shown(serve, make_model):
    """Silent otherwise: hundreds of numbers among what the model was made from, on the page too."""
    folder = make_model()
    tuned = {"on": "2026-11-22", "previous": {"dev": {"threshold": [0.5] * 200}}}
    replace(Manifest.read(folder), provenance={"seed": 1, "tuned": tuned}).write(folder)
    shown = serve(folder).get("/v1/model").json()["provenance"]
    assert shown == {"seed": 1, "tuned": {"on": "2026-11-22"}}


def test_the_model_is_described(client, serve, make_model):
    folder = make_model()
    (folder / "README.md").write_text("# a card")
    write_json(folder / "stage.json", {"metrics": {"dev": {"score": 0.9, "ece_before": 0.2, "ece": 0.1}, "x": 1}})
    shown = serve(folder, threads=3).get("/v1/model").json()
    expected = {
        "task": "tickets",
        "fields": ["text"],
        "labels": LABELS,
        "retrieval": {"k": 4, "temperature": 0.2, "weight": 0.4},
        "calibration": {"temperature": 1.3, "ece_before": 0.2, "ece": 0.1},
        "provenance": {"seed": 1},
        "metrics": {"dev": {"score": 0.9, "ece_before": 0.2, "ece": 0.1}},
        "has_store": True,
        "entries": {"gold": 3, "generated": 0, "unlabelled": 0, "user": 0},
        "card": "# a card",
        "threads": 3,
        "engine": "onnxruntime",
        "number_format": "float32",
        "writable": True,
        "writes_need_token": True,
        "reads_need_token": False,
    }
    assert {name: shown[name] for name in expected} == expected
    assert shown["encoder"]["dimension"] == 8
    client.post("/v1/knowledge", json={"texts": [TEXT], "labels": ["refund"]})
    bare = client.get("/v1/model").json()
    assert (bare["entries"]["user"], bare["card"], bare["metrics"]) == (1, "", {})


@openvino
def test_the_engine_that_is_named_runs_the_model_and_is_told(serve, make_model):
    folder = make_model()
    one, other = serve(folder), serve(folder, engine="openvino")
    assert other.get("/v1/model").json()["engine"] == "openvino"
    answers = [client.post("/v1/predict", json={"text": TEXT}).json()["predictions"][0] for client in (one, other)]
    assert answers[0]["probabilities"] == pytest.approx(answers[1]["probabilities"], abs=1e-5)


def test_a_correction_holds_at_once_and_is_taken_back(client):
    before = client.post("/v1/predict", json={"text": TEXT}).json()["predictions"]
    sent = {"text": TEXT, "label": "delivery", "note": "ticket 17"}
    change = client.post("/v1/knowledge/correct", json=sent, headers={"X-User": "Ada"}).json()["change"]
    assert (change["kind"], change["by"], change["note"], change["undone"]) == (
        "correct",
        "Ada",
        "ticket 17",
        False,
    )
    [after] = client.post("/v1/predict", json={"text": TEXT}).json()["predictions"]
    assert (after["label"], after["probability"]) == ("delivery", 1.0)
    assert client.get("/v1/knowledge/log", params={"limit": 1}).json() == {"changes": [change]}
    assert change["undoable"] is True
    undone = client.post("/v1/knowledge/undo", json={"change": change["id"]}).json()["change"]
    assert (undone["kind"], undone["undoes"], undone["by"]) == ("undo", change["id"], "http")
    assert client.post("/v1/predict", json={"text": TEXT}).json()["predictions"] == before
    kinds = [one["kind"] for one in client.get("/v1/knowledge/log").json()["changes"]]
    assert kinds == ["undo", "correct", "add"]


def test_entries_are_added_shown_found_and_deleted(client):
    sent = {"texts": [TEXT, ["refund my money"]], "labels": ["delivery", "refund"], "note": "n"}
    added = client.post("/v1/knowledge", json=sent)
    change = added.json()["change"]
    assert (added.status_code, added.json()["ids"]) == (201, [4, 5])
    assert client.get("/v1/knowledge/log", params={"limit": 1}).json() == {"changes": [change]}
    assert (change["kind"], change["added"], change["note"], change["undoable"]) == ("add", [[4, 5]], "n", True)
    entry = client.get("/v1/knowledge/4").json()
    assert entry.pop("added").endswith("+00:00")
    assert entry == {
        "id": 4,
        "texts": {"text": TEXT},
        "label": "delivery",
        "likeliest": "delivery",
        "probability": 1.0,
        "soft_label": {"card_swallowed": 0.0, "refund": 0.0, "delivery": 1.0},
        "origin": "user",
    }
    hits = client.post("/v1/knowledge/search", json={"text": TEXT, "k": 2}).json()["hits"]
    assert (len(hits), hits[0]["entry"]["id"], hits[0]["similarity"]) == (2, 4, pytest.approx(1, abs=1e-5))
    change = client.delete("/v1/knowledge/4").json()["change"]
    assert (change["kind"], change["removed"]) == ("delete", [[4, 4]])
    assert "no entry has the id 4" in said(client.get("/v1/knowledge/4"), 404, "not_found")
    assert "no entry has the id 4" in said(client.delete("/v1/knowledge/4"), 404, "not_found")


def test_entries_are_listed_in_pages_and_by_what_they_are(client):
    client.post("/v1/knowledge", json={"texts": ["Ünder my card", "back"], "labels": ["refund", "delivery"]})

    def ids(**asked):
        page = client.get("/v1/knowledge", params=asked).json()
        return [entry["id"] for entry in page["entries"]], page["next"], page["total"]

    assert ids() == ([1, 2, 3, 4, 5], None, 5)
    assert ids(limit=2) == ([1, 2], 2, 5)
    assert ids(limit=2, after=2) == ([3, 4], 4, 5)
    assert ids(limit=2, after=4) == ([5], None, 5)
    assert ids(origin="user") == ([4, 5], None, 2)
    assert ids(label="refund") == ([2, 4], None, 2)
    assert ids(contains="ünder") == ([4], None, 1)
    assert ids(origin="gold", label="refund", contains="money") == ([2], None, 1)
    assert ids(contains="nothing like it") == ([], None, 0)
    assert ids(least_sure=True) == ([], None, 0)  # all have been labelled by people
    assert "after is 2" in said(client.get("/v1/knowledge?least_sure=true&after=2"), 422, "bad_request")


def test_what_cannot_be_changed_is_said(client):
    correct = {"text": TEXT, "label": "refunds"}
    assert "refunds" in said(client.post("/v1/knowledge/correct", json=correct), 422, "unknown_label")
    add = {"texts": [TEXT, TEXT], "labels": ["refund"]}
    assert "2 texts" in said(client.post("/v1/knowledge", json=add), 422, "bad_request")
    assert "unknown label" in said(client.get("/v1/knowledge?label=none"), 422, "unknown_label")
    assert "origin" in said(client.get("/v1/knowledge?origin=mine"), 422, "bad_request")
    undo = client.post("/v1/knowledge/undo", json={"change": 99})
    assert "no change has the id 99" in said(undo, 404, "not_found")
    undo = client.post("/v1/knowledge/undo", json={"change": 1})
    assert "change 1 cannot be undone" in said(undo, 409, "bad_request")
    made = client.post("/v1/knowledge/correct", json={"text": TEXT, "label": "refund"}).json()["change"]
    client.delete(f"/v1/knowledge/{made['added'][0][0]}")
    undo = client.post("/v1/knowledge/undo", json={"change": made["id"]})
    assert "was taken out later" in said(undo, 409, "bad_request")


def test_the_log_says_which_changes_an_undo_is_always_refused_for(client):
    """What the model was made with, an added label, and what is undone already; the others are undone here."""
    sent = {"text": TEXT, "label": "damaged", "new_label": True}
    client.post("/v1/knowledge/correct", json=sent)
    made = client.post("/v1/knowledge/correct", json={"text": "money back", "label": "refund"}).json()["change"]
    client.post("/v1/knowledge/undo", json={"change": made["id"]})
    told = client.get("/v1/knowledge/log").json()["changes"]
    assert [(one["kind"], one["undone"], one["undoable"]) for one in told] == [
        ("undo", False, True),
        ("correct", True, False),
        ("correct", False, True),
        ("add", False, False),  # the label
        ("add", False, False),  # the model's own entries
    ]
    for one in sorted(told, key=lambda one: one["undoable"]):  # to undo the undo would bring back what it undid
        status = client.post("/v1/knowledge/undo", json={"change": one["id"]}).status_code
        assert status == (200 if one["undoable"] else 409)


def test_a_model_without_knowledge_predicts_and_has_no_entries(serve, make_model):
    bare = serve(make_model(entries=None))
    [one] = bare.post("/v1/predict", json={"text": TEXT}).json()["predictions"]
    assert (one["similarity"], one["quantile"]) == (None, None)
    shown = bare.get("/v1/model").json()
    assert (shown["has_store"], shown["entries"], shown["writable"]) == (False, {}, False)
    assert "no knowledge store" in said(bare.get("/v1/knowledge"), 404, "not_found")
    refused = bare.post("/v1/knowledge/correct", json={"text": TEXT, "label": "refund"}, headers=BEARER)
    assert "no knowledge store" in said(refused, 404, "not_found")
    assert bare.get("/metrics").status_code == 200


def test_a_folder_that_cannot_be_written_is_served_but_not_changed(make_model, serve, monkeypatch):
    folder = make_model()
    with hundredth.load(folder):
        pass
    monkeypatch.setattr("hundredth.store.store.os.access", lambda *_: False)
    fixed = serve(folder)
    assert fixed.post("/v1/predict", json={"text": TEXT}).status_code == 200
    assert fixed.get("/v1/model").json()["writable"] is False
    refused = fixed.post("/v1/knowledge/correct", json={"text": TEXT, "label": "refund"}, headers=BEARER)
    assert "read-only" in said(refused, 403, "forbidden")


def test_the_service_says_how_it_is(client):
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready"}
    assert client.head("/readyz").status_code == 200
    client.app.state.service.stopping = True
    assert client.get("/healthz").status_code == 200
    refused = client.get("/readyz")
    assert "stopping" in said(refused, 503, "unavailable")
    assert refused.headers["retry-after"] == "1"


def test_what_is_not_there_is_said_in_the_same_form(client):
    assert said(client.get("/v2/predict"), 404, "not_found")
    assert said(client.get("/docs"), 404, "not_found")
    refused = client.get("/v1/predict")
    assert "GET" in said(refused, 405, "bad_request")
    assert refused.headers["allow"] == "POST"


def test_every_answer_has_an_id_and_the_headers_that_browsers_go_by(client):
    for path in ("/", "/v1/model", "/v1/knowledge/999", "/nowhere"):
        headers = client.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'self'; frame-ancestors 'none'")
        assert headers["x-content-type-options"] == "nosniff"
        assert len(headers["x-request-id"]) == 16
        assert "server" not in headers
    assert client.get("/v1/model", headers={"X-Request-Id": "my-id.7"}).headers["x-request-id"] == "my-id.7"
    for bad in ("a b", "x" * 65, "ü", "<script>"):
        assert client.get("/v1/model", headers={"X-Request-Id": bad.encode()}).headers["x-request-id"] != bad
    assert client.get("/v1/model").headers["cache-control"] == "no-store"


def test_the_page_of_the_interface_is_served_only_when_asked_for(serve):
    docs = serve(api_docs=True).get("/docs")
    assert docs.status_code == 200
    assert "cdn.jsdelivr.net" in docs.headers["content-security-policy"]
