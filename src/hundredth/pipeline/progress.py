"""What a run says while it works: a line a stage, and a bar with the time left where it takes long."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from hundredth.extraction.batching import Progress as Callback


class Reporter:
    """Writes to standard error, so that standard output stays for results; `quiet` writes nothing."""

    def __init__(self, quiet: bool = False) -> None:
        self.console = Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """Print one line."""
        self.console.print(text, markup=False)

    @contextmanager
    def bar(self, title: str) -> Iterator[Callback]:
        """Yield a function to call with what is done, what there is in all, and a note.

        On a terminal this is a bar; elsewhere (a log file) a line at each quarter.
        """
        if self.console.is_terminal and not self.console.quiet:
            yield from self._live(title)
        else:
            yield self._lines(title)

    def _live(self, title: str) -> Iterator[Callback]:
        columns = (
            TextColumn("  {task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=self.console, transient=True) as progress:
            task = progress.add_task(title, total=None, note="")
            yield lambda done, total, note: progress.update(task, completed=done, total=total, note=note)

    def _lines(self, title: str) -> Callback:
        said = 0

        def update(done: int, total: int, note: str) -> None:
            nonlocal said
            quarter = 4 * done // max(total, 1)
            if quarter > said:
                said = quarter
                self.say(f"  {title}: {done} of {total}{', ' + note if note else ''}")

        return update
