"""The page: files of this package, held in memory, which browsers ask for again only when they have changed."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import HTMLResponse, Response

from hundredth.service.errors import ApiError

STATIC = Path(__file__).with_name("static")
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".json": "application/json",
    ".woff2": "font/woff2",
}
_INDEX = "index.html"
# What FastAPI's page of the interface loads.
_DOCS_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' https://cdn.jsdelivr.net; "
    "style-src 'self' 'unsafe-inline' https://cdn.jsdelivr.net; img-src 'self' data: https://fastapi.tiangolo.com; "
    "frame-ancestors 'none'; base-uri 'none'"
)


@dataclass(frozen=True)
class Asset:
    """A file of the page."""

    content: bytes
    kind: str
    tag: str


def read_assets(folder: Path) -> dict[str, Asset]:
    """Return the files of known types in a folder, by their path in it."""
    assets = {}
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        if path.suffix in _TYPES and path.is_file():
            content = path.read_bytes()
            tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
            assets[path.relative_to(folder).as_posix()] = Asset(content, _TYPES[path.suffix], tag)
    return assets


def page_routes() -> APIRouter:
    """Return the routes of the page and its files."""
    assets = read_assets(STATIC)
    routes = APIRouter(include_in_schema=False)

    @routes.api_route("/", methods=["GET", "HEAD"])
    async def index(request: Request) -> Response:
        return _answer(request, assets.get(_INDEX))

    @routes.api_route("/static/{path:path}", methods=["GET", "HEAD"])
    async def asset(request: Request, path: str) -> Response:
        return _answer(request, assets.get(path))

    return routes


def docs_routes() -> APIRouter:
    """Return the route of the page of the interface, which loads its scripts from a CDN."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/docs")
    async def docs() -> HTMLResponse:
        page = get_swagger_ui_html(openapi_url="openapi.json", title="hundredth")
        page.headers["Content-Security-Policy"] = _DOCS_POLICY
        return page

    return routes


def _answer(request: Request, asset: Asset | None) -> Response:
    if asset is None:
        raise ApiError(404, "not_found", "there is nothing at this path")
    # Asked for again every time, and answered in a few bytes where nothing has changed.
    headers = {"ETag": asset.tag, "Cache-Control": "no-cache"}
    known = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
    if asset.tag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    return Response(asset.content, headers=headers, media_type=asset.kind)
