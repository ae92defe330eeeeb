"""The files of the container fit the project: what they copy is there, and what they start can be started."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
CONTAINER = ROOT / "container"


@pytest.fixture(scope="module")
def dockerfile() -> list[str]:
    """The instructions of the Dockerfile, each on one line."""
    text = re.sub(r"^#.*\n", "", (CONTAINER / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    return [line for line in re.sub(r"\s*\\\n\s*", " ", text).splitlines() if line]


@pytest.fixture(scope="module")
def compose() -> Any:
    import yaml

    return yaml.safe_load((CONTAINER / "compose.yaml").read_text(encoding="utf-8"))


def started(dockerfile: list[str]) -> list[str]:
    (entrypoint,) = [line for line in dockerfile if line.startswith("ENTRYPOINT")]
    command: list[str] = json.loads(entrypoint.removeprefix("ENTRYPOINT"))
    return command


def test_what_is_copied_into_the_image_is_there_and_not_kept_from_it(dockerfile: list[str]) -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    copied = [line.split()[1:-1] for line in dockerfile if line.startswith("COPY") and "--from" not in line]
    assert copied
    for name in (name for names in copied for name in names):
        assert (ROOT / name).exists(), name
        assert f"!{name}" in ignored, name


def test_the_image_runs_a_command_that_there_is_as_nobody_in_particular(
    dockerfile: list[str], compose: Any
) -> None:
    from hundredth.cli import app

    command = [*started(dockerfile), *compose["services"]["hundredth"]["command"]]
    assert command[:2] == ["hundredth", "serve"]
    context = app.commands["serve"].make_context("serve", command[2:])
    assert context.params["host"] == "0.0.0.0"
    assert context.params["threads"] == 1
    (user,) = [line.split()[1] for line in dockerfile if line.startswith("USER")]
    assert 0 not in map(int, user.split(":"))
    assert all(re.search(r":\d+\.\d+\.\d+", line) for line in dockerfile if line.startswith("FROM"))


def test_health_is_asked_where_the_service_tells_it(dockerfile: list[str], compose: Any) -> None:
    routes = (ROOT / "src/hundredth/service/state_routes.py").read_text(encoding="utf-8")
    (check,) = [line for line in dockerfile if line.startswith("HEALTHCHECK")]
    for text in (check, str(compose["services"]["hundredth"]["healthcheck"]["test"])):
        (path,) = re.findall(r"127\.0\.0\.1:8000(/\w+)", text)
        assert f'"{path}"' in routes


def test_compose_gives_the_service_what_it_needs_and_no_more(compose: Any) -> None:
    service = compose["services"]["hundredth"]
    assert (CONTAINER / service["build"]["dockerfile"].removeprefix("container/")).exists()
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert version is not None
    assert service["image"] == f"hundredth:{version[1]}"
    assert service["secrets"] == list(compose["secrets"])
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    for one in compose["services"].values():
        assert {"cpus", "memory"} <= one["deploy"]["resources"]["limits"].keys()
        assert all(port.startswith("127.0.0.1:") for port in one["ports"])


def test_prometheus_asks_the_service_by_its_name(compose: Any) -> None:
    import yaml

    asked = yaml.safe_load((CONTAINER / "prometheus.yaml").read_text(encoding="utf-8"))
    (target,) = asked["scrape_configs"][0]["static_configs"][0]["targets"]
    name, _, port = target.partition(":")
    assert name in compose["services"]
    assert f":{port}" in compose["services"][name]["ports"][0]
    mounted = compose["services"]["prometheus"]["volumes"][0].split(":")
    assert (CONTAINER / mounted[0]).exists()
    assert f"--config.file={mounted[1]}" in compose["services"]["prometheus"]["command"]
