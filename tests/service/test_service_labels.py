"""Labels that are added to the model that is served, while it answers."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from callers import BEARER, PREDICT, TEXT, Caller, Held, said

LABELS = ["card_swallowed", "refund", "delivery"]
CORRECT, ADD = "/v1/knowledge/correct", "/v1/knowledge"


def test_a_label_is_added_when_that_is_said(client):
    for path, sent, hint in (
        (CORRECT, {"text": TEXT, "label": "fee"}, 'a new one is added first: send "new_label": true'),
        (ADD, {"texts": [TEXT], "labels": ["fee"]}, 'a new one is added first: send "new_labels": true'),
    ):
        message = said(client.post(path, json=sent), 422, "unknown_label")
        assert message.endswith(hint)
        assert "--" not in message
    shown = client.get("/v1/model").json()
    assert (shown["labels"], shown["added_labels"]) == (LABELS, [])
    sent = {"text": TEXT, "label": "fee", "new_label": True, "note": "n"}
    change = client.post(CORRECT, json=sent, headers={"X-User": "Ada"}).json()["change"]
    sent = {"texts": ["money", "my parcel"], "labels": ["costs", "refund"], "new_labels": True}
    made = client.post(ADD, json=sent).json()
    assert (made["ids"], made["change"]["added"]) == ([5, 6], [[5, 6]])
    near = said(client.post(CORRECT, json={"text": TEXT, "label": " FEE", "new_label": True}), 422, "bad_request")
    assert near == "unknown label ' FEE': did you mean 'fee'?"
    # One that is there by then is taken as it is.
    again = client.post(CORRECT, json={"text": TEXT, "label": "fee", "new_label": True})
    assert (again.status_code, again.json()["change"]["kind"]) == (200, "correct")
    shown = client.get("/v1/model").json()
    assert (shown["labels"], shown["added_labels"]) == ([*LABELS, "fee", "costs"], ["fee", "costs"])
    predictions = client.post(PREDICT, json={"texts": [TEXT, "money"]}).json()["predictions"]
    assert [one["label"] for one in predictions] == ["fee", "costs"]
    assert list(predictions[0]["probabilities"]) == shown["labels"]
    assert client.post("/v1/explain", json={"text": TEXT}).json()["label"] == "fee"
    assert client.get("/v1/knowledge", params={"label": "fee"}).json()["total"] == 1
    assert client.get("/v1/knowledge/1").json()["soft_label"]["costs"] == 0
    assert 'hundredth_predictions_total{label="fee"}' in client.get("/metrics").text
    log = client.get("/v1/knowledge/log").json()["changes"]
    added = next(one for one in log if one["note"] == "new label 'fee': n")
    assert (added["by"], added["added"], added["id"]) == ("Ada", [], change["id"] - 1)
    refused = client.post("/v1/knowledge/undo", json={"change": added["id"]})
    assert "it added a label, which stays" in said(refused, 409, "bad_request")


def test_what_is_no_name_for_a_label_is_refused_and_nothing_added(client):
    for name in ("", " ", "a\nfee", " fee"):
        sent = {"text": TEXT, "label": name, "new_label": True}
        assert "label" in said(client.post(CORRECT, json=sent), 422, "bad_request")
    sent = {"texts": [TEXT, " "], "labels": ["fee", "fee"], "new_labels": True}
    assert "is empty" in said(client.post(ADD, json=sent), 422, "bad_request")
    sent = {"text": TEXT, "label": "fee", "new_label": 1}
    assert "new_label" in said(client.post(CORRECT, json=sent), 422, "bad_request")
    assert client.get("/v1/model").json()["added_labels"] == []
    assert len(client.get("/v1/knowledge/log").json()["changes"]) == 1


def test_many_may_add_the_same_label_at_once(serve, make_model):
    """Two services of one folder, as two workers are."""
    folder = make_model()
    services = [serve(folder), serve(folder)]

    def correct(number):
        sent = {"text": f"card {number}", "label": "fee", "new_label": True}
        return services[number % 2].post(CORRECT, json=sent, headers=BEARER).status_code

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(correct, range(8))) == [200] * 8
    for service in services:
        assert service.get("/v1/model").json()["labels"] == [*LABELS, "fee"]
    # What one adds, the other takes without being told that it is new.
    sent = {"text": TEXT, "label": "costs", "new_label": True}
    assert services[0].post(CORRECT, json=sent, headers=BEARER).status_code == 200
    sent = {"text": "money", "label": "costs"}
    assert services[1].post(CORRECT, json=sent, headers=BEARER).status_code == 200


def test_a_label_that_is_added_while_requests_are_answered_fails_none_of_them(make_app, monkeypatch):
    """Silent otherwise: a request whose parts, or whose answer and labels, are of different widths."""
    app = make_app(max_batch=4)
    held, call = Held(app, monkeypatch), Caller(app)
    whole, parts = held.answer, []

    def growing(rows):
        answers = whole(rows)
        if len(parts) < 3:
            held.model.add_label(f"label {len(parts)}")
        parts.append(answers.probabilities)
        return answers

    held.answer = growing
    long = {"texts": [f"card {number}" for number in range(10)]}
    first, *answers = asyncio.run(held.fill(call, [long, {"text": "money"}, {"text": "back"}]))
    assert [one.status for one in (first, *answers)] == [200] * 4
    assert [part.shape[1] for part in parts] == [3, 4, 5, 6]
    found = answers[0].json["predictions"]
    assert len(found) == 10
    rows = [list(one["probabilities"].values()) for one in found]
    assert np.allclose(rows, whole([(text,) for text in long["texts"]]).probabilities[:, :6], atol=1e-6)
    # The answer of the first request is older than any of the labels.
    assert list(first.json["predictions"][0]["probabilities"]) == LABELS


def test_entries_that_were_read_before_a_label_was_added_are_shown(client, monkeypatch):
    served = client.app.state.service.models.served
    store = type(served.model.store)

    def after(name, method):
        def read(self, *given, **more):
            found = method(self, *given, **more)
            served.model.add_label(f"after {name}")
            return found

        return read

    for name in ("get", "find", "search"):
        monkeypatch.setattr(store, name, after(name, getattr(store, name)))
    assert list(client.get("/v1/knowledge/1").json()["soft_label"]) == LABELS
    assert len(client.get("/v1/knowledge").json()["entries"][0]["soft_label"]) == 4
    hits = client.post("/v1/knowledge/search", json={"text": TEXT}).json()["hits"]
    assert len(hits[0]["entry"]["soft_label"]) == 5
