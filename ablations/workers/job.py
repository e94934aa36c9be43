"""What a worker does with a job: import users' modules, call the work, say how it ended.

Payload and outcome are plain data: they cross a pipe, or machines under ray.
"""

from __future__ import annotations

import fcntl
import importlib
import os
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypedDict

from hevitpose.config import Config
from hevitpose.errors import BusyError, HEViTPoseError
from hevitpose.isolated import Outcome
from hevitpose.models.imports import import_files
from hevitpose.records import provenance

LOG = "log.txt"
LOG_LINES = 15
_ORPHAN_SECONDS = 30.0
Report = Callable[[int, int], None]


class Payload(TypedDict):
    """What a worker is told."""

    work: str  # the module whose function of the kind's name does it
    kind: str
    config: dict[str, Any]
    folder: str  # of the job, for checkpoints and artifacts


class Result(TypedDict):
    """The result of an outcome, also of a failure: what only the worker knows of a record."""

    fields: dict[str, Any]  # metrics, params, latency ...; empty for a failure
    started_at: str
    seconds: float
    code: dict[str, Any]
    machine: dict[str, Any]
    versions: dict[str, Any]


def run_job(payload: Payload, report: Report) -> Outcome:
    """Do one measurement; never raises, but for an interrupt.

    Args:
        payload: what to do.
        report: told how much is done and how much there is.

    Returns:
        The outcome, with a :class:`Result`.
    """
    started, clock = datetime.now(UTC), time.monotonic()
    fields, outcome = {}, Outcome("ok")
    try:
        config = Config.model_validate(payload["config"])
        import_files(config.imports)
        function = getattr(importlib.import_module(payload["work"]), payload["kind"])
        fields = function(config, Path(payload["folder"]), report)
    except Exception as error:
        if not isinstance(error, HEViTPoseError):
            traceback.print_exception(error)  # into the log
        outcome = Outcome.of(error)
    result: Result = {
        "fields": fields,
        "started_at": started.isoformat(),
        "seconds": time.monotonic() - clock,
        **here(),  # type: ignore[typeddict-item]
    }
    return replace(outcome, result=result)


def at_most_every(seconds: float, report: Report) -> Report:
    """A report that is passed on when the last one is so long ago, or when all is done."""
    last = 0.0

    def passed_on(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= seconds or done >= total:
            last = now
            report(done, total)

    return passed_on


def here() -> dict[str, Any]:
    """Code, machine and versions of this process, as a record says them."""
    return {
        "code": provenance.code(),
        "machine": provenance.machine(),
        "versions": provenance.versions(),
    }


def last_lines(folder: Path) -> str:
    """The end of a job's log."""
    try:
        text = (folder / LOG).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-LOG_LINES:])


def open_log(folder: Path) -> int:
    """The job's log, locked: waits for the child of a killed runner to be gone from the folder.

    Raises:
        BusyError: it is still there.
        HEViTPoseError: the folder cannot be written.
    """
    deadline = time.monotonic() + _ORPHAN_SECONDS
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            log = os.open(folder / LOG, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
        except OSError as error:
            raise HEViTPoseError(f"{folder}: cannot be written ({error.strerror})") from None
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return log
        except OSError:
            os.close(log)
            if time.monotonic() > deadline:
                raise BusyError(f"{folder}: another process is working in it") from None
            time.sleep(0.05)
