"""The systems of an evaluation as a table for the terminal."""

from rich import box
from rich.table import Table
from rich.text import Text

from hundredth.evaluation.outcome import Evaluation
from hundredth.evaluation.wording import count, milliseconds, percent, share, size


def system_table(evaluation: Evaluation) -> Table:
    """Return the systems side by side: means over the seeds ± the standard deviation, scores in percent.

    Bytes include the store; "gap" is the share of the way from `student` to `llm` that a system has come.
    """
    seeds = len(evaluation.seeds)
    # Without borders it fits a terminal of 80 columns.
    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
        title=f"{evaluation.task.name}: {len(evaluation.test)} test texts, {seeds} seed{'s' if seeds > 1 else ''}",
        caption=f"* the run's own model ({evaluation.deployed})" if evaluation.deployed else None,
    )
    table.add_column("system", no_wrap=True)
    metric = evaluation.task.metric
    shown = ["accuracy", "macro_f1"] if metric in ("accuracy", "macro_f1") else ["score", "accuracy", "macro_f1"]
    names = {"score": metric.capitalize(), "accuracy": "accuracy", "macro_f1": "macro-F1"}
    for heading in (*(names[one] for one in shown), "params", "bytes", "ms/text", "gap"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name in evaluation.cells:
        mark = " *" if name == evaluation.deployed else ""
        parts = [evaluation.mean(name, one) for one in ("bytes", "store_bytes")]
        table.add_row(
            Text(name + mark, style="bold" if mark else ""),
            *(percent(evaluation.mean(name, one), evaluation.deviation(name, one)) for one in shown),
            count(evaluation.mean(name, "parameters")),
            size(sum(part for part in parts if part is not None)),
            milliseconds(evaluation.mean(name, "ms_per_text")),
            share(evaluation.gap_closed(name)),
        )
    return table
