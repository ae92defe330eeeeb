"""Training, saving and loading an annotator: folds, the choice of method, the temperature."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file

from hundredth.extraction.annotation import (
    Annotation,
    Annotator,
    AnnotatorConfig,
    Floats,
    Method,
)
from hundredth.extraction.batching import Progress, scaled
from hundredth.extraction.llm import LLM
from hundredth.files import read_json, write_json
from hundredth.tasks.schema import Example, labels_of
from hundredth.tasks.verbalisation import Verbalisation


@dataclass(frozen=True)
class TrainedAnnotator:
    """An annotator, its annotation of the training texts (each by the member that did not see it) and of dev.

    `choice` says what each method that was tried scored on the texts that the first member did not see and on
    dev: {"lora": {"accuracy", "loss"}, ...}.
    """

    annotator: Annotator
    gold: Annotation
    dev: Annotation
    choice: dict[str, dict[str, float]]


def train_annotator(
    llm: LLM,
    words: Verbalisation,
    train: Sequence[Example],
    dev: Sequence[Example],
    config: AnnotatorConfig,
    progress: Progress | None = None,
) -> TrainedAnnotator:
    """Train the ensemble: choose the method with the first member, train the others, fit the temperature."""
    fold_of = assign_folds(labels_of(train), config.members, config.seed)
    methods: list[Method] = ["prompt", "lora"] if config.method == "auto" else [config.method]
    parts = config.members + len(methods) - 1
    choice: dict[str, dict[str, float]] = {}
    annotator = Annotator(llm, words, config, methods[-1])
    for number, method in enumerate(methods):
        annotator.remove_adapters()
        annotator = Annotator(llm, words, config, method)
        _train(annotator, 0, train, fold_of, scaled(progress, number, parts, f"trying {method}"))
        choice[method] = _score(annotator, [ex for ex, f in zip(train, fold_of, strict=True) if f == 0], dev)
    best = min(choice, key=lambda name: (-choice[name]["accuracy"], choice[name]["loss"]))
    if best != annotator.method:
        annotator.remove_adapters()
        annotator = Annotator(llm, words, config, "lora" if best == "lora" else "prompt")
        _train(annotator, 0, train, fold_of, None)
    for number in range(1, config.members):
        _train(annotator, number, train, fold_of, scaled(progress, len(methods) + number - 1, parts, best))
    gold = _annotate_folds(annotator, train, fold_of)
    dev_annotation = annotator.annotate([example.texts for example in dev])
    annotator.temperature = fit_temperature(
        np.concatenate([gold.probabilities, dev_annotation.probabilities]), labels_of([*train, *dev])
    )
    return TrainedAnnotator(
        annotator,
        Annotation(_tempered(gold.probabilities, annotator.temperature), gold.embeddings),
        annotator.annotate([example.texts for example in dev]),
        choice,
    )


def assign_folds(labels: Sequence[int], folds: int, seed: int) -> list[int]:
    """Give each text a fold, so that every label is spread evenly over the folds."""
    random = np.random.default_rng(seed)
    fold_of = [0] * len(labels)
    shift = 0
    for label in sorted(set(labels)):
        places = [i for i, one in enumerate(labels) if one == label]
        for number, place in enumerate(random.permutation(places)):
            fold_of[int(place)] = (number + shift) % folds
        shift += len(places)
    return fold_of


def fit_temperature(probabilities: Floats, gold: Sequence[int]) -> float:
    """Return the temperature in 0.5 to 10 under which the probabilities' log-likelihood of `gold` is highest."""
    grid = np.geomspace(0.5, 10.0, 60)
    rows = np.arange(len(gold))
    losses = [-np.log(_tempered(probabilities, float(t))[rows, list(gold)] + 1e-12).mean() for t in grid]
    return float(grid[int(np.argmin(losses))])


def save_annotator(annotator: Annotator, folder: Path) -> None:
    """Write the adapters and heads as safetensors, and what is needed to load them again."""
    folder.mkdir(parents=True, exist_ok=True)
    if annotator.adapters is not None:
        annotator.adapters.save_pretrained(str(folder), save_embedding_layers=False)
    for number, member in enumerate(annotator.members):
        state = {name: value.detach().contiguous().cpu() for name, value in member.state_dict().items()}
        save_file(state, folder / f"head-{number}.safetensors")
    about: dict[str, Any] = {
        "method": annotator.method,
        "members": len(annotator.members),
        "temperature": annotator.temperature,
        "llm": annotator.llm.identity,
        "config": annotator.config.model_dump(),
    }
    write_json(folder / "annotator.json", about)


def load_annotator(llm: LLM, words: Verbalisation, folder: Path) -> Annotator:
    """Read what `save_annotator` wrote; it must be given the same LLM.

    Raises:
        ValueError: the annotator was trained on another LLM.
    """
    about = read_json(folder / "annotator.json")
    if about["llm"] != llm.identity:
        raise ValueError(f"the annotator in {folder} was trained on another LLM than {llm.name!r}")
    annotator = Annotator(llm, words, AnnotatorConfig(**about["config"]), about["method"])
    annotator.temperature = about["temperature"]
    for number in range(about["members"]):
        annotator.add_member()
        annotator.members[number].load_state_dict(load_file(folder / f"head-{number}.safetensors"))
    if annotator.adapters is not None:
        annotator.adapters.unload()
        annotator.adapters = PeftModel.from_pretrained(llm.trunk, folder / "member-0", adapter_name="member-0")
        for number in range(1, about["members"]):
            annotator.adapters.load_adapter(folder / f"member-{number}", adapter_name=f"member-{number}")
    return annotator


def _train(
    annotator: Annotator, number: int, train: Sequence[Example], folds: Sequence[int], progress: Progress | None
) -> None:
    annotator.add_member()
    annotator.train_member(number, [ex for ex, f in zip(train, folds, strict=True) if f != number], progress)


def _score(annotator: Annotator, unseen: Sequence[Example], dev: Sequence[Example]) -> dict[str, float]:
    examples = [*unseen, *dev]
    gold = np.array(labels_of(examples))
    probabilities = annotator.annotate_with(0, [example.texts for example in examples]).probabilities
    loss = float(-np.log(probabilities[np.arange(len(gold)), gold] + 1e-12).mean())
    return {"accuracy": float((probabilities.argmax(axis=1) == gold).mean()), "loss": loss}


def _annotate_folds(annotator: Annotator, train: Sequence[Example], fold_of: Sequence[int]) -> Annotation:
    whole = annotator.annotate([example.texts for example in train])
    probabilities: Floats = np.array(whole.probabilities)
    for number in range(len(annotator.members)):
        unseen = [i for i, fold in enumerate(fold_of) if fold == number]
        if unseen:
            probabilities[unseen] = annotator.annotate_with(number, [train[i].texts for i in unseen]).probabilities
    return Annotation(probabilities, whole.embeddings)


def _tempered(probabilities: Floats, temperature: float) -> Floats:
    logs = torch.from_numpy(np.maximum(probabilities, 1e-12)).log() / temperature
    out: Floats = logs.softmax(dim=-1).numpy()
    return out
