"""An evaluation as it is shown in the terminal: two tables, and a line for what each control shows."""

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hundredth.evaluation.findings import findings
from hundredth.evaluation.outcome import Evaluation
from hundredth.evaluation.wording import NONE, count, interval, milliseconds, percent, points, share, size


def show(evaluation: Evaluation, console: Console) -> None:
    """Print the systems side by side, what sets them apart, and what that says in words."""
    console.print(system_table(evaluation))
    if len(evaluation.cells) > 1:
        console.print()
        console.print(difference_table(evaluation))
    console.print()
    for line in findings(evaluation):
        console.print(line, markup=False, soft_wrap=True)


def system_table(evaluation: Evaluation) -> Table:
    """Return the systems side by side: means over the seeds ± the standard deviation, scores in percent.

    Bytes are those of encoder and tokenizer; "+ store" is what the store takes beside them.
    """
    seeds = len(evaluation.seeds)
    table = _table(
        title=f"{evaluation.task.name}: {len(evaluation.test)} test texts, {seeds} seed{'s' if seeds > 1 else ''}",
        caption=f"* the run's own model ({evaluation.deployed})" if evaluation.deployed else None,
    )
    metric = evaluation.task.metric
    shown = ["accuracy", "macro_f1"] if metric in ("accuracy", "macro_f1") else ["score", "accuracy"]
    names = {"score": metric.capitalize(), "accuracy": "accuracy", "macro_f1": "macro-F1"}
    for heading in (*(names[one] for one in shown), "params", "bytes", "+ store", "ms/text"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name in evaluation.cells:
        mark = " *" if name == evaluation.deployed else ""
        table.add_row(
            Text(name + mark, style="bold" if mark else ""),
            *(percent(evaluation.mean(name, one), evaluation.deviation(name, one)) for one in shown),
            count(evaluation.mean(name, "parameters")),
            size(evaluation.mean(name, "bytes")),
            size(evaluation.mean(name, "store_bytes") or None),
            milliseconds(evaluation.mean(name, "ms_per_text")),
        )
    return table


def difference_table(evaluation: Evaluation) -> Table:
    """Return what each system is better by than `full`, and its share of the way from `student` to `llm`."""
    reference = evaluation.reference
    drawn = "texts and seeds" if len(evaluation.seeds) > 1 else "texts"
    table = _table(title=f"against {reference}, with 95 % intervals over {drawn}", caption=None)
    for heading in ("points", "interval", "of the gap", "interval"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name in evaluation.cells:
        found, between = evaluation.compare(name, reference), evaluation.gap_interval(name)
        table.add_row(
            Text(name),
            NONE if name == reference else points(found.mean),
            NONE if name == reference else interval(found.low, found.high, points),
            share(evaluation.gap_closed(name)),
            NONE if between is None else interval(*between, share),
        )
    return table


def _table(title: str, caption: str | None) -> Table:
    # Without borders it fits a terminal of 80 columns.
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), title=title, caption=caption)
    table.add_column("system", no_wrap=True)
    return table
