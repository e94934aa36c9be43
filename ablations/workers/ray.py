"""Workers of a ray cluster: scheduling, retries and fractional GPUs are ray's.

The driver plans, leases and writes records; a task does one job in a fresh worker process. All
nodes see the project and the output folder under the same path (a shared file system), so that a
job that lost its worker goes on from its last checkpoint on another. See ``docs/cluster.md``.
"""

from __future__ import annotations

import os
import socket
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from ablations.workers.job import Payload, at_most_every, open_log, run_job
from hevitpose.errors import HEViTPoseError, UsageError, first_line
from hevitpose.isolated import Outcome, Stopwatch
from hevitpose.sizes import is_number

RETRIES = 3
_REPORT_SECONDS = 1.0
_CONNECT_SECONDS = 5.0


class RayWorkers:
    """See :class:`ablations.workers.Workers`.

    Args:
        workers: jobs at once; None: what the cluster's cores (GPUs) take.
        threads: cores of a job.
        timeout: seconds without a sign of life before a job counts as hung.
        address: ``auto``, ``HOST:PORT`` or ``ray://HOST:PORT``; None starts ray on this machine.
        gpus_per_run: GPUs of a job; may be a fraction.

    Raises:
        HEViTPoseError: ray is not installed, the cluster does not answer, or cannot take one job.
    """

    def __init__(
        self,
        workers: int | None,
        *,
        threads: int,
        timeout: float,
        address: str | None = None,
        gpus_per_run: float = 0.0,
    ) -> None:
        self.timeout = timeout
        self._ray = _connect(address)
        ray = self._ray
        resources = ray.cluster_resources()
        fit = int(resources.get("CPU", 0) // threads)
        if gpus_per_run:
            fit = min(fit, int(resources.get("GPU", 0) / gpus_per_run + 1e-9))
        if fit < 1:
            self.close()
            raise HEViTPoseError(
                f"ray: a job of {threads} cores and {gpus_per_run:g} GPUs does not fit the "
                f"cluster ({resources.get('CPU', 0):g} cores, {resources.get('GPU', 0):g} GPUs)"
            )
        self.slots = min(workers or fit, fit)
        # max_calls: a fresh process for each job, as with forked children.
        self._task = ray.remote(
            num_cpus=threads, num_gpus=gpus_per_run, max_retries=RETRIES, max_calls=1
        )(_job)
        self._board = ray.remote(num_cpus=0)(_Board).remote()
        self._running: dict[str, Any] = {}  # key -> reference
        self._silence: dict[str, Stopwatch] = {}  # of those that began: others wait for a worker
        self._progress: dict[str, tuple[int, int]] = {}

    def start(self, key: str, payload: Payload, threads: int) -> None:
        """See :class:`ablations.workers.Workers`."""
        environment = {"OMP_NUM_THREADS": str(threads)}
        task = self._task.options(runtime_env={"env_vars": environment})
        where = str(Path.cwd())
        self._running[key] = task.remote(payload, key, where, list(sys.path), self._board)
        self._progress[key] = (0, 0)

    def wait(self, seconds: float) -> list[tuple[str, Outcome]]:
        """See :class:`ablations.workers.Workers`."""
        references = {reference: key for key, reference in self._running.items()}
        ready, _ = self._ray.wait(list(references), timeout=seconds)
        ended = [(references[reference], self._outcome(reference)) for reference in ready]
        self._look()
        done = {key for key, _ in ended}
        for key, silence in self._silence.items():
            if key not in done and silence.seconds() > self.timeout:
                self._ray.cancel(self._running[key], force=True)
                ended.append((key, Outcome.late(self.timeout)))
        for key, _ in ended:
            del self._running[key]
            del self._progress[key]
            self._silence.pop(key, None)
        return ended

    def progress(self, key: str) -> tuple[int, int]:
        """See :class:`ablations.workers.Workers`."""
        return self._progress[key]

    def close(self) -> None:
        """See :class:`ablations.workers.Workers`."""
        for reference in getattr(self, "_running", {}).values():
            self._ray.cancel(reference, force=True)
        self._ray.shutdown()

    def _look(self) -> None:
        """Takes in what jobs reported."""
        try:
            reports = self._ray.get(self._board.read.remote(), timeout=10)
        except self._ray.exceptions.RayError:
            return  # a display, and the timeout, can wait for the next look
        for key, report in reports.items():
            if key not in self._running:
                continue
            if key not in self._silence or report != self._progress[key]:
                self._progress[key] = report
                self._silence[key] = Stopwatch()

    def _outcome(self, reference: Any) -> Outcome:
        errors = self._ray.exceptions
        try:
            return self._ray.get(reference)
        except errors.OutOfMemoryError as error:
            return Outcome("oom", first_line(str(error), type(error).__name__))
        except errors.WorkerCrashedError:
            return Outcome("oom", f"the worker died {RETRIES + 1} times, out of memory (probably)")
        except errors.RayError as error:
            return Outcome("failed", f"ray: {first_line(str(error), type(error).__name__)}")


class _Board:
    """What jobs report; an actor."""

    def __init__(self) -> None:
        self.reports: dict[str, tuple[int, int]] = {}

    def write(self, key: str, done: int, total: int) -> None:
        self.reports[key] = (done, total)

    def read(self) -> dict[str, tuple[int, int]]:
        return self.reports


def _job(payload: Payload, key: str, where: str, path: list[str], board: Any) -> Outcome:
    """Runs in a worker."""
    try:
        os.chdir(where)
        sys.path[:] = list(dict.fromkeys([*path, *sys.path]))
        log = open_log(Path(payload["folder"]))
    except (OSError, HEViTPoseError) as error:
        return replace(Outcome.of(error), reason=f"worker: {error}")
    os.dup2(log, 1)
    os.dup2(log, 2)

    def report(done: int, total: int) -> None:
        board.write.remote(key, done, total)

    report(0, 0)  # it has begun
    return run_job(payload, at_most_every(_REPORT_SECONDS, report))


def _connect(address: str | None) -> Any:
    try:
        import ray
    except ImportError:
        raise HEViTPoseError(
            "--executor ray: ray is not installed (pip install -e '.[cluster]')"
        ) from None
    if address is not None and address != "auto":
        _check_reachable(address)
    quiet: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
    try:
        if address is None:
            from hevitpose.records.provenance import cores

            ray.init(num_cpus=cores(), include_dashboard=False, **quiet)
        else:
            ray.init(address=address, **quiet)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError, OSError) as error:
        where = address or "this machine"
        why = first_line(str(error), type(error).__name__)
        raise HEViTPoseError(f"ray at {where}: {why}") from None
    return ray


def _check_reachable(address: str) -> None:
    """Ray itself waits for minutes before it says that nobody is there."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not is_number(port) or len(port) > len("65535"):
        raise UsageError(f"--address {address!r}: expected auto, HOST:PORT or ray://HOST:PORT")
    try:
        socket.create_connection((host, int(port)), _CONNECT_SECONDS).close()
    except OSError as error:
        raise HEViTPoseError(f"ray at {address}: no answer ({error.strerror or error})") from None
