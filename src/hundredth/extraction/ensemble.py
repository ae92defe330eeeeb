"""Training, saving and loading an annotator: folds, the choice of method, the temperature."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from peft import PeftModel
from safetensors.torch import load_file, save_file

from hundredth.errors import UserError
from hundredth.extraction.annotation import (
    SLOWER,
    Annotation,
    Annotator,
    AnnotatorConfig,
    Floats,
    Method,
    adapter_name,
    quiet_peft,
    tempered,
)
from hundredth.extraction.batching import Progress, scaled
from hundredth.extraction.llm import LLM
from hundredth.files import read_json, write_json
from hundredth.tasks.rows import key_of
from hundredth.tasks.schema import Example, labels_of
from hundredth.tasks.verbalisation import Verbalisation


@dataclass(frozen=True)
class TrainedAnnotator:
    """An annotator, its annotation of the training texts (each by a model that did not see it) and of dev.

    `choice` says what each way of training scored on dev and the first fold, where they were tried:
    {"lora": {"accuracy", "loss"}, "lora, slower": ..., "prompt": ...}.
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
    """Choose the way of training on a first fold, train the members and the folds' models, fit the temperatures."""
    fold_of = assign_folds(train, config.folds, config.seed)
    ways = _ways(config)
    trials = list(ways) if len(ways) > 1 else []
    parts = len(trials) + config.members + config.folds
    choice: dict[str, dict[str, float]] = {}
    seen, unseen = _without_fold(train, fold_of, 0)
    for number, name in enumerate(trials):
        candidate = Annotator(llm, words, *ways[name])
        candidate.add_member()
        candidate.train_member(0, seen, scaled(progress, number, parts, f"trying {name}"))
        choice[name] = _score(candidate, [*unseen, *dev])
        candidate.remove_adapters()
    annotator = Annotator(llm, words, *ways[_best(choice) if choice else config.method])
    for number in range(config.members + config.folds):
        annotator.add_member()
        fold = number - config.members
        examples = list(train) if fold < 0 else _without_fold(train, fold_of, fold)[0]
        annotator.train_member(number, examples, scaled(progress, len(trials) + number, parts))
    return _annotate_labelled(annotator, train, dev, fold_of, choice)


def assign_folds(examples: Sequence[Example], folds: int, seed: int) -> list[int]:
    """Give each example a fold, so that every label is spread evenly over the folds.

    Copies of a text share the fold of its first: a model that misses the fold has seen none of them.
    """
    random = np.random.default_rng(seed)
    keys = [key_of(example.texts) for example in examples]
    first = {key: place for place, key in reversed(list(enumerate(keys)))}
    labels = labels_of(examples)
    fold_of: dict[int, int] = {}
    for label in sorted(set(labels)):
        places = [place for place in sorted(first.values()) if labels[place] == label]
        shift = len(fold_of)
        for number, place in enumerate(random.permutation(places)):
            fold_of[int(place)] = (number + shift) % folds
    return [fold_of[first[key]] for key in keys]


def fit_temperature(probabilities: Floats, gold: Sequence[int]) -> float:
    """Return the temperature in 0.5 to 10 under which the probabilities' log-likelihood of `gold` is highest."""
    grid = np.geomspace(0.5, 10.0, 60)
    rows = np.arange(len(gold))
    losses = [-np.log(tempered(probabilities, float(t))[rows, list(gold)] + 1e-12).mean() for t in grid]
    return float(grid[int(np.argmin(losses))])


def save_annotator(annotator: Annotator, folder: Path) -> None:
    """Write the adapters and heads as safetensors, and what is needed to load them again."""
    folder.mkdir(parents=True, exist_ok=True)
    if annotator.adapters is not None:
        annotator.adapters.save_pretrained(str(folder), save_embedding_layers=False)
        for file in folder.glob("member-*/adapter_config.json"):
            # peft writes a set in the order of its hashes: sorted, the same annotator gives the same files.
            about = read_json(file)
            write_json(file, {**about, "target_modules": sorted(about["target_modules"])})
    for number, member in enumerate(annotator.members):
        state = {name: value.detach().contiguous().cpu() for name, value in member.state_dict().items()}
        save_file(state, folder / f"head-{number}.safetensors")
    description: dict[str, Any] = {
        "method": annotator.method,
        "members": len(annotator.members),
        "temperature": annotator.temperature,
        "llm": annotator.llm.identity,
        "config": annotator.config.model_dump(),
    }
    write_json(folder / "annotator.json", description)


