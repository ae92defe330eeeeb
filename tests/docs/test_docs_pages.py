"""The pages hold together: links lead somewhere, commands have the options they show, code can be read."""

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
SECTIONS = "task|llm|base|prompt|rl|sampling|annotator|filters|student"


def blocks(page: Path, language: str) -> list[str]:
    """The fenced code blocks of a language."""
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def prose(page: Path) -> str:
    """A page without its code blocks."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def commands(script: str) -> Iterator[list[str]]:
    """The simple commands of a shell script: pipes, redirections, comments and variables before them cut off."""
    for line in script.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words = list(lexer)
        while words:
            end = next((i for i, word in enumerate(words) if set(word) <= set("|&;")), len(words))
            command, words = words[:end], words[end + 1 :]
            redirected = next((i for i, word in enumerate(command) if set(word) <= set("<>")), len(command))
            command = command[:redirected]
            while command and re.fullmatch(r"\w+=.*", command[0]):
                command = command[1:]
            if command:
                yield command


def anchors(page: Path) -> set[str]:
    """The names that a page's headings get where it is shown."""
    headings = re.findall(r"^#+ (.+)$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def settings(model: Any, path: str = "") -> Iterator[str]:
    """The paths of all settings, and of the sections that hold them."""
    for name, field in model.model_fields.items():
        yield f"{path}{name}"
        if hasattr(field.annotation, "model_fields"):
            yield from settings(field.annotation, f"{path}{name}.")


@every_page
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{page.name}: {target}"
        assert there.is_relative_to(ROOT), f"{page.name}: {target} leads out of the project"
        assert not anchor or anchor in anchors(there), f"{page.name}: {target}"


@every_page
def test_every_command_shown_has_the_options_it_shows(page: Path) -> None:
    """Silent otherwise: an option is renamed, and the docs go on showing the old one."""
    import typer.main

    from hundredth.cli import app
    from hundredth.pipeline.config import RunConfig

    known = set(settings(RunConfig))
    group: Any = typer.main.get_command(app)
    for script in blocks(page, "bash"):
        for command in commands(script):
            if Path(command[0]).name != "hundredth" or command[1].startswith("--"):
                continue
            assert command[1] in group.commands, command
            context = group.commands[command[1]].make_context(command[1], command[2:])
            for override in context.params.get("settings") or ():
                assert override.partition("=")[0] in known, command


@every_page
def test_every_make_target_and_script_shown_is_there(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    for script in blocks(page, "bash"):
        for command in commands(script):
            if command[0] == "make":
                assert set(command[1:]) <= targets, command
            for word in command[1:]:
                if re.match(r"(benchmarks|tests|examples|src)/", word):
                    assert (ROOT / word.partition("::")[0]).exists(), command


@every_page
def test_python_and_yaml_blocks_can_be_read(page: Path) -> None:
    import yaml

    from hundredth.pipeline.config import make_config

    for code in blocks(page, "python"):
        ast.parse(code)
    for text in blocks(page, "yaml"):
        values = yaml.safe_load(text)
        made = {name: {"name": "named elsewhere", **values.get(name, {})} for name in ("llm", "base")}
        make_config({"task": {}, **values, **made})


@every_page
def test_every_setting_named_exists(page: Path) -> None:
    from hundredth.pipeline.config import RunConfig

    known = set(settings(RunConfig))
    for name in re.findall(rf"`((?:{SECTIONS})\.[a-z_]+)`", prose(page)):
        if Path(name).suffix not in (".json", ".jsonl", ".safetensors"):
            assert name in known, f"{page.name}: {name}"


def test_the_map_names_every_page() -> None:
    linked = re.findall(r"\]\(([\w-]+\.md)\)", (ROOT / "docs" / "index.md").read_text(encoding="utf-8"))
    assert {page.name for page in PAGES if page.parent.name == "docs"} == {*linked, "index.md"}


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("hundredth predict m 'a b' > out  # why", [["hundredth", "predict", "m", "a b"]]),
        ("cat x | A=1 hundredth predict \\\n m", [["cat", "x"], ["hundredth", "predict", "m"]]),
        ("# nothing", []),
    ],
)
def test_commands_are_read_as_a_shell_reads_them(script: str, expected: list[list[str]]) -> None:
    assert list(commands(script)) == expected
