"""The stages that hand knowledge to the student: training, and the deployable model with its store."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hundredth.files import file_fingerprint, write_json
from hundredth.pipeline.carry import Carry, TakenOver
from hundredth.pipeline.config import BaseStudentConfig, ModelConfig
from hundredth.pipeline.knowledge import Knowledge
from hundredth.pipeline.lessons import Lessons
from hundredth.pipeline.progress import Reporter
from hundredth.pipeline.tune import choose_mixture, clearly_likelier
from hundredth.runtime import (
    CalibrationInfo,
    CorrectionInfo,
    EncoderInfo,
    Manifest,
    Model,
    RetrievalInfo,
    TaskInfo,
    dev_record,
    load,
)
from hundredth.store import KnowledgeStore, Neighbours, Origin, calibrate, softmax
from hundredth.student.export import export_onnx
from hundredth.student.factorise import factorise_vocabulary
from hundredth.student.model import load_saved_student, load_student, parameter_count, save_student
from hundredth.student.prune import parameters_without_vocabulary, prune_vocabulary, token_budget, token_table
from hundredth.student.selection import choose_calibration, choose_correction, expected_calibration_error
from hundredth.student.training import StudentConfig, TrainingBatches, TrainingTexts, train_student
from hundredth.tasks.metrics import score
from hundredth.tasks.schema import Example, Task, labels_of

# On how many of the knowledge's texts the exported model is checked, besides dev, and its spread of keys seen.
_CHECKED_TEXTS = 1000


@dataclass(frozen=True)
class Recipe:
    """Which knowledge a student is taught from, and how.

    `distil` uses the LLM's soft labels and rankings, `retrieve` the retrieval loss and a store.
    """

    origins: tuple[Origin, ...]
    distil: bool = True
    retrieve: bool = True

    def training_texts(self, knowledge: Knowledge) -> TrainingTexts:
        """Return the part of the knowledge that the student sees."""
        part = knowledge.of(self.origins)
        soft = part.soft_labels if self.distil else None
        return TrainingTexts(part.texts, part.labels, soft, part.embeddings if self.distil else None)

    def stored(self, knowledge: Knowledge) -> Knowledge:
        """Return the part of the knowledge that is stored: whole texts, which people can read and judge."""
        return knowledge.of(self.origins, augmented=False)

    def settings(self, config: StudentConfig) -> StudentConfig:
        """Return the student's settings with the losses that this recipe leaves out at weight 0."""
        return config if self.retrieve else config.model_copy(update={"retrieval": 0.0})


def full_recipe(origins: Collection[Origin]) -> Recipe:
    """Return the recipe that uses everything there is."""
    known: tuple[Origin, ...] = ("gold", "generated", "unlabelled")
    return Recipe(tuple(origin for origin in known if origin in origins))


def training_steps(recipe: Recipe, knowledge: Knowledge, config: StudentConfig) -> int:
    """Return how many steps `make_student` takes: the least that another student needs to be as well trained."""
    return TrainingBatches(recipe.training_texts(knowledge).labels, recipe.settings(config)).steps


def make_student(
    base: BaseStudentConfig,
    config: StudentConfig,
    task: Task,
    knowledge: Knowledge,
    recipe: Recipe,
    llm_parameters: int,
    folder: Path,
    reporter: Reporter,
    more_texts: Sequence[tuple[str, ...]] = (),
) -> dict[str, Any]:
    """Train a student by a recipe and write it; cut down, for the words of all knowledge and `more_texts`."""
    torch.manual_seed(config.seed)  # the new classifier starts from random weights
    model, tokenizer = load_student(base.name, len(task.labels), config.pooling, config.dropout)
    sizes: dict[str, Any] = {"parameters_whole": parameter_count(model)}
    length = min(config.max_length, model.max_positions)
    config = config.model_copy(update={"max_length": length})
    if base.prune_vocabulary or base.factorise_vocabulary:
        target = round(base.target_share * llm_parameters)
        pieces = ["\n".join(fields) for fields in (*knowledge.texts, *more_texts)]
        if base.prune_vocabulary:
            rest, width = parameters_without_vocabulary(model, length), token_table(model).embedding_dim
            budget = token_budget(rest, width, target)
            model, tokenizer, pruned = prune_vocabulary(model, tokenizer, pieces, budget, length)
            sizes["pruned"] = asdict(pruned)
        else:
            model, tokenizer, factorised = factorise_vocabulary(model, tokenizer, pieces, target, length)
            sizes["factorised"] = asdict(factorised)
    with reporter.bar("training the student") as progress:
        history = train_student(
            model, tokenizer, recipe.training_texts(knowledge), recipe.settings(config), progress
        )
    save_student(model, tokenizer, folder)
    write_json(folder / "history.json", history)
    sizes["parameters"] = parameter_count(model)
    return {**sizes, "share_of_llm": sizes["parameters"] / llm_parameters, "loss": history[-1] if history else {}}


