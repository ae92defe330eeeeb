"""The published numbers of reinforcement learning as tables: rewards, closeness to real texts, students."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from published import Results, table

from hundredth.evaluation.statistics import deviation
from hundredth.evaluation.wording import NONE, percent

_PER_TOKEN = "gain_per_1000_tokens"
_PEER = "trl"
# The prompt that rewards start from.
_BEFORE = "tuned"
# A p-value below it is counted as "told apart".
_LEVEL = 0.05


def reinforcement_blocks(root: Path) -> dict[str, str | None]:
    """Return the tables by the names of their blocks; None where there are no results."""
    learning, closeness, students = (
        Results.read(root, name) for name in ("reinforcement", "closeness", "reinforced-students")
    )
    return {
        "reinforcement": None if learning is None else texts_table(learning),
        "reinforcement-cost": None if learning is None else cost_table(learning),
        "closeness": None if closeness is None else closeness_table(closeness),
        "reinforced-students": None if students is None else students_table(students),
    }


def texts_table(results: Results) -> str:
    """Return a line for each task and system: what the texts of its prompt are worth, and how they look."""
    rows = []
    for task in results.tasks:
        for system in (one for one in results.systems(task) if " - " not in one):
            scores = results.rows[task, system, "score"]
            rows.append(
                [
                    task,
                    f"`{system}`",
                    str(len(scores)),
                    _spread(scores, 3),
                    *(percent(results.mean(task, system, name)) for name in ("reward_agreement", "self_bleu")),
                    *(percent(results.mean(task, system, name)) for name in ("duplicates", "usable")),
                    _number(results.mean(task, system, "length"), 1),
                    _number(results.mean(task, system, "distinct_tokens"), 0),
                    _number(results.mean(task, system, "kl"), 1),
                ]
            )
    heads = ["task", "prompt", "n", "reward", "agreement, %", "Self-BLEU, %", "copies, %", "usable, %"]
    heads += ["tokens a text", "different tokens", "KL"]
    legend = (
        "Means over n seeds, of the reward with its standard deviation. Agreement is the share of usable texts "
        "whose likeliest label, to the annotator, is the intended one; KL is the divergence from `tuned`, in nats "
        "a text."
    )
    return f"{table(heads, rows, left=2)}\n\n{legend} {results.source()}"


def cost_table(results: Results) -> str:
    """Return a line for each task and way of learning: what was gained, and for what; then who gained more."""
    rows = []
    for task in results.tasks:
        for system in results.systems(task):
            gains = results.rows.get((task, system, "gain"))
            if gains is None:
                continue
            rows.append(
                [
                    task,
                    f"`{system}`",
                    str(len(gains)),
                    _spread(gains, 3),
                    f"{results.mean(task, system, 'tokens_sampled') or 0:,.0f}",
                    _spread(results.rows[task, system, _PER_TOKEN], 4),
                    f"{results.mean(task, system, 'seconds') or 0:,.0f}",
                    _number(results.mean(task, system, "gain_per_minute"), 3),
                ]
            )
    heads = ["task", "learning", "n", "reward gained", "tokens sampled", "gained per 1,000 tokens", "seconds"]
    heads.append("gained a minute")
    said = [_ahead(results, system) for system in ("ppo", "grpo")]
    text = " ".join(["Means over n seeds, with standard deviations.", *(one for one in said if one)])
    return f"{table(heads, rows, left=2)}\n\n{text} {results.source()}"


def closeness_table(results: Results) -> str:
    """Return a line for each task and kind of text: how well it can be told from the task's own texts."""
    rows = []
    for task in results.tasks:
        for system in results.systems(task):
            accuracies = results.rows[task, system, "c2st"]
            apart = [
                f"{sum(value < _LEVEL for value in results.rows[task, system, name])} of {len(accuracies)}"
                for name in ("c2st_p", "mmd_p")
            ]
            rows.append(
                [
                    task,
                    f"`{system}`",
                    _number(results.mean(task, system, "texts"), 0),
                    percent(results.mean(task, system, "c2st"), deviation(accuracies)),
                    apart[0],
                    _number(1000 * (results.mean(task, system, "mmd") or 0.0), 2),
                    apart[1],
                ]
            )
    heads = ["task", "texts", "pairs", "C2ST, %", "told apart", "1,000 MMD\N{SUPERSCRIPT TWO}", "told apart"]
    legend = (
        "C2ST is the accuracy of telling a text from a real one, with its standard deviation over the seeds: 50 % "
        f"is guessing. Told apart: in so many seeds the p-value is below {_LEVEL}."
    )
    return f"{table(heads, rows, left=2)}\n\n{legend} {results.source()}"


def students_table(results: Results) -> str:
    """Return a line for each task and prompt: what its texts teach, and how much more than the tuned one's."""
    rows = []
    for task in results.tasks:
        before = results.rows.get((task, _BEFORE, "score"), [])
        for system in results.systems(task):
            scores = results.rows[task, system, "score"]
            # Runs are finished in the order of their seeds.
            apart = [] if system == _BEFORE else [one - old for one, old in zip(scores, before, strict=False)]
            rows.append(
                [
                    task,
                    f"`{system}`",
                    str(len(scores)),
                    _number(results.mean(task, system, "texts"), 0),
                    percent(results.mean(task, system, "agreed")),
                    percent(statistics.fmean(scores), deviation(scores)),
                    percent(statistics.fmean(apart), deviation(apart)) if apart else NONE,
                ]
            )
    heads = ["task", "prompt", "n", "texts", "agreement, %", "students, %", "more than `tuned`, points"]
    legend = (
        "Means over n seeds, and standard deviations over them. Agreement is the share of texts whose likeliest "
        "label, to the annotator, is the intended one. A seed counts with the mean over its students."
    )
    return f"{table(heads, rows, left=2)}\n\n{legend} {results.source()}"


def _ahead(results: Results, system: str) -> str | None:
    """Say how often a system gained as much a token as TRL's did, or None where the two were not compared."""
    pairs = [
        value for task in results.tasks for value in results.rows.get((task, f"{system} - {_PEER}", _PER_TOKEN), [])
    ]
    if not pairs:
        return None
    ahead = sum(value >= 0 for value in pairs)
    return f"`{system}` gained at least as much per token as `{_PEER}` in {ahead} of {len(pairs)} runs."


def _spread(values: Sequence[float], digits: int) -> str:
    spread = deviation(values)
    written = _number(statistics.fmean(values), digits)
    return written if spread is None else f"{written} ± {spread:.{digits}f}"


def _number(value: float | None, digits: int) -> str:
    return NONE if value is None else f"{value:,.{digits}f}".replace("-", "\N{MINUS SIGN}")
