"""The published numbers as people read them: the files of benchmarks/results as tables and as one picture."""

import io
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from hundredth.evaluation.controls import SYSTEMS
from hundredth.evaluation.statistics import deviation, share_of_gap
from hundredth.evaluation.wording import NONE, count, milliseconds, percent, share, size
from hundredth.files import read_json

RESULTS = "benchmarks/results"
# The two students of the benchmark of the main job, by the name of their file.
STUDENTS = {"transfer-pruned": "vocabulary pruned", "transfer-whole": "whole vocabulary"}

_SIZES = "Bytes are those of encoder, tokenizer and store; of `llm`, those of its weights in memory."
_COLOURS, _MARKERS = ("#0b6e99", "#c45a11"), ("o", "s")
_OFFSET = 0.16  # how far a system's two students stand apart in the picture, in lines


@dataclass(frozen=True)
class Results:
    """One file of benchmarks/results, as `hundredth.evaluation.results` writes it."""

    name: str
    about: dict[str, Any]
    rows: dict[tuple[str, str, str], list[float]]

    @classmethod
    def read(cls, root: Path, name: str) -> "Results | None":
        """Read NAME.json; None where there is none."""
        path = root / RESULTS / f"{name}.json"
        if not path.exists():
            return None
        about = read_json(path)
        rows = {(row["task"], row["system"], row["metric"]): row["values"] for row in about.pop("rows")}
        return cls(name, about, {key: values for key, values in rows.items() if values})

    @property
    def tasks(self) -> list[str]:
        """The tasks in the order of the file."""
        return list(dict.fromkeys(task for task, _, _ in self.rows))

    def systems(self, task: str | None = None) -> list[str]:
        """Return the systems measured on a task (None: on any), in the order of the evaluation's table."""
        found = list(dict.fromkeys(system for one, system, _ in self.rows if task in (None, one)))
        known = [name for name in SYSTEMS if name in found]
        return known + [name for name in found if name not in SYSTEMS]

    def mean(self, task: str, system: str, metric: str) -> float | None:
        """Return the mean over the seeds."""
        values = self.rows.get((task, system, metric))
        return statistics.fmean(values) if values else None

    def score(self, task: str, system: str) -> str:
        """Write the mean score with its deviation over the seeds, in percent."""
        values = self.rows.get((task, system, "score"), [])
        return percent(self.mean(task, system, "score"), deviation(values))

    def lacks_gap(self, task: str) -> bool:
        """Whether the LLM is less than a point above the student, or less than chance over the seeds explains."""
        student, llm = (self.rows.get((task, system, "score"), []) for system in ("student", "llm"))
        if not student or not llm:
            return False
        if share_of_gap(statistics.fmean(llm), statistics.fmean(student), statistics.fmean(llm)) is None:
            return True
        if len(student) != len(llm) or len(llm) < 2:
            return False
        apart = [one - other for one, other in zip(llm, student, strict=True)]
        return statistics.fmean(apart) < statistics.stdev(apart) / math.sqrt(len(apart))

    def gap_closed(self, task: str, system: str) -> float | None:
        """Return the share of the way from student to LLM, of the means; None where there is no gap."""
        ours, student, llm = (self.mean(task, name, "score") for name in (system, "student", "llm"))
        if ours is None or student is None or llm is None or system in ("student", "llm") or self.lacks_gap(task):
            return None
        return share_of_gap(ours, student, llm)

    def bytes_with_store(self, task: str, system: str) -> float | None:
        """Return the mean of what has to be deployed."""
        parts = [self.mean(task, system, metric) for metric in ("bytes", "store_bytes")]
        return None if parts[0] is None else parts[0] + (parts[1] or 0)

    def source(self) -> str:
        """Say in one line what the numbers were measured with."""
        machine, versions = self.about["machine"], self.about["versions"]
        commit = f", commit `{self.about['commit'][:10]}`" if self.about["commit"] else ""
        where = f"{machine['cpu']}, {machine['cores']} cores" + (f", {machine['gpu']}" if machine["gpu"] else "")
        return (
            f"From [{self.name}.json]({RESULTS}/{self.name}.json): {self.about['date'][:10]}{commit}; {where}; "
            f"torch {versions.get('torch', NONE)}."
        )


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Return a Markdown table whose first `left` columns are flush left, the others right."""
    rule = ["---" if number < left else "---:" for number in range(len(heads))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, rule, *rows))


def transfer_summary(results: Results) -> str:
    """Return a table of systems against tasks: score, deviation, and the share of the gap."""
    tasks, rows = results.tasks, []
    # Texts differ in length from task to task, so that systems are as quick as the tasks they are measured on.
    common = [task for task in tasks if set(results.systems(task)) == set(results.systems())]
    for system in results.systems():
        cells = []
        for task in tasks:
            closed = results.gap_closed(task, system)
            cells.append(results.score(task, system) + (f" ({share(closed)})" if closed is not None else ""))
        rows.append([f"`{system}`", *cells, *_sizes(results, common, system)])
    heads = [f"{task}{_mark(results, task)} (n={_seeds(results, task)})" for task in tasks]
    text = table(["system", *heads, "parameters", "bytes", "ms/text"], rows)
    legend = (
        "Score in percent, mean ± standard deviation over n seeds; in brackets the share of the gap between "
        f"`student` and `llm` that is closed. Students: {STUDENTS[results.name]}. {_SIZES} "
        f"Sizes and times are means over {', '.join(common)}, which have all systems. {_note(results)}"
    )
    return f"{text}\n\n{legend}{results.source()}"


def transfer_table(results: Results) -> str:
    """Return a table with a line for each task and system."""
    rows = []
    for task in results.tasks:
        for system in results.systems(task):
            values = results.rows.get((task, system, "score"), [])
            rows.append(
                [
                    f"{task}{_mark(results, task)}",
                    f"`{system}`",
                    str(len(values)),
                    results.score(task, system),
                    share(results.gap_closed(task, system)),
                    percent(results.mean(task, system, "ece")),
                    *_sizes(results, [task], system),
                ]
            )
    heads = ["task", "system", "n", "score, %", "gap closed", "ECE, %", "parameters", "bytes", "ms/text"]
    legend = (
        f"Students: {STUDENTS[results.name]}. Mean ± standard deviation over n seeds. {_SIZES} {_note(results)}"
    )
    return f"{table(heads, rows, left=2)}\n\n{legend}{results.source()}"


def sampling_table(results: Results) -> str:
    """Return how many tokens a second each sampler writes, and how many times those of `generate`."""
    rows = []
    for task in results.tasks:
        for system in results.systems(task):
            rates = results.rows.get((task, system, "tokens_per_s"), [])
            times = results.rows.get((task, system, "times_generate"), [])
            rows.append([f"`{system}`", str(len(rates)), spread(rates, "{:.0f}"), spread(times, "{:.2f}")])
    heads = ["system", "turns", "tokens/s", "times `generate`"]
    return f"{table(heads, rows)}\n\nMedian over the turns, lowest to highest in brackets. {results.source()}"


def picture(found: dict[str, Results]) -> str:
    """Draw the score of every system on every task, a panel a task, as SVG on white."""
    tasks = list(dict.fromkeys(task for one in found.values() for task in one.tasks))
    systems = [name for name in SYSTEMS if any(name in one.systems() for one in found.values())]
    with matplotlib.rc_context():
        # The picture must not depend on the settings of whoever makes it.
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({"svg.hashsalt": "transfer", "font.size": 9})
        figure = Figure(
            figsize=(1.3 + 2.1 * len(tasks), 1.2 + 0.34 * len(systems)), layout="constrained", facecolor="white"
        )
        panels = figure.subplots(1, len(tasks), sharey=True, squeeze=False)[0]
        for axes, task in zip(panels, tasks, strict=True):
            for number, (name, results) in enumerate(found.items()):
                _draw_scores(axes, results, task, systems, list(STUDENTS).index(name), number)
            axes.set_title(task)
            axes.set_xlabel("score, %")
            axes.grid(axis="x", color="#dddddd", linewidth=0.6)
            axes.set_axisbelow(True)
            axes.spines[["top", "right", "left"]].set_visible(False)
            axes.tick_params(axis="y", length=0)
        panels[0].set_yticks(range(len(systems)), systems)
        panels[0].set_ylim(len(systems) - 0.5, -0.5)
        labelled = [zip(*axes.get_legend_handles_labels(), strict=True) for axes in panels]
        marks = {label: handle for pairs in labelled for handle, label in pairs}
        figure.legend(marks.values(), marks.keys(), loc="outside lower center", ncols=2, frameon=False)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def _sizes(results: Results, tasks: Sequence[str], system: str) -> list[str]:
    """Return parameters, bytes with the store and milliseconds a text, means over the tasks."""

    def mean(number: Callable[[str], float | None]) -> float | None:
        values = [value for task in tasks if (value := number(task)) is not None]
        return statistics.fmean(values) if values else None

    return [
        count(mean(lambda task: results.mean(task, system, "parameters"))),
        size(mean(lambda task: results.bytes_with_store(task, system))),
        milliseconds(mean(lambda task: results.mean(task, system, "ms_per_text"))),
    ]


def _seeds(results: Results, task: str) -> int:
    return max(len(results.rows.get((task, system, "score"), [])) for system in results.systems(task))


def _mark(results: Results, task: str) -> str:
    return " \\*" if results.lacks_gap(task) else ""


def _note(results: Results) -> str:
    if not any(results.lacks_gap(task) for task in results.tasks):
        return ""
    return (
        "\\* The LLM is less than a point above the student, or than the standard error of the difference: there "
        "is no gap to close. "
    )


def spread(values: Sequence[float], form: str) -> str:
    """Write the median, with the lowest and the highest in brackets where there are several."""
    if not values:
        return NONE
    low, middle, high = (form.format(value) for value in (min(values), statistics.median(values), max(values)))
    return middle if len(values) == 1 else f"{middle} ({low} to {high})"


def _draw_scores(axes: Any, results: Results, task: str, systems: Sequence[str], kind: int, number: int) -> None:
    name = list(STUDENTS)[kind]
    for line, system in enumerate(systems):
        values = results.rows.get((task, system, "score"))
        # The LLM is the same for both kinds of student: its mark stands once, in grey, with a line to compare by.
        if not values or (system == "llm" and number > 0):
            continue
        mean, llm = 100 * statistics.fmean(values), system == "llm"
        axes.errorbar(
            [mean],
            [line if llm else line + (2 * kind - 1) * _OFFSET],
            xerr=100 * (deviation(values) or 0.0),
            fmt="D" if llm else _MARKERS[kind],
            color="#555555" if llm else _COLOURS[kind],
            markersize=5,
            elinewidth=1.2,
            capsize=2,
            label=STUDENTS[name] if system == "student" else None,
        )
        if llm:
            axes.axvline(mean, color="#999999", linewidth=0.8, linestyle="--", zorder=0)
