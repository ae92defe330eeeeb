"""Knowledge that comes after training: what a store can take up without the student being trained again.

From the finished runs of transfer.py, which are only read. Gold and unlabelled texts alone teach here; recombined
ones are left out, as parts of what is kept back could be in them. Reads the data from HUNDREDTH_DATA.

class       TREC: a class is kept out of the task; the deployed model is told of the label, and its texts are added
subdomain   TREC: the same with a fine class, whose coarse class the student does know
correction  TREC: wrong entries are corrected; are texts nearly like them answered rightly, and others as before?
size        TREC, SST-2: a student of 500 unlabelled texts, and a store that is filled with many times as many

"served" is the model with K, t and lambda as they were chosen without what came later, "tuned" after `hundredth
knowledge tune` on the development texts.

    python benchmarks/late_knowledge.py [--seeds 1] [--unit class-LOC ...] [--work FOLDER]
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from late_models import Bench, relabelled, without_label
from numpy.typing import NDArray
from publish import Key, publish
from transfer import RESULTS, WORK

from hundredth.evaluation.results import Row
from hundredth.files import read_json, write_json
from hundredth.pipeline.progress import Reporter
from hundredth.pipeline.run import Run
from hundredth.pipeline.transfer import threads
from hundredth.runtime import load
from hundredth.tasks import Example, Verbalisation, cap, labels_of
from hundredth.tasks.rows import key_of

CLASSES = ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM")
SUBDOMAINS = ("DESC:def", "HUM:ind", "LOC:other", "NUM:date")
FEW = (5, 20)
CORRECTED = 100
TAUGHT = 500
SIZES = {"trec": (1000, 2000, 4000), "sst2": (1000, 3000, 10_000, 30_000)}
UNITS = (
    "retrained",
    *(f"class-{name}" for name in CLASSES),
    *(f"subdomain-{name}" for name in SUBDOMAINS),
    "correction",
    *(f"size-{task}" for task in SIZES),
)


def is_new(bench: Bench, name: str) -> NDArray[np.bool_]:
    """Return which test texts are of the class."""
    return np.array([bench.of(one.texts, name) for one in bench.test])


def late(bench: Bench, unit: str) -> list[Row]:
    """Keep a class or a fine class out of training, add its texts to the store, and see what is known of it."""
    name, knowledge, task = unit.partition("-")[2], bench.knowledge, bench.run.data.task
    labels = task.labels
    new = np.array([bench.of(texts, name) for texts in knowledge.texts])
    said = knowledge.stored_labels().argmax(axis=1)
    gold = knowledge.labels >= 0
    taught = knowledge.rows(~new)
    if name in labels:
        # What the LLM takes for the class is kept out too, and is what a user would add as such.
        index = labels.index(name)
        taught = without_label(knowledge.rows(~new & (said != index)), index)
        rest = tuple(label for label in labels if label != name)
        task = replace(task, labels=rest, verbalisation=Verbalisation.default(task.fields, rest))
        new = np.where(gold, new, said == index)
    order = [*np.flatnonzero(new & gold).tolist(), *np.flatnonzero(new & ~gold).tolist()]
    entries = [(knowledge.texts[i], labels[said[i]]) for i in order]
    dev = [one for one in bench.run.data.dev if not bench.of(one.texts, name)]
    model = bench.model(taught, relabelled(dev, labels, task.labels), task)
    rows = bench.scores(unit, "before", bench.predicted(model), is_new(bench, name))
    for count in (*(few for few in FEW if few < len(entries)), len(entries)):
        state = "all" if count == len(entries) else str(count)
        grown = bench.with_entries(model, entries[:count])
        rows += bench.served_and_tuned(unit, state, grown, is_new(bench, name))
        rows.append(Row(unit, f"{state}, served", "entries_added", [count], "count"))
    return rows


def retrained(bench: Bench, unit: str) -> list[Row]:
    """Measure the student that was taught everything, on each of the classes that others are not taught."""
    predicted = bench.predicted(bench.model(bench.knowledge, bench.run.data.dev))
    units = [one for one in UNITS if one.startswith(("class-", "subdomain-"))]
    return [
        row for one in units for row in bench.scores(one, unit, predicted, is_new(bench, one.partition("-")[2]))
    ]


def mistyped(text: str) -> str:
    """Swap two different letters in the middle of the longest word."""
    word = max(text.split(), key=len)
    places = [i for i in range(1, len(word)) if word[i] != word[i - 1]]
    i = min(places, key=lambda place: abs(place - len(word) // 2), default=0)
    return text.replace(word, f"{word[: i - 1]}{word[i]}{word[i - 1]}{word[i + 1 :]}", 1) if i else text


VARIANTS: dict[str, Callable[[str], str]] = {
    "the text itself": lambda text: text,
    "other case": str.upper,
    "other punctuation": lambda text: f"{text.rstrip(' ?.')} ...",
    "a word before": lambda text: f"Please , {text}",
    "a typo": mistyped,
}


def correction(bench: Bench, unit: str) -> list[Row]:
    """Correct entries of the run's own model that the LLM labelled wrongly, one after the other."""
    labels = bench.run.data.task.labels
    model = Path(shutil.copytree(bench.run.root / "model", Path(tempfile.mkdtemp(dir=bench.folder)) / "model"))
    knowledge = bench.knowledge
    truth = [labels.index(bench.fine[key_of(texts)].partition(":")[0]) for texts in knowledge.texts]
    said = knowledge.stored_labels().argmax(axis=1).tolist()
    wrong = [
        Example(texts, true) for texts, true, one in zip(knowledge.texts, truth, said, strict=True) if true != one
    ]
    chosen = cap(wrong, CORRECTED, 0)
    gold, rows = np.array(labels_of(chosen)), [Row(unit, "all", "entries_wrong", [len(wrong)], "count")]
    for state in ("before", "after"):
        with load(model) as loaded:
            if state == "after":
                for one in chosen:
                    loaded.correct(one.texts, labels[one.label or 0])
            for variant, change in VARIANTS.items():
                found = loaded.predict_proba([change(one.texts[0]) for one in chosen]).argmax(axis=1)
                rows.append(Row(unit, state, variant, [float((found == gold).mean())], "fraction"))
        rows += bench.scores(unit, state, bench.predicted(model))
    return rows


