"""What more recombined texts, and the LLM's word on single words, teach a student: it takes the LLM little time.

For each run of transfer.py (SmolLM2-135M) more texts are recombined from the natural ones, and each whole word of
the student's vocabulary is a text of its own; the run's annotator labels them. A student of 1 % of the LLM learns
from the natural texts and some of these, without a store, and is judged by training rows that the run never drew.
The test split is not looked at.

    python benchmarks/recombination.py [--seeds 3] [--students 2] [--task trec ...] [--runs FOLDER] [--work FOLDER]
"""

import time
from functools import partial, reduce
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from knowledge_trials import JUDGES, finish_cells, taught, trial_options, try_all
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from selection import joined, untaught
from tokenizers import Tokenizer
from trial_student import unseen_rows

from hundredth.extraction.augmentation import crossover
from hundredth.extraction.ensemble import load_annotator
from hundredth.pipeline.knowledge import Knowledge
from hundredth.pipeline.run import Run
from hundredth.pipeline.teach import Recipe
from hundredth.store import Origin

# What is taught besides the gold texts, how many texts are recombined of each of these, and with words or without.
SOURCES: tuple[tuple[Origin, ...], ...] = (("generated",), ("unlabelled",), ("generated", "unlabelled"))
TEXTS = (2_000, 10_000)
CELLS = {
    f"{'+'.join(sources)}, {texts} recombined{' and words' if with_words else ''}": (sources, texts, with_words)
    for sources, texts, with_words in product(SOURCES, TEXTS, (False, True))
}
METRICS = {"score": "fraction", "texts": "count", "words": "count"}


def words_of(run: Run) -> list[tuple[str, ...]]:
    """Return the whole words that the run's student knows, in the order of their ids."""
    tokenizer = Tokenizer.from_file(str(run.root / "student" / "tokenizer.json"))
    pieces = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    return [(piece,) for piece, _ in pieces if len(piece) > 1 and piece.isalpha()]


def annotated(run: Run, origin: Origin, name: str, texts: list[tuple[str, ...]], folder: Path) -> Knowledge:
    """Return the texts as knowledge, marked as recombined ones; what the annotator says of them is kept."""
    file = folder / f"{name}.safetensors"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        annotator = load_annotator(run.llm, run.data.task.verbalisation, run.root / "annotator")
        start = time.monotonic()
        with run.reporter.bar(f"annotating {name}") as progress:
            found = annotator.annotate(texts, progress)
        annotator.remove_adapters()
        seconds = np.array(time.monotonic() - start)
        arrays = {"soft_labels": found.probabilities, "embeddings": found.embeddings, "seconds": seconds}
        save_file(arrays, file)
    arrays = load_file(file)
    none: NDArray[np.int64] = np.full(len(texts), -1, dtype=np.int64)
    made = np.ones(len(texts), dtype=np.bool_)
    return Knowledge(texts, [origin] * len(texts), none, arrays["soft_labels"], arrays["embeddings"], made)


def first(knowledge: Knowledge, count: int) -> Knowledge:
    """Return its first rows."""
    return knowledge.rows(np.arange(len(knowledge)) < count)


def run_seed(run: Run, students: int, work: Path) -> None:
    """Judge every mixture on one run, as far as that is not done; a cell has a value for each student."""
    task, seed = run.data.task.name, run.config.task.seed
    natural = run.knowledge.of(["gold", "generated", "unlabelled"], augmented=False)
    folder = work / f"{task}-{seed}"
    gold = natural.of(["gold"]).texts
    more = {
        origin: annotated(
            run,
            origin,
            origin,
            crossover([*gold, *natural.of([origin]).texts], max(TEXTS), run.config.augmentation.seed),
            folder,
        )
        for origin in ("generated", "unlabelled")
    }
    words = annotated(run, "gold", "words", words_of(run), folder)
    judge = unseen_rows(run, task, JUDGES)

    def cell(sources: tuple[Origin, ...], texts: int, with_words: bool) -> dict[str, Any]:
        parts = [*(first(more[origin], texts) for origin in sources), *([words] if with_words else [])]
        knowledge = reduce(joined, parts, natural.of(["gold", *sources]))
        recipe = Recipe(("gold", *sources), retrieve=False)
        found = taught(run, joined(knowledge, untaught(run)), recipe, students, judge)
        return {**found, "texts": len(knowledge), "words": len(words) * with_words}

    finish_cells(run, work, {name: partial(cell, *what) for name, what in CELLS.items()})


def main() -> None:
    """Judge whatever has not been judged; write after each run."""
    options = trial_options(__doc__, "recombination", seeds=3).parse_args()
    try_all(options, lambda run: run_seed(run, options.students, options.work), CELLS, METRICS, "recombination")


if __name__ == "__main__":
    main()
