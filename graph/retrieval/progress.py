"""How far indexing is: in the log, and as a bar where somebody looks on."""

import logging
import multiprocessing
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress

_INTERVAL = 5.0  # seconds between two lines of the log

_log = logging.getLogger(__name__)


class IndexingProgress:
    """Counts passages; a line in the log says every few seconds how many are done, of how many, and how fast.

    In a terminal there is a bar instead, unless several processes would draw one.
    """

    def __init__(self, total: int, done: int = 0) -> None:
        self.done = done
        self._total = total
        self._began = self._said = time.monotonic()
        self._new = 0
        is_watched = sys.stderr.isatty() and multiprocessing.parent_process() is None
        self._bar = _bar(total, done) if is_watched else None

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def __str__(self) -> str:
        return f"{self.done} of {self._total} passages are indexed"

    def advance(self, count: int, *, new: int) -> None:
        """Count passages as done, of which so many were embedded just now."""
        self.done += count
        self._new += new
        now = time.monotonic()
        if self._bar:
            self._bar.advance(self._bar.task_ids[0], count)
        elif now - self._said >= _INTERVAL and self.done < self._total:
            self._said = now
            _log.info("%s; %.1f a second", str(self), self._new / (now - self._began))


def _bar(total: int, done: int) -> "Progress":
    from rich.console import Console  # few starts are watched
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("indexing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    bar.add_task("", total=total, completed=done)
    return bar
