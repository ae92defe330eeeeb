"""Two processes that train together take the very step that one takes with the whole batch."""

import multiprocessing
import queue
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from datasets import Dataset
from tiny_sentences import features_of, gradients, tiny_model, total
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from hundredth.ranking import RankCSELoss, TeacherRankings

BATCH = 128
PATIENCE = 120.0  # seconds until a process that makes no progress fails the test
WORDS = ["card", "machine", "money", "phone", "app", "refund", "order", "bus"]
TEXTS = [
    f"my {WORDS[n % 8]} and {WORDS[n // 8 % 8]}" + " block" * (n // 64) + " please" * (n % 5) for n in range(126)
]
# A text that both processes have is no negative of itself, though each has it only once.
TEXTS += [TEXTS[3], TEXTS[70]]
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "head and ListMLE": {"projection": "mlp", "listwise": "listmle", "student_temperature": 0.2},
    "gradient cache": {"mini_batch_size": 24, "projection": "mlp"},
}
Step = tuple[dict[str, Tensor], dict[str, Tensor], int]


def lengths(texts: list[str]) -> Tensor:
    seeds = [sum(map(ord, text)) for text in texts]
    return torch.stack([torch.randn(16, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


def one_step(folder: Path, rank: int, processes: int, options: dict[str, Any]) -> Step:
    """Return the terms, the gradients that the optimizer would see, and the repeated texts that were counted."""
    torch.set_num_threads(1)
    model = tiny_model(folder)
    teachers = TeacherRankings([lengths])
    labels = torch.tensor(teachers.rank(Dataset.from_dict({"text": TEXTS}))["label"])
    torch.manual_seed(rank)  # the processes start with different heads, and must end up with one
    loss = RankCSELoss(model, teachers, **options)
    if processes > 1:
        # As the Trainer does it: the pooler of BERT has no gradient.
        loss.model = DistributedDataParallel(model, find_unused_parameters=True)
    part = slice(rank * BATCH // processes, (rank + 1) * BATCH // processes)
    negatives = [f"not {text}" for text in TEXTS[part]]
    terms = loss([features_of(model, TEXTS[part]), features_of(model, negatives)], labels[part])
    total(terms).backward()
    return {name: value.detach() for name, value in terms.items()}, gradients(model) | heads(loss), loss.duplicates


def heads(loss: RankCSELoss) -> dict[str, Tensor]:
    return {} if loss.projection is None else gradients(loss.projection)


def worker(folder: Path, meeting: Path, rank: int, results: Any) -> None:
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    for name, options in OPTIONS.items():
        terms, found, duplicates = one_step(folder, rank, 2, options)
        # As lists: tensors in a queue need the process that made them.
        results.put(
            (name, rank, *({k: v.tolist() for k, v in each.items()} for each in (terms, found)), duplicates)
        )
    dist.barrier()
    dist.destroy_process_group()


def together(folder: Path, meeting: Path) -> dict[str, list[Any]]:
    """Run two processes; return their steps for each of the options, by rank."""
    # A fork has all that is imported here, but no use of a GPU that was used before it.
    context = multiprocessing.get_context("spawn" if torch.cuda.is_available() else "fork")
    results = context.Queue()
    processes = [context.Process(target=worker, args=(folder, meeting, rank, results)) for rank in (0, 1)]
    for process in processes:
        process.start()
    try:
        found = [results.get(timeout=PATIENCE) for _ in range(len(processes) * len(OPTIONS))]
    except queue.Empty:
        pytest.fail(f"exit codes {[process.exitcode for process in processes]}")
    finally:
        for process in processes:
            process.join(PATIENCE)
            process.kill()
    return {name: [step for step in sorted(found, key=lambda step: step[1]) if step[0] == name] for name in OPTIONS}


def test_two_times_64_is_one_times_128(tiny_encoder: Path, tmp_path: Path) -> None:
    steps = together(tiny_encoder, tmp_path / "meeting")
    for option, options in OPTIONS.items():
        expected_terms, expected_gradients, duplicates = one_step(tiny_encoder, 0, 1, options)
        assert duplicates == 2
        # What could hide a lost factor of two: gradients that are as small as the tolerance.
        assert max(gradient.abs().max().item() for gradient in expected_gradients.values()) > 0.05
        for _, _, terms, found, counted in steps[option]:
            assert counted == duplicates
            for values, expected in ((terms, expected_terms), (found, expected_gradients)):
                assert values.keys() == expected.keys()
                for name, value in expected.items():
                    torch.testing.assert_close(
                        torch.tensor(values[name]), value, rtol=1e-4, atol=1e-4, msg=f"{option}: {name}"
                    )
