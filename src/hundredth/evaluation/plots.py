"""The report's plots, as SVG to stand inside a page; they take the page's colours, light or dark.

Figures are made without pyplot, whose global state would outlive the report.
"""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator
from numpy.typing import NDArray

from hundredth.evaluation.wording import size
from hundredth.runtime import risk_coverage

# Colours that stand for the page's own: matplotlib writes them, and they are replaced afterwards.
_INK, _FAINT, _ACCENT, _OTHER = "#010203", "#040506", "#070809", "#0a0b0c"
_PAGE = {_INK: "var(--ink)", _FAINT: "var(--line)", _ACCENT: "var(--accent)", _OTHER: "var(--other)"}
_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": _INK,
    "axes.edgecolor": _FAINT,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_WIDTH, _HEIGHT = 5.6, 3.8
_FEWEST_ANSWERS = 10  # where the risk-coverage curve begins
# Systems within this factor of size share a column of names, whose lines are this share of the range of scores.
_SAME_SIZE, _LINE = 20, 0.075


@dataclass(frozen=True)
class SizedScore:
    """A system's size in bytes, and its score with the deviation over seeds (None: unknown), as fractions."""

    name: str
    bytes: float
    score: float
    deviation: float | None
    highlighted: bool


def size_plot(systems: Sequence[SizedScore], metric: str) -> str:
    """Plot the score against the bytes of what has to be deployed, on a logarithmic axis."""
    with matplotlib.rc_context({**_SETTINGS, "svg.hashsalt": "size"}):
        figure, axes = _figure()
        for one in systems:
            colour = _ACCENT if one.highlighted else _OTHER
            spread = None if one.deviation is None else 100 * one.deviation
            axes.errorbar(
                [one.bytes], [100 * one.score], yerr=spread, fmt="o", markersize=6, color=colour, elinewidth=1
            )
        places = _name_places(systems)
        axes.set_xscale("log")
        axes.set_xlim(min(one.bytes for one in systems) / 2, max(x for x, _ in places) * 20)
        axes.set_xlabel("size, with its store (log scale)")
        axes.set_ylabel(f"{metric}, %")
        axes.xaxis.set_major_locator(LogLocator(numticks=8))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: size(value)))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_minor_locator(NullLocator())
        low, high = _range(systems)
        axes.set_ylim(min(low, *(y for _, y in places)) - 1, max(high, *(y for _, y in places)) + 1)
        # Names may stand above the best score, but no score is above 100.
        axes.set_yticks([tick for tick in axes.get_yticks() if low - 1 <= tick <= 100])
        _name_points(axes, systems, places)
        return _svg(figure, "Size against score of each system")


def reliability_plot(
    gold: NDArray[np.int64], curves: Sequence[tuple[str, NDArray[np.float64]]], bins: int = 10
) -> str:
    """Plot how often predictions are right against how sure they are; the first curve is the one highlighted.

    `gold` is (N,), each curve a name and probabilities (N, C). A point's area is its share of the texts.
    """
    with matplotlib.rc_context({**_SETTINGS, "svg.hashsalt": "reliability"}):
        figure, axes = _figure()
        axes.plot([0, 100], [0, 100], color=_FAINT, linewidth=1)
        for number, (name, probabilities) in reversed(list(enumerate(curves))):
            colour, style = (_ACCENT, "-") if number == 0 else (_OTHER, "--")
            confidence, right, texts = reliability(gold, probabilities, bins)
            axes.plot(100 * confidence, 100 * right, style, color=colour, linewidth=1.4, label=name)
            axes.scatter(100 * confidence, 100 * right, s=8 + 160 * texts / texts.sum(), color=colour, alpha=0.8)
        axes.set_xlim(0, 106)
        axes.set_ylim(0, 106)
        axes.set_xlabel("mean probability of the predicted label, %")
        axes.set_ylabel("predictions that are right, %")
        axes.legend(frameon=False, loc="upper left")
        return _svg(figure, "Reliability of the predicted probabilities")


