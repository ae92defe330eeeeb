"""How much a service takes on: bytes, texts, characters, waiting texts, and time."""

import asyncio
import json
import threading

import pytest
from callers import PREDICT, TEXT, TOKEN, Caller, Held, said

from hundredth.service import bodies


def _body(size):
    """A body of so many bytes that would be answered, but for its size."""
    bare = len(json.dumps({"text": ""}))
    return json.dumps({"text": "x" * (size - bare)}).encode()


def test_a_body_that_is_too_large_is_refused_and_one_that_just_fits_is_not(serve):
    client = serve(max_body=1000)
    headers = {"Content-Type": "application/json"}
    assert client.post(PREDICT, content=_body(1000), headers=headers).status_code == 200
    assert "1000 bytes" in said(client.post(PREDICT, content=_body(1001), headers=headers), 413, "too_large")


@pytest.mark.parametrize("declared", [None, b"5", b"-1", b"x", b"\xb2", b"1000"], ids=str)
def test_bytes_are_counted_whatever_the_headers_say(make_app, declared):
    """Silent otherwise: a body without a length, or with a wrong one, fills the memory."""
    headers = [] if declared is None else [(b"content-length", declared)]
    call = Caller(make_app(max_body=1000))
    answer = asyncio.run(call(PREDICT, parts=[b"x" * 400] * 50, headers=headers))
    assert (answer.status, answer.json["error"]["code"]) == (413, "too_large")


def test_of_a_body_that_is_too_large_some_is_thrown_away_but_not_all_there_may_be(make_app, monkeypatch):
    """Silent otherwise: who is still sending when the connection closes never reads the answer."""
    monkeypatch.setattr(bodies, "_THROWN_AWAY", 2000)
    call = Caller(make_app(max_body=1000))
    for number, left in ((7, 0), (50, 42)):
        parts = [b"x" * 400] * number
        answer = asyncio.run(call(PREDICT, parts=parts))
        assert (answer.status, len(parts)) == (413, left)


@pytest.mark.parametrize(
    ("declared", "more", "left"),
    [(b"1001", [], 0), (b"9" * 30, [], 1), (b"1001", [(b"expect", b"100-continue")], 1)],
    ids=["a little", "absurd", "asks first"],
)
def test_a_body_that_says_it_is_too_large_is_read_only_where_that_helps(make_app, declared, more, left):
    call = Caller(make_app(max_body=1000))
    parts = [_body(1001)]
    answer = asyncio.run(call(PREDICT, parts=parts, headers=[(b"content-length", declared), *more]))
    assert (answer.status, len(parts)) == (413, left)


def test_a_body_that_does_not_come_is_given_up_on(make_app):
    call = Caller(make_app(body_timeout=0.05))
    answer = asyncio.run(call(PREDICT, parts=[b'{"text": ', b'"a"', b"}"], pause=0.03))
    assert (answer.status, answer.json["error"]["code"]) == (408, "bad_request")
    assert "0.05 seconds" in answer.json["error"]["message"]
    assert answer.headers["connection"] == "close"


def test_a_client_that_goes_while_it_sends_is_told_nothing(make_app):
    call = Caller(make_app())
    assert asyncio.run(call(PREDICT, parts=[b'{"text": ', None])).status is None


def test_too_many_texts_or_characters_are_refused(serve):
    client = serve(max_texts=3, max_characters=20)
    assert client.post(PREDICT, json={"texts": ["a"] * 3}).status_code == 200
    assert "at most 3" in said(client.post(PREDICT, json={"texts": ["a"] * 4}), 413, "too_large")
    assert client.post(PREDICT, json={"text": "x" * 20}).status_code == 200
    refused = client.post(PREDICT, json={"texts": ["a", "x" * 21]})
    assert "text 1 is longer than 20" in said(refused, 413, "too_large")
    for path in ("/v1/explain", "/v1/knowledge/search"):
        assert said(client.post(path, json={"text": "x" * 21}), 413, "too_large")


def test_what_does_not_fit_into_the_queue_is_sent_away_and_comes_in_later(make_app, monkeypatch):
    app = make_app(max_queue=4, max_batch=2)
    held, call = Held(app, monkeypatch), Caller(app)

    async def run():
        first = asyncio.create_task(call(PREDICT, {"text": TEXT}))
        await asyncio.to_thread(held.started.wait)
        waiting = [asyncio.create_task(call(PREDICT, {"texts": [TEXT, TEXT]})) for _ in range(2)]
        await asyncio.sleep(0.05)
        refused = await call(PREDICT, {"text": TEXT})
        held.going.set()
        answers = await asyncio.gather(first, *waiting)
        return refused, answers, await call(PREDICT, {"text": TEXT})

    refused, answers, later = asyncio.run(run())
    assert (refused.status, refused.json["error"]["code"]) == (429, "too_many")
    assert refused.headers["retry-after"] == "1"
    assert [answer.status for answer in (*answers, later)] == [200] * 4
    assert [len(answer.json["predictions"]) for answer in answers] == [1, 2, 2]


