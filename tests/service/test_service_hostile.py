"""What no honest caller sends: answered with what is wrong with it, never with an error of the service's own."""

import json
import sqlite3
from contextlib import suppress
from pathlib import Path

import pytest
from callers import BEARER, TEXT, said
from hypothesis import given
from hypothesis import strategies as st

from hundredth.service.strict_json import BadJSONError, parse

BODIES = {
    "nothing": b"",
    "no JSON": b"text=a",
    "cut off": b'{"text": "a"',
    "more after the end": b'{"text": "a"} {}',
    "not UTF-8": b'{"text": "\xff\xfe"}',
    "a byte order mark": b'\xef\xbb\xbf{"text": "a"}',
    "UTF-16": '{"text": "a"}'.encode("utf-16"),
    "half a surrogate pair": b'{"text": "\\ud800"}',
    "the other half in a name": b'{"text": "a", "\\udc00": 1}',
    "encoded surrogates": b'{"text": "\xed\xa0\x80"}',
    "NaN": b'{"text": "a", "abstain_below": NaN}',
    "infinity": b'{"text": "a", "abstain_below": -Infinity}',
    "a number beyond floats": b'{"text": "a", "abstain_below": 1e999}',
    "a number of many digits": b'{"text": "a", "abstain_below": ' + b"9" * 5000 + b"}",
    "a number of some digits": b'{"text": "a", "abstain_below": ' + b"9" * 4000 + b"}",
    "depth": b"[" * 100_000,
    "depth in a text": b'{"text": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "depth of objects": b'{"text": ' + b'{"text":' * 20_000 + b"1" + b"}" * 20_000 + b"}",
    "a name twice": b'{"text": "a", "text": "b"}',
    "a name twice inside": b'{"text": {"text": "a", "text": "b"}}',
    "a list": b'["a"]',
    "a string": b'"a"',
    "null": b"null",
    "an unknown name": b'{"text": "a", "abstain_bellow": 0.5}',
    "a long unknown name": b'{"text": "a", "' + b"x" * 10_000 + b'": 1}',
    "an unknown name of two lines": b'{"text": "a", "b\\nc": 1}',
    "text and texts": b'{"text": "a", "texts": ["b"]}',
    "neither": b"{}",
    "a text that is null": b'{"text": null}',
    "a text that is a number": b'{"text": 3.5}',
    "a text that is true": b'{"texts": [true]}',
    "an empty text": b'{"text": ""}',
    "a text of spaces": b'{"text": " \\n\\t"}',
    "too many fields": b'{"text": ["a", "b"]}',
    "no field": b'{"text": {"body": "a"}}',
    "a field that is a list": b'{"text": {"text": ["a"]}}',
    "texts that are one": b'{"texts": "abc"}',
    "texts by name": b'{"texts": {"0": "a"}}',
    "a threshold that is a string": b'{"text": "a", "abstain_below": "0.5"}',
    "a threshold that is true": b'{"text": "a", "abstain_below": true}',
    "a threshold above 1": b'{"text": "a", "abstain_below": 1.5}',
}
HEADERS = {"Content-Type": "application/json", **BEARER}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_body_that_makes_no_sense_is_refused_with_the_reason(shared, body):
    response = shared.post("/v1/predict", content=body, headers=HEADERS)
    assert response.status_code in (400, 422), response.text
    assert 0 < len(said(response, response.status_code, "bad_request")) <= 500


@pytest.mark.parametrize(
    "text",
    [
        "\0",
        "a\0b",
        "\x1b[31m",
        "\u202e\ufeff",
        "\U0010ffff",
        "'; DROP TABLE entries; --",
        "../../etc/passwd",
        "𝕬" * 999,
    ],
    ids=range(8),
)
def test_strange_text_is_text(shared, text):
    assert shared.post("/v1/predict", json={"text": text}).status_code == 200
    assert shared.post("/v1/explain", json={"text": text}).status_code == 200
    made = shared.post("/v1/knowledge", json={"texts": [text], "labels": ["refund"], "note": text}, headers=BEARER)
    [id] = made.json()["ids"]
    assert shared.get(f"/v1/knowledge/{id}").json()["texts"] == {"text": text}
    assert shared.get("/v1/knowledge", params={"contains": text}).json()["total"] >= 1
    assert shared.get("/v1/knowledge/log?limit=1").json()["changes"][0]["note"] == text


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/knowledge", {"texts": [], "labels": []}),
        ("/v1/knowledge", {"texts": [TEXT], "labels": "refund"}),
        ("/v1/knowledge", {"texts": [TEXT], "labels": [1]}),
        ("/v1/knowledge", {"texts": [TEXT], "labels": ["refund"], "note": None}),
        ("/v1/knowledge", {"texts": [TEXT], "labels": ["refund"], "note": "x" * 2001}),
        ("/v1/knowledge/correct", {"text": TEXT, "label": None}),
        ("/v1/knowledge/correct", {"text": TEXT}),
        ("/v1/knowledge/undo", {"change": 0}),
        ("/v1/knowledge/undo", {"change": 2**63}),
        ("/v1/knowledge/undo", {"change": 10**400}),
        ("/v1/knowledge/undo", {"change": 1.5}),
        ("/v1/knowledge/undo", {"change": "1"}),
        ("/v1/knowledge/undo", {"change": True}),
        ("/v1/knowledge/search", {"text": TEXT, "k": 0}),
        ("/v1/knowledge/search", {"text": TEXT, "k": 10**6}),
        ("/v1/explain", {"text": [[TEXT]]}),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_does_not_fit_is_refused(shared, path, body):
    before = shared.get("/v1/knowledge/log?limit=1").json()
    assert said(shared.post(path, json=body, headers=BEARER), 422, "bad_request")
    assert shared.get("/v1/knowledge/log?limit=1").json() == before


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/knowledge/x", 422),
        ("/v1/knowledge/0", 422),
        ("/v1/knowledge/-1", 422),
        ("/v1/knowledge/1.5", 422),
        (f"/v1/knowledge/{2**63}", 422),
        (f"/v1/knowledge/{2**63 - 1}", 404),
        ("/v1/knowledge/" + "9" * 5000, 422),
        ("/v1/knowledge/%00", 422),
        ("/v1/knowledge/1/2", 404),
        ("/v1/knowledge?limit=0", 422),
        ("/v1/knowledge?limit=1001", 422),
        ("/v1/knowledge?limit=x", 422),
        ("/v1/knowledge?least_sure=perhaps", 422),
        ("/v1/knowledge?after=-1", 422),
        (f"/v1/knowledge?after={2**64}", 422),
        ("/v1/knowledge?contains=" + "x" * 1001, 422),
        ("/v1/knowledge?contains=%ff%00", 200),
        ("/v1/knowledge?unknown=1", 200),
        ("/v1/knowledge?label=%ff", 422),
        ("/v1/knowledge/log?limit=-1", 422),
        ("/static/../app.py", 404),
        ("/static/..%2f..%2fapp.py", 404),
        ("/static//etc/passwd", 404),
        ("/static/", 404),
        ("/%00", 404),
        ("/v1/model/", 404),
    ],
    ids=lambda value: str(value)[:40],
)
def test_strange_paths_lead_nowhere(shared, path, status):
    response = shared.get(path, follow_redirects=False)
    assert response.status_code == status, response.text
    if status != 200:
        assert list(response.json()) == ["error"]


