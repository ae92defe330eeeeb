"""Which of many texts that the LLM writes teach a student most: what a reward for writing should ask for.

For each run of transfer.py (SmolLM2-135M) its tuned prompt writes a pool of texts, which its annotator labels. Each
rule then chooses as many of them as a run writes, a student of 1 % of the LLM learns from those and the labelled
texts, without a store, and is judged by training rows that the run never drew. The test split is not looked at. A
rule that chooses no better than chance is no reward worth learning, as learning from it can only go the same way.

- `random`: drawn by lot. `random-300`, `random-all`: fewer, and the whole pool. Rules keep as many of each label.
- `quality`: those whose intended label the annotator gives most probability; what PPO is rewarded for.
- `agreed`: by lot, of those whose likeliest label is the intended one.
- `unsure`: those on whose label the annotator is least sure.
- `unknown`: those on which a student of the labelled texts differs most from the annotator (KL divergence).
- `spread`: those nearest to the centres of as many clusters, as the annotator embeds them.
- `real-gold`, `real-unlabelled`: drawn as if they were real: by the odds that a classifier on the mean of the
  LLM's states gives them of being one of the labelled, or of the unlabelled texts, rather than written.
- `unlabelled`: real texts in their place, as many: what writing could come to at best. `gold`: none at all.

    python benchmarks/selection.py [--seeds 3] [--students 2] [--task trec ...] [--pool 5000] [--work FOLDER]
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from knowledge_trials import JUDGES, cell_file, finish_cells, taught, trial_options, try_all
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from sklearn.cluster import MiniBatchKMeans
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import pairwise_distances_argmin, roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from trial_student import deployed, unseen_rows

from hundredth.extraction.ensemble import load_annotator
from hundredth.extraction.filters import FilterConfig, filter_copies
from hundredth.extraction.soft_prompt import SoftPrompt
from hundredth.pipeline.extract import make_samples
from hundredth.pipeline.knowledge import Knowledge, read_jsonl
from hundredth.pipeline.run import Run
from hundredth.pipeline.teach import Recipe
from hundredth.ranking.teacher_models import HFTeacher, open_teacher
from hundredth.tasks import Example

CHOSEN = 1200
RULES = (
    "gold",
    "random-300",
    "random",
    "random-all",
    "quality",
    "agreed",
    "unsure",
    "unknown",
    "spread",
    "real-gold",
    "real-unlabelled",
    "unlabelled",
)

Floats = NDArray[np.float32]
Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Pool:
    """N written texts: their intended labels (N,), and what the annotator says of them (N, C) and (N, E)."""

    texts: list[tuple[str, ...]]
    labels: NDArray[np.int64]
    soft_labels: Floats
    embeddings: Floats

    def rows(self, chosen: list[int]) -> "Pool":
        """Return the chosen texts."""
        return Pool(
            [self.texts[i] for i in chosen],
            self.labels[chosen],
            self.soft_labels[chosen],
            self.embeddings[chosen],
        )

    def knowledge(self, gold: Knowledge, chosen: NDArray[np.int64]) -> Knowledge:
        """Return the labelled texts and the chosen ones."""
        return joined(
            gold,
            Knowledge(
                [self.texts[i] for i in chosen],
                ["generated"] * len(chosen),
                np.full(len(chosen), -1, dtype=np.int64),
                self.soft_labels[chosen],
                self.embeddings[chosen],
                np.zeros(len(chosen), dtype=np.bool_),
            ),
        )


def joined(one: Knowledge, other: Knowledge) -> Knowledge:
    """Return the texts of both."""
    return Knowledge(
        [*one.texts, *other.texts],
        [*one.origins, *other.origins],
        np.concatenate([one.labels, other.labels]),
        np.concatenate([one.soft_labels, other.soft_labels]),
        np.concatenate([one.embeddings, other.embeddings]),
        np.concatenate([one.augmented, other.augmented]),
    )


def make_pool(
    run: Run,
    size: int,
    folder: Path,
    prompt: Callable[[], SoftPrompt] | None = None,
    changes: Mapping[str, float] | None = None,
) -> Pool:
    """Let a prompt, by default the run's, write texts and the annotator label them, or read what it did.

    `changes` are to the settings of the run's sampling.
    """
    file = folder / "pool.safetensors"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        llm, data = run.llm, run.data
        used = prompt() if prompt is not None else SoftPrompt.load(run.root / "prompt" / "prompt.safetensors")
        # A seed of its own: the run's samples are not among them.
        own = {"texts": size, "seed": 1_000 + run.config.sampling.seed}
        sampling = run.config.sampling.model_copy(update={**own, **(changes or {})})
        make_samples(llm, data, used.to(llm.device), sampling, run.config.prompt.max_tokens, folder, run.reporter)
        annotator = load_annotator(llm, data.task.verbalisation, run.root / "annotator")
        with run.reporter.bar("annotating") as progress:
            found = annotator.annotate(
                [tuple(row["texts"]) for row in read_jsonl(folder / "samples.jsonl")], progress
            )
        annotator.remove_adapters()
        save_file({"soft_labels": found.probabilities, "embeddings": found.embeddings}, file)
    rows, arrays = read_jsonl(folder / "samples.jsonl"), load_file(file)
    texts, labels = [tuple(row["texts"]) for row in rows], np.array([row["label"] for row in rows])
    return without_copies(run, Pool(texts, labels, arrays["soft_labels"], arrays["embeddings"]))


def untaught(run: Run) -> Knowledge:
    """Return all that a run knows, not to be taught: what the vocabulary of all its students is pruned to."""
    return replace(run.knowledge, origins=["user"] * len(run.knowledge))


def taught_by(run: Run, pool: Pool, students: int, judge: list[Example]) -> dict[str, Any]:
    """Return what students learn from the labelled texts and a whole pool, without a store."""
    knowledge = joined(pool.knowledge(run.knowledge.of(["gold"]), np.arange(len(pool.texts))), untaught(run))
    found = taught(run, knowledge, Recipe(("gold", "generated"), retrieve=False), students, judge)
    agreed = float((pool.soft_labels.argmax(axis=1) == pool.labels).mean())
    return {**found, "texts": len(pool.texts), "agreed": agreed}


def without_copies(run: Run, pool: Pool) -> Pool:
    """Return a pool without near-copies within itself and of the run's labelled texts."""
    protected = [one.texts for one in (*run.data.train, *run.data.dev)]
    return pool.rows(filter_copies(pool.texts, protected, FilterConfig()).kept)


