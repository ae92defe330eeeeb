"""What is deployed: load a model folder, predict, explain, edit its knowledge; no torch."""

from hundredth.runtime.encoder import Encoder, available_threads
from hundredth.runtime.explanation import Explanation, NeighbourShare
from hundredth.runtime.inputs import read_texts
from hundredth.runtime.knowledge import Hit, ModelStore
from hundredth.runtime.manifest import (
    MANIFEST,
    CalibrationInfo,
    EncoderInfo,
    Manifest,
    RetrievalInfo,
    TaskInfo,
)
from hundredth.runtime.model import Model, load

__all__ = [
    "MANIFEST",
    "CalibrationInfo",
    "Encoder",
    "EncoderInfo",
    "Explanation",
    "Hit",
    "Manifest",
    "Model",
    "ModelStore",
    "NeighbourShare",
    "RetrievalInfo",
    "TaskInfo",
    "available_threads",
    "load",
    "read_texts",
]
