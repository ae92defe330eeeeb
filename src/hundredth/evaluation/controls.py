"""The controls: every system trained and measured on the same data, seeds and student (METHODS 2, last part)."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors.numpy import load_file

from hundredth.errors import UserError
from hundredth.evaluation.cells import FOLDER, PROBABILITIES, llm_stage, rewritten_stages, student_stage
from hundredth.evaluation.measure import scores
from hundredth.evaluation.outcome import Cell, Evaluation
from hundredth.evaluation.results import write_results
from hundredth.files import fingerprint
from hundredth.pipeline.progress import Reporter
from hundredth.pipeline.run import Run
from hundredth.pipeline.stages import Stage, run_stages
from hundredth.pipeline.teach import Recipe, full_recipe
from hundredth.pipeline.transfer import threads as torch_threads
from hundredth.store import Origin
from hundredth.tasks.rows import key_of
from hundredth.tasks.schema import Example
from hundredth.tasks.splits import cap

RESULTS = "evaluation/results.json"
# Raised when this code changes what a cell measures, so that finished cells are redone.
_CELLS_VERSION = 1


@dataclass(frozen=True)
class System:
    """One of the systems compared; without a recipe it is the LLM itself.

    With `rewritten` the LLM writes its texts anew: from the soft prompt of that stage, or from the "instruction".
    """

    about: str
    recipe: Recipe | None
    rewritten: str | None = None


SYSTEMS: dict[str, System] = {
    "llm": System("the LLM itself, adapted to the task", None),
    "student": System("the small model on the gold labels alone", Recipe(("gold",), distil=False, retrieve=False)),
    "kd-gold": System("student + the LLM's soft labels of the gold texts", Recipe(("gold",), retrieve=False)),
    "kd-generated": System("kd-gold + texts that the LLM wrote", Recipe(("gold", "generated"), retrieve=False)),
    "kd-unlabelled": System("kd-gold + unlabelled texts", Recipe(("gold", "unlabelled"), retrieve=False)),
    "retrieval-gold": System("kd-gold + a store of the gold texts", Recipe(("gold",))),
    "no-ppo": System(
        "full, but its texts are written from the prompt before reinforcement learning",
        Recipe(("gold", "generated")),
        "prompt",
    ),
    "no-prompt": System(
        "full, but its texts are written from a plain instruction", Recipe(("gold", "generated")), "instruction"
    ),
    "full": System("kd-generated + a store of gold and generated texts", Recipe(("gold", "generated"))),
    "full+unlabelled": System("full + the unlabelled texts", Recipe(("gold", "generated", "unlabelled"))),
}


def evaluate(
    root: Path,
    test: list[Example] | None,
    *,
    systems: Sequence[str] | None = None,
    seeds: Sequence[int] = (0,),
    reporter: Reporter,
    threads: int = 0,
    limit: int | None = None,
) -> Evaluation:
    """Train every system with every seed, measure each on the test texts, and write evaluation/results.json.

    Each (system, seed) is a stage: an evaluation that was stopped goes on where it was, and only what depends
    on something that has changed is done again. A finished cell keeps its numbers and probabilities; the
    student and model that it measured are deleted.

    Args:
        root: the folder of a finished run.
        test: labelled texts that the run has not seen; None for the test split that its benchmark came with.
        systems: names from `SYSTEMS`; None for all but those for which the LLM writes its texts anew; ["all"] for
            all.
        seeds: added to the run's own `student.seed`, so that 0 is the run's own student.
        reporter: told of each cell.
        threads: CPU threads of training; 0 for all. Times are always measured on one.
        limit: test on at most this many texts, always the same ones.

    Raises:
        UserError: the run is not finished, there is nothing to test on, or a system or seed is not valid.
    """
    run = Run.open(root, reporter)
    seeds = _checked_seeds(seeds)
    test = _test_texts(run, test, limit)
    reinforced = run.config.rl.algorithm != "none"
    chosen, notes = choose_systems(systems, set(run.knowledge.origins), run.config.sampling.texts, reinforced)
    notes += _leaks(run, test)
    for note in notes:
        reporter.say(f"  note: {note}")
    stages = _stages(run, chosen, seeds, test, threads)

    def announce(stage: Stage, fresh: bool) -> None:
        place = f"{stages.index(stage) + 1} of {len(stages)}"
        reporter.say(f"{stage.name} ({place}): {'already done' if fresh else 'working'}")

    with torch_threads(threads):
        outcomes = run_stages(root / FOLDER, stages, announce)
    cells: dict[str, list[Cell]] = {}
    for name in chosen:
        for seed in (None,) if name == "llm" else seeds:
            outcome = outcomes[_cell_name(name, seed)]
            probabilities = load_file(outcome.folder / PROBABILITIES)["probabilities"]
            # Scores that a finished cell was not asked for come from its probabilities.
            metrics = {**outcome.record["metrics"], **scores(run.data.task, probabilities, test)}
            cells.setdefault(name, []).append(Cell(name, seed, metrics, probabilities))
    own = [
        name
        for name in chosen
        if SYSTEMS[name].rewritten is None and _recipe(name, run.knowledge.origins) == run.recipe
    ]
    evaluation = Evaluation(run, test, seeds, cells, own[0] if own else None, notes)
    write_results(root / RESULTS, f"evaluate {run.data.task.name}", seeds, evaluation.rows())
    return evaluation


def choose_systems(
    names: Sequence[str] | None, origins: Collection[Origin], sampled: int, reinforced: bool
) -> tuple[list[str], list[str]]:
    """Return the systems to run, in the order of `SYSTEMS`, and notes on those that cannot be.

    `origins` is what the run's knowledge is made of, `sampled` how many texts it lets the LLM write, `reinforced`
    whether its soft prompt was trained further by rewards.

    Raises:
        UserError: a name is unknown, or none of the systems can be run.
    """
    wanted = {name for name, one in SYSTEMS.items() if one.rewritten is None} if names is None else set(names)
    if "all" in wanted:
        wanted = set(SYSTEMS)
    unknown = sorted(wanted - SYSTEMS.keys())
    if unknown:
        raise UserError(f"there is no system {unknown[0]!r}: choose from {', '.join(SYSTEMS)}, or all")
    chosen, notes = [], []
    for name in (name for name in SYSTEMS if name in wanted):
        recipe = _recipe(name, origins)
        lacking = [origin for origin in recipe.origins if origin not in origins] if recipe is not None else []
        if SYSTEMS[name].rewritten is not None:
            lacking = [] if sampled else ["generated"]
        elif name == "full+unlabelled" and "unlabelled" not in origins:
            lacking = ["unlabelled"]
        if name == "no-ppo" and not reinforced:
            notes.append("no-ppo is left out: the run's prompt was not reinforced (--rl), so that it would be full")
        elif lacking:
            notes.append(f"{name} is left out: the run has no {' or '.join(lacking)} texts")
        else:
            chosen.append(name)
    if not chosen:
        raise UserError(f"there is nothing to evaluate: {'; '.join(notes) or 'no system was named'}")
    return chosen, notes


def _recipe(name: str, origins: Collection[Origin]) -> Recipe | None:
    # A run may have unlabelled texts and none that were generated: its own model is still full+unlabelled.
    return full_recipe(origins) if name == "full+unlabelled" else SYSTEMS[name].recipe


def _checked_seeds(seeds: Sequence[int]) -> tuple[int, ...]:
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise UserError(f"seeds {list(seeds)}: give different whole numbers from 0 up")
    return tuple(seeds)


def _test_texts(run: Run, test: list[Example] | None, limit: int | None) -> list[Example]:
    task = run.data.task
    found = run.data.test if test is None else test
    if not found:
        place = "the run's task comes with no test split" if test is None else "the test set is empty"
        raise UserError(f"{place}: name a file of labelled texts that the run has not seen")
    for example in found:
        if example.label is None or not 0 <= example.label < len(task.labels):
            raise UserError(f"the test text {example.texts[0][:60]!r} has no label of the task: give it one")
        if len(example.texts) != len(task.fields):
            raise UserError(f"a test text has {len(example.texts)} fields, the task has {', '.join(task.fields)}")
    if limit is not None and limit < 1:
        raise UserError(f"limit is {limit}: test on at least 1 text")
    return found if limit is None else cap(found, limit, seed=0)


def _leaks(run: Run, test: Sequence[Example]) -> list[str]:
    """Say how many test texts the run has seen: on them it would be measured by its memory."""
    data = run.data
    seen = {key_of(example.texts) for example in [*data.train, *data.dev, *data.unlabelled]}
    count = sum(key_of(example.texts) in seen for example in test)
    if not count:
        return []
    return [f"{count} of {len(test)} test texts also stand in the run's own data: the numbers flatter"]


def _cell_name(system: str, seed: int | None) -> str:
    return system if seed is None else f"{system}-{seed}"


def _stages(
    run: Run, systems: Sequence[str], seeds: Sequence[int], test: list[Example], threads: int
) -> list[Stage]:
    shared = {
        "version": _CELLS_VERSION,
        "test": fingerprint([[example.texts, example.label] for example in test]),
        "task": run.record("task")["outputs"],
        "threads": threads,
    }
    stages: list[Stage] = []
    for name in systems:
        if name == "llm":
            stages.append(llm_stage(run, test, shared))
            continue
        recipe, knowledge = _recipe(name, run.knowledge.origins), None
        assert recipe is not None
        source = SYSTEMS[name].rewritten
        if source is not None:
            prompt = None if source == "instruction" else source
            samples, knowledge = rewritten_stages(run, name, prompt, threads)
            stages += [samples, knowledge]
        for seed in seeds:
            stages.append(student_stage(run, _cell_name(name, seed), recipe, seed, test, shared, knowledge))
    return stages
