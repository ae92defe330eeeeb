"""How long one answer takes on one thread, side by side with what else could give it, in one run on one machine.

Timed is the whole way from a text of twenty words to the probabilities of its labels: the questions of TREC, one
after the other, cut after every twenty words. The systems take turns. What is reported is each turn's median, 99th
percentile and texts a second, the last in batches of 64 and of 256. The accuracy is that on TREC's test questions.

- `full`: the model of a finished run, its store filled up with Wikipedia sentences to several sizes, and the same
  with the engine openvino. What the store takes of the time is the difference to embedding alone, in the same turn.
  Its recall is the share of the K nearest entries that a search finds.
- `llm`: the LLM that taught it. `minilm-lr-torch`, `minilm-lr-onnx-int8`, `wordllama-lr`: all-MiniLM-L6-v2 and
  WordLlama with a logistic regression on the labelled texts.

Loading and `import hundredth` are timed in processes of their own. Reads the data from HUNDREDTH_DATA and the run
that benchmarks/transfer.py left; the filled stores are kept, and made only once.

    python benchmarks/latency.py [--turns 5] [--texts 500] [--entries 0 100000] [--run FOLDER] [--work FOLDER]
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import faiss
import numpy as np
import torch
from encoder_parts import CACHE
from latency_systems import Predict, filled_model, minilm_int8, minilm_torch, the_llm, wordllama
from timed_texts import RUN, timed_texts

import hundredth
from hundredth.evaluation.results import Row, write_results
from hundredth.pipeline.progress import Reporter
from hundredth.pipeline.run import Run
from hundredth.tasks.metrics import accuracy
from hundredth.tasks.schema import labels_of

RESULTS = Path(__file__).parent / "results"
ENTRIES = (0, 10_000, 20_000, 100_000, 1_000_000)
RACE = 100_000  # entries in the store that the peers race against
BATCHES = {64: "texts_per_s", 256: "texts_per_s_256"}

_WARM_UP = 20
_STARTS = 5
_START = """
import json, sys, time
times = [time.perf_counter()]
import hundredth
times.append(time.perf_counter())
model = hundredth.load(sys.argv[1], threads=1)
times.append(time.perf_counter())
model.predict(["What is the capital of France ?"])
times.append(time.perf_counter())
print(json.dumps([after - before for before, after in zip(times, times[1:])]))
"""


def name_of(entries: int) -> str:
    """Return the name of the task with so many entries: latency-100k."""
    for size, unit in ((1_000_000, "m"), (1000, "k")):
        if entries and entries % size == 0:
            return f"latency-{entries // size}{unit}"
    return f"latency-{entries}"


def single(predict: Callable[[list[str]], object], texts: Sequence[str]) -> list[float]:
    """Return the milliseconds of each text, one at a time."""
    times = []
    for text in texts:
        started = time.perf_counter()
        predict([text])
        times.append(1000 * (time.perf_counter() - started))
    return times


def in_batches(predict: Predict, texts: Sequence[str], size: int) -> float:
    """Return texts a second, in batches of that size."""
    parts = [list(texts[start : start + size]) for start in range(0, len(texts), size)]
    started = time.perf_counter()
    for part in parts:
        predict(part)
    return len(texts) / (time.perf_counter() - started)


class Race:
    """Takes the times of systems in turns, and keeps a value a turn of each metric."""

    def __init__(self, texts: Sequence[str], slow_texts: int) -> None:
        self.texts, self.slow_texts = texts, slow_texts
        self.values: dict[tuple[str, str, str, str], list[float]] = {}

    def turn(self, task: str, system: str, predict: Predict) -> None:
        """Time a system once; the LLM on fewer texts, and in one size of batch."""
        slow = system == "llm"
        texts = self.texts[: self.slow_texts] if slow else self.texts
        times = single(predict, texts)
        self._add(task, system, "p50_ms", statistics.median(times), "ms")
        self._add(task, system, "p99_ms", float(np.percentile(times, 99)), "ms")
        for size, metric in BATCHES.items():
            if not slow or size <= self.slow_texts:
                some = texts if slow else [*texts, *texts][: max(size, len(texts))]
                self._add(task, system, metric, in_batches(predict, some, size), "texts/s")
        print(f"  {task} {system}: {statistics.median(times):.3f} ms", flush=True)

    def share(self, task: str, system: str, embed: Callable[[list[str]], object]) -> None:
        """Time embedding alone, right after the system itself, and note what the rest took of the time."""
        whole = self.values[task, system, "p50_ms", "ms"][-1]
        alone = statistics.median(single(embed, self.texts))
        self._add(task, system, "embed_ms", alone, "ms")
        self._add(task, system, "store_share", 1 - alone / whole, "fraction")

    def rows(self) -> list[Row]:
        """Return everything measured."""
        return [
            Row(task, system, metric, [round(value, 6) for value in values], unit)
            for (task, system, metric, unit), values in self.values.items()
        ]

    def _add(self, task: str, system: str, metric: str, value: float, unit: str) -> None:
        self.values.setdefault((task, system, metric, unit), []).append(value)


def recall(model: hundredth.runtime.Model, texts: Sequence[str]) -> float:
    """Return the share of the true nearest entries that a search finds, on the mean over the texts."""
    store, k = model.store._store, model.manifest.retrieval.k
    queries, _ = model.embed(texts)
    index = store._index.search
    shares = []
    for query, found in zip(queries, store.search(queries, k).ids, strict=True):
        true = index.ids[np.argpartition(-(index.keys @ query), k)[:k]]
        shares.append(len(set(true.tolist()) & set(found.tolist())) / k)
    return statistics.fmean(shares)


def starts(models: dict[int, Path]) -> list[Row]:
    """Return the seconds of `import hundredth`, of loading each model, and of its first answer."""
    rows: list[Row] = []
    imports: list[float] = []
    for entries, folder in models.items():
        command = [sys.executable, "-c", _START, str(folder)]
        times = []
        for _ in range(_STARTS):
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            times.append([float(number) for number in done.stdout.strip(" []\n").split(",")])
        importing, loading, first = zip(*times, strict=True)
        imports += importing
        rows.append(Row(name_of(entries), "full", "load_s", list(loading), "s"))
        rows.append(Row(name_of(entries), "full", "first_answer_ms", [1000 * one for one in first], "ms"))
        print(f"{entries:,} entries: loaded in {statistics.median(loading):.2f} s", flush=True)
    return [*rows, Row("start", "full", "import_s", imports, "s")]


def race(run: Run, models: dict[int, Path], race_with: int, options: argparse.Namespace) -> list[Row]:
    """Run all turns and measure the accuracies; return the rows."""
    data, task = run.data, name_of(race_with)
    texts = timed_texts(options.run, options.texts)
    loaded = {name_of(entries): hundredth.load(folder, threads=1) for entries, folder in models.items()}
    systems: dict[tuple[str, str], Predict] = {(name, "full"): one.predict_proba for name, one in loaded.items()}
    if find_spec("openvino") is not None:
        other = hundredth.load(models[race_with], threads=1, engine="openvino")
        systems[task, "full-openvino"] = other.predict_proba
    systems[task, "minilm-lr-torch"] = minilm_torch(run)
    systems[task, "minilm-lr-onnx-int8"] = minilm_int8(run, options.work)
    if (static := wordllama(run, options.work)) is not None:
        systems[task, "wordllama-lr"] = static
    else:
        print("wordllama-lr is left out: the package wordllama is not installed")
    systems[task, "llm"] = the_llm(run)
    held = Race(texts, options.llm_texts)
    for (_, system), predict in systems.items():
        for text in texts[: 3 if system == "llm" else _WARM_UP]:
            predict([text])
    for number in range(options.turns):
        print(f"turn {number + 1} of {options.turns}", flush=True)
        for (where, system), predict in systems.items():
            held.turn(where, system, predict)
            if system == "full":
                held.share(where, system, loaded[where].embed)
    rows = held.rows()
    for where, model in loaded.items():
        if len(model.store) > model.manifest.retrieval.k:
            rows.append(Row(where, "full", "recall", [recall(model, texts)], "fraction"))
    test, gold = [one.texts[0] for one in data.test], labels_of(data.test)
    for (where, system), predict in systems.items():
        right = accuracy(gold, predict(test).argmax(axis=1).tolist())
        rows.append(Row(where, system, "accuracy", [right], "fraction"))
        print(f"{where} {system}: accuracy {right:.3f}", flush=True)
    return rows


def main() -> None:
    """Measure, print, and write results/latency.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--texts", type=int, default=500, help="timed one by one in a turn (%(default)s)")
    parser.add_argument("--llm-texts", type=int, default=100, help="the same for the LLM (%(default)s)")
    parser.add_argument("--entries", type=int, nargs="+", default=list(ENTRIES), help="sizes of the store")
    parser.add_argument("--run", type=Path, default=RUN, help="a finished run (%(default)s)")
    parser.add_argument(
        "--work", type=Path, default=CACHE / "benchmark" / "latency", help="what is kept (%(default)s)"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the JSON goes (%(default)s)")
    options = parser.parse_args()
    if "HUNDREDTH_DATA" not in os.environ:
        sys.exit("set HUNDREDTH_DATA to the folder that holds the benchmark data (wiki/)")
    os.environ.update(OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    run = Run.open(options.run, Reporter())
    if len(run.data.task.fields) != 1:
        sys.exit(f"{options.run} is a run of a task with several fields: the race takes texts of one")
    data = Path(os.environ["HUNDREDTH_DATA"])
    sizes = sorted(options.entries)
    models = {entries: filled_model(options.run / "model", entries, data, options.work) for entries in sizes}
    race_with = RACE if RACE in models else sizes[-1]
    rows = [*starts(models), *race(run, models, race_with, options)]
    write_results(options.results / "latency.json", "latency", [run.config.student.seed], rows)


if __name__ == "__main__":
    main()
