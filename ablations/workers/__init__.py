"""Where jobs run: one child at a time, several at once, or on a ray cluster.

Workers start jobs and report outcomes; records, leases and the order are the runner's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ablations.workers.job import Payload
from ablations.workers.local import LocalWorkers
from hevitpose.errors import UsageError, unknown_name
from hevitpose.isolated import Outcome
from hevitpose.records.provenance import cores

EXECUTORS = ("local", "processes", "ray")


class Workers(Protocol):
    """What the runner needs."""

    slots: int  # jobs at once

    def start(self, key: str, payload: Payload, threads: int) -> None:
        """Begin a job."""

    def wait(self, seconds: float) -> list[tuple[str, Outcome]]:
        """Jobs that ended, after at most this long."""

    def progress(self, key: str) -> tuple[int, int]:
        """How much of a running job is done, and how much there is (0 when not known)."""

    def close(self) -> None:
        """End whatever still runs."""


def check_executor(
    name: str, workers: int | None, address: str | None = None, gpus_per_run: float = 0.0
) -> None:
    """Refuse what :func:`create_workers` cannot make, before anything is started.

    Raises:
        UsageError: an unknown name, workers where there can be only one, or ray's without ray.
    """
    if name not in EXECUTORS:
        raise unknown_name("executor", name, EXECUTORS)
    if name == "local" and workers not in (None, 1):
        raise UsageError(f"--workers {workers}: --executor local runs one cell at a time")
    if name != "ray" and (address is not None or gpus_per_run):
        given = f"--gpus-per-run {gpus_per_run:g}" if address is None else f"--address {address}"
        raise UsageError(f"{given}: is ray's, expected --executor ray instead of {name}")


def create_workers(
    executor: str,
    *,
    workers: int | None,
    threads: int,
    timeout: float,
    preload: Sequence[str],
    address: str | None = None,
    gpus_per_run: float = 0.0,
) -> Workers:
    """The workers of an executor.

    Args:
        executor: ``local`` (one job at a time), ``processes`` or ``ray``.
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
    check_executor(executor, workers, address, gpus_per_run)
    if executor == "ray":
        from ablations.workers.ray import RayWorkers

        return RayWorkers(
            workers, threads=threads, timeout=timeout, address=address, gpus_per_run=gpus_per_run
        )
    slots = 1 if executor == "local" else workers or max(1, cores() // threads)
    return LocalWorkers(slots, timeout=timeout, preload=preload)
