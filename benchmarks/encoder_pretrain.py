"""A raw encoder to start from: a small BERT that has learnt nothing but to fill in masked words of Wikipedia.

RankCSE starts from an untuned BERT-base. No such model can be had as a Python package, so a smaller one is made
here, from random weights, with the word pieces of BERT-tiny. Stopped and started again, it goes on from its last
checkpoint. Reads the data from HUNDREDTH_DATA. Where there is a GPU, it computes on it.

    python benchmarks/encoder_pretrain.py FOLDER [--layers 4] [--width 256] [--sentences 1000000] [--epochs 10]
"""

import argparse
import os
import shutil
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from encoder_parts import BERT_TINY, draw_sentences, new_folder
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    DataCollatorForLanguageModeling,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)

from hundredth.files import file_fingerprint, fingerprint, read_json, write_json
from hundredth.models import resolve_model
from hundredth.precision import fast_dtype
from hundredth.ranking.checkpoint import last_checkpoint, mark_whole, remove_halves

RECORD = "pretraining.json"
_HEAD_WIDTH = 64  # of an attention head, as in every BERT
_MASKED = 0.15  # of the tokens, as BERT was trained
_HELD_OUT = 2000  # sentences that the loss is measured on at the end
_REPORTS = 50


@dataclass(frozen=True)
class Pretraining:
    """The encoder that is made, and how long it is trained."""

    layers: int = 4
    width: int = 256
    epochs: int = 10
    batch_size: int = 256
    learning_rate: float = 1e-3
    max_length: int = 64
    seed: int = 0


class _MaskedWords(BertForMaskedLM):  # type: ignore[no-untyped-call]
    """Scores the vocabulary at the masked tokens alone, which are what the loss is about."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return the loss of token ids, their mask and labels, (B, L) each; -100 marks what was not masked."""
        states = self.bert(input_ids, attention_mask=attention_mask).last_hidden_state
        asked = labels != -100
        return {"loss": cross_entropy(self.cls(states[asked]).float(), labels[asked])}


class _MarkCheckpoints(TrainerCallback):
    """Tells whole checkpoints from those that a kill has cut off."""

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        mark_whole(Path(str(args.output_dir)) / f"checkpoint-{state.global_step}", state.global_step)


def pretrain(corpus: Path, target: Path, settings: Pretraining) -> dict[str, Any]:
    """Make the encoder of `target` from the sentences of `corpus`, or find it made; return what is known of it.

    Its `loss` is the mean of a masked token of held-out sentences, in nats, and `sentences_per_s` is how many it
    was trained on in a second.
    """
    asked = {**asdict(settings), "corpus": file_fingerprint(corpus)}
    if target.exists():
        made = dict(read_json(target / RECORD))
        if any(made[name] != value for name, value in asked.items()):
            sys.exit(f"{target} was made otherwise: give another folder, or remove it")
        return made
    tokenizer = AutoTokenizer.from_pretrained(str(resolve_model(BERT_TINY)))
    rows = _tokenised(corpus, tokenizer, settings.max_length).train_test_split(_HELD_OUT, seed=settings.seed)
    set_seed(settings.seed)
    model = _MaskedWords(
        BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=settings.width,
            num_hidden_layers=settings.layers,
            num_attention_heads=settings.width // _HEAD_WIDTH,
            intermediate_size=4 * settings.width,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    work = target.with_name(f".{target.name}-{fingerprint(asked)[:12]}")
    trainer = _trainer(
        model, rows, DataCollatorForLanguageModeling(tokenizer, mlm_probability=_MASKED), work, settings
    )
    remove_halves(work)
    begun = last_checkpoint(work)
    steps = 0 if begun is None else int(begun.name.rpartition("-")[2])
    started = time.monotonic()
    trainer.train(resume_from_checkpoint=None if begun is None else str(begun))
    seconds = time.monotonic() - started
    record = {
        **asked,
        "sentences": len(rows["train"]),
        "steps": trainer.state.global_step,
        "parameters": sum(one.numel() for one in model.bert.parameters()),
        "loss": trainer.evaluate()["eval_loss"],
        "sentences_per_s": (trainer.state.global_step - steps) * settings.batch_size / seconds,
    }
    with new_folder(target) as folder:
        model.bert.save_pretrained(str(folder))
        tokenizer.save_pretrained(str(folder))
        write_json(folder / RECORD, record)
    shutil.rmtree(work)
    return record


def _tokenised(corpus: Path, tokenizer: Any, max_length: int) -> Any:
    sentences = [line for line in corpus.read_text(encoding="utf-8").split("\n") if line.strip()]
    return Dataset.from_dict({"text": sentences}).map(
        lambda rows: tokenizer(rows["text"], truncation=True, max_length=max_length),
        batched=True,
        remove_columns="text",
        desc="tokenising",
    )


def _trainer(
    model: _MaskedWords, rows: Any, collator: DataCollatorForLanguageModeling, work: Path, settings: Pretraining
) -> Trainer:
    device = torch.accelerator.current_accelerator() or torch.device("cpu")
    steps = settings.epochs * (len(rows["train"]) // settings.batch_size)
    arguments = TrainingArguments(
        output_dir=str(work),
        max_steps=steps,
        per_device_train_batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        weight_decay=0.01,
        warmup_steps=steps // 20,
        train_sampling_strategy="group_by_length",
        bf16=fast_dtype(device)[0] == torch.bfloat16,
        use_cpu=device.type == "cpu",
        save_steps=max(1, steps // 20),
        logging_steps=max(1, steps // _REPORTS),
        report_to="none",
        seed=settings.seed,
    )
    return Trainer(model, arguments, collator, rows["train"], rows["test"], callbacks=[_MarkCheckpoints()])


def main() -> None:
    """Make the encoder and say what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="FOLDER", help="where the encoder goes")
    parser.add_argument("--sentences", type=int, default=1_000_000, help="of Wikipedia (%(default)s)")
    for name in ("layers", "width", "epochs", "seed"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Pretraining, name), help="(%(default)s)")
    options = parser.parse_args()
    if "HUNDREDTH_DATA" not in os.environ:
        sys.exit("set HUNDREDTH_DATA to the folder that holds the benchmark data (wiki/)")
    out = options.out.absolute()
    corpus = draw_sentences(
        Path(os.environ["HUNDREDTH_DATA"]),
        options.sentences,
        0,
        out.with_name(f"sentences-{options.sentences}.txt"),
    )
    settings = Pretraining(options.layers, options.width, options.epochs, seed=options.seed)
    found = pretrain(corpus, out, settings)
    print(f"{out}: loss {found['loss']:.3f}, {found['sentences_per_s']:,.0f} sentences/s")


if __name__ == "__main__":
    main()
