"""How long work says what it does: what a caller may hand in, and the one that says nothing."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

# Called with what is done, what there is in all, and a note for the reader.
Progress = Callable[[int, int, str], None]


class Reporter(Protocol):
    """What training reports to; the command line's writes to standard error."""

    def say(self, text: str) -> None:
        """Take one line."""

    def bar(self, title: str) -> AbstractContextManager[Progress]:
        """Return a context whose value is called as the work goes on."""


class Silent:
    """Says nothing: the default of the Python API, and of all processes of a run but the first."""

    def say(self, text: str) -> None:
        """Drop the line."""

    @contextmanager
    def bar(self, title: str) -> Iterator[Progress]:
        """Yield a function that does nothing."""
        yield lambda done, total, note: None
