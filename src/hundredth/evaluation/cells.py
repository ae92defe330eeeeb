"""The cells of an evaluation: one system with one seed, trained, measured and thrown away but for its numbers."""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from safetensors.numpy import save_file

from hundredth.evaluation.measure import measure_llm, measure_model
from hundredth.extraction.soft_prompt import SoftPrompt
from hundredth.models import model_stamp
from hundredth.pipeline.extract import make_knowledge, make_samples
from hundredth.pipeline.knowledge import Knowledge
from hundredth.pipeline.run import Run, provenance
from hundredth.pipeline.stages import Stage
from hundredth.pipeline.teach import Recipe, make_model, make_student, training_steps
from hundredth.student.training import StudentConfig
from hundredth.tasks.schema import Example, Task

FOLDER = "evaluation/systems"
PROBABILITIES = "probabilities.safetensors"
_STORE_FILES, _MODEL_FILES = ("store.db", "index.faiss"), ("encoder.onnx", "tokenizer.json")


def llm_stage(run: Run, test: list[Example], shared: dict[str, Any]) -> Stage:
    """Return the stage that measures the LLM; no seed takes part in it."""
    settings = {
        **shared,
        "llm": run.llm_stamp,
        "annotator": run.record("annotator")["outputs"],
    }

    def make(folder: Path) -> dict[str, Any]:
        llm = run.llm
        with run.reporter.bar("labelling with the LLM") as progress:
            probabilities, numbers = measure_llm(llm, run.root / "annotator", run.data.task, test, progress)
        save_file({"probabilities": probabilities}, folder / PROBABILITIES)
        return {**numbers, **run.llm_size}

    return Stage("llm", (), settings, make)


def rewritten_stages(run: Run, name: str, prompt: str | None, threads: int) -> tuple[Stage, Stage]:
    """Return the stages that write texts anew and annotate them, as the run does, for the system `name`.

    `prompt` is the run's stage whose soft prompt writes them; None writes them from the plain instruction.
    """
    config, root = run.config, run.root
    shared = {
        "llm": run.llm_stamp,
        "threads": threads,
        "task": run.record("task")["outputs"],
    }
    # The run's unlabelled texts play no part in this system: they need not be annotated again.
    data = replace(run.data, unlabelled=[])

    def write(folder: Path) -> dict[str, Any]:
        soft = None
        if prompt is not None:
            soft = SoftPrompt.load(root / prompt / "prompt.safetensors").to(run.llm.device)
        return make_samples(run.llm, data, soft, config.sampling, config.prompt.max_tokens, folder, run.reporter)

    def annotate(folder: Path) -> dict[str, Any]:
        parts = root / FOLDER / f"{name}-samples", root / "annotator"
        return make_knowledge(run.llm, data, *parts, config.filters, config.augmentation, folder, run.reporter)

    written = {**shared, **config.sampling.model_dump(), "max_tokens": config.prompt.max_tokens}
    annotated = {
        **shared,
        "annotator": run.record("annotator")["outputs"],
        **config.filters.model_dump(),
        "augmentation": config.augmentation.model_dump(),
    }
    if prompt is not None:
        written["prompt"] = run.record(prompt)["outputs"]
    samples = Stage(f"{name}-samples", (), written, write)
    return samples, Stage(f"{name}-knowledge", (samples.name,), annotated, annotate)


def student_stage(
    run: Run,
    name: str,
    recipe: Recipe,
    seed: int,
    test: list[Example],
    shared: dict[str, Any],
    knowledge_stage: Stage | None = None,
) -> Stage:
    """Return the stage that trains and measures a student, on the knowledge of `knowledge_stage` or the run's."""
    config, task = run.config, run.data.task
    # Every system takes at least as many steps as the run's own student, however few texts it is taught from.
    steps = training_steps(run.recipe, run.knowledge, config.student)
    student = config.student.model_copy(update={"seed": config.student.seed + seed, "min_steps": steps})
    settings = {
        **shared,
        "recipe": asdict(recipe),
        "base": [config.base.decisive(), model_stamp(config.base.name)],
        "student": student.model_dump(),
        "model": config.model.model_dump(),
        "knowledge": run.record("knowledge")["outputs"] if knowledge_stage is None else None,
        "llm": run.llm_size,
    }
    if knowledge_stage is not None:
        settings["vocabulary"] = "with the unlabelled texts"  # earlier versions left them out

    def make(folder: Path) -> dict[str, Any]:
        if knowledge_stage is None:
            return _make_cell(run, task, student, recipe, run.knowledge, (), test, folder)
        knowledge = Knowledge.load(run.root / FOLDER / knowledge_stage.name)
        # They teach nothing here, but the student to start from must be the same as in the other systems.
        vocabulary = run.knowledge.of(["unlabelled"]).texts
        return _make_cell(run, task, student, recipe, knowledge, vocabulary, test, folder)

    needs = () if knowledge_stage is None else (knowledge_stage.name,)
    return Stage(name, needs, settings, make)


def _make_cell(
    run: Run,
    task: Task,
    student: StudentConfig,
    recipe: Recipe,
    knowledge: Knowledge,
    vocabulary: Sequence[tuple[str, ...]],
    test: list[Example],
    folder: Path,
) -> dict[str, Any]:
    config = run.config
    parameters = run.llm_size["parameters"]
    trained = make_student(
        config.base, student, task, knowledge, recipe, parameters, folder / "student", run.reporter, vocabulary
    )
    model = make_model(
        folder / "student",
        config.model,
        student.max_length,
        task,
        run.data.dev,
        knowledge,
        recipe,
        provenance(config),
        folder / "model",
    )
    probabilities, numbers = measure_model(folder / "model", task, test)
    save_file({"probabilities": probabilities}, folder / PROBABILITIES)
    shutil.rmtree(folder / "student")
    shutil.rmtree(folder / "model")
    sizes: dict[str, int] = model["bytes"]
    return {
        **numbers,
        "parameters": trained["parameters"],
        "bytes": sum(sizes[name] for name in _MODEL_FILES),
        "store_bytes": sum(sizes.get(name, 0) for name in _STORE_FILES),
        "entries": model["entries"],
        "retrieval": model["retrieval"],
        "ignores_its_store": model["ignores_its_store"] if recipe.retrieve else None,
        "precision": model["export"]["precision"],
    }
