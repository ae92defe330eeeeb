"""The main job: a labelled file and an LLM in, a deployable model with its knowledge store out."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from hundredth.errors import UserError
from hundredth.extraction.soft_prompt import SoftPrompt
from hundredth.files import fingerprint, read_json, write_text
from hundredth.models import model_stamp
from hundredth.pipeline.card import model_card
from hundredth.pipeline.carry import TakenOver
from hundredth.pipeline.config import RunConfig, make_config, save_config, words_in_use
from hundredth.pipeline.extract import (
    make_annotator,
    make_knowledge,
    make_prompt,
    make_samples,
    write_task,
)
from hundredth.pipeline.lessons import LEFT_BEHIND, held_lessons
from hundredth.pipeline.progress import Reporter
from hundredth.pipeline.reinforce import make_reinforcement, own_rewards
from hundredth.pipeline.run import CONFIG, UNFINISHED, Run, provenance
from hundredth.pipeline.stages import (
    Stage,
    bring_up_to_date,
    locked,
    read_record,
    refuse_strangers,
)
from hundredth.pipeline.teach import make_model, make_student
from hundredth.runtime.encoder import available_threads
from hundredth.student.model import load_student
from hundredth.tasks import TaskData, load_task

# Outside the stage's folder, which is made anew when a run goes on.
_RL_CHECKPOINT = ".reinforcement.checkpoint"


def transfer(config: RunConfig, root: Path, reporter: Reporter | None = None) -> Run:
    """Do every stage that is not whole yet, or whose settings or inputs have changed.

    Returns the finished run; its model is in `root / "model"`.

    Raises:
        UserError: bad input, or `root` is no folder, or holds a run of another task.
    """
    reporter = reporter or Reporter(quiet=True)
    _refuse_file(root)
    if config.rl.algorithm != "none" and not config.sampling.texts:
        raise UserError(
            f"rl.algorithm is {config.rl.algorithm}, but sampling.texts is 0: the prompt would be trained to write "
            "texts, and none would be written; leave one of the two out"
        )
    data = load_task(config.task)
    other_place = _refuse_other_task(root, config, data)
    run = Run(root, config, reporter)
    held = ExitStack()  # what must be held until the last stage is in its place
    stages = _stages(run, data, held)
    refuse_strangers(root, stages)
    if read_record(root / "student") is None:
        # It is needed last: a wrong name must not come out after hours of the LLM's work.
        load_student(config.base.name, len(data.task.labels))

    def announce(stage: Stage, fresh: bool) -> None:
        reporter.say(f"{stage.name}: {'already done' if fresh else 'working'}")

    with locked(root), threads(config.threads), held:
        # Not before the folder is this process's own: run.yaml must say what its stages are made with.
        (root / UNFINISHED).touch()
        write_text(root / CONFIG, save_config(config) + words_in_use(data.task))
        for note in [*data.notes, *other_place]:
            reporter.say(f"  {note}")
        bring_up_to_date(root, stages, announce)
        shutil.rmtree(root / _RL_CHECKPOINT, ignore_errors=True)
        (root / UNFINISHED).unlink()
    return run


def _stages(run: Run, data: TaskData, held: ExitStack) -> list[Stage]:
    config, root = run.config, run.root
    longest = config.prompt.max_tokens
    llm = run.llm_stamp
    shared = {"llm": llm, "threads": config.threads}

    def prompt(folder: Path) -> dict[str, Any]:
        return make_prompt(run.llm, run.data, config.prompt, folder, run.reporter)

    def samples(folder: Path) -> dict[str, Any]:
        tuned = None
        if config.sampling.texts:
            tuned = SoftPrompt.load(root / run.prompt_stage / "prompt.safetensors").to(run.llm.device)
        return make_samples(run.llm, run.data, tuned, config.sampling, longest, folder, run.reporter)

    def annotator(folder: Path) -> dict[str, Any]:
        metrics = make_annotator(run.llm, run.data, config.annotator, folder, run.reporter)
        return {**metrics, "llm": {"parameters": run.llm.parameters, "bytes": run.llm.bytes}}

    def knowledge(folder: Path) -> dict[str, Any]:
        parts = root / "samples", root / "annotator"
        return make_knowledge(run.llm, run.data, *parts, config.filters, config.augmentation, folder, run.reporter)

    def student(folder: Path) -> dict[str, Any]:
        size = run.llm_size["parameters"]
        task, reporter = run.data.task, run.reporter
        return make_student(config.base, config.student, task, run.knowledge, run.recipe, size, folder, reporter)

    def model(folder: Path) -> dict[str, Any]:
        metrics = make_model(
            root / "student",
            config.model,
            config.student.max_length,
            run.data.task,
            run.data.dev,
            run.knowledge,
            run.recipe,
            provenance(config),
            folder,
            lessons=lambda: held.enter_context(held_lessons(root / "model")),
        )
        for line in TakenOver(**metrics["taken_over"]).lines(root / "model" / LEFT_BEHIND):
            run.reporter.say(f"  {line}")
        write_text(folder / "README.md", model_card(run.data, config, run.record("student")["metrics"], metrics))
        return metrics

    def reinforcement(folder: Path) -> dict[str, Any]:
        parts = root / "prompt", root / "annotator", root / _RL_CHECKPOINT
        return make_reinforcement(run.llm, run.data, config.rl, own, longest, *parts, folder, run.reporter)

    # Imported now: a name that leads nowhere must not come out after an hour of the LLM's work.
    own = own_rewards(config.rl) if "reinforcement" in run.stages else []
    of_rl = {**shared, **config.rl.model_dump(), "reward_files": [one.stamp for one in own]}
    base = {"base": config.base.decisive(), "weights": model_stamp(config.base.name)}
    of_knowledge = {**config.filters.model_dump(), "augmentation": config.augmentation.model_dump()}
    of_student = {**base, "threads": config.threads, **config.student.model_dump()}
    # The student that was trained may be the same with another length: the model is not.
    of_model = {**config.model.model_dump(), "max_length": config.student.max_length}
    made: dict[str, tuple[Any, Callable[[Path], dict[str, Any]]]] = {
        # What was noted while it was read may name places: the data are the same elsewhere.
        "task": (fingerprint({**asdict(data), "notes": []}), lambda folder: write_task(data, folder)),
        "prompt": ({**shared, **config.prompt.model_dump()}, prompt),
        "reinforcement": (of_rl, reinforcement),
        "samples": ({**shared, **config.sampling.model_dump()}, samples),
        "annotator": ({**shared, **config.annotator.model_dump()}, annotator),
        "knowledge": ({**shared, **of_knowledge}, knowledge),
        "student": (of_student, student),
        "model": (of_model, model),
    }
    return [Stage(name, run.needs(name), *made[name]) for name in run.stages]


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch use `count` CPU threads (0: as many as this process has cores) inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or available_threads())
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _refuse_file(root: Path) -> None:
    """Refuse a place for a run where a file lies, or that leads through one."""
    there = next((place for place in (root, *root.parents) if place.exists()), None)
    if there is not None and not there.is_dir():
        raise UserError(f"{there} is a file, where a run needs a folder: name another with --out")


def _refuse_other_task(root: Path, config: RunConfig, data: TaskData) -> list[str]:
    """Refuse a folder that holds a run of another task, read from another place.

    Returns what is to be said where it was read from another place and is redone: it has the same labels.
    """
    try:
        there = read_json(root / "task" / "task.json")
        earlier = make_config({}, root / CONFIG).task
    except (OSError, ValueError, UserError):
        return []
    task, old, new = data.task, earlier.data or Path(), config.task.data or Path()
    if earlier.task == config.task.task and old.resolve() == new.resolve():
        return []
    if (tuple(there["fields"]), tuple(there["labels"])) == (task.fields, task.labels):
        said = (
            f"{root} holds a run made from {old}; {new} has the same fields and labels, so the run is redone with "
            "it; what users taught its model is taken over"
        )
        return [said] if there["name"] != task.name else []
    go_on = f"to go on with new data of the same task, put it at {old} (what users taught is then taken over); "
    raise UserError(
        f"{root} holds a run of another task, {there['name']!r} with labels {', '.join(there['labels'][:5])}: "
        f"choose another --out; {go_on if earlier.task is config.task.task is None else ''}to use what users added "
        f"there in another run, 'hundredth knowledge export {root} taught.jsonl --origin user' first, and import it"
    )
