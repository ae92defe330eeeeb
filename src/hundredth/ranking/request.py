"""What a call of `train_encoder` asks for: refused where its arguments do not fit each other, before any work."""

from collections.abc import Sequence

from hundredth.errors import UserError
from hundredth.ranking.config import EncoderTrainingConfig
from hundredth.ranking.corpus_sources import check_corpus
from hundredth.ranking.teacher_models import TeacherSpec
from hundredth.ranking.teachers import checked_weights


def check_request(
    corpus: object,
    teachers: Sequence[TeacherSpec],
    weights: Sequence[float] | None,
    negatives: str | None,
    config: EncoderTrainingConfig,
    processes: int,
) -> None:
    """Check what can be told without loading anything; the arguments are those of `train_encoder`.

    Raises:
        UserError: an argument does not fit the others.
    """
    check_corpus(corpus)
    _check_teachers(teachers, weights, config)
    if negatives is not None and not config.contrastive_weight:
        raise UserError(
            f"hard negatives are named, the column {negatives!r}, but contrastive_weight is 0: only that term "
            "reads them"
        )
    if config.batch_size % processes:
        raise UserError(f"batch_size is {config.batch_size}, which {processes} processes cannot share evenly")


def _check_teachers(
    teachers: Sequence[TeacherSpec], weights: Sequence[float] | None, config: EncoderTrainingConfig
) -> None:
    if config.ranking_weight and not teachers:
        raise UserError(
            "no teacher is named, whose rankings are to be learnt: name one or more, or set ranking_weight to 0 "
            "(the methods 'simcse' and 'consistency' do)"
        )
    if teachers and not config.ranking_weight:
        raise UserError(
            f"{len(teachers)} teachers are named, but ranking_weight is 0 (the methods 'simcse' and 'consistency' "
            "have none): leave them out, or choose another method"
        )
    if teachers:
        checked_weights(weights, len(teachers))
    elif weights:
        raise UserError(f"{len(weights)} weights of teachers, but no teacher is named: leave the weights out")
