"""What is deployed: load a model folder, predict, explain, edit its knowledge; no torch."""

from hundredth.runtime.encoder import Encoder, available_threads
from hundredth.runtime.explanation import Explanation, NeighbourShare
from hundredth.runtime.knowledge import Hit, ModelStore
from hundredth.runtime.manifest import (
    MANIFEST,
    CalibrationInfo,
    CorrectionInfo,
    DevInfo,
    EncoderInfo,
    Manifest,
    RetrievalInfo,
    TaskInfo,
)
from hundredth.runtime.model import Answers, Model, load
from hundredth.runtime.trust import Nearness, dev_record, risk_coverage

__all__ = [
    "MANIFEST",
    "Answers",
    "CalibrationInfo",
    "CorrectionInfo",
    "DevInfo",
    "Encoder",
    "EncoderInfo",
    "Explanation",
    "Hit",
    "Manifest",
    "Model",
    "ModelStore",
    "Nearness",
    "NeighbourShare",
    "RetrievalInfo",
    "TaskInfo",
    "available_threads",
    "dev_record",
    "load",
    "risk_coverage",
]
