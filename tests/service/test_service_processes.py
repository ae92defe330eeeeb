"""`hundredth serve` as it is run: processes, signals, ports, and what it says."""

import http.client
import json
import os
import signal
import socket
import sys
import threading
import time
from importlib.util import find_spec

import pytest
from callers import PREDICT, TEXT, TOKEN
from click.testing import CliRunner

import hundredth
from hundredth.cli import app
from hundredth.files import replace_folder
from hundredth.runtime import RetrievalInfo

pytestmark = pytest.mark.slow
_SECRET = "a text that must not be in the log"


def test_it_says_where_and_what_and_ends_as_it_is_told(run, make_model):
    folder = make_model()
    service = run(folder)
    assert [line.split()[0] for line in service.lines] == [
        "serving",
        "model",
        "labels",
        "computing",
        "knowledge",
        "changes",
    ]
    shown = "\n".join(service.lines)
    for expected in (
        str(folder),
        "card_swallowed, refund, delivery",
        "float32 weights with onnxruntime, 1 threads",
        "3 entries: 3 gold",
        "token",
    ):
        assert expected in shown
    service.until(lambda: service.ask("/readyz")[0] == 200)
    assert service.ask(PREDICT, {"text": _SECRET})[0] == 200
    assert service.ask("/v1/explain", {"text": _SECRET})[0] == 200
    assert service.ask("/v1/knowledge?contains=" + _SECRET.replace(" ", "+"))[0] == 200
    assert service.ask("/v1/knowledge/correct", {"text": _SECRET, "label": "refund", "note": _SECRET})[0] == 200
    assert service.ask(PREDICT, {"texts": [_SECRET, 7]})[0] == 422
    (folder / "index.faiss").unlink()
    assert service.stop() == 0
    assert (folder / "index.faiss").exists()
    assert not (folder / "store.db-wal").exists()
    requests = [line for line in service.log if line["message"] == "request"]
    assert [(line["method"], line["route"], line["status"]) for line in requests][-5:] == [
        ("POST", "/v1/predict", 200),
        ("POST", "/v1/explain", 200),
        ("GET", "/v1/knowledge", 200),
        ("POST", "/v1/knowledge/correct", 200),
        ("POST", "/v1/predict", 422),
    ]
    assert [line.get("texts") for line in requests[-5:]] == [1, 1, None, 1, 2]
    assert all(line["ms"] > 0 and line["request_id"] and line["time"].endswith("+00:00") for line in requests)
    assert _SECRET not in "".join(service.errors)
    assert TOKEN not in "".join([*service.errors, *service.lines])


def test_texts_are_logged_when_asked_for(run, make_model):
    service = run(make_model(), "--log-texts")
    service.until(lambda: service.ask(PREDICT, {"text": _SECRET})[0] == 200)
    service.stop()
    assert [line["content"] for line in service.log if line["message"] == "request"] == [[[_SECRET]]]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_hangup_loads_the_model_anew_and_breaks_no_connection(run, make_model, workers):
    served, new = make_model(), make_model(retrieval=RetrievalInfo(1, 0.1, 0.9))
    service = run(served, "--watch", "0", "--workers", workers)
    service.until(lambda: workers == 1 or len(service.workers()) == 2)
    before = service.until(lambda: service.ask("/v1/model")[1]["model_version"])
    replace_folder(new, served)
    time.sleep(0.2)
    connections = [http.client.HTTPConnection("127.0.0.1", service.port, timeout=20) for _ in range(8)]

    def versions():
        return {service.ask("/v1/model", connection=one)[1]["model_version"] for one in connections}

    assert versions() == {before}
    started = service.workers()
    service.process.send_signal(signal.SIGHUP)
    service.until(lambda: before not in versions())
    assert service.workers() == started
    for one in connections:
        one.close()
    assert service.stop() == 0


