"""Measuring what is deployed: the scores, the size and the speed of a model folder, and of the LLM."""

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hundredth.extraction.batching import Progress
from hundredth.extraction.ensemble import load_annotator
from hundredth.extraction.llm import LLM
from hundredth.runtime import load
from hundredth.store import calibrate
from hundredth.student.selection import expected_calibration_error
from hundredth.tasks.metrics import accuracy, f1, macro_f1, matthews, score
from hundredth.tasks.schema import Example, Task, labels_of

Doubles = NDArray[np.float64]

_TIMED_TEXTS, _TIMED_TEXTS_LLM = 200, 20
_WARM_UP = 3


def scores(task: Task, probabilities: Doubles, test: Sequence[Example]) -> dict[str, float]:
    """Return the task's score, the others and the calibration error of probabilities (N, C), as fractions.

    `f1`, that of the positive class, is there for tasks of two labels only.
    """
    gold = labels_of(test)
    predicted = probabilities.argmax(axis=1).tolist()
    return {
        "score": score(task.metric, gold, predicted),
        "accuracy": accuracy(gold, predicted),
        "macro_f1": macro_f1(gold, predicted),
        **({"f1": f1(gold, predicted)} if len(task.labels) == 2 else {}),
        "matthews": matthews(gold, predicted),
        "ece": expected_calibration_error(probabilities, np.array(gold)),
    }


def measure_model(folder: Path, task: Task, test: Sequence[Example]) -> tuple[Doubles, dict[str, Any]]:
    """Predict the test texts with the model in `folder` as it would be served; return (N, C) and its numbers."""
    texts = [example.texts for example in test]
    with load(folder, threads=1) as model:
        probabilities = model.predict_proba(texts)
        temperature = model.manifest.calibration.temperature
        milliseconds = _milliseconds(lambda text: model.predict_proba([text]), texts[:_TIMED_TEXTS])
    before = expected_calibration_error(uncalibrated(probabilities, temperature), np.array(labels_of(test)))
    numbers = {
        **scores(task, probabilities, test),
        "ece_uncalibrated": before,
        "ms_per_text": milliseconds,
        "temperature": temperature,
    }
    return probabilities, numbers


def measure_llm(
    llm: LLM, annotator_folder: Path, task: Task, test: Sequence[Example], progress: Progress
) -> tuple[Doubles, dict[str, Any]]:
    """Let the adapted LLM, all members of it, label the test texts; return (N, C) and its numbers."""
    texts = [example.texts for example in test]
    annotator = load_annotator(llm, task.verbalisation, annotator_folder)
    try:
        probabilities = annotator.annotate(texts, progress).probabilities.astype(np.float64)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            milliseconds = _milliseconds(lambda text: annotator.annotate([text]), texts[:_TIMED_TEXTS_LLM])
        finally:
            torch.set_num_threads(threads)
    finally:
        annotator.remove_adapters()
    return probabilities, {**scores(task, probabilities, test), "ms_per_text": milliseconds}


def uncalibrated(probabilities: Doubles, temperature: float) -> Doubles:
    """Undo `calibrate`: softmax(log(p) / T) with temperature 1/T gives back what it was made from."""
    return calibrate(probabilities, 1 / temperature)


def _milliseconds(predict: Callable[[tuple[str, ...]], object], texts: Sequence[tuple[str, ...]]) -> float:
    """Return the median time of predicting one text, after a few that are not counted."""
    for text in texts[:_WARM_UP]:
        predict(text)
    times = []
    for text in texts:
        started = time.perf_counter()
        predict(text)
        times.append(time.perf_counter() - started)
    return round(1000 * statistics.median(times), 4)
