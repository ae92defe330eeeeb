"""Results as the benchmarks write them, and the cells of the tables that are made of them."""

import importlib
from pathlib import Path
from typing import Any


def results(name: str, rows: list[tuple[str, str, str, list[float]]]) -> Any:
    """Rows of (task, system, metric, values) as published; the benchmarks must be on the path."""
    about = {
        "date": "2026-03-04T05:06:07+00:00",
        "commit": None,
        "machine": {"cpu": "a processor", "cores": 3, "gpu": None},
        "versions": {"torch": "2.0"},
    }
    return importlib.import_module("published").Results(name, about, {row[:3]: row[3] for row in rows})


def lines(text: str) -> list[list[str]]:
    """The cells of a Markdown table's rows, without its head."""
    rows = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


def cells(page: Path, *begin: str) -> list[str]:
    """The cells of the first table line of a page that begins with these."""
    for line in page.read_text(encoding="utf-8").splitlines():
        found = [cell.strip() for cell in line.strip("|").split("|")]
        if found[: len(begin)] == list(begin):
            return found
    raise AssertionError(f"no line begins with {begin}")
