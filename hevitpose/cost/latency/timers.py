"""Two clocks: what a caller waits for, and what a CUDA stream was busy with."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

Call = Callable[[Any], Any]


class Timer(Protocol):
    """Times single calls; what a measurement takes instead of a clock."""

    def __call__(
        self, call: Call, inputs: Sequence[Any], n: int, before: Callable[[], None] | None = None
    ) -> list[float]:
        """Milliseconds of n calls, inputs in rotation; ``before`` runs untimed before each."""
        ...


class WallTimer:
    """Wall clock with a synchronise per call: what a caller waits.

    Args:
        synchronise: waits for the device; None where calls return when they are done (CPU).
        clock: nanoseconds, monotonic.
    """

    def __init__(
        self,
        synchronise: Callable[[], None] | None = None,
        clock: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self.synchronise = synchronise or (lambda: None)
        self.clock = clock

    def __call__(
        self, call: Call, inputs: Sequence[Any], n: int, before: Callable[[], None] | None = None
    ) -> list[float]:
        times = []
        synchronise, clock = self.synchronise, self.clock
        for index in range(n):
            value = inputs[index % len(inputs)]
            if before is not None:
                before()
            synchronise()
            start = clock()
            call(value)
            synchronise()
            times.append((clock() - start) / 1e6)
        return times


class EventTimer:
    """Pairs of events on the stream, all made before the loop; one synchronise at the end.

    At batch 1 the time includes the gaps in which the stream waits for the next launch.

    Args:
        make_event: an event with ``record()`` and ``elapsed_time(later) -> ms``, such as
            ``torch.cuda.Event(enable_timing=True)``.
        synchronise: waits until everything recorded has happened.
    """

    def __init__(self, make_event: Callable[[], Any], synchronise: Callable[[], None]) -> None:
        self.make_event = make_event
        self.synchronise = synchronise

    def __call__(
        self, call: Call, inputs: Sequence[Any], n: int, before: Callable[[], None] | None = None
    ) -> list[float]:
        pairs = [(self.make_event(), self.make_event()) for _ in range(n)]
        for index, (start, end) in enumerate(pairs):
            if before is not None:
                before()
            start.record()
            call(inputs[index % len(inputs)])
            end.record()
        self.synchronise()
        return [start.elapsed_time(end) for start, end in pairs]
