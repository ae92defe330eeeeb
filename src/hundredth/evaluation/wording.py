"""How numbers are written for people, the same in the terminal and in the report, and what they amount to."""

from collections.abc import Callable

from hundredth.evaluation.outcome import Evaluation
from hundredth.evaluation.statistics import Difference

NONE = "–"


def percent(mean: float | None, deviation: float | None = None) -> str:
    """Write a fraction as a percentage, with its deviation over the seeds where there is one: "91.2 ± 0.4"."""
    if mean is None:
        return NONE
    written = f"{100 * mean:.1f}".replace("-", "\N{MINUS SIGN}")
    return written if deviation is None else f"{written} ± {100 * deviation:.1f}"


def points(value: float) -> str:
    """Write a difference of fractions in points, with its sign."""
    return f"{100 * value:+.1f}".replace("-", "\N{MINUS SIGN}")


def count(value: float | None) -> str:
    """Write a number of things: 950, 12.3k, 4.4M, 1.2G."""
    return NONE if value is None else _scaled(value, 1000, ("", "k", "M", "G", "T"))


def size(value: float | None) -> str:
    """Write a number of bytes: 950 B, 12.3 kB, 4.4 MB."""
    return NONE if value is None else _scaled(value, 1000, (" B", " kB", " MB", " GB", " TB"))


def milliseconds(value: float | None) -> str:
    """Write a time with three digits that count."""
    return NONE if value is None else f"{value:#.3g}".rstrip(".") if value < 1000 else f"{value:,.0f}"


def share(value: float | None) -> str:
    """Write a share of the gap: "84 %"."""
    return NONE if value is None else f"{100 * value:.0f} %".replace("-", "\N{MINUS SIGN}")


def interval(low: float, high: float, form: Callable[[float], str]) -> str:
    """Write an interval, its two ends as `form` writes them."""
    return f"{form(low)} to {form(high)}"


def by(difference: Difference) -> str:
    """Write a difference with its interval."""
    of_what = " over the texts alone" if difference.seeds == 1 else ""
    between = interval(difference.low, difference.high, points)
    return f"{points(difference.mean)} points, 95 % interval{of_what} {between}"


def verdict(evaluation: Evaluation) -> list[str]:
    """Say in plain sentences what the evaluation has shown, also where the method brought nothing."""
    main, metric = evaluation.main, evaluation.task.metric.replace("_", "-")
    name = "The model" if main == evaluation.deployed else f"The system {main}"
    scored = percent(evaluation.mean(main, "score"), evaluation.deviation(main, "score"))
    return [f"{name} scores {scored} % ({metric}).", *_against_llm(evaluation), *_of_the_store(evaluation)]


def _against_llm(evaluation: Evaluation) -> list[str]:
    main = evaluation.main
    ours, student, llm = (evaluation.mean(name, "score") for name in (main, "student", "llm"))
    if main in ("llm", "student") or ours is None:
        return ["Nothing that uses the LLM's knowledge was evaluated."]
    if student is None:
        return ["The plain student was not evaluated, so what the LLM's knowledge adds is not known."]
    gain = evaluation.compare(main, "student")
    if not gain.is_clear:
        first = f"It cannot be told apart from the same student on the gold labels alone: {by(gain)}."
    elif gain.seeds == 1:
        first = (
            f"It came out {'better' if gain.mean > 0 else 'worse'} than the same student on the gold labels alone, "
            f"each trained once: {by(gain)}; other seeds may say otherwise (--seeds 3)."
        )
    elif gain.mean > 0:
        first = f"It is better than the same student on the gold labels alone: {by(gain)}."
    else:
        first = f"The LLM's knowledge did harm: the student on the gold labels alone is better, {by(gain)}."
    if llm is None:
        return [first]
    closed = evaluation.gap_closed(main)
    if closed is None:
        second = (
            f"The LLM ({percent(llm)}) is itself not a point better than that student ({percent(student)}): there "
            "was no gap to close."
        )
    elif closed >= 1:
        second = f"It is at least as good as the LLM that taught it ({percent(llm)})."
    elif closed > 0:
        second = f"It closes {share(closed)} of the gap between that student ({percent(student)}) and the LLM "
        second += f"({percent(llm)})."
    else:
        second = f"It closes nothing of the gap to the LLM ({percent(llm)})."
    return [first, second]


def _of_the_store(evaluation: Evaluation) -> list[str]:
    main = evaluation.main
    if not any(cell.metrics.get("retrieval") for cell in evaluation.cells[main]):
        return []
    if evaluation.ignores_its_store(main):
        return [
            "Its store adds nothing: on the development texts it was best without it, so it looks nothing up when "
            "it predicts."
        ]
    if not {"full", "kd-generated"} <= evaluation.cells.keys():
        return []
    gain = evaluation.compare("full", "kd-generated")
    what = "Retrieval" if main == "full" else "Without the unlabelled texts, retrieval"
    if not gain.is_clear:
        effect = "adds nothing that can be told from chance"
    elif gain.seeds == 1:
        effect = f"came out {'better' if gain.mean > 0 else 'worse'} in one training"
    else:
        effect = "helps" if gain.mean > 0 else "does harm"
    return [f"{what} {effect}, against the same student without a store: {by(gain)}."]


def _scaled(value: float, step: int, units: tuple[str, ...]) -> str:
    number = float(value)
    for unit in units[:-1]:
        if abs(number) < step:
            return f"{number:.0f}{unit}" if unit == units[0] else f"{number:.1f}{unit}"
        number /= step
    return f"{number:.1f}{units[-1]}"