def test_an_error_leaves_words_alone_whatever_the_folder_is_called(serve, make_model, monkeypatch):
    """Silent otherwise: of a folder `.` every full stop of a message would be taken for it."""
    folder = make_model()
    monkeypatch.chdir(folder)
    client = serve(Path())
    body = {"text": TEXT, "label": "v1.5"}
    refused = client.post("/v1/knowledge/correct", json=body, headers=BEARER)
    assert said(refused, 422, "unknown_label").startswith("unknown label 'v1.5': this model knows ")
    (folder / "store.db").rename(folder / "gone.db")
    refused = client.post("/v1/knowledge/correct", json={**body, "label": "refund"}, headers=BEARER)
    assert said(refused, 503, "unavailable").startswith("store.db was replaced or removed")


def test_a_long_label_is_not_repeated_at_length(shared):
    def refused(length, code):
        sent = {"text": TEXT, "label": "x" * length}
        return said(shared.post("/v1/knowledge/correct", json=sent, headers=BEARER), 422, code)

    assert len(refused(500, "unknown_label")) == 500
    assert "at most 500 characters" in refused(501, "bad_request")


def test_an_error_that_nobody_foresaw_is_logged_and_not_told(serve, caplog, monkeypatch):
    client = serve()
    model = client.app.state.service.models.served.model

    def broken(rows):
        raise RuntimeError("secret /path/to/things")

    monkeypatch.setattr(model, "answer", broken)
    monkeypatch.setattr(model, "explain", broken)
    for path in ("/v1/predict", "/v1/explain"):
        caplog.clear()
        response = client.post(path, json={"text": TEXT})
        assert "secret" not in said(response, 500, "internal")
        [record] = [record for record in caplog.records if record.exc_info]
        assert "secret" in str(record.exc_info[1])
        assert record.fields["request_id"] == response.headers["x-request-id"]
    monkeypatch.undo()
    assert client.post("/v1/predict", json={"text": TEXT}).status_code == 200


