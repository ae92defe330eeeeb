"""/openapi.json: what each route answers, its errors among them."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from hundredth.service.access import Access
from hundredth.service.response_models import Problem

_ERRORS = {
    400: "The body is not JSON, or the Host is not one of the service's.",
    401: "A token is needed, or another one.",
    403: "Changes are not possible here.",
    404: "There is no such thing.",
    408: "The body came too slowly.",
    409: "It cannot be undone: it is undone already, a later change stands in the way, or what it did stays.",
    413: "The body, the number of texts or a text is too large.",
    422: "The request does not fit: its form, its texts, a label.",
    429: "Too much is waiting: see Retry-After.",
    500: "An unexpected error.",
    503: "Not now: stopping, locked, or too slow; see Retry-After.",
}
_BODY = (408, 413, 422)
SECURED: dict[str, Any] = {"security": [{"token": []}]}


def answers(model: type[BaseModel], what: str, *errors: int, status: int = 200) -> dict[int | str, dict[str, Any]]:
    """Return the description of a route's answers: the good one, and these errors."""
    described: dict[int | str, dict[str, Any]] = {status: {"model": model, "description": what}}
    for number in sorted({*errors, 400, 401, 429, 500, 503}):
        described[number] = {"model": Problem, "description": _ERRORS[number]}
    return described


def body_answers(
    model: type[BaseModel], what: str, *errors: int, status: int = 200
) -> dict[int | str, dict[str, Any]]:
    """Return the same for a route with a body."""
    return answers(model, what, *_BODY, *errors, status=status)


def describe(app: FastAPI, access: Access) -> None:
    """Make `app.openapi` say how the token is given, and which routes need it."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(
                title=app.title, version=app.version, description=app.description, routes=app.routes
            )
            schema["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            if access.reads_need_token:
                for path, operations in schema["paths"].items():
                    for operation in operations.values():
                        if path not in ("/healthz", "/readyz"):
                            operation.update(SECURED)
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
