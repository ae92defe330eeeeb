"""What the tests of the service send, and one that sends it."""

import asyncio
import json
import threading

TOKEN = "0123456789abcdef-secret"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
ADDRESS = "http://127.0.0.1:8000"
TEXT = "the machine ate my card"
PREDICT = "/v1/predict"


def said(response, status, code):
    """Return the message of an error, which must have this status, this code and the form of all errors."""
    assert response.status_code == status, response.text
    body = response.json()
    assert list(body) == ["error"]
    assert (list(body["error"]), body["error"]["code"]) == (["code", "message"], code)
    assert "\n" not in body["error"]["message"]
    return body["error"]["message"]


class Answer:
    """What came back of a request: its status, headers and body; no status where nobody was told anything."""

    def __init__(self, messages):
        starts = [message for message in messages if message["type"] == "http.response.start"]
        self.status = starts[0]["status"] if starts else None
        self.headers = {name.decode(): value.decode() for name, value in starts[0]["headers"]} if starts else {}
        self.body = b"".join(message.get("body", b"") for message in messages)

    @property
    def json(self):
        return json.loads(self.body)


class Caller:
    """Sends requests to an application within one event loop; bodies may come in parts, or not to the end."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, path, value=None, *, method="POST", parts=None, headers=(), pause=0.0, gone=None):
        messages, waiting = [], [json.dumps(value).encode()] if parts is None else parts
        done = asyncio.Event()

        async def receive():
            if waiting:
                await asyncio.sleep(pause)
                part = waiting.pop(0)
                if part is None:
                    return {"type": "http.disconnect"}
                return {"type": "http.request", "body": part, "more_body": bool(waiting)}
            await (gone or done).wait()
            return {"type": "http.disconnect"}

        async def send(message):
            messages.append(message)

        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [(b"host", b"127.0.0.1"), (b"content-type", b"application/json"), *headers],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            "state": {},
        }
        await self.app(scope, receive, send)
        return Answer(messages)


class Held:
    """The model of an app, whose first batch waits until it is let go; `batches` are the rows of each."""

    def __init__(self, app, monkeypatch):
        self.batches, self.started, self.going = [], threading.Event(), threading.Event()
        self.model = app.state.service.models.served.model
        self.answer = self.model.answer
        monkeypatch.setattr(self.model, "answer", self._held)

    def _held(self, rows):
        self.batches.append(list(rows))
        self.started.set()
        assert self.going.wait(30)
        return self.answer(rows)

    async def fill(self, call, bodies):
        """Send one request, then the others while it is being predicted; return the answers to all."""
        tasks = [asyncio.create_task(call(PREDICT, {"text": TEXT}))]
        await asyncio.to_thread(self.started.wait)
        for body in bodies:
            tasks.append(asyncio.create_task(call(PREDICT, body)))
            await asyncio.sleep(0)
        await asyncio.sleep(0.05)
        self.going.set()
        return await asyncio.gather(*tasks)

    @property
    def sizes(self):
        return [len(rows) for rows in self.batches]
