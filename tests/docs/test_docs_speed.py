"""The published numbers of what is deployed: what the benchmarks write is what the docs' tables show."""

import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from published_tables import lines, results

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", autouse=True)
def benchmarks() -> Iterator[None]:
    """The scripts are no part of the package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        yield


def test_the_race_stands_with_the_fastest_first() -> None:
    tables = importlib.import_module("published_speed")
    rows = [
        ("latency-100k", "llm", "p50_ms", [250.0]),
        ("latency-100k", "full", "p50_ms", [0.3512, 0.4, 0.36]),
        ("latency-100k", "full", "p99_ms", [0.7, 0.6, 0.65]),
        ("latency-100k", "full", "texts_per_s", [4000.0, 5000.0, 4500.0]),
        ("latency-100k", "full", "accuracy", [0.832]),
    ]
    assert lines(tables.race_table(results("latency", rows))) == [
        ["`full`", "0.360 (0.351 to 0.400)", "0.650 (0.600 to 0.700)", "4,500", "–", "83.2"],
        ["`llm`", "250", "–", "–", "–", "–"],
    ]


def test_each_size_of_the_store_stands_with_its_share_of_the_time() -> None:
    tables = importlib.import_module("published_speed")
    rows = [
        ("latency-0", "full", "p50_ms", [0.2]),
        ("latency-0", "full", "store_share", [0.1]),
        ("latency-1m", "full", "p50_ms", [0.5]),
        ("latency-1m", "full", "store_share", [0.5, 0.6]),
        ("latency-1m", "full", "recall", [0.95]),
        ("latency-1m", "full", "load_s", [4.0]),
        ("start", "full", "import_s", [0.025]),
    ]
    text = tables.store_table(results("latency", rows))
    assert lines(text) == [
        ["0", "0.200", "–", "10 %", "–", "–", "–"],
        ["1m", "0.500", "–", "55 %", "95.0", "4.00 s", "–"],
    ]
    assert "`import hundredth` takes 25 ms" in text


def test_an_installation_stands_with_its_largest_packages_and_the_rest() -> None:
    tables = importlib.import_module("published_speed")
    sizes = {f"package-{number}": float(100 - number) for number in range(14)}
    rows = [("install-base", name, "mb", [size]) for name, size in sizes.items()]
    rows.append(("install-base", "total", "mb", [sum(sizes.values())]))
    rows.append(("install-base-uncompiled", "total", "mb", [900.0]))
    rows.append(("install-service", "total", "mb", [1400.0]))
    found = lines(tables.install_table(results("install_size", rows)))
    assert found[0] == ["`package-0`", "100.0"]
    assert len(found) == 12 + 4
    assert found[-4:] == [
        ["2 others", "175.0"],
        ["together", "1309.0"],
        ["without what Python has compiled", "900.0"],
        ["with the service", "1400.0"],
    ]


def test_what_was_not_as_it_must_be_is_shown() -> None:
    """Silent otherwise: a fault that was found, and reads as if it had not been."""
    tables = importlib.import_module("published_speed")
    rows = [
        ("worker-killed", "serve", "seconds_to_the_new_worker", [2.0, 1.0]),
        ("worker-killed", "serve", "must_be_0_errors", [0.0]),
        ("worker-killed", "serve", "must_be_0_lost_changes", [3.0]),
        ("folders", "format-version", "must_be_0_not_refused", [0.0]),
        ("folders", "weights-oversize", "must_be_0_not_refused", [0.0]),
    ]
    assert lines(tables.faults_table(results("faults", rows))) == [
        ["`worker-killed`", "lost changes: 3 (serve)", "seconds to the new worker 1.5 (1 to 2)"],
        ["`folders`", "all 2 as they must be", "–"],
    ]


def test_the_load_stands_with_what_was_held_and_the_last_memory() -> None:
    tables = importlib.import_module("published_speed")
    rows = [
        ("predict", "serve", "rate_at_25_ms", [812.0]),
        ("mixed", "serve", "memory_mb", [250.0, 260.4]),
        ("mixed-predict", "serve", "p50_ms", [2.0]),
        ("mixed-predict", "serve", "requests", [9000.0]),
    ]
    found = dict(lines(tables.load_table(results("load", rows))))
    assert found["predictions a second with 99 % within 25 ms"] == "812"
    assert found["memory of the workers at the end"] == "260 MB"
    assert found["answers with an error of the service"] == "–"
    assert lines(tables.kinds_table(results("load", rows))) == [["predict", "9,000", "2.00", "–"]]


def test_texts_are_cut_to_twenty_different_words() -> None:
    texts = importlib.import_module("timed_texts").cut_texts(["one two " * 5, "three " * 15, "four " * 40], 9)
    assert texts == [
        "one two " * 5 + "three " * 9 + "three",
        "three " * 5 + "four " * 14 + "four",
        "four " * 19 + "four",
    ]


def test_hostile_requests_are_the_same_every_time_and_of_every_kind() -> None:
    hostile = importlib.import_module("hostile_requests")
    one, again = (list(hostile.hostile_requests(300, "a-token-of-twenty-letters")) for _ in range(2))
    assert one == again
    assert len(set(one)) > 200
    assert any(b"etc/passwd" in request for request in one)
    assert any(b"Transfer-Encoding" in request for request in one)
