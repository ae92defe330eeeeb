"""Renew what the docs take from benchmarks/results and from the code: tables, one picture, the list of settings.

A page says where a table belongs by `<!-- begin NAME -->` and `<!-- end NAME -->`; what stands between the two is
replaced. Where the results of a table are missing, what stands there is kept, and that is said.

    python benchmarks/render.py [--check]
"""

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, get_args, get_origin

import pydantic_core
from published import STUDENTS, Results, picture, sampling_table, table, transfer_summary, transfer_table
from published_controls import controls_table, correction_table, growth_table, late_table, worth_table
from published_encoders import ablations_table, check_table, memory_table, ranking_table, speed_table
from published_reinforcement import reinforcement_blocks
from published_speed import speed_blocks
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from hundredth.evaluation.controls import SYSTEMS
from hundredth.evaluation.findings import QUESTIONS
from hundredth.files import write_text
from hundredth.pipeline.config import RunConfig
from hundredth.ranking.config import EncoderTrainingConfig
from hundredth.tasks.benchmarks import BENCHMARKS

ROOT = Path(__file__).parents[1]
CONFIGURATION = "docs/configuration.md"
PICTURE = "docs/images/transfer.svg"

# Options of `hundredth transfer` that set one setting each.
SHORTCUTS = {
    "--data": "task.data",
    "--task": "task.task",
    "--dev": "task.dev",
    "--unlabelled": "task.unlabelled",
    "--unlabelled-limit": "task.unlabelled_limit",
    "--text-column": "task.text_columns",
    "--label-column": "task.label_column",
    "--about": "task.about",
    "--limit-per-class": "task.limit_per_class",
    "--llm": "llm.name",
    "--rl": "rl.algorithm",
    "--reward": "rl.rewards",
    "--student": "base.name",
    "--prune-vocabulary": "base.prune_vocabulary",
    "--factorise-vocabulary": "base.factorise_vocabulary",
    "--threads": "threads",
}
_INTRODUCTION = """# Configuration

<!-- Written by benchmarks/render.py from the descriptions in the code: change those, then run `make docs`. -->

Every setting of a run, with its default. The defaults need no file: data, an LLM and a student are enough.

- `--set PATH=VALUE` sets any of them, such as `--set student.epochs=20`. The value is read as YAML.
- `--config FILE` reads a YAML file whose sections are the headings below. The file may leave out what it does not
  change. `OUT/run.yaml` is such a file: it lists every setting of a run.
- `--seed N` sets the seed of every stage: `task`, `prompt`, `rl`, `sampling`, `annotator`,
  `augmentation` and `student`.
- Where a setting is given more than once, `--set` wins over the options below, they win over `--seed`, and that
  over the file.
- A setting that does not exist, or a value out of range, is refused before anything starts.

Some settings have an option of their own on `hundredth transfer`:

"""


def replace_blocks(page: str, text: str, blocks: dict[str, str | None]) -> tuple[str, list[str]]:
    """Fill a page's blocks; return the new text, and the names of those that are kept for want of results.

    Raises:
        ValueError: a block has an unknown name, or no end.
    """
    kept: list[str] = []
    begun = re.findall(r"<!-- begin (\S+) -->", text)

    def fill(match: re.Match[str]) -> str:
        name = match[1]
        if name not in blocks:
            raise ValueError(f"{page}: unknown block {name!r}; there are {', '.join(blocks)}")
        content = blocks[name]
        if content is None:
            kept.append(name)
            return match[0]
        if page.startswith("docs/"):
            content = content.replace("](docs/", "](").replace("](benchmarks/", "](../benchmarks/")
        return f"<!-- begin {name} -->\n{content}\n<!-- end {name} -->"

    filled, replaced = re.subn(r"<!-- begin (\S+) -->\n.*?<!-- end \1 -->", fill, text, flags=re.DOTALL)
    if replaced != len(begun):
        raise ValueError(f"{page}: {len(begun)} blocks begin, but {replaced} of them have an end")
    return filled, kept


def render(root: Path) -> tuple[dict[str, str], list[str]]:
    """Return what each file of `root` should hold, by its path, and notes on what could not be renewed."""
    found = {name: one for name in STUDENTS if (one := Results.read(root, name)) is not None}
    sampling = Results.read(root, "sampling_speed")
    pruned = found.get("transfer-pruned")
    blocks: dict[str, str | None] = {
        "transfer": None if pruned is None else transfer_summary(pruned),
        **{name: transfer_table(found[name]) if name in found else None for name in STUDENTS},
        "transfer-picture": f"![Score of each system on each task]({PICTURE})" if found else None,
        "sampling": None if sampling is None else sampling_table(sampling),
        **encoder_blocks(root),
        **controls_blocks(root),
        **reinforcement_blocks(root),
        **speed_blocks(root),
        "systems": systems_table(),
        "questions": questions_table(),
        "benchmark-tasks": benchmarks_table(),
    }
    files, notes = {CONFIGURATION: configuration()}, []
    if found:
        files[PICTURE] = picture(found)
    for path in [root / "README.md", *sorted((root / "docs").glob("*.md"))]:
        page = path.relative_to(root).as_posix()
        if page == CONFIGURATION or not path.exists():
            continue
        files[page], kept = replace_blocks(page, path.read_text(encoding="utf-8"), blocks)
        notes += [f"{page}: no results for the block {name!r}, so it is kept as it is" for name in kept]
    return files, notes


