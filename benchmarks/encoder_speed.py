"""Races of encoder training and of teacher encoding, side by side in one run on one machine.

The student is BERT-tiny, a batch 128 Wikipedia sentences. The two teachers are all-MiniLM-L6-v2 read by its mean
and by its first token: small ones, so that what the cache saves is less than with those of the paper.

- `defaults`: `train_encoder` with cached rankings beside SimCSE in sentence-transformers (the column of sentences
  twice, MultipleNegativesRankingLoss), each in its defaults, tokenising included.
- `alike`: the same, SimCSE with the length and the precision of ours.
- `live`: beside a loop that runs both teachers on both views at every step, with that length and precision.
- `epoch`: the same over one epoch, counting for ours that both teachers encode all its sentences into the cache.
- `encoding`: the cache of one teacher beside `SentenceTransformer.encode` in its defaults.

The sides take turns, and what is reported is the ratio of each turn. At the end the peak memory of ranking and of
some steps of training is measured at two sizes of the corpus, in processes of their own. Reads the data from
HUNDREDTH_DATA.

    python benchmarks/encoder_speed.py [--turns 3] [--threads 1]
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from encoder_parts import BERT_TINY, MINILM, first_sentences
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from sentence_transformers.sentence_transformer.modules import Pooling
from torch import Tensor, nn
from transformers import PrinterCallback

from hundredth.evaluation.results import Row, write_results
from hundredth.files import read_json, write_text
from hundredth.models import quiet_transformers, resolve_model
from hundredth.precision import fast_dtype
from hundredth.ranking import HFTeacher, TeacherRankings, consistency, info_nce, listnet, train_encoder
from hundredth.ranking.config import EncoderTrainingConfig

RESULTS = Path(__file__).parent / "results"
TEACHERS: list[str | HFTeacher] = [MINILM, HFTeacher(MINILM, pooling="cls")]
CONFIG = EncoderTrainingConfig()
# Each race: ours and the peer.
RACES = {
    "defaults": ("rankcse", "simcse"),
    "alike": ("rankcse", "simcse-alike"),
    "live": ("rankcse", "live-teachers"),
    "epoch": ("rankcse-and-cache", "live-teachers"),
    "encoding": ("cache", "encode"),
}


class Clock:
    """A reporter that takes the time of each part of a training that has a bar."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def say(self, text: str) -> None:
        """Drop the line."""

    @contextmanager
    def bar(self, title: str) -> Iterator[Callable[[int, int, str], None]]:
        """Time the block."""
        started = time.perf_counter()
        yield lambda done, total, note: None
        self.seconds[title] = time.perf_counter() - started


class LiveRankCSE(nn.Module):
    """The same loss with teachers that read both views at every step, as the paper's public code has it.

    They are fed the student's token ids, which these teachers share with it.
    """

    def __init__(self, model: SentenceTransformer, teachers: Sequence[SentenceTransformer]) -> None:
        super().__init__()
        self.model = model
        # A plain list keeps them out of the module's parameters, and of the Trainer's training mode.
        self.teachers = [teacher.eval() for teacher in teachers]

    def forward(self, features: Sequence[dict[str, Any]], labels: Tensor | None = None) -> Tensor:
        """Return the loss of a batch."""
        names = ("input_ids", "attention_mask")
        views = {name: features[0][name].repeat(2, 1) for name in names}
        student_NN = _similarity(self.model({**views})["sentence_embedding"])
        with torch.no_grad():
            scores = [_similarity(teacher({**views})["sentence_embedding"]) for teacher in self.teachers]
        teacher_NN = torch.stack(scores).mean(dim=0)
        ranking = listnet(student_NN, teacher_NN, CONFIG.student_temperature, CONFIG.teacher_temperature)
        contrast = info_nce(student_NN, CONFIG.temperature)
        return contrast + consistency(student_NN, CONFIG.temperature) + ranking


def _similarity(embeddings: Tensor) -> Tensor:
    one_Nd, other_Nd = nn.functional.normalize(embeddings.float(), dim=1).chunk(2)
    return one_Nd @ other_Nd.T


def load(name: str) -> SentenceTransformer:
    with quiet_transformers():
        return SentenceTransformer(str(resolve_model(name)))


def ours(sentences: list[str], cache: Path) -> float:
    """Train an epoch with rankings that are in the cache; return sentences a second."""
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "encoder"
        corpus = Dataset.from_dict({"sentence": sentences})
        train_encoder(BERT_TINY, corpus, out, teachers=TEACHERS, config=CONFIG, cache=cache, reporter=clock)
        result = read_json(out / "training.json")["result"]
    seconds = clock.seconds["tokens"] + clock.seconds["training"]
    return float(result["steps"] * CONFIG.batch_size / seconds)


def peer(dataset: Dataset, loss: Callable[[SentenceTransformer], nn.Module], *, alike: bool, half: bool) -> float:
    """Train an epoch with sentence-transformers as it is; return sentences a second."""
    model = load(BERT_TINY)
    if alike:
        model.max_seq_length = CONFIG.max_length
    with tempfile.TemporaryDirectory() as folder, quiet_transformers():
        arguments = SentenceTransformerTrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=CONFIG.batch_size,
            num_train_epochs=1,
            bf16=alike and half,
            use_cpu=not torch.cuda.is_available(),
            report_to="none",
            disable_tqdm=True,
            dataloader_drop_last=True,
        )
        trainer = SentenceTransformerTrainer(model, arguments, train_dataset=dataset, loss=loss(model))
        trainer.remove_callback(PrinterCallback)
        started = time.perf_counter()
        trainer.train()
        return trainer.state.global_step * CONFIG.batch_size / (time.perf_counter() - started)


