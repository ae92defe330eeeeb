"""Results of several machines in one file."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hundredth.files import read_json

ROOT = Path(__file__).parents[2]
PAIRS = [("trec", "student"), ("trec", "full"), ("sst2", "full")]
SCORE = ("score", "fraction")


@pytest.fixture(scope="module")
def script() -> Iterator[Any]:
    """The script, which is no part of the package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        yield importlib.import_module("publish")


def test_what_is_published_stays_but_for_the_seeds_that_are_measured_anew(script: Any, tmp_path: Path) -> None:
    target, order = tmp_path / "some.json", script.in_order(PAIRS)
    script.publish(target, {("trec", "full", *SCORE): {0: 0.1, 1: 0.2}, ("sst2", "full", *SCORE): {0: 0.3}}, order)
    script.publish(
        target, {("trec", "full", *SCORE): {1: 0.4, 3: 0.5}, ("trec", "student", *SCORE): {3: 0.6}}, order
    )
    written = read_json(target)
    assert written["seeds"] == [0, 1, 3]
    assert [(row["task"], row["system"], row["values"], row.get("seeds")) for row in written["rows"]] == [
        ("trec", "student", [0.6], [3]),
        ("trec", "full", [0.1, 0.4, 0.5], None),
        ("sst2", "full", [0.3], None),
    ]
    assert script.published(target)["trec", "student", *SCORE] == {3: 0.6}


def test_what_the_benchmark_has_no_more_is_left_out(script: Any, tmp_path: Path) -> None:
    target = tmp_path / "some.json"
    script.publish(target, {(*pair, *SCORE): {0: 0.1} for pair in PAIRS}, script.in_order(PAIRS))
    script.publish(target, {}, script.in_order(PAIRS[1:]))
    assert [(row.task, row.system) for row in script.published_rows(target)] == PAIRS[1:]


def test_nothing_is_written_of_nothing(script: Any, tmp_path: Path) -> None:
    script.publish(tmp_path / "some.json", {}, script.in_order(PAIRS))
    assert not (tmp_path / "some.json").exists()