def main(arguments: Sequence[str] | None = None) -> int:
    """Write what has changed, or with --check only say what would; return 1 where --check finds something."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a page is not current")
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    files, notes = render(options.root)
    changed = [page for page, text in files.items() if _read(options.root / page) != text]
    for note in notes:
        print(note)
    for page in changed:
        if not options.check:
            write_text(options.root / page, files[page])
        print(f"{page}: {'is not current, run make docs' if options.check else 'written'}")
    return 1 if options.check and changed else 0


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


def systems_table() -> str:
    """Return the systems that an evaluation compares."""
    return table(["system", "what it is"], [[f"`{name}`", one.about] for name, one in SYSTEMS.items()], left=2)


def questions_table() -> str:
    """Return what the controls are asked, and the two systems that answer it."""
    rows = [[one.part, f"`{one.system}`", f"`{one.other}`"] for one in QUESTIONS]
    return table(["part of the method", "with it", "without it"], rows, left=3)


def benchmarks_table() -> str:
    """Return the benchmark tasks, with where each is read from."""
    rows = [
        [
            f"`{name}`",
            ", ".join(one.fields),
            str(len(one.labels)),
            one.metric,
            ", else ".join(f"`{source.folder}`" for source in one.sources),
        ]
        for name, one in BENCHMARKS.items()
    ]
    return table(["task", "fields", "labels", "score", "folder"], rows, left=5)


def encoder_blocks(root: Path) -> dict[str, str | None]:
    """Return what the page on sentence encoders takes from the results and from the code."""
    ranking, ablations, speed, check = (
        Results.read(root, f"encoder-{name}") for name in ("ranking", "ablations", "speed", "check")
    )
    return {
        "encoder-check": None if check is None else check_table(check),
        "encoder-sts": None if ranking is None else ranking_table(ranking, "sts"),
        "encoder-transfer": None if ranking is None else ranking_table(ranking, "transfer"),
        "encoder-ablations": None if ablations is None else ablations_table(ablations),
        "encoder-speed": None if speed is None else speed_table(speed),
        "encoder-memory": None if speed is None else memory_table(speed),
        "encoder-settings": _settings_table(list(EncoderTrainingConfig.model_fields.items())),
    }


def controls_blocks(root: Path) -> dict[str, str | None]:
    """Return what the page on evaluation takes from the results: the controls, and knowledge that comes late."""
    controls, late = (Results.read(root, name) for name in ("controls", "late-knowledge"))
    kinds = ("whole", "factorised", "ppo", "gemma")
    others = {f"controls-{kind}": Results.read(root, f"controls-{kind}") for kind in kinds}
    rewards = others["controls-ppo"]
    return {
        "controls": None if controls is None else controls_table(controls),
        "controls-worth": None if controls is None else worth_table(controls),
        **{name: None if found is None else controls_table(found) for name, found in others.items()},
        "controls-ppo-worth": None if rewards is None else worth_table(rewards),
        "late-class": None if late is None else late_table(late, "class"),
        "late-subdomain": None if late is None else late_table(late, "subdomain"),
        "late-correction": None if late is None else correction_table(late),
        "late-size": None if late is None else growth_table(late),
    }


def configuration() -> str:
    """Return the page of all settings, from the descriptions in the code."""
    options = "\n".join(f"- `{option}` is `{path}`" for option, path in SHORTCUTS.items())
    parts = [f"{_INTRODUCTION}{options}\n"]
    rows = []
    for name, field in RunConfig.model_fields.items():
        if (section := _section(field)) is not None:
            about = (section.__doc__ or "").strip().splitlines()[0]
            parts.append(f"## {name}\n\n{about}\n\n{_settings_table(list(settings(section, name)))}\n")
        else:
            rows.append((name, field))
    parts.append(f"## Outside the sections\n\n{_settings_table(rows)}\n")
    return "\n".join(parts)


def settings(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield each setting's path and its field, through all sections."""
    for name, field in model.model_fields.items():
        inner = f"{path}.{name}" if path else name
        section = _section(field)
        if section is None:
            yield inner, field
        else:
            yield from settings(section, inner)


def _section(field: FieldInfo) -> type[BaseModel] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _settings_table(rows: Sequence[tuple[str, FieldInfo]]) -> str:
    cells = [[f"`{path}`", _default(field), _meaning(field)] for path, field in rows]
    return table(["setting", "default", "meaning"], cells, left=3)


def _default(field: FieldInfo) -> str:
    """Return the default as it is written in YAML."""
    if field.is_required():
        return "required"
    written = pydantic_core.to_json(field.get_default(call_default_factory=True)).decode()
    return f"`{written.replace(',', ', ')}`"


def _meaning(field: FieldInfo) -> str:
    said = (field.description or "").rstrip(".").replace("|", "\\|")
    parts = (field.annotation, *get_args(field.annotation))  # itself, or those of "one of these, or null"
    choices = [choice for part in parts if get_origin(part) is Literal for choice in get_args(part)]
    return f"{said} ({', '.join(f'`{choice}`' for choice in choices)})" if choices else said


if __name__ == "__main__":
    sys.exit(main())
