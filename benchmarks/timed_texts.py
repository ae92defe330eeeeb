"""The texts that single predictions are timed on: twenty words each, of the task that the model is for."""

import json
from collections.abc import Sequence
from pathlib import Path

from platformdirs import user_cache_dir

# What benchmarks/transfer.py leaves behind.
RUN = Path(user_cache_dir("hundredth")) / "benchmark" / "trec-0-pruned"
WORDS = 20


def timed_texts(run: Path, number: int) -> list[str]:
    """Return at most so many different texts, cut from the test and unlabelled texts of a run."""
    texts = []
    for name in ("test", "unlabelled"):
        with (run / "task" / f"{name}.jsonl").open(encoding="utf-8") as file:
            texts += [" ".join(json.loads(line)["texts"]) for line in file]
    return cut_texts(texts, number)


def cut_texts(texts: Sequence[str], number: int) -> list[str]:
    """Return different texts of twenty words: the given ones, one after the other, cut."""
    words = " ".join(texts).split()
    cut = [" ".join(words[start : start + WORDS]) for start in range(0, len(words) - WORDS + 1, WORDS)]
    return list(dict.fromkeys(cut))[:number]
