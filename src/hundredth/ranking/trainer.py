"""The Trainer of sentence-transformers, fed from token ids, with checkpoints that survive a kill at any moment."""

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from torch import nn
from torch.utils.data import DataLoader, Dataset
from transformers import PrinterCallback, TrainerCallback, TrainerControl, TrainerState

from hundredth.ranking.bucketing import LengthBuckets
from hundredth.ranking.checkpoint import Best, explaining_full_disk, load_weights, mark_whole, save_weights
from hundredth.ranking.corpus import COLUMN, NEGATIVE
from hundredth.ranking.reporting import Progress
from hundredth.ranking.selection import PairScore, TeacherAgreement
from hundredth.ranking.tokens import Tokenizer, TokenRows


class TrainingRows(Dataset[Any]):
    """Batches of the corpus as the loss takes them.

    `columns` are the sentences and, if there are any, their hard negatives; `labels` (N,) are the teachers',
    `rows` which to train on.
    """

    def __init__(
        self,
        columns: Sequence[TokenRows],
        tokenizer: Tokenizer,
        rows: NDArray[np.int64],
        labels: NDArray[np.int64] | None,
    ) -> None:
        self._columns = columns
        self._tokenizer = tokenizer
        self._rows = rows
        self._labels = labels

    def __len__(self) -> int:
        return len(self._rows)

    def __getitems__(self, places: Sequence[int]) -> dict[str, Any]:
        """Return a whole batch: the names are those by which the Trainer finds columns and labels."""
        rows = self._rows[list(places)]
        batch: dict[str, Any] = {}
        for title, column in zip((COLUMN, NEGATIVE), self._columns, strict=False):
            features = self._tokenizer.batch([column[int(row)] for row in rows])
            batch |= {f"{title}_{name}": value for name, value in features.items()}
        if self._labels is not None:
            batch["label"] = torch.from_numpy(self._labels[rows])
        return batch


class EncoderTrainer(SentenceTransformerTrainer):
    """Trains on `batches` of `rows`; a checkpoint holds all that the next step depends on.

    The whole training is one pass of the Trainer over a sampler that is as long as the training, so that where it
    stands is the step alone.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        args: SentenceTransformerTrainingArguments,
        loss: nn.Module,
        rows: TrainingRows,
        batches: LengthBuckets,
        evaluator: PairScore | TeacherAgreement | None,
        callbacks: list[TrainerCallback],
    ) -> None:
        super().__init__(model, args, loss=loss, evaluator=evaluator, callbacks=callbacks)
        self.remove_callback(PrinterCallback)
        self._loss = loss
        self._rows = rows
        self._batches = batches

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Return the batches of this process; the sampler has shared them out already."""
        return DataLoader(self._rows, batch_sampler=self._batches, collate_fn=_as_it_is)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        assert output_dir is not None
        save_weights(self.model, self._loss, Path(output_dir))

    def _load_from_checkpoint(self, checkpoint_path: str, model: Any = None) -> None:
        load_weights(self.model, self._loss, Path(checkpoint_path))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = Path(str(self.args.output_dir))
        with explaining_full_disk(folder):
            super()._save_checkpoint(model, trial)
        if dist.is_initialized():
            dist.barrier()  # the random states of all processes are part of it
        if self.is_world_process_zero():
            step = self.state.global_step
            mark_whole(folder / f"checkpoint-{step}", step)


class KeepBest(TrainerCallback):
    """Keeps the weights of the best evaluation, and has one made at the last step."""

    def __init__(self, best: Best, metric: str) -> None:
        self._best = best
        self._metric = f"eval_{metric}"

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Evaluate at the end of the training, whatever the interval is."""
        if state.global_step >= state.max_steps:
            control.should_evaluate = True

    def on_evaluate(self, args: Any, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        """Offer the weights as the best."""
        if state.is_world_process_zero:
            self._best.offer(given["model"], state.global_step, given["metrics"][self._metric])


class ShowProgress(TrainerCallback):
    """Moves the bar, with the last losses and score beside it."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._loss = self._score = ""

    def on_log(self, args: Any, state: TrainerState, control: TrainerControl, logs: Any = None, **_: Any) -> None:
        """Take down what the Trainer has to say."""
        for name, value in (logs or {}).items():
            if name == "loss":
                self._loss = f"loss {float(value):.3f}"
            elif name in (f"eval_{PairScore.name}", f"eval_{TeacherAgreement.name}"):
                self._score = f"{name.removeprefix('eval_').replace('_', ' ')} {float(value):.2f}"

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Show the step."""
        self._progress(state.global_step, state.max_steps, ", ".join(filter(None, (self._loss, self._score))))


class StopWhenAsked(TrainerCallback):
    """On Ctrl-C, ends the step, saves and stops; `asked` says so. A second Ctrl-C stops at once."""

    def __init__(self) -> None:
        self.asked = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the signal inside the block, where that is possible: in the main thread of a single process."""
        alone = not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1)
        if not alone or threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.getsignal(signal.SIGINT)

        def take(number: int, frame: Any) -> None:
            self.asked = True
            signal.signal(signal.SIGINT, before)

        signal.signal(signal.SIGINT, take)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Save and stop."""
        if self.asked:
            control.should_save = control.should_training_stop = True


def _as_it_is(batch: Any) -> Any:
    return batch
