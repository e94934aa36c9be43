"""Workers of this machine: a child process a job, forked from a server that has torch loaded."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path

from ablations.workers.job import Payload, at_most_every, open_log, run_job
from hevitpose.isolated import Child, Outcome

_REPORT_SECONDS = 0.5
_GRACE_SECONDS = 5.0


class LocalWorkers:
    """See :class:`ablations.workers.Workers`.

    Args:
        slots: jobs at once.
        timeout: seconds without a sign of life before a job counts as hung.
        preload: modules that are loaded once for all jobs.
    """

    def __init__(self, slots: int, *, timeout: float, preload: Sequence[str] = ()) -> None:
        self.slots, self.timeout, self.preload = slots, timeout, preload
        self._running: dict[str, Child] = {}
        self._progress: dict[str, tuple[int, int]] = {}

    def start(self, key: str, payload: Payload, threads: int) -> None:
        """See :class:`ablations.workers.Workers`."""
        environment = {"OMP_NUM_THREADS": str(threads)}
        self._progress[key] = (0, 0)
        self._running[key] = Child(_work, payload, preload=self.preload, environment=environment)

    def wait(self, seconds: float) -> list[tuple[str, Outcome]]:
        """See :class:`ablations.workers.Workers`."""
        wait([child.pipe for child in self._running.values()], seconds)
        ended = []
        for key, child in list(self._running.items()):
            outcome = self._outcome(key, child)
            if outcome is not None:
                child.stop(0.0 if outcome.is_late else _GRACE_SECONDS)
                del self._running[key], self._progress[key]
                ended.append((key, outcome))
        return ended

    def progress(self, key: str) -> tuple[int, int]:
        """See :class:`ablations.workers.Workers`."""
        return self._progress[key]

    def close(self) -> None:
        """See :class:`ablations.workers.Workers`."""
        for child in self._running.values():
            child.stop()
        self._running.clear()

    def _outcome(self, key: str, child: Child) -> Outcome | None:
        """Take in what a child said; its outcome once it has ended or hangs."""
        while child.pipe.poll():
            message = child.receive(0.0)
            if isinstance(message, Outcome):
                return message
            self._progress[key] = message
        return Outcome.late(self.timeout) if child.silence.seconds() > self.timeout else None


def _work(pipe: Connection, payload: Payload) -> None:
    """Runs in the child."""
    lock = threading.Lock()

    def report(done: int, total: int) -> None:
        with lock:
            pipe.send((done, total))

    log = open_log(Path(payload["folder"]))
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    outcome = run_job(payload, at_most_every(_REPORT_SECONDS, report))
    with lock:
        pipe.send(outcome)
