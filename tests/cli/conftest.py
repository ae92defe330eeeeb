"""Running the command line in this process, and reading what it says."""

import importlib.util
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from huggingface_hub import constants

from hundredth.cli import app

Run = Callable[..., Result]


@pytest.fixture
def run() -> Run:
    """Run a command; what nobody foresaw is raised, as it would be shown with its traceback."""

    def invoke(*arguments: object, stdin: str | bytes | None = None) -> Result:
        result = CliRunner().invoke(app, [str(one) for one in arguments], input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


@pytest.fixture
def refused(run: Run) -> Callable[..., str]:
    """Run a command that must be refused: exit code 2 and one line that says why; return the line."""

    def invoke(*arguments: object, stdin: str | bytes | None = None) -> str:
        result = run(*arguments, stdin=stdin)
        assert result.exit_code == 2, (result.stdout, result.stderr)
        assert result.stdout == ""
        lines = result.stderr.splitlines()
        assert len(lines) == 1, result.stderr
        assert lines[0].startswith("error: ")
        return lines[0].removeprefix("error: ")

    return invoke


@pytest.fixture
def make_model(tmp_path: Path) -> Callable[..., Path]:
    """Make the folder of a tiny model; the maker lies with the tests of the runtime."""
    path = Path(__file__).parents[1] / "runtime" / "conftest.py"
    spec = importlib.util.spec_from_file_location("tiny_models_for_the_command_line", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    maker: Callable[..., Path] = module.ModelMaker(tmp_path)
    return maker


@pytest.fixture
def names(small_settings: dict[str, Any]) -> Sequence[str]:
    """The options that name the tiny models."""
    return "--llm", small_settings["llm"]["name"], "--student", small_settings["base"]["name"], "--quiet"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder for a run, not there yet."""
    return tmp_path / "out"


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A hub at a port of this machine where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{taken.getsockname()[1]}")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.delenv(name, raising=False)
        yield
