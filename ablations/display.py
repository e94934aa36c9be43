"""What a person sees while a grid runs: one line per cell, and how long the whole still takes.

On a terminal the state of the running cells stays below the lines; elsewhere (a log, CI) a plain
line says it from time to time.
"""

from __future__ import annotations

import sys
import time
from types import TracebackType

from hevitpose.errors import on_one_line
from hevitpose.records import Record
from hevitpose.records.schema import is_share

QUIET_SECONDS = 60.0


class Display:
    """One bar over a whole command, in time; lines stay above it.

    Shown from entering on: the share is the time since then over that and the time left.
    """

    def __init__(self) -> None:
        self.total = self.done = 0  # jobs
        self._start = self._last = time.monotonic()
        self._bar = None
        if sys.stdout.isatty():
            from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

            self._bar = Progress(
                TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), transient=True
            )
            self._task = self._bar.add_task("starting", total=None)

    def __enter__(self) -> Display:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def begin(self, jobs: int, left: float | None) -> None:
        """There are that many jobs, which take the seconds left."""
        self.total, self.done = jobs, 0
        text = f"{jobs} to measure, {time_left(left)}"
        if self._bar is None:
            self.line(text)
        else:
            self.status(text, left, said=True)

    def line(self, text: str) -> None:
        """A line that stays; it may quote a stranger's record."""
        self._last, text = time.monotonic(), on_one_line(text)
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, flush=True)

    def advance(self, jobs: int = 1) -> None:
        """That many jobs less to do."""
        self.done += jobs

    def status(self, running: str, left: float | None, *, said: bool = False) -> None:
        """What runs now, and the seconds left, unless the text has them already."""
        now = time.monotonic()
        text = running if said else f"{running}, {time_left(left)}"
        if self._bar is not None:
            spent = now - self._start
            total = None if left is None else spent + left
            self._bar.update(self._task, description=text, completed=spent, total=total)
        elif now - self._last > QUIET_SECONDS:
            self.line(f"... {text}")


def duration(seconds: float) -> str:
    """``45 s``, ``12 min``, ``3 h 05 min``."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


def time_left(seconds: float | None) -> str:
    """As a clause."""
    return "time left not known yet" if seconds is None else f"about {duration(seconds)} left"


def cost(complexity: Record | None, latency: Record | None) -> str:
    """Parameters, GFLOPs and milliseconds, as far as they are known."""
    parts = []
    if complexity is not None and complexity.params is not None:
        parts.append(f"{complexity.params / 1e6:.3f}M")
        if complexity.flops is not None and complexity.flops.mmcv is not None:
            parts.append(f"{complexity.flops.mmcv:.3f}G")
    if latency is not None and latency.latency is not None and latency.latency.p50 is not None:
        parts.append(f"{latency.latency.p50:.1f} ms")
    return " ".join(parts)


def scores(record: Record) -> str:
    """The headline metrics of an accuracy record, in percent."""
    parts = []
    for name, title in (("Mean", "PCKh"), ("Mean@0.1", "PCKh@0.1"), ("AP", "AP")):
        value = record.metrics.get(name)
        if value is not None:
            parts.append(f"{title} {100 * value if is_share(name) else value:.1f}")
    if not parts:
        parts = [f"{k} {v:.4g}" for k, v in list(record.metrics.items())[:2] if v is not None]
    return "  ".join(parts)