def mixture(pools: Sequence[Pool], share: int, seed: int) -> Pool:
    """Return as many texts of each pool, drawn by lot."""
    generator = np.random.default_rng(seed)
    parts = [one.rows(np.sort(generator.permutation(len(one.texts))[:share]).tolist()) for one in pools]
    return Pool(
        [text for part in parts for text in part.texts],
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.soft_labels for part in parts]),
        np.concatenate([part.embeddings for part in parts]),
    )


def best_of_label(pool: Pool, scores: Scores, count: int) -> NDArray[np.int64]:
    """Return the texts with the highest scores (N,), as many of each intended label as far as there are."""
    share = count // len(np.unique(pool.labels))
    parts = []
    for label in np.unique(pool.labels):
        rows = np.flatnonzero(pool.labels == label)
        parts.append(rows[np.argsort(-scores[rows], kind="stable")[:share]])
    return np.sort(np.concatenate(parts))


def reality(written: Floats, real: Floats) -> Scores:
    """Return the log-odds (N,) of each written text to be a real one, by a classifier that has not seen it."""
    rows = np.concatenate([written, real])
    is_real = np.arange(len(rows)) >= len(written)
    # As in hundredth.evaluation.closeness: with a weaker penalty it fits noise.
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, class_weight="balanced", max_iter=1000))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    odds: Scores = cross_val_predict(model, rows, is_real, cv=folds, method="decision_function")
    print(f"  {len(real)} real ones told from written ones: ROC AUC {roc_auc_score(is_real, odds):.3f}", flush=True)
    return odds[: len(written)]


