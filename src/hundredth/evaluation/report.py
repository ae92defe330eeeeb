"""The report: one page that needs no network, with what was found, how, and what it rests on."""

from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from hundredth.evaluation import wording
from hundredth.evaluation.controls import SYSTEMS
from hundredth.evaluation.evidence import confusion, kept_texts, label_scores, left_out_texts, most_wrong
from hundredth.evaluation.findings import answers, findings
from hundredth.evaluation.measure import uncalibrated
from hundredth.evaluation.outcome import Evaluation
from hundredth.evaluation.plots import SizedScore, reliability_plot, risk_coverage_plot, size_plot
from hundredth.evaluation.results import commit, machine, versions
from hundredth.files import write_text
from hundredth.pipeline.config import save_config
from hundredth.runtime import Manifest

REPORT = "evaluation/report.html"
_TEMPLATE = "report.html.j2"


def write_report(evaluation: Evaluation) -> Path:
    """Write evaluation/report.html into the run's folder and return its path.

    Everything in it that came from texts, labels and settings is escaped.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(
        percent=wording.percent,
        points=wording.points,
        count=wording.count,
        size=wording.size,
        milliseconds=wording.milliseconds,
        share=wording.share,
    )
    source = resources.files("hundredth.evaluation").joinpath(_TEMPLATE).read_text(encoding="utf-8")
    target = evaluation.run.root / REPORT
    write_text(target, environment.from_string(source).render(_content(evaluation)) + "\n")
    return target


def _content(evaluation: Evaluation) -> dict[str, Any]:
    run, main = evaluation.run, evaluation.main
    wrong, wrong_in_all = most_wrong(evaluation)
    counts = confusion(evaluation, main)
    rows = counts.sum(axis=1, keepdims=True)
    filters: dict[str, dict[str, int]] = run.record("knowledge")["metrics"]["filters"]
    return {
        "task": run.data.task,
        "config": run.config,
        "evaluation": evaluation,
        "main": main,
        "verdict": wording.verdict(evaluation),
        "systems": [_system(evaluation, name) for name in evaluation.cells],
        "differences": {name: evaluation.compare(name, evaluation.reference) for name in evaluation.cells},
        "findings": findings(evaluation),
        "contributions": [one for one in answers(evaluation) if one.question.source is not None],
        "size_plot": Markup(_size_plot(evaluation)),
        "reliability_plot": Markup(_reliability_plot(evaluation)),
        "risk_plot": Markup(
            risk_coverage_plot(evaluation.gold, [cell.probabilities for cell in evaluation.cells[main]])
        ),
        "confusion": counts,
        "shares": np.divide(counts, rows, out=np.zeros_like(counts), where=rows > 0),
        "label_scores": label_scores(evaluation, main),
        "wrong": wrong,
        "wrong_in_all": wrong_in_all,
        "kept": kept_texts(run),
        "left_out": left_out_texts(run),
        "filters": {name: one for name, one in filters.items() if one["texts"]},
        "recombined": {name: one for name, one in run.record("knowledge")["metrics"]["recombined"].items() if one},
        "steps": list(dict.fromkeys(step for one in filters.values() for step in one)),
        "sampled": run.record("samples")["metrics"],
        "annotator": run.record("annotator")["metrics"],
        "student": run.record("student")["metrics"],
        "stages": [run.record(name) for name in run.stages],
        "settings": save_config(run.config),
        "machine": machine(),
        "versions": versions(),
        "made_with": Manifest.read(run.root / "model").provenance["versions"],
        "commit": commit(),
    }


def _system(evaluation: Evaluation, name: str) -> dict[str, Any]:
    """Return a row of the table of systems: (mean, deviation) pairs, sizes, and the retrieval that was chosen."""
    pairs = {
        metric: (evaluation.mean(name, metric), evaluation.deviation(name, metric))
        for metric in ("score", "accuracy", "macro_f1", "ece")
    }
    chosen = [cell.metrics.get("retrieval") for cell in evaluation.cells[name]]
    bytes_alone = evaluation.mean(name, "bytes")
    assert bytes_alone is not None
    return {
        "name": name,
        "about": SYSTEMS[name].about,
        **pairs,
        "parameters": evaluation.mean(name, "parameters"),
        "bytes": bytes_alone,
        "bytes_with_store": bytes_alone + (evaluation.mean(name, "store_bytes") or 0),
        "entries": evaluation.mean(name, "entries"),
        "ms_per_text": evaluation.mean(name, "ms_per_text"),
        "gap_closed": evaluation.gap_closed(name),
        "gap_interval": evaluation.gap_interval(name),
        "retrieval": [one for one in chosen if one is not None],
    }


def _size_plot(evaluation: Evaluation) -> str:
    points = []
    for name in evaluation.cells:
        row = _system(evaluation, name)
        score, deviation = row["score"]
        points.append(SizedScore(name, row["bytes_with_store"], score, deviation, name == evaluation.main))
    return size_plot(points, evaluation.task.metric.replace("_", "-"))


def _reliability_plot(evaluation: Evaluation) -> str:
    """Plot the main system, all seeds together, as it predicts and as it would without calibration."""
    cells = evaluation.cells[evaluation.main]
    curves = [("calibrated", np.concatenate([cell.probabilities for cell in cells]))]
    if all("temperature" in cell.metrics for cell in cells):
        before = [uncalibrated(cell.probabilities, cell.metrics["temperature"]) for cell in cells]
        curves.append(("before calibration", np.concatenate(before)))
    return reliability_plot(np.tile(evaluation.gold, len(cells)), curves)
