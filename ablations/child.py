"""What a child process does with a cell: import users' modules, call the work, say how it ended.

The outcome is plain data, whatever happens inside: it crosses a pipe, or machines under ray.
"""

from __future__ import annotations

import fcntl
import importlib
import os
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypedDict

from hevitpose.config import Config
from hevitpose.errors import HEViTPoseError
from hevitpose.imports import import_files
from hevitpose.records import provenance

LOG = "log.txt"
LOG_LINES = 15
_ORPHAN_SECONDS = 30.0
Report = Callable[[int, int], None]


class Payload(TypedDict):
    """What a child is told."""

    work: str  # the module whose function of the kind's name does it
    kind: str
    config: dict[str, Any]
    folder: str  # of the cell, for checkpoints and artifacts


class Outcome(TypedDict, total=False):
    """What it says at the end."""

    status: str  # as in a record
    error: str | None
    fields: dict[str, Any]  # of the record: metrics, params, latency ...
    started_at: str
    seconds: float
    code: dict[str, Any]
    machine: dict[str, Any]
    versions: dict[str, Any]


def run_job(payload: Payload, report: Report) -> Outcome:
    """Does one measurement; never raises, but for an interrupt.

    Args:
        payload: what to do.
        report: told how much is done and how much there is.
    """
    started, clock = datetime.now(UTC), time.monotonic()
    outcome: Outcome = {"status": "ok", "error": None, "fields": {}}
    try:
        config = Config.model_validate(payload["config"])
        import_files(config.imports)
        function = getattr(importlib.import_module(payload["work"]), payload["kind"])
        outcome["fields"] = function(config, Path(payload["folder"]), report)
    except Exception as error:
        outcome["status"] = _status(error)
        outcome["error"] = _reason(error)
    outcome["started_at"] = started.isoformat()
    outcome["seconds"] = time.monotonic() - clock
    outcome["code"] = provenance.code()
    outcome["machine"] = provenance.machine()
    outcome["versions"] = provenance.versions()
    return outcome


def _status(error: Exception) -> str:
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & {"MemoryError", "OutOfMemoryError"} or "out of memory" in str(error).lower():
        return "oom"
    if names & {"Diverged", "DivergedError"}:
        return "diverged"
    return "skipped" if "UnavailableError" in names else "failed"


def _reason(error: Exception) -> str:
    """One line; of an unexpected error also where it came from."""
    if isinstance(error, HEViTPoseError):
        return str(error)
    traceback.print_exception(error)  # into the log
    frame = traceback.extract_tb(error.__traceback__)[-1]
    text = str(error).strip().splitlines()
    where = f"{Path(frame.filename).name}:{frame.lineno}"
    return f"{type(error).__name__}: {text[0] if text else ''} ({where})"


def last_lines(folder: Path) -> str:
    """The end of a cell's log."""
    try:
        text = (folder / LOG).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-LOG_LINES:])


def open_log(folder: Path) -> int:
    """The cell's log, locked: waits for the child of a killed runner to be gone from the folder.

    Raises:
        HEViTPoseError: it is still there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + _ORPHAN_SECONDS
    while True:
        log = os.open(folder / LOG, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return log
        except OSError:
            os.close(log)
            if time.monotonic() > deadline:
                raise HEViTPoseError(f"{folder}: another process is working in it") from None
            time.sleep(0.05)
