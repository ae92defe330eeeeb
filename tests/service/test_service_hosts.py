"""Which names a service answers to: a page of another site must not read it under that site's."""

import pytest
from callers import BEARER, TEXT, said

from hundredth import UserError
from hundredth.service.hosts import accepted_hosts
from hundredth.service.settings import ServiceSettings

OWN = ["localhost", "LOCALHOST:8000", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:8000"]
OTHERS = ["evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "[::2]", "", "["]


def _ask(client, host, path="/v1/model"):
    return client.get(path, headers={"Host": host})


@pytest.mark.parametrize("listens", ["127.0.0.1", "localhost", "::1"])
def test_where_only_this_machine_reaches_it_a_service_answers_to_its_own_names(serve, listens):
    client = serve(host=listens)
    for host in OWN:
        assert _ask(client, host).status_code == 200, host
    for host in OTHERS:
        for path in ("/v1/model", "/v1/knowledge", "/metrics", "/", "/nothing/here"):
            refused = _ask(client, host, path)
            assert "--allowed-host" in said(refused, 400, "bad_request")
            assert refused.headers["x-request-id"]
        body = {"text": TEXT, "label": "refund"}
        refused = client.post("/v1/knowledge/correct", json=body, headers={**BEARER, "Host": host})
        assert said(refused, 400, "bad_request")
    assert len(client.get("/v1/knowledge/log").json()["changes"]) == 1


def test_another_address_of_this_machine_is_a_name_too(serve):
    client = serve(host="127.0.0.2")
    assert _ask(client, "127.0.0.2:8000").status_code == 200
    assert _ask(client, "127.0.0.3:8000").status_code == 400


def test_names_are_added(serve):
    client = serve(allowed_hosts=["example.org", "*.example.com", "FD00:0::1"])
    for host in [*OWN, "example.org", "EXAMPLE.org:443", "a.example.com", "[fd00::1]:8000"]:
        assert _ask(client, host).status_code == 200, host
    for host in ("www.example.org", "example.com", "example.org.evil.example"):
        assert _ask(client, host).status_code == 400, host


def test_where_others_reach_it_a_service_answers_to_all_names_unless_some_are_given(serve):
    client = serve(host="0.0.0.0")
    for host in [*OWN, *OTHERS]:
        assert _ask(client, host).status_code == 200, host
    client = serve(host="0.0.0.0", allowed_hosts=["example.org"])
    for host in [*OWN, "example.org"]:
        assert _ask(client, host).status_code == 200, host
    for host in [*OTHERS, "0.0.0.0"]:
        assert _ask(client, host).status_code == 400, host


def test_whoever_looks_after_a_service_may_ask_by_its_address(serve):
    client = serve(host="0.0.0.0", allowed_hosts=["example.org"])
    for path, status in (("/healthz", 200), ("/readyz", 200), ("/metrics", 400)):
        assert _ask(client, "10.1.2.3:8000", path).status_code == status


@pytest.mark.parametrize("name", ["http://example.org", "example.org:8000", "*.", "a*", "", "a b", "example.org/x"])
def test_what_is_no_name_is_refused(tmp_path, name):
    with pytest.raises(UserError, match="is no name of a host"):
        accepted_hosts(ServiceSettings(folder=tmp_path, allowed_hosts=[name]))
