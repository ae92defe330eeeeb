"""Serving tiny models in this process, with requests that go straight to the application."""

import importlib.util
from pathlib import Path

import pytest
from callers import ADDRESS, TOKEN
from running import Running
from starlette.testclient import TestClient

from hundredth.service import ServiceSettings, create_app


def _tiny():
    """The maker of tiny models, which lies with the tests of the runtime."""
    path = Path(__file__).parents[1] / "runtime" / "conftest.py"
    spec = importlib.util.spec_from_file_location("tiny_models_for_the_service", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tiny = _tiny()


@pytest.fixture(autouse=True)
def no_token_from_outside(monkeypatch):
    monkeypatch.delenv("HUNDREDTH_TOKEN", raising=False)
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)


@pytest.fixture
def make_model(tmp_path):
    return tiny.ModelMaker(tmp_path)


@pytest.fixture
def token_file(tmp_path):
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    return path


@pytest.fixture
def make_app(make_model, token_file):
    """An application for a model folder, by default with a token and without looking for new models."""
    made = []

    def make(folder=None, **settings):
        given = {"threads": 1, "watch": 0, "token_file": token_file, **settings}
        app = create_app(ServiceSettings(folder=folder or make_model(), **given))
        made.append(app.state.service)
        return app

    yield make
    for service in made:
        if not service.stopping:
            service.close()


@pytest.fixture
def serve(make_app):
    """A client of such an application, in a process of its own as far as it knows."""
    opened = []

    def start(folder=None, **settings):
        client = TestClient(make_app(folder, **settings), base_url=ADDRESS)
        client.__enter__()
        opened.append(client)
        return client

    yield start
    for client in opened:
        client.__exit__(None, None, None)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A client of one application for all tests of a file, with a token in a file."""
    folder = tmp_path_factory.mktemp("shared")
    token = folder / "token"
    token.write_text(TOKEN)
    # The name that schemathesis sends its requests to.
    given = {"threads": 1, "watch": 0, "token_file": token, "allowed_hosts": ("testserver",)}
    app = create_app(ServiceSettings(folder=tiny.ModelMaker(folder)(), **given))
    with TestClient(app, base_url=ADDRESS) as opened:
        yield opened


@pytest.fixture
def client(serve):
    """A client that has the token."""
    started = serve()
    started.headers["Authorization"] = f"Bearer {TOKEN}"
    return started


@pytest.fixture
def run():
    """Start `hundredth serve`, with a token."""
    running = []

    def start(folder, *options):
        running.append(Running(folder, *options))
        return running[-1]

    yield start
    for one in running:
        if one.process.poll() is None:
            one.process.kill()
            one.ended()