def spread(pool: Pool, count: int) -> NDArray[np.int64]:
    """Return the texts nearest to the centres of as many clusters."""
    clusters = MiniBatchKMeans(min(count, len(pool.texts)), random_state=0, n_init=1, batch_size=2048)
    centres = clusters.fit(pool.embeddings).cluster_centers_
    return np.unique(pairwise_distances_argmin(centres, pool.embeddings))


def choices(run: Run, pool: Pool, of_gold: Scores) -> dict[str, NDArray[np.int64]]:
    """Return what each rule chooses; `of_gold` (N, C) is what a student of the labelled texts says of the pool."""
    random = np.random.default_rng(run.config.sampling.seed)
    lot, gumbel = random.random(len(pool.texts)), random.gumbel(size=len(pool.texts))
    soft = pool.soft_labels.astype(np.float64)
    logs, rows = np.log(np.maximum(soft, 1e-9)), np.arange(len(pool.texts))
    real = (run.knowledge.of([origin], augmented=False).texts for origin in ("gold", "unlabelled"))
    # Of the LLM as it comes: the annotator has been trained on the labelled texts, and would know them again.
    teacher = open_teacher(HFTeacher(run.config.llm.name), None)
    states = [teacher.encode(["\n".join(fields) for fields in texts]) for texts in (pool.texts, *real)]
    divergence = (soft * (logs - np.log(np.maximum(of_gold, 1e-9)))).sum(axis=1)
    agreed = soft.argmax(axis=1) == pool.labels
    scores = {
        "random": lot,
        "quality": soft[rows, pool.labels],
        "agreed": lot + agreed,
        "unsure": -(soft * logs).sum(axis=1),
        "unknown": divergence,
        # The best by log-odds + Gumbel noise are a draw in proportion to the odds.
        "real-gold": reality(states[0], states[1]) + gumbel,
        "real-unlabelled": reality(states[0], states[2]) + gumbel,
    }
    return {
        **{name: best_of_label(pool, one, CHOSEN) for name, one in scores.items()},
        "spread": spread(pool, CHOSEN),
        "random-300": best_of_label(pool, lot, 300),
        "random-all": rows,
    }


def run_seed(run: Run, students: int, pool_size: int, work: Path) -> None:
    """Judge every rule on one run, as far as that is not done; a cell has a value for each student."""
    task, seed = run.data.task.name, run.config.task.seed
    if all(cell_file(work, run, name).exists() for name in RULES):
        return
    pool = make_pool(run, pool_size, work / f"{task}-{seed}")
    gold = run.knowledge.of(["gold"])
    judge = unseen_rows(run, task, JUDGES)
    recipe = Recipe(("gold", "generated"), retrieve=False)
    with deployed(run, run.config.base, gold, Recipe(("gold",), retrieve=False), run.config.student) as model:
        chosen = choices(run, pool, model.predict_proba(pool.texts))
    knowledge = {name: pool.knowledge(gold, rows) for name, rows in chosen.items()}
    knowledge["gold"] = gold
    unlabelled = run.knowledge.of(["unlabelled"], augmented=False)
    some = np.random.default_rng(seed).permutation(len(unlabelled)) < CHOSEN
    knowledge["unlabelled"] = joined(gold, replace(unlabelled.rows(some), origins=["generated"] * int(some.sum())))

    def cell(name: str) -> dict[str, Any]:
        found = taught(run, knowledge[name], recipe, students, judge)
        return {**found, "texts": len(knowledge[name].of(["generated"]))}

    finish_cells(run, work, {name: partial(cell, name) for name in RULES})


def main() -> None:
    """Judge whatever has not been judged; write after each run."""
    parser = trial_options(__doc__, "selection", seeds=3)
    parser.add_argument("--pool", type=int, default=5000, help="texts written for each run (%(default)s)")
    options = parser.parse_args()
    metrics = {"score": "fraction", "log_likelihood": "nats", "texts": "count"}
    try_all(
        options,
        lambda run: run_seed(run, options.students, options.pool, options.work),
        RULES,
        metrics,
        "selection",
    )


if __name__ == "__main__":
    main()
