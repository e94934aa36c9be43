"""One progress display for everything that takes over two seconds.

A bar with an ETA where a person watches; a plain line every few seconds where none does (a log, a
pipe, CI).
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

#: Called with how much is done and how much there is.
Progress = Callable[[int, int], None]

LINE_SECONDS = 10.0


def silent(done: int, total: int) -> None:
    """A progress that shows nothing."""


@contextlib.contextmanager
def progress_bar(description: str, unit: str = "") -> Iterator[Progress]:
    """A display on standard error for one task.

    Args:
        description: what is being done, e.g. ``"synthetic people"``.
        unit: what is counted, e.g. ``"images"``.

    Yields:
        A callable to report with: ``report(done, total)``.
    """
    if sys.stderr.isatty():
        with _rich_bar(description, unit) as report:
            yield report
    else:
        yield _lines(description, unit)


@contextlib.contextmanager
def _rich_bar(description: str, unit: str) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
    )
    with RichProgress(*columns, console=Console(stderr=True), transient=True) as display:
        task = display.add_task(description, total=None)
        yield lambda done, total: display.update(task, completed=done, total=total)


def _lines(description: str, unit: str) -> Progress:
    start = last = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < LINE_SECONDS or not done:
            return
        last = now
        left = (now - start) * (total - done) / done
        print(f"{description}: {done}/{total} {unit}, {left:.0f} s left", file=sys.stderr)

    return report
