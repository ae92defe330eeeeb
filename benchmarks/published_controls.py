"""The published numbers of the controls, and of knowledge that comes after training, as tables."""

import statistics
from collections.abc import Sequence

from published import Results, table

from hundredth.evaluation.findings import QUESTIONS
from hundredth.evaluation.wording import NONE, interval, percent, points

_ALL = "all"
# How the states of benchmarks/late_knowledge.py are told, in the order in which they are shown.
_STATES = {
    "before": "nothing",
    "5": "5 of its texts",
    "20": "20 of its texts",
    "all": "all its texts",
    "retrained": "(trained with them)",
}


def controls_table(results: Results) -> str:
    """Return a line for each task: the score of every system, and how many seeds there are."""
    systems = [name for name in results.systems() if " - " not in name]
    rows = []
    for task in (one for one in results.tasks if one != _ALL):
        seeds = max(len(results.rows.get((task, system, "score"), [])) for system in systems)
        rows.append([task, str(seeds), *(results.score(task, system) for system in systems)])
    heads = ["task", "n", *(f"`{system}`" for system in systems)]
    legend = "Score in percent, mean ± standard deviation over n seeds, each with its own labelled texts."
    return f"{table(heads, rows)}\n\n{legend} {results.source()}"


def worth_table(results: Results) -> str:
    """Return a line for each part of the method: its worth over the tasks, and on which it is clear."""
    rows = []
    for one in QUESTIONS:
        pair = f"{one.system} - {one.other}"
        if (_ALL, pair, "difference") not in results.rows:
            continue
        tasks = [task for task in results.tasks if task != _ALL and (task, pair, "difference") in results.rows]
        gain = [task for task in tasks if _one(results, task, pair, "difference_low") > 0]
        harm = [task for task in tasks if _one(results, task, pair, "difference_high") < 0]
        low, high = (_one(results, _ALL, pair, f"difference_{end}") for end in ("low", "high"))
        rows.append(
            [
                one.part,
                f"`{one.system}` \N{MINUS SIGN} `{one.other}`",
                f"{points(_one(results, _ALL, pair, 'difference'))} ({interval(low, high, points)})",
                ", ".join(gain) or NONE,
                ", ".join(harm) or NONE,
                str(len(tasks) - len(gain) - len(harm)),
            ]
        )
    heads = ["part", "measured as", "points (95 %)", "a gain on", "harm on", "nothing measurable on"]
    legend = (
        "Mean over the tasks that have both systems, with 95 % intervals for other texts and seeds; the tasks are "
        "what they are. Of 25 parts that are worth nothing, at most one is a gain or harm on a task by chance."
    )
    return f"{table(heads, rows, left=2)}\n\n{legend} {results.source()}"


def late_table(results: Results, kind: str) -> str | None:
    """Return what is known of a class, or a fine one, that was kept out of training; None if none was measured."""
    tasks = [task for task in results.tasks if task.startswith(f"{kind}-") and len(_systems(results, task)) > 1]
    ways = ("served", "tuned")
    rows = []
    for state, told in _STATES.items():
        systems = [state] if state in ("before", "retrained") else [f"{state}, {way}" for way in ways]
        cells = []
        for metric in ("accuracy_new", "accuracy_others"):
            found = [_mean(results, tasks, system, metric) for system in systems]
            cells += [percent(one) for one in (found if len(found) > 1 else [found[0], None])]
        rows.append([told, *cells])
    if not tasks:
        return None
    heads = ["in the store", *(f"{what}, {way}" for what in ("its texts", "others") for way in ways)]
    names = ", ".join(f"`{task.partition('-')[2]}`" for task in tasks)
    legend = f"Accuracy in percent, mean over {names}, each kept out in its turn. {_seeds(results)}"
    return f"{table(heads, rows)}\n\n{legend} {results.source()}"


def correction_table(results: Results) -> str:
    """Return the share of texts answered rightly before and after wrong entries were corrected."""
    metrics = [metric for task, system, metric in results.rows if (task, system) == ("correction", "after")]
    rows = [
        [
            "all test texts" if metric == "accuracy" else metric,
            *(percent(results.mean("correction", state, metric)) for state in ("before", "after")),
        ]
        for metric in metrics
    ]
    legend = f"Share answered rightly, in percent, of entries that the LLM had labelled wrongly. {_seeds(results)}"
    return f"{table(['asked with', 'before', 'after'], rows)}\n\n{legend} {results.source()}"


def growth_table(results: Results) -> str:
    """Return the accuracy of a student whose store grows, and of one that was trained with more."""
    rows = []
    for task in (one for one in results.tasks if one.startswith("size-")):
        for state in dict.fromkeys(system.partition(", ")[0] for system in _systems(results, task)):
            plain = results.mean(task, state, "accuracy")
            pair = [results.mean(task, f"{state}, {way}", "accuracy") for way in ("served", "tuned")]
            weight = results.mean(task, f"{state}, tuned", "weight")
            shown = NONE if weight is None else f"{weight:.2g}"
            cells = [percent(plain if plain is not None else pair[0]), percent(pair[1]), shown]
            rows.append([task.removeprefix("size-"), state, *cells])
    legend = f"Accuracy in percent; lambda is the one that `hundredth knowledge tune` chose. {_seeds(results)}"
    heads = ["task", "entries added", "served", "tuned", "lambda"]
    return f"{table(heads, rows, left=2)}\n\n{legend} {results.source()}"


def _seeds(results: Results) -> str:
    count = len(results.about["seeds"])
    return "One seed." if count == 1 else f"Means over {count} seeds."


def _systems(results: Results, task: str) -> Sequence[str]:
    return list(dict.fromkeys(system for one, system, _ in results.rows if one == task))


def _one(results: Results, task: str, system: str, metric: str) -> float:
    [value] = results.rows[task, system, metric]
    return value


def _mean(results: Results, tasks: Sequence[str], system: str, metric: str) -> float | None:
    values = [value for task in tasks if (value := results.mean(task, system, metric)) is not None]
    return statistics.fmean(values) if values else None
