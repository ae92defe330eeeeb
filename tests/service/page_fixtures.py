"""Fixtures of the tests of the page: a browser, a served model, and a visit to the page."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from callers import TOKEN
from page_visit import ENTRIES, LABELS, Visit

NOT_THE_PAGE = "Failed to load resource"  # how the browser tells of an answer that is no success
WAIT = 10_000  # ms, for what takes a few of them


@pytest.fixture(scope="module")
def page_tab() -> Iterator[Any]:
    """A tab of Chromium, the same for the tests of a file: to open one takes longer than most of them."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="the page is tested with playwright: install it")
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("the page is tested in chromium, chromium-browser or google-chrome: install one of them")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(WAIT)
        yield page
        browser.close()


@pytest.fixture
def page_model(make_model: Any) -> Callable[..., Path]:
    """Make the folder of a tiny model, with `ENTRIES` unless told otherwise."""
    return lambda **changes: make_model(**{"entries": ENTRIES, "labels": LABELS, **changes})


@pytest.fixture
def page_service(make_app: Any) -> Iterator[Callable[..., str]]:
    """Serve a model folder at a port of its own, by default with a token; return the address of the page."""
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start(folder: Path, **settings: Any) -> str:
        server = uvicorn.Server(uvicorn.Config(make_app(folder, **settings), port=0, log_level="warning"))
        thread = threading.Thread(target=server.run)
        thread.start()
        running.append((server, thread))
        while not server.started:
            assert thread.is_alive(), "the service did not start"
            time.sleep(0.005)
        port = server.servers[0].sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}/"

    yield start
    for server, thread in running:
        server.should_exit = True
        thread.join()


@pytest.fixture
def visit(page_tab: Any) -> Iterator[Callable[..., Visit]]:
    """Open the page; its token and name are set before unless `token` is None.

    A fault of the page's own fails the test: an exception, a dialog, or what its content security policy stopped.
    """
    faults: list[str] = []

    def heard(message: Any) -> None:
        if message.type in ("error", "warning") and not message.text.startswith(NOT_THE_PAGE):
            faults.append(message.text)

    def asked(dialog: Any) -> None:
        faults.append(f"a dialog: {dialog.message}")
        dialog.dismiss()

    listeners = {"pageerror": lambda error: faults.append(str(error)), "console": heard, "dialog": asked}
    for event, listener in listeners.items():
        page_tab.on(event, listener)

    def opened(
        address: str, token: str | None = TOKEN, path: str = "", width: int = 1280, scheme: str = "light"
    ) -> Visit:
        page_tab.set_viewport_size({"width": width, "height": 900})
        page_tab.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        if token is not None:
            # Every service has a port of its own, and with it a storage of its own.
            keep = f"if (`${{location.origin}}/` === '{address}') for (const [key, value] of"
            keep += f" [['token', '{token}'], ['name', 'Ada']]) sessionStorage.setItem(`hundredth.${{key}}`, value)"
            page_tab.add_init_script(keep)
        page_tab.goto(address + path)
        return Visit(page_tab, address)

    yield opened
    page_tab.unroute_all()
    page_tab.goto("about:blank")
    for event, listener in listeners.items():
        page_tab.remove_listener(event, listener)
    assert faults == []
