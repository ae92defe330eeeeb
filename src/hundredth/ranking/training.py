"""Training an encoder by RankCSE: a corpus and teachers in, a plain SentenceTransformer folder out."""

import logging
import platform
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments

from hundredth.errors import UserError
from hundredth.files import read_json, write_json, write_text
from hundredth.models import quiet_transformers
from hundredth.precision import fast_dtype
from hundredth.ranking.base import Base, load_base, plain_attention, restored_on_failure
from hundredth.ranking.bucketing import LengthBuckets
from hundredth.ranking.card import encoder_card
from hundredth.ranking.checkpoint import Best, explaining_full_disk, last_checkpoint, remove_halves
from hundredth.ranking.config import EncoderTrainingConfig
from hundredth.ranking.corpus_sources import Corpus
from hundredth.ranking.loss import RankCSELoss
from hundredth.ranking.pairs import ScoredPairs
from hundredth.ranking.preparation import Prepared, prepare
from hundredth.ranking.provenance import training_settings, untold
from hundredth.ranking.reporting import Reporter, Silent
from hundredth.ranking.request import check_request
from hundredth.ranking.teacher_models import TeacherSpec
from hundredth.ranking.trainer import EncoderTrainer, KeepBest, ShowProgress, StopWhenAsked, TrainingRows
from hundredth.ranking.workplace import Workplace

logger = logging.getLogger(__name__)

_PACKAGES = ("hundredth", "sentence-transformers", "transformers", "torch")
_PAPER_RATE, _PAPER_WIDTH = 3e-5, 768
_DIVERGED = "the training diverged, its weights are NaN or infinite: lower learning_rate, with another folder"


def train_encoder(
    base: Base,
    corpus: Corpus,
    out: str | Path,
    *,
    teachers: Sequence[TeacherSpec] = (),
    weights: Sequence[float] | None = None,
    config: EncoderTrainingConfig | None = None,
    dev: ScoredPairs | None = None,
    column: str | None = None,
    negatives: str | None = None,
    cache: str | Path | None = None,
    reporter: Reporter | None = None,
) -> SentenceTransformer:
    """Train an encoder on the sentences of `corpus` and write it to `out`, a plain SentenceTransformer folder.

    A training that was stopped or killed at any moment goes on where it was when it is called again with the same
    arguments, and ends in the same weights on the same machine; one that has come to its end is loaded. A teacher
    that is a function and a corpus that is an IterableDataset are taken for the same as before: nothing tells.
    Under torchrun or `accelerate launch` the processes share every batch, whose lists are those of all of them.

    Args:
        base: a SentenceTransformer, which is trained in place (a finished training is loaded into it, one that is
            stopped leaves it as it was), or the name of an encoder or decoder LLM: a folder,
            `package:PACKAGE/PATH`, a hub name.
        corpus: files of sentences, tables with a column of them, a dataset, or the name of one: see
            `import_corpus`.
        out: the folder of the encoder, with its model card and `training.json`.
        teachers: whose rankings to learn, as for `TeacherRankings`.
        weights: alpha of each teacher; None: all alike.
        config: all other settings; None: the defaults.
        dev: scored pairs by which the best step is chosen; None: by agreement with the teachers on held-out
            sentences, and without teachers the last step is taken.
        column: the column of the sentences in tables and datasets; None: the only one of texts, else the one that
            is called sentence, text, sentences or texts.
        negatives: the column with a hard negative of each sentence, a text that is like it and means something
            else; None: there are none. They are candidates of the contrastive term only.
        cache: the folder of the teachers' embeddings; None: in the user's cache.
        reporter: told of the progress.

    Raises:
        UserError: an input does not fit, `out` holds something else, or a training of `out` with other settings
            has been stopped.
        KeyboardInterrupt: stopped by Ctrl-C, after the state of the last step was saved.
    """
    config = config or EncoderTrainingConfig()
    processes = this_process()
    check_request(corpus, teachers, weights, negatives, config, processes.num_processes)
    said = reporter if reporter is not None and processes.is_main_process else Silent()
    settings = training_settings(
        base, corpus, column, negatives, teachers, weights, dev, config, processes.num_processes
    )
    place = Workplace(Path(out), settings, said)
    if place.finished() is not None:
        said.say(f"{place.out} is already trained with these settings")
        if processes.is_main_process:
            _warn_of_untold(untold(corpus, teachers), place)
        return _finished(base, config, place.out)
    with (
        place.claimed(processes.is_main_process, processes.wait_for_everyone) as prepared,
        restored_on_failure(base),
    ):
        if place.resumed:
            _warn_of_untold(untold(corpus, teachers), place)
        training = prepare(
            base, corpus, teachers, weights, config, dev, column, negatives, cache, place.folder, said
        )
        prepared()
        result = _train(training, config, place, processes, said)
        if processes.is_main_process:
            _publish(training, place, result)
    processes.wait_for_everyone()
    return training.model


