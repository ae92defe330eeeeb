"""What `--help` teaches: every command in its place, every argument and option with its default and its limits."""

import re
from collections.abc import Iterator
from typing import Any

import click
import pytest

from hundredth.cli import app
from hundredth.options import Argument

ORDER = {
    "": "serve transfer predict evaluate encoder knowledge",
    "encoder": "train whiten evaluate",
    "knowledge": "list labels add correct delete undo log tune import export",
}


def every_command(group: click.Group, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from every_command(command, *path, name)
        else:
            yield (*path, name), command


COMMANDS = dict(every_command(app))
each_command = pytest.mark.parametrize("path", COMMANDS, ids=" ".join)


@pytest.mark.parametrize("group", ORDER)
def test_commands_stand_in_the_order_in_which_they_are_used(run: Any, group: str) -> None:
    result = run(*group.split(), "--help")
    assert result.exit_code == 0
    listed = result.stdout.partition("Commands:\n")[2].splitlines()
    assert [line.split()[0] for line in listed] == ORDER[group].split()
    assert all(len(line.split()) > 2 for line in listed)


def test_a_group_without_a_command_shows_its_help(run: Any) -> None:
    for group in ORDER:
        result = run(*group.split())
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr == run(*group.split(), "--help").stdout


@each_command
def test_every_argument_and_option_is_explained(run: Any, path: tuple[str, ...]) -> None:
    result = run(*path, "--help")
    assert result.exit_code == 0
    parts = result.stdout.partition("Arguments:\n")[2].partition("Options:\n")
    arguments, _, options = (" ".join(part.split()) for part in parts)
    for one in COMMANDS[path].params:
        if isinstance(one, click.Option):
            assert one.help
            assert f"{one.opts[0]} " in options
            assert one.help in options
        else:
            assert isinstance(one, Argument)
            name = one.metavar or one.name.upper()
            assert re.search(rf"{re.escape(name)}\S* {re.escape(one.about)}", arguments)
            assert (f"{one.about} [required]" in arguments) is one.required


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("serve", "--port INTEGER RANGE Port to listen at; 0 for a free one. [default: 8000; 0<=x<=65535]"),
        ("serve", "--watch FLOAT RANGE Seconds between two looks for a new model; 0: never. [default: 2.0; x>=0]"),
        ("predict", "[onnxruntime|openvino|auto]"),
        ("predict", "[default: onnxruntime]"),
        ("evaluate", "Train each system this many times. [default: 3; x>=1]"),
        ("transfer", "--rl ppo|grpo|none Train the soft prompt further by rewards. --reward"),
        ("transfer", "--prune-vocabulary / --no-prune-vocabulary Cut the student's"),
        ("transfer", "--factorise-vocabulary / --no-factorise-vocabulary Come down to that size"),
        ("encoder train", "start from: folder, package:PACKAGE/PATH, or hub name. [required]"),
        ("encoder whiten", "0: all alike. [default: 0.0001]"),
        ("knowledge add", "--note TEXT Why, for the log. --json"),
    ],
)
def test_defaults_and_limits_are_told(run: Any, path: str, told: str) -> None:
    assert told in " ".join(run(*path.split(), "--help").stdout.split())


def test_serve_has_the_settings_of_the_service_with_their_defaults() -> None:
    """Silent otherwise: a setting that nobody can reach, or that differs by how the service is started."""
    from hundredth.service import ServiceSettings

    given = app.commands["serve"].make_context("serve", ["a-folder"]).params
    settings = {name: field.default for name, field in ServiceSettings.model_fields.items() if name != "folder"}
    assert {name: value for name, value in given.items() if name != "model"} == settings


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--port", "70000"), "'--port': 70000 is not in the range 0<=x<=65535"),
        (("--workers", "0"), "'--workers': 0 is not in the range 1<=x<=64"),
        (("--watch", "-1"), "'--watch': -1.0 is not in the range x>=0"),
        (("--watch", "nan"), "'--watch': 'nan' is no number of seconds"),
        (("--request-timeout", "inf"), "'--request-timeout': 'inf' is no number of seconds"),
        (("--body-timeout", "soon"), "'--body-timeout': 'soon' is not a valid float"),
    ],
)
def test_a_number_out_of_its_limits_is_refused(run: Any, arguments: tuple[str, str], told: str) -> None:
    result = run("serve", "a-folder", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert told in result.stderr
