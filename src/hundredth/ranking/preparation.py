"""What a training needs before its first step: base, sentences, tokens, the teachers' rankings, a judge."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from hundredth.errors import UserError
from hundredth.files import read_json, write_json
from hundredth.ranking.base import Base, load_base
from hundredth.ranking.config import EncoderTrainingConfig
from hundredth.ranking.corpus import COLUMN, NEGATIVE, CorpusCounts, import_corpus, read_corpus
from hundredth.ranking.corpus_sources import Corpus
from hundredth.ranking.pairs import ScoredPairs
from hundredth.ranking.provenance import name_of
from hundredth.ranking.reporting import Reporter
from hundredth.ranking.selection import PairScore, TeacherAgreement
from hundredth.ranking.teacher_models import TeacherSpec
from hundredth.ranking.teachers import TeacherRankings
from hundredth.ranking.tokens import Tokenizer, TokenRows, write_tokens

_LEAST_HELD_OUT = 16
_MOST_HELD_OUT = 20  # at most one sentence in so many is held out


@dataclass
class Prepared:
    """What is ready before the first step.

    `rows` are those of the corpus to train on, `negatives` the hard ones of all rows, `labels` (N,) the teachers'
    of all rows, `evaluator` what chooses the best step, and `judged` how many pairs or sentences it looks at.
    """

    model: SentenceTransformer
    tokenizer: Tokenizer
    tokens: TokenRows
    negatives: TokenRows | None
    counts: CorpusCounts
    rows: NDArray[np.int64]
    labels: NDArray[np.int64] | None
    rankings: TeacherRankings | None
    evaluator: PairScore | TeacherAgreement | None
    judged: int


def prepare(
    base: Base,
    corpus: Corpus,
    teachers: Sequence[TeacherSpec],
    weights: Sequence[float] | None,
    config: EncoderTrainingConfig,
    dev: ScoredPairs | None,
    column: str | None,
    negatives: str | None,
    cache: str | Path | None,
    folder: Path,
    reporter: Reporter,
) -> Prepared:
    """Load, read and rank what a training needs; what is in `folder` already is taken from there.

    The arguments are those of `train_encoder`.

    Raises:
        UserError: one of them does not fit, or there are too few sentences.
    """
    torch.manual_seed(config.seed)
    model = load_base(base, config)
    tokenizer = Tokenizer(model, config.max_length)
    counts, sentences = _import(corpus, column, negatives, folder, reporter)
    tokens = _tokenise(tokenizer, sentences, COLUMN, folder / "tokens.arrow", reporter)
    hard = None
    if negatives is not None:
        hard = _tokenise(tokenizer, sentences, NEGATIVE, folder / "negatives.arrow", reporter)
    _check_corpus(counts, teachers, config)
    rankings = labels = None
    if teachers:
        with reporter.bar("teachers") as progress:
            rankings = TeacherRankings(list(teachers), weights, cache, progress=progress)
            labels = np.asarray(rankings.rank(sentences, COLUMN).with_format("numpy")["label"][:], dtype=np.int64)
    order = np.random.default_rng([config.seed, 1]).permutation(len(tokens))
    held_out = 0 if dev is not None or rankings is None else min(config.held_out, len(tokens) // _MOST_HELD_OUT)
    evaluator: PairScore | TeacherAgreement | None = None
    if dev is not None:
        evaluator = PairScore(Tokenizer(model), dev)
    elif rankings is not None and labels is not None and held_out >= _LEAST_HELD_OUT:
        kept = order[:held_out]
        rows_HW = rankings.rows(torch.from_numpy(labels[kept]))
        evaluator = TeacherAgreement(tokenizer, [tokens[int(row)] for row in kept], rows_HW)
        order = order[held_out:]
        leaking = np.isin(labels[order], labels[kept])
        if leaking.any():
            order = order[~leaking]
            reporter.say(f"  {leaking.sum():,} sentences repeat held-out ones and are left out of training")
    judged = len(dev.first) if dev is not None else held_out
    if len(order) < config.batch_size:
        raise UserError(
            f"{len(order)} sentences to train on, fewer than one batch of {config.batch_size}: give more, or "
            "lower batch_size"
        )
    return Prepared(model, tokenizer, tokens, hard, counts, np.sort(order), labels, rankings, evaluator, judged)


def _import(
    corpus: Corpus, column: str | None, negatives: str | None, folder: Path, reporter: Reporter
) -> tuple[CorpusCounts, Dataset]:
    done = folder / "corpus.json"
    target = folder / "sentences.arrow"
    if not done.exists():
        reporter.say("  corpus: reading")
        write_json(done, import_corpus(corpus, target, column, negatives, reporter.say).to_dict())
    counts = CorpusCounts(**read_json(done))
    reporter.say(f"  corpus: {counts.describe()}")
    return counts, read_corpus(target)


def _tokenise(tokenizer: Tokenizer, sentences: Dataset, column: str, target: Path, reporter: Reporter) -> TokenRows:
    if not target.exists():
        with reporter.bar("tokens") as progress:
            write_tokens(tokenizer, sentences, column, target, progress)
    return TokenRows(target)


def _check_corpus(counts: CorpusCounts, teachers: Sequence[TeacherSpec], config: EncoderTrainingConfig) -> None:
    if counts.sentences < config.batch_size:
        raise UserError(
            f"the corpus has {counts.sentences} sentences, fewer than one batch of {config.batch_size}: give more, "
            "or lower batch_size"
        )
    files = [name_of(one) for one in teachers if isinstance(one, str | Path) and Path(one).suffix == ".npy"]
    if files and counts.dropped:
        lines = counts.sentences + counts.dropped
        raise UserError(
            f"row i of {files[0]} belongs to line i of the corpus, but of its {lines:,} lines {counts.dropped:,} "
            f"are blank or not UTF-8 and were dropped, which leaves {counts.sentences:,} sentences: remove them "
            "from both"
        )
