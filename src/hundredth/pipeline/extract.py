"""The stages that take knowledge out of the LLM: task, prompt, samples, annotator, knowledge."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from hundredth.errors import UserError
from hundredth.extraction.annotation import Annotation, AnnotatorConfig
from hundredth.extraction.augmentation import AugmentationConfig, crossover
from hundredth.extraction.ensemble import load_annotator, save_annotator, train_annotator
from hundredth.extraction.filters import FilterConfig, filter_annotated, filter_copies
from hundredth.extraction.llm import LLM
from hundredth.extraction.sampling import Sampler, SamplingConfig
from hundredth.extraction.soft_prompt import PromptedLLM, SoftPrompt
from hundredth.extraction.tuning import PromptConfig, tune_prompt
from hundredth.files import read_json, write_json
from hundredth.pipeline.knowledge import Knowledge, read_examples, read_jsonl, write_examples, write_jsonl
from hundredth.pipeline.progress import Reporter
from hundredth.store import Origin
from hundredth.tasks.schema import Example, Task, TaskData, counts_per_label, labels_of
from hundredth.tasks.verbalisation import Verbalisation

_SPLITS = ("train", "dev", "unlabelled", "test")


def write_task(data: TaskData, folder: Path) -> dict[str, Any]:
    """Write the task and its splits as JSON; return how many texts each has."""
    write_json(folder / "task.json", {**asdict(data.task), "notes": data.notes})
    for split in _SPLITS:
        write_examples(folder / f"{split}.jsonl", getattr(data, split))
    sizes: dict[str, Any] = {split: len(getattr(data, split)) for split in _SPLITS}
    sizes["train_per_label"] = counts_per_label(data.train, data.task.labels)
    return sizes


def read_task(folder: Path) -> TaskData:
    """Read what `write_task` wrote."""
    values = read_json(folder / "task.json")
    notes = values.pop("notes")
    words = Verbalisation(**_tuples(values.pop("verbalisation")))
    task = Task(**_tuples(values), verbalisation=words)
    train, dev, unlabelled, test = (read_examples(folder / f"{split}.jsonl") for split in _SPLITS)
    return TaskData(task, train, dev, unlabelled, test, notes)


def make_prompt(llm: LLM, data: TaskData, config: PromptConfig, folder: Path, reporter: Reporter) -> dict[str, Any]:
    """Tune the soft prompt and write it."""
    base = PromptedLLM(llm, data.task.verbalisation, None)
    cut = base.count_cut([example.texts for example in data.train], config.max_tokens)
    if cut:
        reporter.say(
            f"  {cut} of {len(data.train)} training texts are cut to {config.max_tokens} tokens for the soft "
            "prompt (prompt.max_tokens)"
        )
    with reporter.bar("tuning the soft prompt") as progress:
        result = tune_prompt(base, data.train, data.dev, config, progress)
    result.prompt.save(folder / "prompt.safetensors")
    return {
        "dev_loss_without": result.loss_without,
        "dev_loss_start": result.loss_start,
        "dev_loss": result.loss_best,
        "dev_losses": result.losses,
        "cut": cut,
    }


def make_samples(
    llm: LLM,
    data: TaskData,
    prompt: SoftPrompt | None,
    config: SamplingConfig,
    max_tokens: int,
    folder: Path,
    reporter: Reporter,
) -> dict[str, Any]:
    """Let the LLM write texts of every label; write them with the length and log-probability of each.

    `max_tokens` is what the prompt's training texts were cut to.
    """
    words = data.task.verbalisation
    prompted = PromptedLLM(llm, words, prompt)
    longest = longest_text(prompted, data, max_tokens)
    labels = len(data.task.labels)
    items = [(number, number % labels) for number in range(-(-config.texts // labels) * labels)]
    rows: list[dict[str, Any]] = []
    started, tokens, unusable = time.monotonic(), 0, 0
    with reporter.bar("writing samples") as progress:
        for sample in Sampler(prompted, config, longest)(items):
            tokens += len(sample.ids)
            progress(len(rows) + unusable, len(items), f"{tokens / (time.monotonic() - started):.0f} tokens/s")
            texts = words.parse(llm.decode(list(sample.ids))) if sample.ended else None
            if texts is None:
                unusable += 1
                continue
            mean = statistics.fmean(sample.logprobs)
            rows.append({"item": sample.item, "label": sample.label, "texts": texts, "logprob": round(mean, 4)})
    if items and not rows:
        cut = prompted.count_cut([example.texts for example in data.train], max_tokens)
        advice = "sampling.temperature=0.7, or more labelled texts"
        if 2 * cut > len(data.train):
            advice = (
                f"a higher prompt.max_tokens ({max_tokens}), which cuts {cut} of {len(data.train)} training texts"
            )
        raise UserError(
            f"none of {len(items)} sampled texts could be used: every one was unfinished after {longest} tokens or "
            f"lacked a field; try {advice}"
        )
    rows.sort(key=lambda row: row["item"])
    write_jsonl(folder / "samples.jsonl", rows)
    seconds = time.monotonic() - started
    return {
        "sampled": len(items),
        "unusable": unusable,
        "tokens": tokens,
        "tokens_per_s": round(tokens / seconds, 1),
    }


def longest_text(prompted: PromptedLLM, data: TaskData, max_tokens: int) -> int:
    """Return the tokens of the longest training text, its end included: none that is written is longer.

    Texts of more than `max_tokens` count as they were learnt, cut to that.
    """
    return max(len(prompted.target_ids(example.texts, max_tokens)) for example in data.train)


def make_annotator(
    llm: LLM, data: TaskData, config: AnnotatorConfig, folder: Path, reporter: Reporter
) -> dict[str, Any]:
    """Adapt the LLM to the task; write the adapters and its annotation of the labelled texts."""
    with reporter.bar("training the annotator") as progress:
        trained = train_annotator(llm, data.task.verbalisation, data.train, data.dev, config, progress)
    annotator = trained.annotator
    save_annotator(annotator, folder)
    save_file(asdict(trained.gold), folder / "train.safetensors")
    metrics = {
        "method": annotator.method,
        "tried": trained.choice,
        "temperature": annotator.temperature,
        "train_accuracy_unseen": _accuracy(trained.gold, data.train),
        "dev_accuracy": _accuracy(trained.dev, data.dev),
    }
    annotator.remove_adapters()
    return metrics


def make_knowledge(
    llm: LLM,
    data: TaskData,
    samples: Path,
    annotator_folder: Path,
    config: FilterConfig,
    augmentation: AugmentationConfig,
    folder: Path,
    reporter: Reporter,
) -> dict[str, Any]:
    """Filter and annotate the sampled and the unlabelled texts, recombine them; write all knowledge, gold first."""
    gold_texts = [example.texts for example in data.train]
    protected = [*gold_texts, *(example.texts for example in data.dev)]
    rows = read_jsonl(samples / "samples.jsonl")
    written = [tuple(row["texts"]) for row in rows]
    copies = filter_copies(written, protected, config)
    filtered_unlabelled = filter_copies([example.texts for example in data.unlabelled], protected, config)
    generated = [written[i] for i in copies.kept]
    unlabelled = [data.unlabelled[i].texts for i in filtered_unlabelled.kept]
    annotator = load_annotator(llm, data.task.verbalisation, annotator_folder)
    with reporter.bar("annotating") as progress:
        annotation = annotator.annotate([*generated, *unlabelled], progress)
    intended = [int(rows[i]["label"]) for i in copies.kept]
    likeliest = annotation.probabilities[: len(generated)].argmax(axis=1)
    agreed = filter_annotated(annotation.probabilities[: len(generated)], intended, config)
    kept = [*agreed.kept, *range(len(generated), len(generated) + len(unlabelled))]
    natural: dict[Origin, list[tuple[str, ...]]] = {
        "generated": [generated[i] for i in agreed.kept],
        "unlabelled": unlabelled,
    }
    recombined: dict[Origin, list[tuple[str, ...]]] = {
        origin: crossover([*gold_texts, *texts], augmentation.texts, augmentation.seed)
        for origin, texts in natural.items()
        if texts
    }
    with reporter.bar("annotating recombined texts") as progress:
        of_recombined = annotator.annotate([text for texts in recombined.values() for text in texts], progress)
    annotator.remove_adapters()
    gold = Annotation(**load_file(annotator_folder / "train.safetensors"))
    texts, origins = list(gold_texts), list[Origin](["gold"] * len(gold_texts))
    for group in (natural, recombined):
        for origin, of_origin in group.items():
            texts += of_origin
            origins += [origin] * len(of_origin)
    unlabelled_rows = len(texts) - len(gold_texts)
    knowledge = Knowledge(
        texts,
        origins,
        np.array(labels_of(data.train) + [-1] * unlabelled_rows, dtype=np.int64),
        np.concatenate([gold.probabilities, annotation.probabilities[kept], of_recombined.probabilities]),
        np.concatenate([gold.embeddings, annotation.embeddings[kept], of_recombined.embeddings]),
        np.arange(len(texts)) >= len(gold_texts) + len(kept),
    )
    knowledge.save(folder)
    return {
        "filters": {
            "generated": {"texts": len(written), **copies.counts, **agreed.counts, "kept": len(agreed.kept)},
            "unlabelled": {
                "texts": len(data.unlabelled),
                **filtered_unlabelled.counts,
                "kept": len(unlabelled),
            },
        },
        "recombined": {origin: len(of_origin) for origin, of_origin in recombined.items()},
        "agreement": float((likeliest == np.array(intended)).mean()) if generated else None,
    }


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


def _accuracy(annotation: Annotation, examples: Sequence[Example]) -> float:
    return float((annotation.probabilities.argmax(axis=1) == np.array(labels_of(examples))).mean())
