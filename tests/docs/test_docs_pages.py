"""The pages hold together: links lead somewhere, commands have the options they show, code can be read."""

import ast
import importlib
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
    from hundredth.cli import app
    from hundredth.pipeline.config import RunConfig

    known = set(settings(RunConfig))
    for script in blocks(page, "bash"):
        for command in commands(script):
            if Path(command[0]).name != "hundredth" or command[1].startswith("--"):
                continue
            found, words = app, command[1:]
            while hasattr(found, "commands"):
                assert words[0] in found.commands, command
                found, words = found.commands[words[0]], words[1:]
            context = found.make_context(command[1], words)
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
    """Silent otherwise: code that names what is no longer there, and settings that nothing reads."""
    import yaml

    from hundredth.pipeline.config import make_config

    for code in blocks(page, "python"):
        for path, owner, name in names_used(ast.parse(code)):
            assert hasattr(owner, name), f"{page.name}: {path}.{name}"
    for text in blocks(page, "yaml"):
        values = yaml.safe_load(text)
        made = {name: {"name": "named elsewhere", **values.get(name, {})} for name in ("llm", "base")}
        config = make_config({"task": {}, **values, **made}).model_dump(mode="json")
        for section, given in values.items():
            shown = config[section] if not isinstance(given, dict) else {key: config[section][key] for key in given}
            assert shown == given, f"{page.name}: {section}"


def names_used(code: ast.Module) -> Iterator[tuple[str, Any, str]]:
    """The names of ours that a block uses, each with its owner: of modules, of models and of their stores."""
    import hundredth
    from hundredth.runtime import Model, ModelStore

    loaded: set[str] = set()
    for node in ast.walk(code):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "hundredth":
            module = importlib.import_module(node.module or "")
            yield from ((node.module or "", module, one.name) for one in node.names)
        if isinstance(node, ast.Assign | ast.withitem):
            value = node.value if isinstance(node, ast.Assign) else node.context_expr
            target = node.targets[0] if isinstance(node, ast.Assign) else node.optional_vars
            if isinstance(value, ast.Call) and ast.unparse(value.func) == "hundredth.load":
                loaded.add(ast.unparse(target) if target is not None else "")
    owners = {"hundredth": hundredth, **dict.fromkeys(loaded, Model)}
    owners |= {f"{name}.store": ModelStore for name in loaded}
    for node in ast.walk(code):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in owners:
            yield ast.unparse(node.value), owners[ast.unparse(node.value)], node.attr


def test_names_that_are_not_there_are_found_in_a_block() -> None:
    """The search itself: one that finds no names would call every page right."""
    code = (
        "import hundredth\nfrom hundredth.ranking import listnet, listnot\n"
        "with hundredth.load('a') as model:\n    model.predict([]), model.predictt([]), model.store.ad([])\n"
        "other = hundredth.load('b')\nother.explain('c').label\nother.explan('c')\nhundredth.lode('d')\n"
    )
    used = list(names_used(ast.parse(code)))
    missing = [f"{path}.{name}" for path, owner, name in used if not hasattr(owner, name)]
    assert sorted(missing) == [
        "hundredth.lode",
        "hundredth.ranking.listnot",
        "model.predictt",
        "model.store.ad",
        "other.explan",
    ]


def test_blocks_of_each_language_are_found() -> None:
    """Silent otherwise: a page whose blocks are not seen is a page that is not checked."""
    counts = {
        language: sum(len(blocks(page, language)) for page in PAGES) for language in ("bash", "python", "yaml")
    }
    assert all(counts.values()), counts
    assert any(
        command[0] == "make" for script in blocks(ROOT / "README.md", "bash") for command in commands(script)
    )


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
