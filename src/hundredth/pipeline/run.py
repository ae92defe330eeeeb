"""A run: its folder and config, the stages it goes through, and what they share."""

import platform
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hundredth.errors import UserError
from hundredth.extraction.llm import LLM, choose_dtype, load_llm
from hundredth.models import model_stamp
from hundredth.pipeline.config import RunConfig, make_config
from hundredth.pipeline.extract import read_task
from hundredth.pipeline.knowledge import Knowledge
from hundredth.pipeline.progress import Reporter
from hundredth.pipeline.stages import first_unfinished, read_record
from hundredth.pipeline.teach import Recipe, full_recipe
from hundredth.tasks import TaskData

CONFIG = "run.yaml"
# There from a run's start to its end: run.yaml may say otherwise than the stages that are whole still.
UNFINISHED = ".unfinished"
STAGES = ("task", "prompt", "samples", "annotator", "knowledge", "student", "model")
# With reinforcement learning the annotator comes before the samples: it judges the texts that are learnt from.
_STAGES_WITH_RL = (*STAGES[:2], "annotator", "reinforcement", "samples", *STAGES[4:])
# The stages whose results each is made from, besides the prompt that the samples are written with.
_NEEDS = {
    "task": (),
    "prompt": ("task",),
    "reinforcement": ("task", "prompt", "annotator"),
    "samples": ("task",),
    "annotator": ("task",),
    "knowledge": ("task", "samples", "annotator"),
    "student": ("task", "annotator", "knowledge"),
    "model": ("task", "knowledge", "student"),
}
_PACKAGES = ("hundredth", "torch", "transformers", "peft", "onnxruntime", "faiss-cpu", "numpy")


@dataclass
class Run:
    """A run's folder and config, with what its stages share, loaded when it is first asked for."""

    root: Path
    config: RunConfig
    reporter: Reporter

    @classmethod
    def open(cls, root: Path, reporter: Reporter) -> "Run":
        """Open a run whose stages are all whole, and each made from what the others now hold.

        Raises:
            UserError: there is no run in that folder, or it has not come to its end.
        """
        if not (root / CONFIG).exists():
            raise UserError(f"{root} is not a run folder: it has no {CONFIG}; name the --out of hundredth transfer")
        run = cls(root, make_config({}, root / CONFIG), reporter)
        unfinished = first_unfinished(root, {name: run.needs(name) for name in run.stages})
        if unfinished is not None:
            raise UserError(
                f"the run in {root} has not finished: {unfinished} is still to do; give the same transfer command "
                "again"
            )
        if (root / UNFINISHED).exists():
            raise UserError(
                f"the run in {root} has not finished: it was stopped, or failed, while it was redone; give that "
                "command again, or the one before"
            )
        return run

    @property
    def stages(self) -> tuple[str, ...]:
        """The names of the run's stages, in their order; where nothing is written, no prompt is tuned."""
        if self.config.rl.algorithm != "none":
            return _STAGES_WITH_RL
        return STAGES if self.config.sampling.texts else tuple(name for name in STAGES if name != "prompt")

    @property
    def prompt_stage(self) -> str:
        """The stage whose prompt writes the texts."""
        return "prompt" if self.config.rl.algorithm == "none" else "reinforcement"

    def needs(self, stage: str) -> tuple[str, ...]:
        """Return the stages whose results a stage is made from."""
        written = stage == "samples" and self.prompt_stage in self.stages
        return (*_NEEDS[stage], self.prompt_stage) if written else _NEEDS[stage]

    @cached_property
    def data(self) -> TaskData:
        """The task with its splits, as the first stage wrote it."""
        return read_task(self.root / "task")

    @cached_property
    def llm_stamp(self) -> list[Any]:
        """What tells the LLM from others, and the number format of its weights.

        A format that is chosen from the machine stays what it was when the run began, on another machine too: what
        was learnt of the LLM belongs to it.
        """
        stamp, dtype = model_stamp(self.config.llm.name), self.config.llm.dtype
        if dtype != "auto":
            return [stamp, dtype]
        for stage in ("prompt", "annotator", "samples"):
            record = read_record(self.root / stage)
            if record is not None and record["settings"]["llm"][0] == stamp:
                return [stamp, record["settings"]["llm"][1]]
        return [stamp, str(choose_dtype()[0]).removeprefix("torch.")]

    @cached_property
    def llm(self) -> LLM:
        """The frozen LLM."""
        _, dtype = self.llm_stamp
        chosen, reason = choose_dtype(self.config.llm.dtype)
        llm = load_llm(self.config.llm.name, dtype)
        why = reason if llm.dtype == chosen else f"{dtype}: as when the run began"
        self.reporter.say(f"  LLM {llm.name}: {llm.parameters:,} parameters, {why}")
        return llm

    @cached_property
    def knowledge(self) -> Knowledge:
        """All knowledge that the LLM gave."""
        return Knowledge.load(self.root / "knowledge")

    @property
    def recipe(self) -> Recipe:
        """How the run's own student is taught: with everything there is."""
        return full_recipe(set(self.knowledge.origins))

    def record(self, stage: str) -> dict[str, Any]:
        """Return a whole stage's record."""
        record = read_record(self.root / stage)
        assert record is not None
        return record

    @property
    def llm_size(self) -> dict[str, int]:
        """The LLM's parameters and bytes."""
        size: dict[str, int] = self.record("annotator")["metrics"]["llm"]
        return size


def provenance(config: RunConfig) -> dict[str, Any]:
    """Return where a model comes from: the names of LLM and student, and the versions that made it."""
    versions = {name: version(name) for name in _PACKAGES}
    return {
        "llm": config.llm.name,
        "student": config.base.name,
        "versions": {**versions, "python": platform.python_version()},
    }
