"""How different texts of one label are from each other: Self-BLEU (Zhu et al. 2018, Texygen), exact and fast.

The BLEU of a text against all others of its group needs, for each n-gram, the largest count among the others.
That is the group's largest count, or its second largest for the text that holds the largest alone. Both are
found in one pass over the group, so that the cost grows with the n-grams and not with the pairs of texts.
"""

import math
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence

Gram = tuple[str, ...]

# The longest n-grams compared (BLEU-4), and what stands for a count of none (Chen and Cherry 2014, method 1).
_ORDERS = 4
_EPSILON = 0.1
# Scripts without spaces are compared by characters; elsewhere words and marks are.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_TOKEN = re.compile(rf"[{_UNSPACED}]|(?:(?![{_UNSPACED}])\w)+|[^\w\s]")


def diversity(texts: Sequence[tuple[str, ...]], labels: Sequence[int]) -> list[float]:
    """Return 1 - Self-BLEU of each text against the others of its label: 0 for a copy, 1 for nothing in common.

    A label's only text is as diverse as can be.
    """
    found = [1.0] * len(texts)
    for label in set(labels):
        places = [place for place, one in enumerate(labels) if one == label]
        if len(places) > 1:
            scores = self_bleu([tokens("\n".join(texts[place])) for place in places])
            for place, score in zip(places, scores, strict=True):
                found[place] = 1 - score
    return found


def tokens(text: str) -> list[str]:
    """Split a text, in lower case, into words and marks."""
    return _TOKEN.findall(text.lower())


def self_bleu(texts: Sequence[Sequence[str]]) -> list[float]:
    """Return each tokenized text's BLEU-4 (0 to 1) with all the others, two at least, as its references.

    Zero counts are smoothed by 0.1, and a text of fewer than four tokens is compared by the n-grams that it has:
    nltk's `sentence_bleu` with `method1` and `auto_reweigh`.
    """
    lengths = [len(text) for text in texts]
    precisions: list[list[float]] = [[] for _ in texts]
    for order in range(1, _ORDERS + 1):
        counts = [Counter(_grams(text, order)) for text in texts]
        highest = _highest_two(counts)
        for own, count in zip(precisions, counts, strict=True):
            shared = sum(min(times, _among_others(highest[gram], times)) for gram, times in count.items())
            own.append((shared or (_EPSILON if order > 1 else 0.0)) / max(1, count.total()))
    in_order = sorted(lengths)
    return [
        _bleu(own, length, _closest_other(in_order, length))
        for own, length in zip(precisions, lengths, strict=True)
    ]


def _grams(text: Sequence[str], order: int) -> Iterable[Gram]:
    return zip(*(text[start:] for start in range(order)), strict=False)


def _highest_two(counts: Iterable[Counter[Gram]]) -> dict[Gram, tuple[int, int]]:
    """Return the largest count of each n-gram in any text, and the largest in any other text than that one."""
    highest: dict[Gram, tuple[int, int]] = {}
    for count in counts:
        for gram, times in count.items():
            first, second = highest.get(gram, (0, 0))
            highest[gram] = (times, first) if times > first else (first, max(second, times))
    return highest


def _among_others(highest: tuple[int, int], own: int) -> int:
    first, second = highest
    # Where several texts hold the largest count, the second is as large: it does not matter which is this one.
    return second if own == first else first


def _closest_other(in_order: Sequence[int], length: int) -> int:
    """Return the length closest to this one among the others; of two equally close, the shorter."""
    place = bisect_left(in_order, length)
    others = [*in_order[max(0, place - 1) : place], *in_order[place + 1 : place + 2]]
    return min(others, key=lambda other: (abs(other - length), other))


def _bleu(precisions: Sequence[float], length: int, reference: int) -> float:
    if not precisions[0]:
        return 0.0
    used = precisions[: min(length, _ORDERS)]
    brevity = 1.0 if length > reference else math.exp(1 - reference / length)
    return brevity * math.exp(math.fsum(map(math.log, used)) / len(used))