def reliability(
    gold: NDArray[np.int64], probabilities: NDArray[np.float64], bins: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Return mean confidence, share of right predictions and number of texts of each bin that has texts."""
    confidence = probabilities.max(axis=1)
    right = (probabilities.argmax(axis=1) == gold).astype(np.float64)
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    texts = np.bincount(place, minlength=bins)
    used = texts > 0
    sums = [np.bincount(place, weights=values, minlength=bins)[used] for values in (confidence, right)]
    return sums[0] / texts[used], sums[1] / texts[used], texts[used]


def risk_coverage_plot(gold: NDArray[np.int64], probabilities: Sequence[NDArray[np.float64]]) -> str:
    """Plot the share of answers that are wrong against the share of texts answered, the surest first.

    `gold` is (N,), `probabilities` (N, C) of each seed, a line each.
    """
    with matplotlib.rc_context({**_SETTINGS, "svg.hashsalt": "risk"}):
        figure, axes = _figure()
        highest = 0.0
        for one in probabilities:
            _threshold, answered, wrong = risk_coverage(one.max(axis=1), one.argmax(axis=1) == gold)
            # Of a handful of answers the share that is wrong says nothing.
            told = answered >= min(_FEWEST_ANSWERS, len(gold))
            risk = 100 * wrong[told] / answered[told]
            axes.plot(100 * answered[told] / len(gold), risk, color=_ACCENT, linewidth=1.2, alpha=0.8)
            highest = max(highest, float(risk.max()))
        axes.set_xlim(0, 102)
        axes.set_ylim(0, max(5.0, 1.1 * highest))
        axes.set_xlabel("texts answered, the surest first, %")
        axes.set_ylabel("answers that are wrong, %")
        return _svg(figure, "Risk against coverage")


def spread_out(places: Sequence[float], distance: float) -> list[float]:
    """Move places apart until neighbours are at least `distance` from each other; each stays near its own."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    groups: list[tuple[list[int], float]] = []  # members in order, and the middle of the group
    for index in order:
        members, middle = [index], places[index]
        while groups:
            above = middle - (len(members) - 1) * distance / 2
            before, centre = groups[-1]
            if above - (centre + (len(before) - 1) * distance / 2) >= distance:
                break
            groups.pop()
            members = before + members
            middle = sum(places[i] for i in members) / len(members)
        groups.append((members, middle))
    moved = [0.0] * len(places)
    for members, middle in groups:
        for number, index in enumerate(members):
            moved[index] = middle + (number - (len(members) - 1) / 2) * distance
    return moved


def _figure() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    axes.grid(color=_FAINT, linewidth=0.5)
    axes.set_axisbelow(True)
    return figure, axes


def _range(systems: Sequence[SizedScore]) -> tuple[float, float]:
    """Return the range of the scores and their deviations, in percent, at least 10 wide."""
    low = 100 * min(one.score - (one.deviation or 0) for one in systems)
    high = 100 * max(one.score + (one.deviation or 0) for one in systems)
    spare = max(0.0, 10 - (high - low)) / 2
    return low - spare, high + spare


def _name_places(systems: Sequence[SizedScore]) -> list[tuple[float, float]]:
    """Return where each name begins: a column of names to the right of systems of about the same size."""
    low, high = _range(systems)
    places = [(0.0, 0.0)] * len(systems)
    waiting = sorted(range(len(systems)), key=lambda i: systems[i].bytes)
    while waiting:
        near = [i for i in waiting if systems[i].bytes <= _SAME_SIZE * systems[waiting[0]].bytes]
        waiting = waiting[len(near) :]
        column = 1.6 * max(systems[i].bytes for i in near)
        heights = spread_out([100 * systems[i].score for i in near], _LINE * (high - low))
        for index, height in zip(near, heights, strict=True):
            places[index] = (column, height)
    return places


def _name_points(axes: Axes, systems: Sequence[SizedScore], places: Sequence[tuple[float, float]]) -> None:
    for one, place in zip(systems, places, strict=True):
        axes.annotate(
            one.name,
            xy=(one.bytes, 100 * one.score),
            xytext=place,
            verticalalignment="center",
            fontweight="bold" if one.highlighted else "normal",
            arrowprops={"arrowstyle": "-", "color": _FAINT, "linewidth": 0.7, "shrinkB": 4},
        )


def _svg(figure: Figure, title: str) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    # The page sets the size, and a title is what a screen reader says.
    text = re.sub(
        r'^<svg [^>]*?viewBox="([^"]*)"[^>]*>', rf'<svg viewBox="\1" role="img"><title>{title}</title>', text
    )
    for colour, variable in _PAGE.items():
        text = text.replace(colour, variable)
    return re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
