"""Where jobs run: one child at a time, several at once, or on a ray cluster.

An executor starts jobs and reports outcomes; records, leases and the order are the runner's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ablations.child import Outcome, Payload
from ablations.isolation import PRELOAD, Child, wait_for
from hevitpose.errors import UsageError, unknown_name
from hevitpose.records import provenance

NAMES = ("local", "processes", "ray")


class Executor(Protocol):
    """What the runner needs."""

    slots: int  # jobs at once

    def start(self, key: str, payload: Payload, threads: int) -> None:
        """Begins a job."""

    def wait(self, seconds: float) -> list[tuple[str, Outcome]]:
        """Jobs that ended, after at most this long."""

    def progress(self, key: str) -> tuple[int, int]:
        """How much of a running job is done, and how much there is (0 when not known)."""

    def close(self) -> None:
        """Ends whatever still runs."""


class Children:
    """Processes of this machine.

    Args:
        slots: how many at once.
        timeout: seconds without a sign of life before a child counts as hung.
        preload: modules that are loaded once for all children.
    """

    def __init__(self, slots: int, *, timeout: float, preload: Sequence[str] = PRELOAD) -> None:
        self.slots, self.timeout, self.preload = slots, timeout, preload
        self._running: dict[str, Child] = {}

    def start(self, key: str, payload: Payload, threads: int) -> None:
        """See :class:`Executor`."""
        environment = {"OMP_NUM_THREADS": str(threads)}
        self._running[key] = Child(
            payload, timeout=self.timeout, preload=self.preload, environment=environment
        )

    def wait(self, seconds: float) -> list[tuple[str, Outcome]]:
        """See :class:`Executor`."""
        wait_for(list(self._running.values()), seconds)
        ended = []
        for key, child in list(self._running.items()):
            outcome = child.poll()
            if outcome is not None:
                del self._running[key]
                ended.append((key, outcome))
        return ended

    def progress(self, key: str) -> tuple[int, int]:
        """See :class:`Executor`."""
        return self._running[key].progress

    def close(self) -> None:
        """See :class:`Executor`."""
        for child in self._running.values():
            child.stop()
        self._running.clear()


def check_executor(name: str, workers: int | None) -> None:
    """Refuses what :func:`create_executor` cannot make, before anything is started.

    Raises:
        UsageError: an unknown name, or workers where there can be only one.
    """
    if name not in NAMES:
        raise unknown_name("executor", name, NAMES)
    if name == "local" and workers not in (None, 1):
        raise UsageError(f"--workers {workers}: --executor local runs one cell at a time")


def create_executor(
    name: str,
    *,
    workers: int | None,
    threads: int,
    timeout: float,
    preload: Sequence[str] = PRELOAD,
    address: str | None = None,
    gpus_per_run: float = 0.0,
) -> Executor:
    """The executor of this name.

    Args:
        name: ``local`` (one job at a time), ``processes`` or ``ray``.
        workers: jobs at once; None: as many as the cores take at ``threads`` each.
        threads: of each job.
        timeout: seconds without a sign of life before a job counts as hung.
        preload: modules that are loaded once for all jobs of this machine.
        address: of a ray cluster; None starts one on this machine.
        gpus_per_run: of a ray cluster; may be a fraction.

    Raises:
        UsageError: an unknown name, or workers where there can be only one.
        HEViTPoseError: ray is not installed, or the cluster does not answer.
    """
    check_executor(name, workers)
    if name == "local":
        return Children(1, timeout=timeout, preload=preload)
    if name == "processes":
        slots = workers or max(1, provenance.cores() // threads)
        return Children(slots, timeout=timeout, preload=preload)
    from ablations.cluster import RayCluster

    return RayCluster(
        workers, threads=threads, timeout=timeout, address=address, gpus_per_run=gpus_per_run
    )
