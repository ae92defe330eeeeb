"""Around every request: its id, the headers of its answer, its line in the log, and an answer to any error."""

import re
import secrets
import time
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hundredth.service.errors import ApiError, ClientGoneError
from hundredth.service.logs import REQUESTS
from hundredth.service.metrics import Metrics

_NOTES = "hundredth.notes"
_CLIENT_GONE = 499  # nginx's number for a client that went before its answer
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
_USABLE_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_HEADERS = {
    b"content-security-policy": b"default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
}


def note(request: Request, **fields: Any) -> None:
    """Put something into the request's line of the log."""
    request.scope[_NOTES].update(fields)


class Envelope:
    """The outermost part of the application."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status, id, recorded = time.perf_counter(), _CLIENT_GONE, _request_id(scope), False
        scope[_NOTES] = {}

        def record() -> None:
            nonlocal recorded
            if not recorded:
                recorded = True
                self._record(scope, id, status, time.perf_counter() - started)

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = list(message.get("headers", ()))
                given = {name for name, _ in headers}
                headers += [header for header in _HEADERS.items() if header[0] not in given]
                message["headers"] = [*headers, (b"x-request-id", id)]
            elif not message.get("more_body", False):
                record()  # before it leaves: a worker that is killed has counted all that it has answered
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except ClientGoneError:
            pass
        except Exception:
            REQUESTS.exception("an unexpected error", extra={"fields": {"request_id": id.decode()}})
            if status == _CLIENT_GONE:
                message = "an unexpected error: the service's log has it under the X-Request-Id of this answer"
                await ApiError(500, "internal", message).response()(scope, receive, send_with_headers)
        finally:
            record()

    def _record(self, scope: Scope, id: bytes, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "other"
        # The template: paths themselves hold ids, and whatever a caller makes up.
        route = getattr(scope.get("route"), "path", "none")
        self._metrics.requests.labels(method, route, status).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        fields = {
            "request_id": id.decode(),
            "method": method,
            "route": route,
            "status": status,
            "ms": round(1000 * seconds, 3),
            **scope[_NOTES],
        }
        REQUESTS.info("request", extra={"fields": fields})


def _request_id(scope: Scope) -> bytes:
    """Return the id that the caller gave, where it is a harmless one, or a new one."""
    given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
    return given if _USABLE_ID.fullmatch(given) else secrets.token_hex(8).encode()
