"""Encoders side by side as tables for the terminal: one a group of tasks, each as wide as it has tasks."""

from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from hundredth.evaluation.encoders.evaluate import MAIN, EncoderEvaluation
from hundredth.evaluation.encoders.tasks import GEOMETRY, GROUPS, STS, TITLES, TRANSFER
from hundredth.evaluation.wording import NONE

_HEADINGS = {
    STS: "STS: Spearman x 100",
    TRANSFER: "transfer: accuracy x 100 (avg is without MRPC's F1)",
    GEOMETRY: "geometry on STS-B: the less, the better",
}


def encoder_tables(evaluation: EncoderEvaluation) -> list[Table]:
    """Return a table for each group of which a task was measured; an average is given where all of them were."""
    return [_group(evaluation, group) for group in GROUPS if set(GROUPS[group]) & set(evaluation.tasks)]


def _group(evaluation: EncoderEvaluation, group: str) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
        title=_HEADINGS[group],
        title_justify="left",
    )
    table.add_column("encoder", overflow="fold")
    columns = _columns(evaluation.tasks, group)
    for heading, _, _ in columns:
        table.add_column(heading, justify="right", no_wrap=True)
    if group in MAIN:
        table.add_column("avg", justify="right", no_wrap=True)
    digits = 4 if group == GEOMETRY else 2
    for label in evaluation.results:
        cells = [_number(evaluation.value(label, task, metric), digits) for _, task, metric in columns]
        if group in MAIN:
            cells.append(_number(evaluation.average(label, group), digits))
        table.add_row(Text(label), *cells)
    return table


def _columns(measured: Sequence[str], group: str) -> list[tuple[str, str, str]]:
    """Return heading, task and metric of each column."""
    if group == GEOMETRY:
        return [(metric, GEOMETRY, metric) for metric in ("alignment", "uniformity")]
    columns = [(TITLES[task], task, MAIN[group]) for task in GROUPS[group] if task in measured]
    return columns + ([("MRPC F1", "mrpc", "f1")] if group == TRANSFER and "mrpc" in measured else [])


def _number(value: float | None, digits: int) -> str:
    return NONE if value is None else f"{value:.{digits}f}"