def size(bench: Bench, unit: str) -> list[Row]:
    """Teach a student from few texts, and fill its store with many more."""
    data, knowledge = bench.run.data, bench.knowledge
    gold = int((knowledge.labels >= 0).sum())
    taught = np.arange(len(knowledge)) < gold + TAUGHT
    model = bench.model(knowledge.rows(taught), data.dev)
    rows = bench.served_and_tuned(unit, "none", bench.with_entries(model, []))
    rest = knowledge.rows(~taught)
    labels = data.task.labels
    by_llm = list(zip(rest.texts, [labels[i] for i in rest.soft_labels.argmax(axis=1)], strict=True))
    rows += bench.served_and_tuned(unit, "the rest by the LLM", bench.with_entries(model, by_llm))
    seen = {key_of(one.texts) for one in [*data.dev, *data.test]} | {
        key_of(texts) for texts, one in zip(knowledge.texts, taught, strict=True) if one
    }
    unseen = [one for one in bench.rows if key_of(one.texts) not in seen]
    for count in SIZES[data.task.name]:
        more = [(one.texts, labels[one.label or 0]) for one in cap(unseen, count, 0)]
        rows += bench.served_and_tuned(unit, f"{len(more)} by people", bench.with_entries(model, more))
    return rows + bench.scores(unit, "retrained", bench.predicted(bench.model(knowledge, data.dev)))


def run_unit(unit: str, seed: int, work: Path) -> list[Row]:
    """Do one unit with the run of one seed."""
    task = unit.partition("-")[2] if unit.startswith("size-") else "trec"
    parts = {"class": late, "subdomain": late, "correction": correction, "size": size, "retrained": retrained}
    with tempfile.TemporaryDirectory() as folder, threads(1):
        bench = Bench(Run.open(work / f"{task}-{seed}-pruned", Reporter(quiet=True)), Path(folder))
        return parts[unit.partition("-")[0]](bench, unit)


def gather(work: Path, seeds: list[int]) -> None:
    """Write the results of all finished units."""
    found: dict[Key, dict[int, float]] = {}
    for unit in UNITS:
        for seed in seeds:
            file = work / "late-knowledge" / f"{unit}-{seed}.json"
            for row in read_json(file) if file.exists() else []:
                key = (row["task"], row["system"], row["metric"], row["unit"])
                [found.setdefault(key, {})[seed]] = row["values"]
    places = {unit: place for place, unit in enumerate(UNITS)}
    publish(RESULTS / "late-knowledge.json", found, lambda task, _: places.get(task))


def main() -> None:
    """Do every unit that has no results yet; write after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--unit", action="append", choices=UNITS, help="only this one; may be repeated")
    parser.add_argument("--work", type=Path, default=WORK, help="where the runs are kept (%(default)s)")
    options = parser.parse_args()
    if "HUNDREDTH_DATA" not in os.environ:
        sys.exit("set HUNDREDTH_DATA to the folder that holds the benchmark data (glue/, superglue/, senteval/)")
    seeds = list(range(options.seeds))
    for seed in seeds:
        for unit in options.unit or UNITS:
            file = options.work / "late-knowledge" / f"{unit}-{seed}.json"
            if file.exists():
                continue
            rows = run_unit(unit, seed, options.work)
            write_json(file, [row.to_dict() for row in rows])
            print(f"{unit}, seed {seed}: done", flush=True)
            gather(options.work, seeds)


if __name__ == "__main__":
    main()
