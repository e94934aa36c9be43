"""One progress display for everything that takes over two seconds.

A bar with an ETA where a person watches; a plain line every few seconds where none does (a log, a
pipe, CI).
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence

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
    with progress_bars((description, unit)) as (report,):
        yield report


@contextlib.contextmanager
def progress_bars(*tasks: tuple[str, str]) -> Iterator[list[Progress]]:
    """One display for tasks that follow one another, each shown from its first report on.

    Args:
        tasks: their descriptions and units.

    Yields:
        A callable per task to report with.
    """
    if sys.stderr.isatty():
        with _rich_bars(tasks) as reports:
            yield reports
    else:
        yield [_lines(description, unit) for description, unit in tasks]


@contextlib.contextmanager
def _rich_bars(tasks: Sequence[tuple[str, str]]) -> Iterator[list[Progress]]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as RichProgress
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text("" if task.speed is None else f"{task.speed:.1f}/s")

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}"),
        Rate(),
        TimeRemainingColumn(),
    )

    def reporter(display: RichProgress, description: str, unit: str) -> Progress:
        task = display.add_task(description, total=None, unit=unit, visible=len(tasks) == 1)
        return lambda done, total: display.update(task, completed=done, total=total, visible=True)

    with RichProgress(*columns, console=Console(stderr=True), transient=True) as display:
        yield [reporter(display, *task) for task in tasks]


def _lines(description: str, unit: str) -> Progress:
    start = last = time.monotonic()
    before = 0

    def report(done: int, total: int) -> None:
        nonlocal start, last, before
        now = time.monotonic()
        if done < before:  # the next of several passes
            start = last = now
        before = done
        if now - last < LINE_SECONDS or not done:
            return
        last = now
        rate = done / (now - start)
        left = (total - done) / rate
        print(
            f"{description}: {done}/{total} {unit}, {rate:.1f}/s, {left:.0f} s left",
            file=sys.stderr,
        )

    return report
