"""What a sampled text is worth: rewards are plain callables, weighted and added up.

A reward is given texts (a tuple of fields each) with the labels they were written for, and returns a number for
each. It sees usable texts alone: one that is unfinished or lacks a field is worth `-rl.unusable`.
"""

import importlib
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from hundredth.errors import UserError
from hundredth.extraction.annotation import Annotator
from hundredth.extraction.self_bleu import tokens
from hundredth.files import file_fingerprint, fingerprint

Reward = Callable[[list[tuple[str, ...]], list[int]], Sequence[float]]

# What the logarithm of the annotator's probability is never below: beyond it, a text is simply wrong.
_LEAST_LOG = -5.0
_LARGEST = 1e6
# Fingerprints of the files of modules from which rewards were loaded, as they were then.
_SEEN: dict[str, str] = {}


@dataclass(frozen=True)
class WeightedReward:
    """A reward, the name it is logged under, and its weight in the sum.

    `stamp` changes with the file that holds the reward, where it was loaded by its name.
    """

    name: str
    weight: float
    reward: Reward
    stamp: str = ""


class Quality:
    """The annotator's probability of the intended label (0 to 1), or its logarithm (-5 to 0).

    The annotator's adapters lie in the very LLM that writes the texts. They are at work inside a call only, so
    that the writing LLM is the one without them; `close` leaves the LLM as it was loaded.
    """

    def __init__(self, annotator: Annotator, *, logarithm: bool = False) -> None:
        self.annotator, self.logarithm = annotator, logarithm
        self._switch(on=False)

    def __call__(self, texts: list[tuple[str, ...]], labels: list[int]) -> list[float]:
        """Return how surely the annotator gives each text its label."""
        rows = self.probabilities(texts)[np.arange(len(texts)), labels]
        if self.logarithm:
            rows = np.log(np.maximum(rows, math.exp(_LEAST_LOG)))
        return [float(one) for one in rows]

    def probabilities(self, texts: list[tuple[str, ...]]) -> NDArray[np.float32]:
        """Return what the annotator says of each text, (N, C)."""
        self._switch(on=True)
        try:
            return self.annotator.annotate(texts).probabilities
        finally:
            self._switch(on=False)

    def close(self) -> None:
        """Take the annotator out of the LLM."""
        self.annotator.remove_adapters()

    def _switch(self, *, on: bool) -> None:
        if self.annotator.adapters is not None:
            tuner: Any = self.annotator.adapters.base_model
            (tuner.enable_adapter_layers if on else tuner.disable_adapter_layers)()


class Length:
    """1 for a text as long as those of `examples` are, in words and marks; less, down to 0, the further outside.

    Between their 5 % and 95 % quantiles the reward is 1. It falls to 0 at half the former and twice the latter.
    """

    def __init__(self, examples: Sequence[tuple[str, ...]]) -> None:
        low, high = np.quantile([_length(texts) for texts in examples], [0.05, 0.95])
        self.low, self.high = float(low), float(high)

    def __call__(self, texts: list[tuple[str, ...]], labels: list[int]) -> list[float]:
        """Return how well each text's length fits."""
        return [self._of(_length(one)) for one in texts]

    def _of(self, length: int) -> float:
        if length < self.low:
            return max(0.0, 2 * length / self.low - 1)
        return max(0.0, min(1.0, 2 - length / self.high))


def total_reward(
    rewards: Sequence[WeightedReward], texts: Sequence[tuple[str, ...]], labels: Sequence[int]
) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
    """Return the weighted sum of the rewards of each text, and each reward by its name.

    Raises:
        UserError: a reward does not return one finite number a text, or one loaded by its name fails.
    """
    found = {one.name: _numbers(one, texts, labels) for one in rewards}
    total = np.zeros(len(texts))
    for one in rewards:
        total += one.weight * found[one.name]
    return total, found


def check_rewards(weights: Sequence[tuple[str, float]]) -> None:
    """Refuse rewards, by name and weight, from which nothing can be learnt.

    Raises:
        UserError: two have one name, or none has a weight.
    """
    names = [name for name, _ in weights]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"there are two rewards of the name {twice!r}: each needs one of its own")
    if not any(weight for _, weight in weights):
        raise UserError("there is no reward to learn from: give rl.quality or another reward a weight above 0")


