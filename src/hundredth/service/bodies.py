"""Reading a request: who may ask, how large it may be, how long it may take, and strict JSON."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope

from hundredth.service.access import Access, Need
from hundredth.service.errors import ApiError, ClientGoneError
from hundredth.service.settings import ServiceSettings
from hundredth.service.strict_json import BadJSONError, parse

_LONGEST_NUMBER = 18  # digits
# Of a body that is too large, so that its sender is still there to be told.
_THROWN_AWAY = 16 << 20  # bytes


class _ReadRequest(Request):
    """A request whose body has been read already."""

    def __init__(self, scope: Scope, receive: Receive, content: bytes, value: Any) -> None:
        super().__init__(scope, receive)
        self._content, self._value = content, value

    async def body(self) -> bytes:
        return self._content

    async def json(self) -> Any:
        return self._value


def guarded(access: Access, settings: ServiceSettings, need: Need) -> type[APIRoute]:
    """Return the class of the routes that need this: what is not allowed is refused before its body is read."""

    class GuardedRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def checked(request: Request) -> Response:
                access.check(request, need)
                if self.body_field is None:
                    return await handle(request)
                _check_type(request)
                content = await _read(request, settings.max_body, settings.body_timeout)
                # Not left to FastAPI: of what goes wrong while it reads JSON it tells the caller nothing.
                value = _parsed(content)
                return await handle(_ReadRequest(request.scope, request.receive, content, value))

            return checked

    return GuardedRoute


def _check_type(request: Request) -> None:
    """Refuse other types: a form of another site can make a browser send them, but not JSON."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        shown = f"is {kind[:80]!r}" if kind else "is missing"
        raise ApiError(400, "bad_request", f"the Content-Type {shown}: send application/json")


def _parsed(content: bytes) -> Any:
    try:
        return parse(content)
    except BadJSONError as error:
        raise ApiError(400, "bad_request", f"the body is not valid JSON: {error}") from None


async def _read(request: Request, most: int, seconds: float) -> bytes:
    """Return the body, of which no more than `most` bytes are held, whatever its headers say.

    A larger one is read and thrown away, within bounds: a client that is still sending when the connection closes
    may lose the answer, which tells it what to do.
    """
    too_large = ApiError(413, "too_large", f"the body is larger than {most} bytes: send fewer texts at a time")
    declared = request.headers.get("content-length", "")
    asks_first = request.headers.get("expect", "").lower() == "100-continue"
    if declared.isdecimal():
        size = int(declared) if len(declared) <= _LONGEST_NUMBER else sys.maxsize
        if size > most + (0 if asks_first else _THROWN_AWAY):
            raise too_large
    content, size = bytearray(), 0
    try:
        async with asyncio.timeout(seconds):
            async for part in request.stream():
                size += len(part)
                if size <= most:
                    content += part
                elif size > most + _THROWN_AWAY:
                    raise too_large
    except TimeoutError:
        message = f"the body did not arrive within {seconds:g} seconds"
        raise ApiError(408, "bad_request", message, {"Connection": "close"}) from None
    except ClientDisconnect:
        raise ClientGoneError from None
    if size > most:
        raise too_large
    return bytes(content)
