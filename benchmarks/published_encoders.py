"""The published numbers of sentence encoders as people read them: the files of benchmarks/results as tables."""

import statistics
from collections.abc import Sequence

from published import Results, spread, table

from hundredth.evaluation.encoders.tasks import GROUPS, TITLES
from hundredth.evaluation.statistics import deviation
from hundredth.evaluation.wording import NONE

_METRICS = {"sts": "Spearman x 100", "transfer": "Accuracy x 100"}


def ranking_table(results: Results, group: str) -> str | None:
    """Return a line for each base, its teachers and system on the tasks of a group; None if none was measured."""
    average = f"{group}_avg"
    rows = []
    for task, system in dict.fromkeys((task, system) for task, system, metric in results.rows if metric == average):
        found = [results.rows.get((task, system, metric), []) for metric in (average, *GROUPS[group])]
        cells = [_mean(values) for values in found[1:]]
        rows.append([task, f"`{system}`", str(len(found[0])), *cells, _mean(found[0], apart=True)])
    if not rows:
        return None
    heads = ["base, teachers", "system", "n", *(TITLES[task] for task in GROUPS[group]), "avg"]
    legend = f"{_METRICS[group]}, means over n seeds; of the average also the standard deviation over them."
    return f"{table(heads, rows, left=2)}\n\n{legend} {results.source()}"


def check_table(results: Results) -> str:
    """Return the scores of an encoder whose scores are known, beside those."""
    heads = ["all-MiniLM-L6-v2", *(TITLES[task] for task in results.tasks)]
    rows = [
        [told, *(_mean(results.rows.get((task, system, "spearman"), [])) for task in results.tasks)]
        for system, told in (("ours", "measured here"), ("known", "known"))
    ]
    return f"{table(heads, rows)}\n\nSpearman x 100. {results.source()}"


def ablations_table(results: Results) -> str:
    """Return the score on STS-B dev of each change to the settings, beside that of the defaults."""
    rows = []
    for (task, system, _), values in results.rows.items():
        plain = results.mean(task, "defaults", "stsb_dev")
        ours = statistics.fmean(values)
        change = NONE if plain is None or system == "defaults" else f"{ours - plain:+.2f}"
        cells = [str(len(values)), _mean(values, apart=True), change.replace("-", "\N{MINUS SIGN}")]
        rows.append([f"`{system}`", *cells])
    legend = "STS-B dev, Spearman x 100, mean ± standard deviation over n seeds, and how far from the defaults."
    return f"{table(['change', 'n', 'STS-B dev', 'difference'], rows)}\n\n{legend} {results.source()}"


def speed_table(results: Results) -> str:
    """Return a line for each race: the sentences a second of both sides, and the ratio."""
    rows = []
    for race in results.tasks:
        sides = [system for task, system, metric in results.rows if (task, metric) == (race, "sentences_per_s")]
        if len(sides) == 2:
            rates = [statistics.median(results.rows[race, side, "sentences_per_s"]) for side in sides]
            cells = [f"`{side}` {rate:,.0f}" for side, rate in zip(sides, rates, strict=True)]
            rows.append([f"`{race}`", *cells, spread(results.rows[race, sides[0], "ratio"], "{:.2f}")])
    legend = "Sentences a second, medians over the turns; of the ratio also the lowest and the highest."
    return f"{table(['race', 'ours', 'peer', 'ratio'], rows)}\n\n{legend} {results.source()}"


def memory_table(results: Results) -> str:
    """Return the peak memory at each size of the corpus."""
    rows = [
        [f"{int(task.removeprefix('corpus-')):,}", f"{values[0]:,.0f} MB"]
        for (task, _, metric), values in results.rows.items()
        if metric == "peak_mb"
    ]
    return table(["sentences", "peak memory"], rows, left=0)


def _mean(values: Sequence[float], *, apart: bool = False) -> str:
    if not values:
        return NONE
    found = deviation(values) if apart else None
    return f"{statistics.fmean(values):.2f}" + (f" ± {found:.2f}" if found is not None else "")
