import shutil

import pytest
import torch
from tiny_run import examples, make_run

from hundredth.evaluation.controls import evaluate
from hundredth.pipeline.progress import Reporter
from hundredth.tasks.schema import Example


@pytest.fixture(scope="session")
def unseen_texts():
    # A text with markup: whatever shows it must escape it.
    return [*examples(30, 9), Example(("the <script>alert(1)</script> courier was late",), 0)]


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory):
    """A finished run; tests that write into it take a `copy_of_run`."""
    torch.set_num_threads(1)
    return make_run(tmp_path_factory.mktemp("run"), tmp_path_factory.mktemp("models"))


@pytest.fixture
def copy_of_run(run_folder, tmp_path):
    return shutil.copytree(run_folder, tmp_path / "copy")


@pytest.fixture(scope="session")
def evaluated(run_folder, unseen_texts, tmp_path_factory):
    """The run with its LLM, the plain student and the full system evaluated, two seeds each."""
    root = shutil.copytree(run_folder, tmp_path_factory.mktemp("evaluated") / "run")
    systems = ["llm", "student", "full"]
    return evaluate(root, unseen_texts, systems=systems, seeds=[0, 1], reporter=Reporter(quiet=True), threads=1)