def test_who_does_not_finish_a_head_is_cut_off_and_the_others_are_served(run, make_model):
    """Without an end to it they would take all that the system lets the service open."""
    service = run(make_model(), "--body-timeout", "3", "--max-connections", "20")
    service.until(lambda: service.ask("/readyz")[0] == 200)
    slow = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(20)]
    for number, one in enumerate(slow):
        if number % 2:
            one.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
    time.sleep(0.3)
    refused = http.client.HTTPConnection("127.0.0.1", service.port, timeout=20)
    refused.connect()
    answer = refused.sock.recv(1000).decode()
    assert answer.startswith("HTTP/1.1 503 Service Unavailable")
    assert json.loads(answer.partition("\r\n\r\n")[2])["error"]["code"] == "unavailable"
    kept = service.until(
        lambda: service.ask("/healthz")[0] == 200 and http.client.HTTPConnection("127.0.0.1", service.port)
    )
    for one in slow:
        one.settimeout(20)
        assert one.recv(1000) == b""
        one.close()
    # One that is between two requests is left alone.
    for _ in range(2):
        assert service.ask("/healthz", connection=kept)[0] == 200
        time.sleep(3.4)
    kept.close()
    told = [line for line in service.log if "too many" in line["message"] or "connections" in line["message"]]
    assert len(told) == 1
    assert "more than 20 connections" in told[0]["message"]
    assert service.stop() == 0


def test_workers_share_the_knowledge_and_outlive_one_of_them(run, make_model):
    """Each request sees what was changed before it, by whichever worker; one that dies takes nothing with it."""
    folder = make_model(retrieval=RetrievalInfo(1, 0.05, 0.5))
    service = run(folder, "--workers", "2")
    service.until(lambda: len(service.workers()) == 2 and service.ask("/readyz")[0] == 200)
    wrong, acknowledged, done = [], [], threading.Event()

    def write():
        number = 0
        while not done.is_set():
            label = ("refund", "delivery")[number % 2]
            try:
                # A connection each: any worker may take it.
                if (
                    service.ask("/v1/knowledge/correct", {"text": TEXT, "label": label, "note": str(number)})[0]
                    == 200
                ):
                    acknowledged.append(number)
                    for _ in range(3):
                        [one] = service.ask(PREDICT, {"text": TEXT})[1]["predictions"]
                        if one["label"] != label:
                            wrong.append((number, one))
            except (OSError, http.client.HTTPException):
                pass  # the worker that had it was killed: whether it was done is not known
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    service.until(lambda: len(acknowledged) > 3)
    first, _ = service.workers()
    os.kill(first, signal.SIGKILL)
    seen = len(acknowledged)
    service.until(lambda: len(acknowledged) > seen + 3)
    service.until(lambda: len(service.workers()) == 3)
    seen = len(acknowledged)
    service.until(lambda: len(acknowledged) > seen + 3)
    done.set()
    writer.join()
    assert wrong == []
    # The command line is one more process that changes the same knowledge.
    with hundredth.load(folder, threads=1) as model:
        model.correct(TEXT, "card_swallowed", by="elsewhere")
    for _ in range(6):
        assert service.ask(PREDICT, {"text": TEXT})[1]["predictions"][0]["label"] == "card_swallowed"
    log = service.ask("/v1/knowledge/log?limit=1000")[1]["changes"]
    assert set(map(str, acknowledged)) <= {change["note"] for change in log}
    numbers = service.ask("/metrics")[1]
    [counted] = [
        float(line.rpartition(" ")[2])
        for line in numbers.splitlines()
        if line.startswith('hundredth_requests_total{method="POST",route="/v1/knowledge/correct",status="200"}')
    ]
    assert counted >= len(acknowledged)
    assert 'hundredth_entries{origin="user"} 1.0' in numbers
    assert service.stop() == 0
    with hundredth.load(folder, threads=1) as model:
        assert model.predict([TEXT]) == ["card_swallowed"]
    for process in service.workers():
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


