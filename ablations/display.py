"""What a person sees while a grid runs: one line per cell, and how long the whole still takes.

On a terminal the state of the running cells stays below the lines; elsewhere (a log, CI) a plain
line says it from time to time.
"""

from __future__ import annotations

import sys
import time
from types import TracebackType

from hevitpose.records import Record

QUIET_SECONDS = 60.0


class Display:
    """Prints lines, and keeps a status below them on a terminal."""

    def __init__(self, total: int) -> None:
        self.total, self.done = total, 0
        self._last = time.monotonic()
        self._bar = None
        if sys.stdout.isatty() and total:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

            self._bar = Progress(
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
            )
            self._task = self._bar.add_task("starting", total=total)

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

    def line(self, text: str) -> None:
        """A line that stays."""
        self._last = time.monotonic()
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, flush=True)

    def advance(self, jobs: int = 1) -> None:
        """That many jobs less to do."""
        self.done += jobs
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done)

    def status(self, running: str, left: float | None) -> None:
        """What runs now, and the seconds left."""
        text = f"{running}, {time_left(left)}"
        if self._bar is not None:
            self._bar.update(self._task, description=text)
        elif time.monotonic() - self._last > QUIET_SECONDS:
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
            parts.append(f"{title} {100 * value if name == 'AP' else value:.1f}")
    if not parts:
        parts = [f"{k} {v:.4g}" for k, v in list(record.metrics.items())[:2] if v is not None]
    return "  ".join(parts)
