"""The published numbers of what is deployed, as people read them: speed, size, load and faults, as tables."""

import statistics
from pathlib import Path

from published import Results, spread, table

from hundredth.evaluation.wording import NONE, milliseconds, percent

_RACE = "latency-100k"
_LARGEST = 12  # packages that have a line of their own


def speed_blocks(root: Path) -> dict[str, str | None]:
    """Return the tables by the names of their blocks; None where there are no results."""
    latency, install, load, faults = (
        Results.read(root, name) for name in ("latency", "install_size", "load", "faults")
    )
    return {
        "latency": None if latency is None else race_table(latency),
        "latency-store": None if latency is None else store_table(latency),
        "install-size": None if install is None else install_table(install),
        "load": None if load is None else load_table(load),
        "load-kinds": None if load is None else kinds_table(load),
        "faults": None if faults is None else faults_table(faults),
    }


def race_table(results: Results) -> str:
    """Return a line for each system that answers on one thread: its times, its throughput and its accuracy."""
    rows = []
    for system in sorted(results.systems(_RACE), key=lambda name: _median(results, _RACE, name, "p50_ms") or 0.0):
        texts = [_median(results, _RACE, system, metric) for metric in ("texts_per_s", "texts_per_s_256")]
        rows.append(
            [
                f"`{system}`",
                *(_times(results, _RACE, system, metric) for metric in ("p50_ms", "p99_ms")),
                *(NONE if value is None else f"{value:,.0f}" for value in texts),
                percent(results.mean(_RACE, system, "accuracy")),
            ]
        )
    heads = ["system", "p50, ms", "p99, ms", "texts/s, 64", "texts/s, 256", "accuracy, %"]
    legend = (
        "One text of 20 words at a time, one thread, 100,000 entries in the store of `full`; texts a second in "
        "batches of 64 and of 256. Medians over the turns, lowest to highest in brackets."
    )
    return f"{table(heads, rows)}\n\n{legend} {results.source()}"


def store_table(results: Results) -> str:
    """Return a line for each size of the store: what an answer takes, and what of it the store does."""
    rows = []
    for task in results.tasks:
        if _median(results, task, "full", "store_share") is None:
            continue
        share = results.rows[task, "full", "store_share"]
        load = _median(results, task, "full", "load_s")
        rows.append(
            [
                task.removeprefix("latency-"),
                *(_times(results, task, "full", metric) for metric in ("p50_ms", "p99_ms")),
                f"{100 * statistics.median(share):.0f} %",
                percent(results.mean(task, "full", "recall")),
                NONE if load is None else f"{load:.2f} s",
                _times(results, task, "full", "first_answer_ms"),
            ]
        )
    heads = ["entries", "p50, ms", "p99, ms", "the store's share", "recall, %", "loading", "first answer, ms"]
    importing = _median(results, "start", "full", "import_s")
    start = "" if importing is None else f"`import hundredth` takes {1000 * importing:.0f} ms. "
    legend = f"Recall is the share of the K nearest entries that a search finds. {start}"
    return f"{table(heads, rows)}\n\n{legend}{results.source()}"


def install_table(results: Results) -> str:
    """Return the largest packages of an installation, plain and with the service."""
    plain, service = (
        {name: results.mean(task, name, "mb") or 0.0 for name in results.systems(task)}
        for task in ("install-base", "install-service")
    )
    largest = sorted((name for name in plain if name != "total"), key=lambda name: -plain[name])[:_LARGEST]
    rows = [[f"`{name}`", f"{plain[name]:.1f}"] for name in largest]
    rest = plain["total"] - sum(plain[name] for name in largest)
    rows += [[f"{len(plain) - 1 - len(largest)} others", f"{rest:.1f}"], ["together", f"{plain['total']:.1f}"]]
    uncompiled = results.mean("install-base-uncompiled", "total", "mb")
    if uncompiled is not None:
        rows.append(["without what Python has compiled", f"{uncompiled:.1f}"])
    if service:
        rows.append(["with the service", f"{service['total']:.1f}"])
    return f"{table(['package', 'MB'], rows)}\n\n{results.source()}"


def load_table(results: Results) -> str:
    """Return the rate that was held, and what minutes of mixed load came to."""

    def value(task: str, metric: str, form: str) -> str:
        found = results.rows.get((task, "serve", metric))
        return NONE if not found else form.format(found[-1])

    rows = [
        ["predictions a second with 99 % within 25 ms", value("predict", "rate_at_25_ms", "{:,.0f}")],
        ["workers", value("predict", "workers", "{:.0f}")],
        ["requests of mixed load", value("mixed", "requests", "{:,.0f}")],
        ["at a rate of", value("mixed", "rate", "{:,.0f} a second")],
        ["answers with an error of the service", value("mixed", "errors", "{:,.0f}")],
        ["memory of the workers at the end", value("mixed", "memory_mb", "{:,.0f} MB")],
        ["its growth in the second half", value("mixed", "growth_mb_per_minute", "{:.2f} MB a minute")],
    ]
    return f"{table(['what', ''], rows)}\n\n{results.source()}"


def kinds_table(results: Results) -> str:
    """Return the times of each kind of request of the mixed load."""
    rows = [
        [
            task.removeprefix("mixed-"),
            f"{results.mean(task, 'serve', 'requests') or 0:,.0f}",
            *(milliseconds(_median(results, task, "serve", metric)) for metric in ("p50_ms", "p99_ms")),
        ]
        for task in results.tasks
        if task.startswith("mixed-")
    ]
    return table(["request", "how many", "p50, ms", "p99, ms"], rows)


def faults_table(results: Results) -> str:
    """Return a line for each case: what was measured, and what had to be nought and was not."""
    rows = []
    for task in results.tasks:
        measured, bad, checks = [], [], 0
        for (one, system, metric), values in results.rows.items():
            if one != task:
                continue
            name = metric.removeprefix("must_be_0_").replace("_", " ")
            if metric.startswith("must_be_0_"):
                checks += 1
                if any(values):
                    bad.append(f"{name}: {sum(values):g} ({system})")
            else:
                measured.append(f"{name} {spread(values, '{:.4g}')}")
        said = "; ".join(bad) if bad else f"all {checks} as they must be"
        rows.append([f"`{task}`", said, "; ".join(measured) or NONE])
    return f"{table(['case', 'what must be nought', 'measured'], rows, left=3)}\n\n{results.source()}"


def _times(results: Results, task: str, system: str, metric: str) -> str:
    """Write the median of some milliseconds, the lowest and the highest in brackets where there are several."""
    values = results.rows.get((task, system, metric), [])
    if not values:
        return NONE
    low, middle, high = (milliseconds(value) for value in (min(values), statistics.median(values), max(values)))
    return middle if len(values) == 1 else f"{middle} ({low} to {high})"


def _median(results: Results, task: str, system: str, metric: str) -> float | None:
    values = results.rows.get((task, system, metric))
    return statistics.median(values) if values else None
