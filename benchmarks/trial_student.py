"""Try settings of the student on a finished benchmark run, judged by training rows that the run never drew.

The test split is not looked at. Each line of the settings file is the knowledge to teach from (gold, generated,
unlabelled, joined by +) and changes to the student's settings as JSON:

    gold+unlabelled {"learning_rate": 0.001}

    python benchmarks/trial_student.py RUN SETTINGS --task trec [--base NAME --share 0.06] [--rows 1000]
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from hundredth.evaluation.results import Row, write_results
from hundredth.files import read_json
from hundredth.pipeline.config import BaseStudentConfig
from hundredth.pipeline.knowledge import Knowledge
from hundredth.pipeline.progress import Reporter
from hundredth.pipeline.run import Run
from hundredth.pipeline.teach import Recipe, make_model, make_student
from hundredth.runtime import Model, load
from hundredth.student.training import StudentConfig
from hundredth.tasks import Example, cap, read_benchmark, score
from hundredth.tasks.rows import key_of
from hundredth.tasks.schema import labels_of

RESULTS = Path(__file__).parent / "results"


def unseen_rows(run: Run, task: str, rows: int) -> list[Example]:
    """Return labelled rows of the benchmark's training pool that the run has neither trained nor chosen on."""
    data = run.data
    used = {key_of(one.texts) for one in [*data.train, *data.dev, *data.unlabelled, *data.test]}
    pool = read_benchmark(Path(os.environ["HUNDREDTH_DATA"]), task).pool
    return cap([one for one in pool if key_of(one.texts) not in used], rows, 0)


@contextmanager
def deployed(
    run: Run, base: BaseStudentConfig, knowledge: Knowledge, recipe: Recipe, student: StudentConfig
) -> Iterator[Model]:
    """Train and deploy one student; it is gone after the block."""
    config, task, reporter = run.config, run.data.task, Reporter(quiet=True)
    with tempfile.TemporaryDirectory() as folder:
        trained, model = Path(folder, "student"), Path(folder, "model")
        for path in (trained, model):
            path.mkdir()
        size = run.llm_size["parameters"]
        make_student(base, student, task, knowledge, recipe, size, trained, reporter)
        dev = run.data.dev
        make_model(trained, config.model, student.max_length, task, dev, knowledge, recipe, {}, model)
        with load(model, threads=1) as made:
            yield made


def judged(run: Run, model: Model, judge: list[Example]) -> tuple[float, float]:
    """Return a model's score on `judge` and the mean log-likelihood of the gold labels."""
    gold = labels_of(judge)
    probabilities = model.predict_proba([one.texts for one in judge])
    likelihood = np.log(probabilities[np.arange(len(gold)), gold] + 1e-9).mean()
    return score(run.data.task.metric, gold, probabilities.argmax(axis=1).tolist()), float(likelihood)


def main() -> None:
    """Try every line that has no result yet; write after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("settings", type=Path)
    parser.add_argument("--task", required=True)
    parser.add_argument("--base", help="encoder to start from; by default that of the run")
    parser.add_argument("--share", type=float, help="its parameters over the LLM's; by default that of the run")
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--name", default="trial-student")
    options = parser.parse_args()
    if "HUNDREDTH_DATA" not in os.environ:
        sys.exit("set HUNDREDTH_DATA to the folder that holds the benchmark data (glue/, superglue/, senteval/)")
    run = Run.open(options.run, Reporter(quiet=True))
    base = run.config.base
    if options.base is not None:
        base = base.model_copy(update={"name": options.base})
    if options.share is not None:
        base = base.model_copy(update={"target_share": options.share})
    judge = unseen_rows(run, options.task, options.rows)
    target = RESULTS / f"{options.name}.json"
    rows = [Row(**row) for row in read_json(target)["rows"]] if target.exists() else []
    for line in options.settings.read_text(encoding="utf-8").splitlines():
        if not line.strip() or any(row.system == line.strip() for row in rows):
            continue
        origins, _, changes = line.strip().partition(" ")
        names = tuple(origins.split("+"))
        recipe = Recipe(names, retrieve=True)
        student = run.config.student.model_copy(update=json.loads(changes or "{}"))
        with deployed(run, base, run.knowledge, recipe, student) as model:
            reached, likelihood = judged(run, model, judge)
        rows.append(Row(options.task, line.strip(), "score", [reached], "fraction"))
        rows.append(Row(options.task, line.strip(), "log_likelihood", [likelihood], "nats"))
        print(f"{line.strip()}: {reached:.3f}, log-likelihood {likelihood:.3f}", flush=True)
        write_results(target, options.name, [student.seed], rows)


if __name__ == "__main__":
    main()