def load_annotator(llm: LLM, words: Verbalisation, folder: Path) -> Annotator:
    """Read what `save_annotator` wrote; it must be given the same LLM.

    Raises:
        UserError: the annotator was trained on another LLM.
    """
    about = read_json(folder / "annotator.json")
    if about["llm"] != llm.identity:
        raise UserError(
            f"the annotator in {folder} was trained on another LLM than {llm.name!r}, or on one in another number "
            "format (llm.dtype): name that, or choose another folder"
        )
    annotator = Annotator(llm, words, AnnotatorConfig(**about["config"]), about["method"])
    annotator.temperature = about["temperature"]
    for number in range(about["members"]):
        annotator.add_member()
        annotator.members[number].load_state_dict(load_file(folder / f"head-{number}.safetensors"))
    if annotator.adapters is not None:
        annotator.adapters.unload()
        with quiet_peft():
            # Adapters of the LLM's own number format annotate half as fast again as float32 ones.
            first, *others = [folder / adapter_name(number) for number in range(about["members"])]
            annotator.adapters = PeftModel.from_pretrained(
                llm.trunk, first, adapter_name=first.name, autocast_adapter_dtype=False
            )
            for other in others:
                annotator.adapters.load_adapter(other, adapter_name=other.name, autocast_adapter_dtype=False)
    return annotator


def _without_fold(
    examples: Sequence[Example], fold_of: Sequence[int], fold: int
) -> tuple[list[Example], list[Example]]:
    """Return the examples outside a fold, and those in it."""
    pairs = list(zip(examples, fold_of, strict=True))
    return [example for example, one in pairs if one != fold], [example for example, one in pairs if one == fold]


def _ways(config: AnnotatorConfig) -> dict[str, tuple[AnnotatorConfig, Method]]:
    """Return the ways of training to choose from: the one that is asked for, or what `auto` tries."""
    if config.method != "auto":
        return {config.method: (config, config.method)}
    slower = config.model_copy(update={"learning_rate": SLOWER * config.learning_rate})
    return {"lora": (config, "lora"), "lora, slower": (slower, "lora"), "prompt": (config, "prompt")}


def _best(choice: dict[str, dict[str, float]]) -> str:
    """Return the most accurate way; of equals the one with the lowest loss, then the first."""
    return max(choice, key=lambda name: (choice[name]["accuracy"], -choice[name]["loss"]))


def _score(annotator: Annotator, examples: Sequence[Example]) -> dict[str, float]:
    gold = np.array(labels_of(examples))
    probabilities = annotator.annotate_with(0, [example.texts for example in examples]).probabilities
    loss = float(-np.log(probabilities[np.arange(len(gold)), gold] + 1e-12).mean())
    return {"accuracy": float((probabilities.argmax(axis=1) == gold).mean()), "loss": loss}


def _annotate_labelled(
    annotator: Annotator,
    train: Sequence[Example],
    dev: Sequence[Example],
    fold_of: Sequence[int],
    choice: dict[str, dict[str, float]],
) -> TrainedAnnotator:
    """Annotate the labelled texts, each by models that did not see it, and fit the temperatures to that."""
    whole = annotator.annotate([example.texts for example in train])
    probabilities: Floats = np.array(whole.probabilities)
    for fold in range(annotator.config.folds):
        unseen = [i for i, one in enumerate(fold_of) if one == fold]
        if unseen:
            texts = [train[i].texts for i in unseen]
            probabilities[unseen] = annotator.annotate_with(annotator.config.members + fold, texts).probabilities
    of_dev = annotator.annotate([example.texts for example in dev])
    annotator.temperature = fit_temperature(of_dev.probabilities, labels_of(dev))
    of_folds = fit_temperature(probabilities, labels_of(train))
    return TrainedAnnotator(
        annotator,
        Annotation(tempered(probabilities, of_folds), whole.embeddings),
        Annotation(tempered(of_dev.probabilities, annotator.temperature), of_dev.embeddings),
        choice,
    )