def this_process() -> PartialState:
    """Return which of the processes that train together this is, after joining them."""
    return PartialState(cpu=not torch.accelerator.is_available())


def _warn_of_untold(what: Sequence[str], place: Workplace) -> None:
    # Not by the reporter: what cannot be told comes from the Python API, where nobody may be listening.
    for one in what:
        logger.warning(
            "%s cannot be told from another: it is taken for the same that %s was begun with", one, place.out
        )


def _finished(base: Base, config: EncoderTrainingConfig, out: Path) -> SentenceTransformer:
    """Load a finished encoder: into the model that was to be trained in place, if there is one."""
    with quiet_transformers():
        found = SentenceTransformer(str(out))
    if not isinstance(base, SentenceTransformer):
        return found
    model = load_base(base, config)
    model.load_state_dict(found.state_dict())
    return model.eval()


def _train(
    training: Prepared,
    config: EncoderTrainingConfig,
    place: Workplace,
    processes: PartialState,
    reporter: Reporter,
) -> dict[str, Any]:
    started = time.monotonic()
    model = training.model
    per_pass = len(training.rows) // config.batch_size
    steps = config.steps or config.epochs * per_pass
    width = int(model.get_embedding_dimension() or _PAPER_WIDTH)
    rate = config.learning_rate or _PAPER_RATE * _PAPER_WIDTH / width
    half, precision = _precision(config, model.device)
    torch.manual_seed(config.seed)
    loss = RankCSELoss(
        model,
        training.rankings,
        listwise=config.listwise if training.rankings is not None else None,
        **config.loss_options(),
    )
    batches = LengthBuckets(
        training.tokens.lengths[training.rows],
        config.batch_size,
        steps,
        config.seed,
        processes.process_index,
        processes.num_processes,
    )
    columns = [training.tokens] if training.negatives is None else [training.tokens, training.negatives]
    best = Best(place.folder)
    stop = StopWhenAsked()
    start = _start_score(training, place.folder) if processes.is_main_process else None
    reporter.say(f"  {steps:,} steps of {config.batch_size} sentences, learning rate {rate:.3g}, {precision}")
    with reporter.bar("training") as progress, stop.listening(), quiet_transformers(), plain_attention(model):
        callbacks = [stop, ShowProgress(progress)]
        if training.evaluator is not None:
            callbacks.append(KeepBest(best, training.evaluator.name))
        trainer = EncoderTrainer(
            model,
            _arguments(config, place.folder, steps, rate, half, processes, training.evaluator is not None),
            loss,
            TrainingRows(columns, training.tokenizer, training.rows, training.labels),
            batches,
            training.evaluator,
            callbacks,
        )
        if processes.is_main_process:
            remove_halves(place.folder)
        processes.wait_for_everyone()
        checkpoint = last_checkpoint(place.folder)
        if checkpoint is not None:
            reporter.say(f"  going on from step {checkpoint.name.rpartition('-')[2]}")
        # The Trainer has given all processes the same seed, and with it the same dropout.
        torch.manual_seed(config.seed + processes.process_index)
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        # accelerate leaves a forward behind that computes in half precision.
        trainer.accelerator.unwrap_model(trainer.model_wrapped, keep_fp32_wrapper=False)
    if stop.asked and trainer.state.global_step < steps:
        raise KeyboardInterrupt
    processes.wait_for_everyone()
    # Before the best step's weights are put back, which are finite.
    if not all(torch.isfinite(parameter).all() for parameter in model.parameters()):
        raise UserError(_DIVERGED)
    chosen = None
    if training.evaluator is not None:
        if best.step is None:
            raise UserError(_DIVERGED)
        best.load(model)
        key = f"eval_{training.evaluator.name}"
        chosen = {
            "metric": training.evaluator.name,
            "count": training.judged,
            "start": start,
            "best": best.score,
            "step": best.step,
            "last": next(entry[key] for entry in reversed(trainer.state.log_history) if key in entry),
        }
    processes.wait_for_everyone()
    return {
        "corpus": training.counts.to_dict(),
        "steps": steps,
        "learning_rate": rate,
        "precision": precision,
        "chosen_by": chosen,
        "duplicates": loss.duplicates,
        "seconds": round(time.monotonic() - started, 1),
        "width": width,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "versions": {**{name: version(name) for name in _PACKAGES}, "python": platform.python_version()},
        "history": [_plain(entry) for entry in trainer.state.log_history if "step" in entry],
    }