def simcse(sentences: list[str], *, alike: bool, half: bool) -> float:
    twice = Dataset.from_dict({"anchor": sentences, "positive": sentences})
    return peer(twice, MultipleNegativesRankingLoss, alike=alike, half=half)


def live(sentences: list[str], *, half: bool) -> float:
    teachers = [load(MINILM), load(MINILM)]
    teachers[1][1] = Pooling(384, "cls")
    dataset = Dataset.from_dict({"sentence": sentences})
    return peer(dataset, lambda model: LiveRankCSE(model, teachers), alike=True, half=half)


def ranked(sentences: list[str], teachers: Sequence[Any], cache: Path) -> float:
    """Encode sentences into a cache; return how many a second."""
    rankings = TeacherRankings(teachers, cache=cache)
    dataset = Dataset.from_dict({"sentence": sentences})
    started = time.perf_counter()
    rankings.rank(dataset)
    return len(sentences) / (time.perf_counter() - started)


def encoded(sentences: list[str]) -> float:
    model = load(MINILM)
    started = time.perf_counter()
    model.encode(sentences)
    return len(sentences) / (time.perf_counter() - started)


def turn(sentences: list[str], live_steps: int, texts: int) -> dict[str, float]:
    """Let every side do its work once; return sentences a second."""
    half = fast_dtype(load(BERT_TINY).device)[0] == torch.bfloat16  # as ours chooses it
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        caching = ranked(sentences, TEACHERS, cache)
        training = ours(sentences, cache)
    with tempfile.TemporaryDirectory() as folder:
        one_teacher = ranked(sentences[:texts], [MINILM], Path(folder))
    return {
        "rankcse": training,
        "rankcse-and-cache": 1 / (1 / training + 1 / caching),
        "simcse": simcse(sentences, alike=False, half=half),
        "simcse-alike": simcse(sentences, alike=True, half=half),
        "live-teachers": live(sentences[: live_steps * CONFIG.batch_size], half=half),
        "cache": one_teacher,
        "encode": encoded(sentences[:texts]),
    }


def measure(turns: list[list[str]], live_steps: int, texts: int) -> list[Row]:
    """Run the races, a turn for each list of sentences; return their rows, the ratios with ours."""
    rates: dict[str, list[float]] = {}
    for number, sentences in enumerate(turns, start=1):
        for name, value in turn(sentences, live_steps, texts).items():
            rates.setdefault(name, []).append(value)
            print(f"turn {number}: {name} {value:.0f} sentences/s", flush=True)
    rows = []
    for race, sides in RACES.items():
        rows += [Row(race, side, "sentences_per_s", rates[side], "sentences/s") for side in sides]
        mine, theirs = (rates[side] for side in sides)
        ratios = [one / other for one, other in zip(mine, theirs, strict=True)]
        rows.append(Row(race, sides[0], "ratio", ratios, "ratio"))
        print(f"{race}: {statistics.median(ratios):.2f} times {sides[1]}", flush=True)
    return rows


def memory(corpus: Path, threads: int) -> Row:
    """Return the peak memory of a process that ranks a corpus and trains on it."""
    command = [sys.executable, __file__, "--threads", str(threads), "--peak", str(corpus)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    peak = float(done.stdout.splitlines()[-1])
    print(f"{corpus.stem} sentences: at most {peak:.0f} MB", flush=True)
    return Row(f"corpus-{corpus.stem}", "rankcse", "peak_mb", [peak], "MB")


def print_peak(corpus: Path) -> None:
    """Rank a corpus and train on it for some steps, the small base as its own teacher; print the peak in MB."""
    with tempfile.TemporaryDirectory() as folder:
        train_encoder(
            BERT_TINY,
            corpus,
            Path(folder) / "out",
            teachers=[HFTeacher(BERT_TINY)],
            config=EncoderTrainingConfig(steps=20),
            cache=folder,
        )
    # Not getrusage: to that, the peak of the process that started this one counts as well.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    print(int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1024)


def main() -> None:
    """Measure, print, and write results/encoder-speed.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=40, help="of an epoch, each of a batch (%(default)s)")
    parser.add_argument("--live-steps", type=int, default=6, help="of the loop with live teachers (%(default)s)")
    parser.add_argument("--texts", type=int, default=1536, help="encoded in the last race (%(default)s)")
    parser.add_argument("--corpus", type=int, nargs=2, default=(20_000, 200_000), help="sizes for the memory")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the JSON goes (%(default)s)")
    parser.add_argument("--peak", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    os.environ.update(OMP_NUM_THREADS=str(options.threads), TOKENIZERS_PARALLELISM="false")
    if options.peak is not None:
        print_peak(options.peak)
        return
    if "HUNDREDTH_DATA" not in os.environ:
        sys.exit("set HUNDREDTH_DATA to the folder that holds the benchmark data (wiki/)")
    data, size = Path(os.environ["HUNDREDTH_DATA"]), options.steps * CONFIG.batch_size
    sentences = first_sentences(data, options.turns * size)
    turn(sentences[: 2 * CONFIG.batch_size], 1, 64)  # what the first use of everything costs counts for no side
    turns = [sentences[number * size : (number + 1) * size] for number in range(options.turns)]
    rows = measure(turns, options.live_steps, options.texts)
    with tempfile.TemporaryDirectory() as folder:
        for number in options.corpus:
            corpus = Path(folder) / f"{number}.txt"
            write_text(corpus, "\n".join(first_sentences(data, number)))
            rows.append(memory(corpus, options.threads))
    write_results(options.results / "encoder-speed.json", "encoder-speed", [0], rows)


if __name__ == "__main__":
    main()