def test_a_locked_store_is_told_as_such_and_nothing_is_lost(serve, make_model, monkeypatch):
    monkeypatch.setattr("hundredth.store.access.BUSY_MS", 50)
    folder = make_model()
    client = serve(folder)
    locking = sqlite3.connect(folder / "store.db", isolation_level=None)
    locking.execute("BEGIN IMMEDIATE")
    sent = {"text": TEXT, "label": "delivery"}
    refused = client.post("/v1/knowledge/correct", json=sent, headers=BEARER)
    message = said(refused, 503, "unavailable")
    assert "locked" in message
    assert str(folder.parent) not in message
    assert refused.headers["retry-after"] == "1"
    assert client.post("/v1/predict", json={"text": TEXT}).status_code == 200
    locking.close()
    assert client.post("/v1/knowledge/correct", json=sent, headers=BEARER).status_code == 200
    assert len(client.get("/v1/knowledge/log").json()["changes"]) == 2


def test_a_full_disk_is_told_as_such_and_nothing_is_lost(client, monkeypatch):
    def full(*_, **__):
        raise sqlite3.OperationalError("database or disk is full")

    sent = {"text": TEXT, "label": "delivery"}
    with monkeypatch.context() as patch:
        patch.setattr("hundredth.store.entries.changes.record", full)
        message = said(client.post("/v1/knowledge/correct", json=sent), 503, "unavailable")
    assert "store.db could not be written: database or disk is full; nothing was changed" in message
    assert client.post("/v1/knowledge/correct", json=sent).status_code == 200
    assert len(client.get("/v1/knowledge/log").json()["changes"]) == 2


plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(plain, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "Expecting value at line 1, column 1"),
        (b"{bad", "Expecting property name enclosed in double quotes at line 1, column 2"),
        (b'"\\ud800"', "half of a surrogate pair"),
        (b'{"\\udc00": 1}', "half of a surrogate pair"),
        (b'"\xff"', "not UTF-8"),
        (b'{"a": 1, "a": 2}', "the same name twice"),
        (b"[NaN]", "NaN is no number"),
        (b"-Infinity", "-Infinity is no number"),
        (b"[" * 200_000, "nested too deeply"),
        (b"9" * 5000, "too many digits"),
        (b"[1,\n]", "line 2, column 1"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_is_wrong_with_a_body_is_said_to_who_sent_it(shared, body, reason):
    with pytest.raises(BadJSONError, match=reason) as caught:
        parse(body)
    for path in ("/v1/predict", "/v1/knowledge/correct"):
        message = said(shared.post(path, content=body, headers=HEADERS), 400, "bad_request")
        assert message == f"the body is not valid JSON: {caught.value}"


@given(values)
def test_what_is_json_is_read_as_it_was_written(value):
    assert parse(json.dumps(value, ensure_ascii=False).encode()) == value
    assert parse(json.dumps(value).encode()) == value


@given(st.binary(max_size=40))
def test_bytes_are_read_as_other_readers_read_them_or_refused(body):
    with suppress(BadJSONError):
        assert parse(body) == json.loads(body.decode())