def test_who_does_not_finish_a_body_that_is_answered_already_is_cut_off(run, make_model):
    """Silent otherwise: whoever sends a byte a second keeps the connection, and needs no token for it."""
    service = run(make_model(), "--body-timeout", "1")
    service.until(lambda: service.ask("/readyz")[0] == 200)
    for asked in ("GET /healthz", "POST /v1/knowledge/undo"):
        with socket.create_connection(("127.0.0.1", service.port), timeout=20) as one:
            one.sendall(f"{asked} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000\r\n\r\n".encode())
            assert one.recv(1 << 16).startswith(b"HTTP/1.1 ")
            one.settimeout(0.05)
            end, there = time.monotonic() + 20, True
            while there:
                assert time.monotonic() < end
                try:
                    one.sendall(b"x")
                    there = one.recv(1 << 16) != b""
                except TimeoutError:
                    pass
                except OSError:
                    there = False
    # One that sends all of it in the end has as long for its next request, and no longer.
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as one:
        one.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n")
        assert one.recv(1 << 16).startswith(b"HTTP/1.1 200")
        one.sendall(b"x" * 9)
        while one.recv(1 << 16):
            pass
    assert service.stop() == 0


def test_an_address_of_this_machine_in_another_spelling_is_one_all_the_same(run, make_model):
    service = run(make_model(), "--host", "127.1")
    service.until(lambda: service.ask("/readyz")[0] == 200)
    for host, status in (("127.1", 200), ("localhost", 200), ("evil.example", 400)):
        one = http.client.HTTPConnection("127.0.0.1", service.port, timeout=20)
        one.request("GET", "/v1/knowledge", headers={"Host": host})
        assert one.getresponse().status == status
        one.close()
    assert service.stop() == 0


@pytest.fixture
def refused():
    """Run `hundredth serve` with what cannot work; return the one line that says why."""

    def invoke(*arguments):
        result = CliRunner().invoke(app, ["serve", *map(str, arguments)])
        assert result.exit_code == 2, (result.stdout, result.stderr, result.exception)
        [line] = result.stderr.splitlines()
        return line.removeprefix("error: ")

    return invoke


def test_what_cannot_be_served_is_said_in_one_line(refused, make_model, tmp_path, monkeypatch):
    folder = make_model()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert refused(folder, "--port", port).startswith(f"port {port} of 127.0.0.1 is taken")
    assert "is not a model folder" in refused(tmp_path / "none", "--port", 0)
    assert "needs a token" in refused(folder, "--port", 0, "--protect-reads")
    monkeypatch.setitem(sys.modules, "openvino", None)  # as if it were not installed
    assert "pip install '.[openvino]'" in refused(folder, "--port", 0, "--engine", "openvino")
    assert "for 127.0.0.1 alone" in refused(folder, "--port", 0, "--allow-anonymous-writes", "--host", "0.0.0.0")
    for host in ("no.such.host.invalid", "a..b"):
        assert "--host 127.0.0.1" in refused(folder, "--port", 0, "--host", host)


def test_several_workers_compute_with_the_engine_that_is_told_at_the_start(make_model, monkeypatch):
    """Silent otherwise: with `auto` each worker may find another engine the quicker one."""
    made = []

    class Workers:
        interrupted = False

        def __init__(self, config, sockets):
            made.append(config)

        def run(self):
            pass

    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "")
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR")  # what the service sets it to is undone with this
    monkeypatch.setattr("hundredth.service.server.Workers", Workers)
    monkeypatch.setattr("hundredth.service.server._config", lambda _, worker: worker.args[0])
    monkeypatch.setattr("hundredth.service.server.signal.signal", lambda *_: None)
    monkeypatch.setattr("hundredth.runtime.engines._seconds", lambda engine: engine.name == "onnxruntime")
    options = ["--port", "0", "--workers", "2", "--threads", "1", "--engine", "auto"]
    result = CliRunner().invoke(app, ["serve", str(make_model()), *options])
    assert result.exit_code == 0, result.stderr
    [settings] = made
    assert settings.engine == ("openvino" if find_spec("openvino") else "onnxruntime")
    assert f"float32 weights with {settings.engine}, 1 threads, 2 workers" in result.stdout


def test_a_missing_extra_is_named(refused, make_model, monkeypatch):
    for name in [
        name for name in sys.modules if name.partition(".")[0] == "uvicorn" or "hundredth.service." in name
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    said = refused(make_model())
    assert said.startswith("hundredth serve needs the package 'uvicorn', which is not installed: ")
    assert "pip install '.[service]'" in said


def test_the_help_teaches():
    said = CliRunner().invoke(app, ["serve", "--help"]).stdout
    for word in ("--token-file", "curl", "SIGTERM", "/metrics", "--workers"):
        assert word in said
