"""What is counted, and what a line of the log says."""

import asyncio
import json
import logging
import subprocess
import sys
from dataclasses import replace

from callers import PREDICT, TEXT
from prometheus_client.parser import text_string_to_metric_families

from hundredth.runtime import DevInfo
from hundredth.service.envelope import Envelope
from hundredth.service.logs import JsonFormatter


def _numbers(client):
    """All numbers by name and labels."""
    response = client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def test_requests_are_counted_by_route_and_status(client):
    client.post(PREDICT, json={"text": TEXT})
    client.post(PREDICT, json={"text": ""})
    client.get("/v1/knowledge/1")
    client.get("/v1/knowledge/77")
    client.get("/v1/knowledge/78")
    client.get("/made/up/by/the/caller")
    client.request("MADEUP", "/v1/model")
    numbers = _numbers(client)

    def requests(method, route, status):
        return numbers["hundredth_requests_total", ("method", method), ("route", route), ("status", status)]

    assert requests("POST", PREDICT, "200") == 1
    assert requests("POST", PREDICT, "422") == 1
    assert requests("GET", "/v1/knowledge/{id}", "200") == 1
    assert requests("GET", "/v1/knowledge/{id}", "404") == 2
    assert requests("GET", "none", "404") == 1
    assert requests("other", "/v1/model", "405") == 1
    assert numbers["hundredth_request_seconds_count", ("route", "/v1/knowledge/{id}")] == 3
    assert ("hundredth_request_seconds_bucket", ("le", "0.0005"), ("route", PREDICT)) in numbers
    assert "made/up" not in str(numbers)
    assert "MADEUP" not in str(numbers)


def test_an_answer_is_counted_before_its_end_leaves(client):
    """Silent otherwise: a worker that is killed right after an answer has not counted it."""
    metrics, seen = client.app.state.service.metrics, []
    counted = metrics.requests.labels("GET", "none", 200)._value

    async def answer(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        for more in (True, False):
            await send({"type": "http.response.body", "body": b"x", "more_body": more})

    async def send(message):
        seen.append((message["type"], counted.get()))

    scope = {"type": "http", "method": "GET", "headers": []}
    asyncio.run(Envelope(answer, metrics)(scope, None, send))
    body = "http.response.body"
    assert seen == [("http.response.start", 0), (body, 0), (body, 1)]
    assert counted.get() == 1


def test_predictions_are_counted_by_label_and_by_what_they_are_worth(client):
    model = client.app.state.service.models.served.model
    model.manifest = replace(model.manifest, dev=DevInfo(2, (0.0,), (2,), (1,), (0.999, 1.0)))
    client.post(PREDICT, json={"texts": [TEXT, "machine ate card"]})
    client.post(PREDICT, json={"texts": [TEXT], "abstain_below": 1})
    numbers = _numbers(client)
    labels = model.predict([TEXT, "machine ate card"])
    for label in set(labels):
        assert numbers["hundredth_predictions_total", ("label", label)] == labels.count(label)
    assert numbers["hundredth_abstentions_total",] == 1
    assert numbers["hundredth_far_texts_total",] == 2
    assert (numbers["hundredth_batch_texts_count",], numbers["hundredth_batch_texts_sum",]) == (2, 3)
    assert numbers["hundredth_queue_texts",] == 0


def test_the_model_and_its_entries_are_told(client):
    assert _numbers(client)["hundredth_entries", ("origin", "user")] == 0
    client.post("/v1/knowledge", json={"texts": [TEXT], "labels": ["refund"]})
    numbers = _numbers(client)
    assert numbers["hundredth_entries", ("origin", "gold")] == 3
    assert numbers["hundredth_entries", ("origin", "user")] == 1
    [info] = [dict(key[1:]) for key in numbers if key[0] == "hundredth_model_info"]
    version = client.get("/v1/model").json()["model_version"]
    assert info == {"task": "tickets", "version": version, "number_format": "float32"}


_WORKER = """
from hundredth.service.metrics import Metrics
metrics = Metrics()
metrics.predictions.labels("refund").inc(2)
metrics.queue.set(5)
metrics.seconds.labels("/x").observe(0.0004)
print(metrics.text({"task": "t"}, {"user": 7}).decode())
"""


def test_the_numbers_of_workers_are_added_up_and_the_dead_wait_for_nothing(tmp_path):
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PATH": ""}
    for number in (1, 2, 3):
        ran = subprocess.run([sys.executable, "-c", _WORKER], env=environment, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        assert f'hundredth_predictions_total{{label="refund"}} {2.0 * number}\n' in ran.stdout
        assert f'hundredth_request_seconds_bucket{{le="0.0005",route="/x"}} {float(number)}\n' in ran.stdout
        assert "hundredth_queue_texts 5.0\n" in ran.stdout
        assert 'hundredth_entries{origin="user"} 7.0\n' in ran.stdout


def test_a_request_is_one_line_without_its_texts(client, caplog):
    with caplog.at_level(logging.INFO, "hundredth.service"):
        headers = {"X-Request-Id": "mine", "X-User": "Ada"}
        sent = {"text": TEXT, "label": "refund", "note": "a secret note"}
        client.post("/v1/knowledge/correct", json=sent, headers=headers)
        client.post("/v1/knowledge/correct", json={**sent, "label": "a secret label"}, headers=headers)
        client.get("/v1/knowledge", params={"contains": "a secret word"})
    lines = [json.loads(JsonFormatter().format(record)) for record in caplog.records]
    assert [line["status"] for line in lines] == [200, 422, 200]
    assert lines[0].pop("ms") > 0
    assert lines[0].pop("time").endswith("+00:00")
    assert lines[0] == {
        "level": "info",
        "logger": "hundredth.service.requests",
        "message": "request",
        "request_id": "mine",
        "method": "POST",
        "route": "/v1/knowledge/correct",
        "status": 200,
        "texts": 1,
    }
    assert "secret" not in json.dumps(lines)
    assert TEXT not in json.dumps(lines)


def test_an_error_is_one_line_with_its_traceback():
    try:
        raise ValueError("two\nlines")
    except ValueError:
        record = logging.LogRecord("a", logging.ERROR, "f", 1, "what %s", ("it\nwas",), sys.exc_info())
    text = JsonFormatter().format(record)
    assert "\n" not in text
    line = json.loads(text)
    assert (line["level"], line["message"]) == ("error", "what it\nwas")
    assert line["traceback"].endswith("ValueError: two\nlines")