def test_a_request_larger_than_the_queue_is_taken_when_nothing_waits(serve):
    assert serve(max_queue=2).post(PREDICT, json={"texts": [TEXT] * 5}).status_code == 200


def test_who_has_gone_is_dropped_from_the_queue(make_app, monkeypatch):
    app = make_app(max_batch=1)
    held, call = Held(app, monkeypatch), Caller(app)

    async def run():
        gone = asyncio.Event()
        first = asyncio.create_task(call(PREDICT, {"text": TEXT}))
        await asyncio.to_thread(held.started.wait)
        second = asyncio.create_task(call(PREDICT, {"texts": [TEXT] * 3}, gone=gone))
        await asyncio.sleep(0.05)
        gone.set()
        left = await second
        held.going.set()
        return left, await first, await call(PREDICT, {"text": TEXT})

    left, first, later = asyncio.run(run())
    assert left.status is None
    assert (first.status, later.status) == (200, 200)
    assert held.sizes == [1, 1]
    assert app.state.service.models.served.users == 0
    assert app.state.service.batcher._waiting == 0  # else who has gone would fill the queue for ever


def test_an_answer_that_takes_too_long_is_given_up_on(make_app, monkeypatch):
    app = make_app(request_timeout=0.05)
    held, call = Held(app, monkeypatch), Caller(app)

    async def run():
        answer = await call(PREDICT, {"text": TEXT})
        held.going.set()
        return answer

    answer = asyncio.run(run())
    assert (answer.status, answer.json["error"]["code"]) == (503, "unavailable")
    assert "0.05 seconds" in answer.json["error"]["message"]


def test_other_work_is_limited_too_but_for_what_tells_how_it_goes(make_app, monkeypatch):
    app = make_app(max_pending=2)
    call, going = Caller(app), threading.Event()
    model = app.state.service.models.served.model
    explain = model.explain
    monkeypatch.setattr(model, "explain", lambda row: going.wait(30) and explain(row))

    async def run():
        busy = [asyncio.create_task(call("/v1/explain", {"text": TEXT})) for _ in range(2)]
        await asyncio.sleep(0.05)
        refused = await call("/v1/explain", {"text": TEXT})
        predicted = await call(PREDICT, {"text": TEXT})
        states = [await call(path, method="GET") for path in ("/metrics", "/healthz", "/readyz")]
        going.set()
        return refused, [predicted, *states], await asyncio.gather(*busy)

    refused, others, answers = asyncio.run(run())
    assert (refused.status, refused.headers["retry-after"]) == (429, "1")
    assert "at most 2 may" in refused.json["error"]["message"]
    assert [answer.status for answer in others] == [200] * 4
    assert [answer.status for answer in answers] == [200, 200]


def test_changes_that_wait_for_a_lock_hold_up_nobody_who_reads(make_app, monkeypatch):
    app = make_app()
    call, going, started = Caller(app), threading.Event(), threading.Semaphore(0)
    store = app.state.service.models.served.model._knowledge
    correct = store.correct

    def held(*given, **settings):
        started.release()
        assert going.wait(30)
        return correct(*given, **settings)

    monkeypatch.setattr(store, "correct", held)

    async def run():
        sent, token = {"text": TEXT, "label": "refund"}, (b"authorization", f"Bearer {TOKEN}".encode())
        busy = [asyncio.create_task(call("/v1/knowledge/correct", sent, headers=[token])) for _ in range(10)]
        for _ in range(4):
            await asyncio.to_thread(started.acquire)
        paths = ("/v1/model", "/v1/knowledge", "/v1/knowledge/log")
        told = [await asyncio.wait_for(call(path, method="GET"), 10) for path in paths]
        told.append(await asyncio.wait_for(call("/v1/explain", {"text": TEXT}), 10))
        going.set()
        return told, await asyncio.gather(*busy)

    told, changed = asyncio.run(run())
    assert [answer.status for answer in told] == [200] * 4
    assert [answer.status for answer in changed] == [200] * 10


def test_the_numbers_are_told_while_all_threads_are_at_work(make_app, monkeypatch):
    app = make_app()
    call, going, started = Caller(app), threading.Event(), threading.Semaphore(0)
    model = app.state.service.models.served.model
    explain = model.explain

    def held(row):
        started.release()
        assert going.wait(30)
        return explain(row)

    monkeypatch.setattr(model, "explain", held)

    async def run():
        busy = [asyncio.create_task(call("/v1/explain", {"text": TEXT})) for _ in range(10)]
        for _ in range(4):
            await asyncio.to_thread(started.acquire)
        told = await asyncio.wait_for(call("/metrics", method="GET"), 10)
        going.set()
        return told, await asyncio.gather(*busy)

    told, answers = asyncio.run(run())
    assert told.status == 200
    assert [answer.status for answer in answers] == [200] * 10
