"""What goes wrong, as the caller is told it: a status, a code, and one clear line without anything internal."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from hundredth.errors import ConflictError, NotThereError, UnavailableError, UnknownLabelError, UserError
from hundredth.service.replies import reply

Code = Literal[
    "unknown_label",
    "bad_request",
    "too_large",
    "too_many",
    "unauthorized",
    "forbidden",
    "not_found",
    "unavailable",
    "internal",
]
_SECONDS_TO_WAIT = "1"
_LONGEST = 500  # characters of a message, which may quote what was sent


class ApiError(Exception):
    """A request that is refused or failed, with all that its answer says."""

    def __init__(self, status: int, code: Code, message: str, headers: Mapping[str, str] | None = None) -> None:
        line = " ".join(message.split())
        super().__init__(line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}...")
        self.status, self.code, self.headers = status, code, dict(headers or {})

    def response(self) -> Response:
        """Return the answer."""
        return reply({"error": {"code": self.code, "message": str(self)}}, self.status, self.headers)


class ClientGoneError(Exception):
    """Nobody waits for the answer any more."""


def unavailable(message: str) -> ApiError:
    """Return the error for what may work a little later."""
    return ApiError(503, "unavailable", message, {"Retry-After": _SECONDS_TO_WAIT})


def too_many(message: str) -> ApiError:
    """Return the error for a service with more to do than it takes on."""
    return ApiError(429, "too_many", message, {"Retry-After": _SECONDS_TO_WAIT})


def from_user_error(error: UserError, folder: Path) -> ApiError:
    """Return what a caller is told of an error of the model or its store, without the server's paths."""
    message = str(error).replace(f"{folder}/", "").replace(str(folder), "the model folder")
    if isinstance(error, UnavailableError):
        return unavailable(f"{message}; nothing was changed")
    if isinstance(error, UnknownLabelError):
        return ApiError(422, "unknown_label", message)
    if isinstance(error, NotThereError):
        return ApiError(404, "not_found", message)
    if isinstance(error, ConflictError):
        return ApiError(409, "bad_request", message)
    return ApiError(422, "bad_request", message)


def add_handlers(app: FastAPI) -> None:
    """Let every error that is foreseen come out in the same form."""

    async def api(request: Request, error: Exception) -> Response:
        assert isinstance(error, ApiError)
        return error.response()

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return ApiError(422, "bad_request", _first(error.errors())).response()

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == 404:
            return ApiError(404, "not_found", "there is nothing at this path").response()
        if error.status_code == 405:
            message = f"{request.method} is not possible at this path"
            return ApiError(405, "bad_request", message, error.headers).response()
        return ApiError(error.status_code, "bad_request", str(error.detail), error.headers).response()

    app.add_exception_handler(ApiError, api)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)


def _first(errors: Any) -> str:
    """Return the first of pydantic's errors as one line; what was given is not repeated."""
    error = errors[0]
    place = ".".join(str(part) for part in error["loc"] if part != "body") or "the body"
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{place}: {error['msg']}{more}"
