"""The files of the page: the right types, asked for again only when they have changed, and nothing beside them."""

import pytest
from callers import said

from hundredth.service import page


@pytest.fixture
def static(tmp_path, monkeypatch):
    folder = tmp_path / "static"
    (folder / "parts").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html><title>é</title>")
    (folder / "app.js").write_text("export {};")
    (folder / "style.css").write_text("p {}")
    (folder / "icon.svg").write_text("<svg/>")
    (folder / "parts" / "more.js").write_text("1;")
    (folder / "notes.py").write_text("nothing of the page")
    monkeypatch.setattr(page, "STATIC", folder)
    return folder


def test_files_come_with_their_types(static, serve):
    client = serve()
    for path, kind in (
        ("/", "text/html; charset=utf-8"),
        ("/static/index.html", "text/html; charset=utf-8"),
        ("/static/app.js", "text/javascript; charset=utf-8"),
        ("/static/style.css", "text/css; charset=utf-8"),
        ("/static/icon.svg", "image/svg+xml"),
        ("/static/parts/more.js", "text/javascript; charset=utf-8"),
    ):
        response = client.get(path)
        assert (response.status_code, response.headers["content-type"]) == (200, kind)
    assert "<title>é</title>" in client.get("/").text
    head = client.head("/static/app.js")
    assert (head.status_code, head.headers["content-type"]) == (200, "text/javascript; charset=utf-8")
    for path in ("/static/notes.py", "/static/none.js", "/static/parts", "/static"):
        assert said(client.get(path), 404, "not_found")


def test_a_file_that_has_not_changed_is_not_sent_again(static, serve):
    client = serve()
    first = client.get("/static/app.js")
    tag = first.headers["etag"]
    assert first.headers["cache-control"] == "no-cache"
    for known in (tag, f'W/{tag}, "x"', f'"x", {tag}', "*"):
        again = client.get("/static/app.js", headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert client.get("/static/app.js", headers={"If-None-Match": '"x"'}).status_code == 200
    (static / "app.js").write_text("export const a = 1;")
    assert serve().get("/static/app.js", headers={"If-None-Match": tag}).text == "export const a = 1;"


def test_a_package_without_its_page_serves_all_the_rest(serve, tmp_path, monkeypatch):
    monkeypatch.setattr(page, "STATIC", tmp_path / "none")
    client = serve()
    assert said(client.get("/"), 404, "not_found")
    assert client.get("/v1/model").status_code == 200


def test_the_page_itself_is_there():
    assets = page.read_assets(page.STATIC)
    assert "index.html" in assets
    assert {path for path in page.STATIC.rglob("*") if path.is_file()} == {page.STATIC / name for name in assets}