def make_model(
    student: Path,
    config: ModelConfig,
    max_length: int,
    task: Task,
    dev: list[Example],
    knowledge: Knowledge,
    recipe: Recipe,
    provenance: dict[str, Any],
    folder: Path,
    lessons: Callable[[], Lessons] = Lessons,
) -> dict[str, Any]:
    """Export a student, build its store, choose K, t, lambda and the calibration on dev; write a model folder.

    `lessons` returns what users taught the model that this one replaces, which is taken over. It is called late, as
    nobody may be able to teach that model any more from then on.
    """
    model, tokenizer = load_saved_student(student)
    length = min(max_length, model.max_positions)
    texts = [example.texts for example in dev]
    # On dev alone a single text would decide: the knowledge's own texts make the check steadier.
    checked = [*texts, *knowledge.texts[:_CHECKED_TEXTS]]
    export = export_onnx(model, tokenizer, folder, length, checked, config.precision)
    fingerprint = file_fingerprint(folder / "encoder.onnx", folder / "tokenizer.json")
    manifest = Manifest(
        TaskInfo(task.name, task.fields, task.labels),
        EncoderInfo("encoder.onnx", fingerprint, model.dimension, length, export.precision),
        RetrievalInfo(1, 1.0, 0.0),
        CalibrationInfo(1.0),
        provenance=provenance,
    )
    manifest.write(folder)
    labels = labels_of(dev)
    gold = np.array(labels)
    with load(folder) as encoder:
        keys, logits = encoder.embed(texts)
        head = softmax(logits, 1.0)
        stored = None
        if recipe.retrieve:
            stored = _build_store(folder, encoder, task, recipe.stored(knowledge), keys, config, lessons)
    choice, mixed = None, head
    if stored is not None:
        choice, mixed = choose_mixture(config.retrieval, head, gold, stored.neighbours)
    temperature = choose_calibration(mixed, gold)
    calibrated = calibrate(mixed, temperature)
    alone = calibrate(head, choose_calibration(head, gold))
    replace(
        manifest,
        retrieval=manifest.retrieval if choice is None else choice,
        calibration=CalibrationInfo(temperature),
        correction=manifest.correction if stored is None else stored.correction,
        dev=dev_record(calibrated, gold, None if stored is None else stored.nearest),
    ).write(folder)
    return {
        "export": asdict(export),
        "retrieval": asdict(choice) if choice is not None else None,
        "ignores_its_store": choice is not None and choice.weight == 0,
        "store_helps": choice is not None and clearly_likelier(calibrated, alone, gold),
        "dev": {
            "texts": len(gold),
            "score": score(task.metric, labels, calibrated.argmax(axis=1).tolist()),
            "score_without_store": score(task.metric, labels, head.argmax(axis=1).tolist()),
            "ece_before": expected_calibration_error(mixed, gold),
            "ece": expected_calibration_error(calibrated, gold),
        },
        "entries": 0 if stored is None else stored.entries,
        "taken_over": asdict(TakenOver() if stored is None else stored.taken_over),
        "bytes": {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.is_file()},
    }


@dataclass(frozen=True)
class _Stored:
    """A store that was built, the dev texts' neighbours in it, and how near a text must be to a corrected one.

    What users added is among its `entries`, and not among the neighbours, by which its settings are chosen.
    """

    neighbours: Neighbours
    correction: CorrectionInfo
    entries: int
    taken_over: TakenOver

    @property
    def nearest(self) -> NDArray[np.float32] | None:
        """The dev texts' similarities to their nearest neighbours, unless there are none."""
        nearest = self.neighbours.similarities[:, 0]
        return nearest if np.isfinite(nearest).all() else None


def _build_store(
    folder: Path,
    encoder: Model,
    task: Task,
    knowledge: Knowledge,
    dev_keys: NDArray[np.float32],
    config: ModelConfig,
    lessons: Callable[[], Lessons],
) -> _Stored:
    """Fill the store with keys made by the exported encoder, and take over what users taught."""
    keys, _logits = encoder.embed(knowledge.texts)
    carry = Carry(lessons(), knowledge, task)
    kept, keys = knowledge.rows(carry.kept), keys[carry.kept]
    labels = [label if label >= 0 else None for label in kept.labels.tolist()]
    fingerprint = encoder.manifest.encoder.fingerprint
    with KnowledgeStore.create(folder, task.labels, keys.shape[1], fingerprint) as store:
        ids = np.array(store.add(kept.texts, kept.stored_labels(), keys, kept.origins, labels), dtype=np.int64)
        some = np.linspace(0, len(ids) - 1, min(len(ids), _CHECKED_TEXTS)).astype(int)
        others = store.search(keys[some], 1, exclude_ids=ids[some])
        correction = CorrectionInfo(choose_correction(others.similarities[:, 0]))
        neighbours = store.search(dev_keys, max(config.retrieval.k))
        carry.repeat(folder, encoder)
        return _Stored(neighbours, correction, len(store), carry.taken_over)
