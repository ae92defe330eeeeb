"""How close the texts that the LLM writes come to the real ones, before and after reinforcement learning.

Reads the texts that benchmarks/reinforcement.py has left of each task, seed and system, and the runs of
transfer.py. They are compared with the task's unlabelled texts, as all-MiniLM-L6-v2 embeds both: by a classifier
that learns to tell them apart (C2ST), and by the maximum mean discrepancy (MMD).

Texts are compared in pairs of the same label (that of a real text is the annotator's), since the LLM writes as many
of each label, and the classifier would otherwise see that alone. Beside the systems stand two floors: the labelled
texts, and other unlabelled ones.

    python benchmarks/closeness.py [--seeds 3] [--task trec ...] [--work FOLDER] [--trial]
"""

import argparse
import os
from collections import defaultdict
from itertools import product
from pathlib import Path

import numpy as np
from encoder_parts import MINILM
from knowledge_trials import TASKS, USUAL
from numpy.typing import NDArray
from publish import Key, in_order, publish
from reinforcement import ALGORITHMS, CELL, WORK, folder_of
from sentence_transformers import SentenceTransformer
from transfer import RESULTS
from transfer import WORK as RUNS

from hundredth.evaluation.closeness import classifier_test, mmd_test
from hundredth.evaluation.results import Row
from hundredth.files import fingerprint, read_json, write_json
from hundredth.models import quiet_transformers, resolve_model
from hundredth.pipeline.knowledge import read_jsonl
from hundredth.pipeline.progress import Reporter
from hundredth.pipeline.run import Run
from hundredth.pipeline.transfer import threads

# A text's fields and its label's index.
Labelled = tuple[tuple[str, ...], int]
PAIRS = 300
FLOORS = ("gold", "unlabelled")


def candidates(run: Run, work: Path, seed: int) -> tuple[list[Labelled], dict[str, list[Labelled]]]:
    """Return the real texts in a random order, and those of every system that are to be compared with them.

    Half of the unlabelled texts are kept apart, as a system of their own.
    """
    data, known = run.data, run.knowledge.of(["unlabelled"], augmented=False)
    real = list(zip(known.texts, known.soft_labels.argmax(axis=1).tolist(), strict=True))
    order = np.random.default_rng(seed).permutation(len(real)).tolist()
    half = len(order) // 2
    found = {
        "gold": [(one.texts, one.label) for one in data.train if one.label is not None],
        "unlabelled": [real[i] for i in order[half:]],
    }
    for system in ALGORITHMS:
        folder = folder_of(work, data.task.name, seed, system)
        if (folder / CELL).exists():
            found[system] = [(tuple(row["texts"]), row["label"]) for row in read_jsonl(folder / "samples.jsonl")]
    return [real[i] for i in order[:half]], found


def pairs_of_label(
    real: list[Labelled], others: list[Labelled], most: int
) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    """Give each real text the next one of its label among the others, while there are any; return both sides."""
    waiting: dict[int, list[tuple[str, ...]]] = defaultdict(list)
    for texts, label in reversed(others):
        waiting[label].append(texts)
    pairs = [(texts, waiting[label].pop()) for texts, label in real if waiting[label]][:most]
    return [one for one, _ in pairs], [other for _, other in pairs]


def compare(encoder: SentenceTransformer, real: list[tuple[str, ...]], others: list[tuple[str, ...]]) -> list[Row]:
    """Embed both sides and test them; task and system of the rows are filled in by the caller."""
    ours, theirs = (embedded(encoder, one) for one in (others, real))
    c2st, mmd = classifier_test(ours, theirs), mmd_test(ours, theirs)
    values = {
        "c2st": (c2st.statistic, "fraction"),
        "c2st_p": (c2st.p_value, "probability"),
        "mmd": (mmd.statistic, "squared distance"),
        "mmd_p": (mmd.p_value, "probability"),
        "texts": (len(real), "count"),
    }
    return [Row("", "", metric, [float(value)], unit) for metric, (value, unit) in values.items()]


def embedded(encoder: SentenceTransformer, texts: list[tuple[str, ...]]) -> NDArray[np.float32]:
    """Return the embeddings (N, E) of texts, the fields of each joined by line ends."""
    rows: NDArray[np.float32] = encoder.encode(["\n".join(one) for one in texts], show_progress_bar=False)
    return rows


def run_seed(run: Run, encoder: SentenceTransformer, work: Path, seed: int, pairs: int) -> bool:
    """Compare every system of one run whose texts are new; return whether any was."""
    real, found = candidates(run, work, seed)
    changed = False
    with run.reporter.bar(f"{run.data.task.name}, seed {seed}") as progress:
        for number, (system, texts) in enumerate(found.items()):
            sides = pairs_of_label(real, texts, pairs)
            key, file = fingerprint(sides), file_of(work, run.data.task.name, seed, system)
            if not file.exists() or read_json(file)["texts"] != key:
                rows = compare(encoder, *sides)
                write_json(file, {"texts": key, "rows": [row.to_dict() for row in rows]})
                changed = True
            progress(number + 1, len(found), system)
    return changed


def file_of(work: Path, task: str, seed: int, system: str) -> Path:
    """Return where the numbers of a comparison are kept."""
    return work / "closeness" / f"{task}-{seed}-{system}.json"


def gather(work: Path, seeds: list[int], target: Path) -> None:
    """Write the results of all that was compared."""
    pairs = list(product(TASKS, (*FLOORS, *ALGORITHMS)))
    found: dict[Key, dict[int, float]] = {}
    for (task, system), seed in product(pairs, seeds):
        file = file_of(work, task, seed, system)
        for row in read_json(file)["rows"] if file.exists() else []:
            [found.setdefault((task, system, row["metric"], row["unit"]), {})[seed]] = row["values"]
    publish(target, found, in_order(pairs))


def main() -> None:
    """Compare whatever is there and has not been compared; write after each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--task", action="append", choices=TASKS, help="only this task; may be repeated")
    parser.add_argument("--pairs", type=int, default=PAIRS, help="most texts of each side (%(default)s)")
    parser.add_argument("--runs", type=Path, default=RUNS, help="where transfer.py keeps its runs (%(default)s)")
    parser.add_argument("--work", type=Path, default=WORK, help="where reinforcement.py keeps its cells")
    parser.add_argument("--trial", action="store_true", help="with the cells of its --trial")
    options = parser.parse_args()
    os.environ.update(OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")
    work = options.work / "trial" if options.trial else options.work
    target = (work if options.trial else RESULTS) / "closeness.json"
    seeds = list(range(options.seeds))
    with quiet_transformers(), threads(1):
        encoder = SentenceTransformer(str(resolve_model(MINILM)))
        for task in options.task or USUAL:
            for seed in seeds:
                run = Run.open(options.runs / f"{task}-{seed}-pruned", Reporter())
                if run_seed(run, encoder, work, seed, options.pairs):
                    gather(work, seeds, target)
    gather(work, seeds, target)


if __name__ == "__main__":
    main()
