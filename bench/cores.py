"""How far apart two cores are while something is measured on them.

A host puts the cores of a virtual machine where it likes, and moves them: into one core complex,
into two, between which a cache line takes three times as long and whatever one thread wrote for
the other is fetched from afar, or onto the two halves of one core. Operators that share their work
then lose much of what the second thread gives, each network another part of it. A byte sent to and
fro tells which it was.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

from hevitpose.errors import HEViTPoseError
from hevitpose.isolated import Child, context

#: Round trips of a probe, some milliseconds in all; on a busy machine fewer, within the seconds.
TRIPS, TRIP_SECONDS = 2000, 0.05
#: Cores are close where a round trip takes no longer than this times the shortest seen. (On an AMD
#: EPYC 0.23 to 0.24 us are two cores of a complex, 0.32 to 0.36 the two halves of one core, 0.42
#: to 0.54 two complexes.)
CLOSE = 1.3
#: Seconds after which the other process is given up.
_PATIENCE = 10.0
#: Looks at the byte after which the other process is given up: seconds of a core.
_MOST_LOOKS = 100_000_000
_PING, _PONG, _STOP = 1, 2, 3


class CoreProbe:
    """Two processes that send each other a byte through shared memory. A context manager.

    They are on the cores that are measured only where there are no more than two.
    """

    def __enter__(self) -> CoreProbe:
        self._shared = context().RawArray("B", 64)
        self.child = Child(_answer, self._shared)
        return self

    def __exit__(self, *exception: Any) -> None:
        self.child.stop()

    def round_trip_us(self) -> float:
        """The shortest of the round trips, in microseconds, the interpreter's own time included.

        Raises:
            HEViTPoseError: the other process does not answer.
        """
        self.child.send("probe")
        answer = self.child.receive(_PATIENCE)
        if answer != "ready":
            raise HEViTPoseError(f"core probe: {answer.reason}")
        byte, ping, pong = memoryview(self._shared).cast("B"), _PING, _PONG  # local: quick
        times: list[int] = []
        over = time.perf_counter_ns() + TRIP_SECONDS * 1e9
        while len(times) < TRIPS and time.perf_counter_ns() < over:
            for _ in range(len(times) & 7):  # two loops of one length would fall into step
                pass
            start = time.perf_counter_ns()
            byte[0] = ping
            for _ in range(_MOST_LOOKS):
                if byte[0] == pong:
                    break
            else:
                raise HEViTPoseError("core probe: the other process is gone")
            times.append(time.perf_counter_ns() - start)
        byte[0] = _STOP
        return min(times) / 1000


def close_rounds(*trips: Sequence[float], least: float) -> list[int]:
    """The rounds in which the cores were close for every contender.

    Args:
        trips: per contender the longest round trip around each of its rounds.
        least: the shortest round trip of all.
    """
    return [i for i, round_ in enumerate(zip(*trips, strict=True)) if max(round_) <= CLOSE * least]


def _answer(pipe: Connection, shared: Any) -> None:
    byte, pong = memoryview(shared).cast("B"), _PONG  # local names: the loop must be quick
    while True:
        try:
            pipe.recv()
        except EOFError:  # the parent is gone
            return
        value = byte[0] = pong
        pipe.send("ready")
        while value != _STOP:
            for _ in range(_MOST_LOOKS):
                if (value := byte[0]) != pong:
                    break
            else:  # the parent was killed while it waited for an answer
                return
            byte[0] = pong
