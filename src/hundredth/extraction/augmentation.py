"""More texts to learn from, recombined from those at hand, which the annotator labels like any other.

A tiny student learns far more from many roughly natural texts with good soft labels than from a few natural ones
(Tang et al. 2019, Jiao et al. 2020); where two halves come together the LLM, not a rule, says what they now mean.
"""

import re
from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from hundredth.seeds import Seed

_ATTEMPTS = 3  # for each text wanted: with few short texts, most recombinations have been seen before
# A character of Chinese or Japanese, which are written without spaces, or else all up to the next space.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\s\u3040-\u30ff\u3400-\u9fff]+\s*")
# What no space follows: the same, rarer characters, and their punctuation.
_MARKED = re.compile(r"\*[^*\s][^*]*\*|\[[^\]]+\]|(?<=\s)/(?=\s)")
_CHINESE_OR_JAPANESE = re.compile(r"[\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]")


class AugmentationConfig(BaseModel):
    """How many recombined texts the student learns from besides the natural ones."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    texts: int = Field(
        2000,
        ge=0,
        description="texts to recombine from the gold and generated ones, and as many again from the gold and "
        "unlabelled ones; 0 for none",
    )
    seed: Seed = Field(0, description="which texts are joined, and where")


def crossover(texts: Sequence[tuple[str, ...]], count: int, seed: int) -> list[tuple[str, ...]]:
    """Return up to `count` new texts, each the beginning of one text joined to the end of another.

    Both are cut between words; in texts of several fields this is done to one field, and the others stay those
    of the first text. What is marked in it ("*this*", "[this]", "one / other") stays marked, and nothing else is:
    tasks that ask about a marked word would else ask about two, or none. What comes out differs from every given
    text and from each other: of few short texts there are fewer. Source: instance crossover (Luque 2019).
    """
    generator = np.random.default_rng(seed)
    seen = set(texts)
    made: list[tuple[str, ...]] = []
    for _ in range(_ATTEMPTS * count if len(texts) > 1 else 0):
        if len(made) == count:
            break
        first, second = (texts[i] for i in generator.choice(len(texts), 2, replace=False))
        field = int(generator.integers(len(first)))
        joined = _join(first[field], second[field], generator)
        new = (*first[:field], joined, *first[field + 1 :])
        if joined and new not in seen and _marked(joined) == _marked(first[field]):
            seen.add(new)
            made.append(new)
    return made


def _marked(text: str) -> tuple[list[str], list[int]]:
    """Return what is marked in a text, the slashes between alternatives among it, and the number of each mark."""
    return sorted(_MARKED.findall(text)), [text.count(mark) for mark in "*[]"]


def _join(first: str, second: str, generator: np.random.Generator) -> str:
    beginning, end = _WORD.findall(first), _WORD.findall(second)
    kept = beginning[: int(generator.integers(1, len(beginning) + 1))] if beginning else []
    rest = end[int(generator.integers(len(end))) :] if end else []
    # The last word of a text has no space behind it; Chinese and Japanese have none at all.
    last = kept[-1][-1] if kept else " "
    space = "" if last.isspace() or _CHINESE_OR_JAPANESE.match(last) else " "
    return ("".join(kept) + space + "".join(rest)).strip()
