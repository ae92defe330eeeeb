"""Who may do what: the token, reads that need it too, and changes without one on this machine alone."""

import pytest
from callers import BEARER, TEXT, TOKEN, said
from starlette.testclient import TestClient

from hundredth import UserError
from hundredth.service.settings import ServiceSettings, is_loopback, read_token

CORRECT = {"text": TEXT, "label": "refund"}
READS = [
    ("POST", "/v1/predict", {"text": TEXT}),
    ("POST", "/v1/explain", {"text": TEXT}),
    ("GET", "/v1/model", None),
    ("GET", "/v1/knowledge", None),
    ("GET", "/v1/knowledge/1", None),
    ("GET", "/v1/knowledge/log", None),
    ("POST", "/v1/knowledge/search", {"text": TEXT}),
    ("GET", "/metrics", None),
]
WRITES = [
    ("POST", "/v1/knowledge", {"texts": [TEXT], "labels": ["refund"]}),
    ("POST", "/v1/knowledge/correct", CORRECT),
    ("DELETE", "/v1/knowledge/1", None),
    ("POST", "/v1/knowledge/undo", {"change": 4}),
]
OPEN = [("GET", "/", None), ("GET", "/healthz", None), ("GET", "/readyz", None), ("GET", "/openapi.json", None)]
WRONG = [
    {},
    {"Authorization": "Bearer"},
    {"Authorization": "Bearer "},
    {"Authorization": TOKEN},
    {"Authorization": f"Basic {TOKEN}"},
    {"Authorization": f"Bearer {TOKEN[:-1]}"},
    {"Authorization": f"Bearer {TOKEN}x"},
    {"Authorization": f"Bearer {TOKEN.upper()}"},
    {"Authorization": "Bearer tökén".encode()},
]


def _ask(client, request, **headers):
    method, path, body = request
    return client.request(method, path, json=body, headers=headers)


def test_without_a_token_everything_can_be_read_and_nothing_changed(serve):
    client = serve(token_file=None)
    for request in [*READS, *OPEN]:
        assert _ask(client, request).status_code in (200, 404), request
    for request in WRITES:
        for headers in ({}, BEARER):
            assert "no token" in said(_ask(client, request, **headers), 403, "forbidden")
    assert client.get("/v1/model").json()["writable"] is False
    assert len(client.get("/v1/knowledge/log").json()["changes"]) == 1


def test_with_a_token_changes_need_it_and_reads_do_not(serve):
    client = serve()
    for request in [*READS, *OPEN]:
        assert _ask(client, request).status_code in (200, 404), request
    for request in WRITES:
        for headers in WRONG:
            response = _ask(client, request, **headers)
            assert "token" in said(response, 401, "unauthorized")
            assert response.headers["www-authenticate"].startswith("Bearer")
    assert len(client.get("/v1/knowledge/log").json()["changes"]) == 1
    for request in WRITES:
        assert _ask(client, request, **BEARER).status_code in (200, 201), request
    assert _ask(client, WRITES[1], Authorization=f"bearer {TOKEN}").status_code == 200


def test_reads_can_be_protected_too(serve):
    client = serve(protect_reads=True)
    for request in [*READS, *WRITES]:
        for headers in WRONG:
            assert "token" in said(_ask(client, request, **headers), 401, "unauthorized")
    for request in OPEN:
        assert _ask(client, request).status_code in (200, 404), request
    for request in READS:
        assert _ask(client, request, **BEARER).status_code == 200, request
    assert client.get("/v1/model", headers=BEARER).json()["reads_need_token"] is True


def test_who_has_no_token_is_refused_before_the_body_is_looked_at(serve):
    client = serve(protect_reads=True, max_body=10)
    for body in (b"{", b"x" * 1000, b"\xff"):
        headers = {"Content-Type": "application/json"}
        assert said(client.post("/v1/predict", content=body, headers=headers), 401, "unauthorized")


def test_changes_without_a_token_are_taken_from_this_machine_alone(make_app):
    app = make_app(token_file=None, allow_anonymous_writes=True, allowed_hosts=["*"])
    client = TestClient(app)
    assert client.get("/v1/model").json()["writable"] is True
    for host in ("localhost", "[::1]:8000", "127.0.0.1", "127.0.0.1:8000"):
        assert _ask(client, WRITES[1], Host=host).status_code == 200
    # A page of another site whose name was made to lead to this machine: the browser sends that name along.
    for host in ("evil.example", "evil.example:8000", "localhost.evil.example", "", "["):  # whatever is allowed
        assert "this machine" in said(_ask(client, WRITES[1], Host=host), 403, "forbidden")
    # What a form of another site can send without asking first.
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
        headers = {"Host": "localhost", "Content-Type": kind}
        sent = client.post("/v1/knowledge/correct", content=b'{"text": "a", "label": "refund"}', headers=headers)
        assert "application/json" in said(sent, 400, "bad_request")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"token_file": None, "protect_reads": True}, "--protect-reads needs a token"),
        ({"allow_anonymous_writes": True}, "both given"),
        (
            {"token_file": None, "allow_anonymous_writes": True, "host": "0.0.0.0"},
            "for 127.0.0.1 alone, not for 0.0.0.0",
        ),
    ],
    ids=["no token", "token and none", "open to all"],
)
def test_settings_that_do_not_go_together_are_refused(make_app, settings, message):
    with pytest.raises(UserError, match=message):
        make_app(**settings)


def test_a_token_comes_from_a_file_or_the_environment(tmp_path, token_file, monkeypatch):
    def read(**settings):
        return read_token(ServiceSettings(folder=tmp_path, **settings))

    assert read() is None
    assert read(token_file=token_file) == TOKEN
    monkeypatch.setenv("HUNDREDTH_TOKEN", "another-long-token")
    assert read() == "another-long-token"
    assert read(token_file=token_file) == TOKEN
    for bad in ("", "short", "with some spaces in it", "not-ascii-ü-but-long-enough"):
        monkeypatch.setenv("HUNDREDTH_TOKEN", bad)
        with pytest.raises(UserError, match="HUNDREDTH_TOKEN holds no usable token"):
            read()
    with pytest.raises(UserError, match="cannot be read: No such file"):
        read(token_file=tmp_path / "none")
    token_file.write_bytes(b"\xff" * 20)
    with pytest.raises(UserError, match="not UTF-8"):
        read(token_file=token_file)


def test_names_are_kept_as_they_were_sent_and_refused_when_they_are_none(client):
    for sent, kept in (
        ("Ada", "Ada"),
        ("Ünal".encode(), "Ünal"),
        (b"\xdcnal", "Ünal"),
        ("\u0639\u0644\u06cc\u200c\u0631\u0636\u0627".encode(), "\u0639\u0644\u06cc\u200c\u0631\u0636\u0627"),
        (" ", "http"),
        ("x" * 100, "x" * 100),
    ):
        change = client.post("/v1/knowledge/correct", json=CORRECT, headers={"X-User": sent}).json()["change"]
        assert change["by"] == kept
    for bad in ("x" * 101, "a\tb", "\u200d".encode()):
        refused = client.post("/v1/knowledge/correct", json=CORRECT, headers={"X-User": bad})
        assert "X-User" in said(refused, 422, "bad_request")


def test_this_machine_is_told_from_others():
    for host in ("127.0.0.1", "127.9.9.9", "localhost", "LOCALHOST", "::1", "[::1]"):
        assert is_loopback(host), host
    for host in ("0.0.0.0", "::", "10.0.0.1", "example.org", "", "localhost.example.org"):
        assert not is_loopback(host), host
