"""RankCSE: sentence encoders that learn to rank the neighbours of a sentence as stronger models rank them."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hundredth.ranking.losses import consistency, info_nce, listmle, listnet

if TYPE_CHECKING:
    from hundredth.ranking.loss import RankCSELoss
    from hundredth.ranking.teacher_models import HFTeacher
    from hundredth.ranking.teachers import TeacherRankings
    from hundredth.ranking.training import train_encoder
    from hundredth.ranking.whitening import whiten_encoder

__all__ = [
    "HFTeacher",
    "RankCSELoss",
    "TeacherRankings",
    "consistency",
    "info_nce",
    "listmle",
    "listnet",
    "train_encoder",
    "whiten_encoder",
]

# These bring sentence-transformers along, which the plain losses do without.
_LAZY = {
    "HFTeacher": "teacher_models",
    "RankCSELoss": "loss",
    "TeacherRankings": "teachers",
    "train_encoder": "training",
    "whiten_encoder": "whitening",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
