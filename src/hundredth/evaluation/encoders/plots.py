"""The plots of an evaluation of encoders, as SVG files that stand on their own."""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hundredth.evaluation.encoders.evaluate import MAIN, EncoderEvaluation
from hundredth.evaluation.encoders.tasks import GEOMETRY, GROUPS, STS, TITLES, TRANSFER
from hundredth.files import atomic_path

_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "encoders",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_HEIGHT = 3.8
_CHANCE = 50  # what most of the transfer tasks give for nothing: bars from there on tell encoders apart


def write_plots(evaluation: EncoderEvaluation, folder: Path) -> list[Path]:
    """Write sts.svg, transfer.svg and geometry.svg into `folder`, of what was measured; return their paths."""
    groups = [group for group in MAIN if set(GROUPS[group]) & set(evaluation.tasks)]
    with matplotlib.rc_context(_SETTINGS):
        written = [_save(_bars(evaluation, group), folder / f"{group}.svg") for group in groups]
        if GEOMETRY in evaluation.tasks:
            written.append(_save(_geometry_scatter(evaluation), folder / "geometry.svg"))
    return written


def _bars(evaluation: EncoderEvaluation, group: str) -> Figure:
    """Draw a group of bars a task, one an encoder, and the average where there is one."""
    tasks = [task for task in GROUPS[group] if task in evaluation.tasks]
    has_average = len(tasks) == len(GROUPS[group])
    encoders = list(evaluation.results)
    figure, axes = _figure(width=max(5.6, 1.2 + 0.22 * (len(encoders) + 1) * (len(tasks) + 1)))
    places = np.arange(len(tasks) + has_average)
    for number, label in enumerate(encoders):
        values = [evaluation.value(label, task, MAIN[group]) for task in tasks]
        if has_average:
            values.append(evaluation.average(label, group))
        heights = [np.nan if value is None else value for value in values]
        shift = (number - (len(encoders) - 1) / 2) * 0.8 / len(encoders)
        axes.bar(places + shift, heights, width=0.8 / len(encoders), label=label)
    axes.set_xticks(places, [TITLES[task] for task in tasks] + (["avg"] if has_average else []))
    axes.set_ylabel(f"{MAIN[group].capitalize()} x 100")
    if group == TRANSFER:
        known = (evaluation.value(label, task, MAIN[group]) for label in encoders for task in tasks)
        axes.set_ylim(bottom=min([_CHANCE, *(0.9 * value for value in known if value is not None)]))
    axes.grid(axis="y", linewidth=0.5, alpha=0.5)
    return _named(figure)


def _geometry_scatter(evaluation: EncoderEvaluation) -> Figure:
    """Draw each encoder at its uniformity and alignment, with its STS average in brackets, as SimCSE does."""
    figure, axes = _figure(width=5.6)
    for label in evaluation.results:
        x, y = (evaluation.value(label, GEOMETRY, metric) for metric in ("uniformity", "alignment"))
        if x is None or y is None:
            continue
        average = evaluation.average(label, STS)
        axes.scatter([x], [y], s=42, label=label if average is None else f"{label} ({average:.1f})")
    axes.margins(0.15)
    axes.set_xlabel("uniformity (less is better)")
    axes.set_ylabel("alignment (less is better)")
    axes.grid(linewidth=0.5, alpha=0.5)
    return _named(figure)


def _figure(width: float) -> tuple[Figure, Axes]:
    # Without pyplot, whose global state would outlive the plot.
    figure = Figure(figsize=(width, _HEIGHT), layout="constrained")
    axes = figure.add_subplot()
    axes.set_axisbelow(True)
    return figure, axes


def _named(figure: Figure) -> Figure:
    # Above the plot: names beside points would lie over each other where encoders are alike.
    figure.legend(loc="outside upper left", frameon=False, ncols=2)
    return figure


def _save(figure: Figure, path: Path) -> Path:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None, "Creator": None})
    return path