def _publish(training: Prepared, place: Workplace, result: dict[str, Any]) -> None:
    folder = place.folder / "model"
    training.model.eval()
    with quiet_transformers(), explaining_full_disk(place.folder):
        training.model.save_pretrained(str(folder), create_model_card=False)
    write_text(folder / "README.md", encoder_card(place.out.absolute().name, place.settings, result))
    place.publish(folder, result)


def _start_score(training: Prepared, folder: Path) -> float | None:
    if training.evaluator is None:
        return None
    path = folder / "start.json"
    if not path.exists():
        write_json(path, training.evaluator(training.model))
    return float(read_json(path)[training.evaluator.name])


def _arguments(
    config: EncoderTrainingConfig,
    folder: Path,
    steps: int,
    rate: float,
    half: bool,
    processes: PartialState,
    evaluate: bool,
) -> SentenceTransformerTrainingArguments:
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=config.batch_size // processes.num_processes,
        learning_rate=rate,
        lr_scheduler_type="linear",
        warmup_steps=round(config.warmup * steps),
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_gradient,
        bf16=half,
        seed=config.seed,
        eval_strategy="steps" if evaluate else "no",
        eval_steps=config.evaluate_every if evaluate else None,
        save_strategy="steps",
        save_steps=config.checkpoint_every,
        logging_steps=min(50, config.evaluate_every),
        report_to="none",
        disable_tqdm=True,
        dataloader_drop_last=True,
        use_cpu=processes.device.type == "cpu",
    )
    # Several GPUs in one process would cut the lists up: torchrun gives each GPU a process, and joins them.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def _precision(config: EncoderTrainingConfig, device: torch.device) -> tuple[bool, str]:
    """Return whether to compute in bfloat16, and the reason in words; weights and losses stay in float32."""
    if config.precision != "auto":
        return config.precision == "bf16", f"{config.precision}: as set"
    dtype, reason = fast_dtype(device)
    return dtype == torch.bfloat16, reason


def _plain(entry: dict[str, Any]) -> dict[str, float]:
    """Return a line of the Trainer's log without what it measured of its own speed."""
    own = ("eval_runtime", "eval_samples_per_second", "eval_steps_per_second", "epoch")
    return {name: value for name, value in entry.items() if name not in own}