def load_reward(named: str) -> WeightedReward:
    """Import a reward by "module:function", from the working folder too; "module:function@0.5" weighs it.

    Raises:
        UserError: the name is not of that form, the module cannot be imported, or has no such function.
    """
    path, at, written = named.partition("@")
    module_name, colon, function = path.partition(":")
    weight = _weight(written) if at else 1.0
    if not colon or not module_name or not function or weight is None:
        raise UserError(
            f"reward {named!r}: write module:function or module:function@WEIGHT, such as mine:short@0.5"
        )
    sys.path.insert(0, str(Path.cwd()))
    known = module_name in sys.modules
    try:
        module = importlib.import_module(module_name)
        file = getattr(module, "__file__", None)
        stamp = file_fingerprint(Path(file)) if file else ""
        if known and file and _SEEN.get(module_name) != stamp:  # it may have been changed since it was imported
            module = importlib.reload(module)
        _SEEN[module_name] = stamp
    except Exception as error:  # whatever the user's own code does while it is imported
        raise UserError(f"reward {named!r}: {module_name} cannot be imported ({_said(error)})") from error
    finally:
        sys.path.pop(0)
    found = getattr(module, function, None)
    if not callable(found):
        what = "nothing" if found is None else f"{type(found).__name__} {found!r:.40}"
        raise UserError(
            f"reward {named!r}: {module_name} holds {what} under the name {function!r}, where a function "
            "(texts, labels) -> list of numbers is needed"
        )
    return WeightedReward(path, weight, _guarded(path, found), stamp)


def code_stamp(reward: Reward) -> str:
    """Return what changes with the code of a function, or of what makes an object callable.

    What the code only refers to, as its globals or what it is a closure over, does not count.
    """
    code = getattr(reward, "__code__", None) or getattr(type(reward).__call__, "__code__", None)
    return fingerprint(_parts(code)) if isinstance(code, CodeType) else ""


def _parts(code: CodeType) -> list[object]:
    return [code.co_code.hex(), list(map(_constant, code.co_consts)), list(code.co_names)]


def _constant(one: object) -> object:
    if isinstance(one, CodeType):
        return _parts(one)
    # The order of a set differs from process to process.
    return sorted(map(repr, one)) if isinstance(one, frozenset) else repr(one)


def _guarded(name: str, reward: Reward) -> Reward:
    def call(texts: list[tuple[str, ...]], labels: list[int]) -> Sequence[float]:
        try:
            return reward(texts, labels)
        except Exception as error:  # whatever the user's own code does
            raise UserError(f"reward {name!r} failed on {len(texts)} texts: {_said(error)}") from error

    return call


def _weight(written: str) -> float | None:
    try:
        weight = float(written)
    except ValueError:
        return None
    return weight if math.isfinite(weight) else None


def _numbers(one: WeightedReward, texts: Sequence[tuple[str, ...]], labels: Sequence[int]) -> NDArray[np.float64]:
    if not texts:
        return np.zeros(0)
    returned = one.reward(list(texts), list(labels))
    try:
        plain = returned.detach().cpu() if isinstance(returned, Tensor) else returned
        values = _reals(plain)
    except (TypeError, ValueError, OverflowError):
        raise UserError(f"reward {one.name!r} returned {returned!r:.60}: return one number a text") from None
    if values.shape != (len(texts),):
        shape = "x".join(map(str, values.shape)) or "one number"
        raise UserError(f"reward {one.name!r} returned {shape} for {len(texts)} texts: return one number a text")
    if not np.isfinite(values).all():
        place = int(np.flatnonzero(~np.isfinite(values))[0])
        raise UserError(f"reward {one.name!r} returned {values[place]} for {texts[place][0][:60]!r}")
    if (np.abs(values) > _LARGEST).any():
        largest = values[np.abs(values).argmax()]
        raise UserError(
            f"reward {one.name!r} returned {largest:g}, and {_LARGEST:g} is the most: scale it to about 0 to 1"
        )
    return values


def _reals(values: object) -> NDArray[np.float64]:
    found = np.asarray(values)
    if np.iscomplexobj(found):
        raise TypeError("complex numbers")
    return found.astype(np.float64)


def _length(texts: tuple[str, ...]) -> int:
    return len(tokens("\n".join(texts)))


def _said(error: Exception) -> str:
    first = str(error).strip().splitlines()
    return f"{type(error).__name__}: {first[0]}" if first else type(error).__name__
