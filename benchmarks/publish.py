"""What the long benchmarks write: what their runs on this machine gave, beside what others gave before.

The runs themselves lie outside the checkout. Another machine has none of them, and what it adds must not take the
place of what is published. So a value here takes the place of the published one of the same seed, and all other
values stay. To begin anew, delete the JSON.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from hundredth.evaluation.results import Row, write_results
from hundredth.files import read_json

# Task, system, metric, unit.
Key = tuple[str, str, str, str]
# One value for each seed.
Values = Mapping[Key, Mapping[int, float]]


def published_rows(target: Path) -> list[Row]:
    """Return the rows of a file of results; none if there is no such file."""
    return [Row(**row) for row in read_json(target)["rows"]] if target.exists() else []


def published(target: Path) -> dict[Key, dict[int, float]]:
    """Return what a file of results holds; nothing if there is no such file."""
    if not target.exists():
        return {}
    seeds = read_json(target)["seeds"]
    return {
        (row.task, row.system, row.metric, row.unit): dict(zip(row.seeds or seeds, row.values, strict=False))
        for row in published_rows(target)
    }


def publish(target: Path, found: Values, order: Callable[[str, str], int | None]) -> None:
    """Write `found` and what else is published, if there is anything, sorted by `order`.

    Args:
        target: the file of results.
        found: what the runs of this machine gave.
        order: the place of a task and system; None for what the benchmark has no more, which is left out.
    """
    merged = published(target)
    for key, values in found.items():
        merged[key] = {**merged.get(key, {}), **values}
    placed = [(place, key) for key in merged if (place := order(*key[:2])) is not None]
    if not placed:
        return
    all_seeds = sorted({seed for _, key in placed for seed in merged[key]})
    rows = []
    for _, key in sorted(placed, key=lambda pair: pair[0]):
        task, system, metric, unit = key
        seeds = sorted(merged[key])
        named = None if seeds == all_seeds[: len(seeds)] else seeds
        rows.append(Row(task, system, metric, [merged[key][seed] for seed in seeds], unit, named))
    write_results(target, target.stem, all_seeds, rows)


def in_order(pairs: Iterable[tuple[str, str]]) -> Callable[[str, str], int | None]:
    """Return an order for `publish`: that of these tasks and systems."""
    places = {pair: place for place, pair in enumerate(dict.fromkeys(pairs))}
    return lambda task, system: places.get((task, system))
