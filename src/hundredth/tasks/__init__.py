"""What a labelling task is, and the readers that make one from files and benchmark folders."""

from hundredth.tasks.benchmarks import BENCHMARKS, Benchmark, read_benchmark
from hundredth.tasks.config import TaskConfig
from hundredth.tasks.load import load_labelled, load_task, load_texts
from hundredth.tasks.metrics import METRICS, accuracy, f1, macro_f1, matthews, score
from hundredth.tasks.schema import Example, Task, TaskData, counts_per_label, labels_of
from hundredth.tasks.similarity import max_similarity, near_copies
from hundredth.tasks.splits import cap, draw_per_class, stratified_split
from hundredth.tasks.verbalisation import Verbalisation

__all__ = [
    "BENCHMARKS",
    "METRICS",
    "Benchmark",
    "Example",
    "Task",
    "TaskConfig",
    "TaskData",
    "Verbalisation",
    "accuracy",
    "cap",
    "counts_per_label",
    "draw_per_class",
    "f1",
    "labels_of",
    "load_labelled",
    "load_task",
    "load_texts",
    "macro_f1",
    "matthews",
    "max_similarity",
    "near_copies",
    "read_benchmark",
    "score",
    "stratified_split",
]
