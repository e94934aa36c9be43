"""Each cell in a process of its own, forked from a server that has the heavy modules loaded.

An out-of-memory kill, a hang or a crash of the interpreter is an outcome like any other. A child
whose runner was killed ends by itself.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from ablations.child import Outcome, Payload, open_log, run_job

PRELOAD = ("ablations.preload",)
_REPORT_SECONDS = 0.5
_GRACE_SECONDS = 5.0


class Child:
    """A running cell.

    Args:
        payload: what it does.
        timeout: seconds without a sign of life after which it counts as hung.
        preload: modules that the fork server has loaded.
        environment: variables set in the child before the work is imported.
    """

    def __init__(
        self,
        payload: Payload,
        *,
        timeout: float,
        preload: Sequence[str] = PRELOAD,
        environment: dict[str, str] | None = None,
    ) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(preload))
        self.payload, self.timeout = payload, timeout
        self.progress = (0, 0)
        self.started = self.heard = time.monotonic()
        self.pipe, theirs = context.Pipe(duplex=False)
        self._kills = oom_kills()
        self._process = context.Process(
            target=_main, args=(payload, theirs, environment or {}), daemon=False
        )
        self._process.start()
        theirs.close()

    def poll(self) -> Outcome | None:
        """Takes in what the child said; its outcome once it has ended or hangs."""
        try:
            while self.pipe.poll():
                kind, value = self.pipe.recv()
                self.heard = time.monotonic()
                if kind == "outcome":
                    self._process.join(_GRACE_SECONDS)
                    self.stop()
                    return value
                self.progress = value
        except (EOFError, OSError):
            self._process.join(_GRACE_SECONDS)
            self.stop()
            return self._died()
        if time.monotonic() - self.heard > self.timeout:
            self.stop()
            return {"status": "failed", "error": f"hung: no sign of life for {self.timeout:.0f} s"}
        return None

    def stop(self) -> None:
        """Ends the process if it is still there."""
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self.pipe.close()

    def _died(self) -> Outcome:
        code = self._process.exitcode
        if code is not None and code < 0:
            if -code == signal.SIGKILL:
                counted = self._kills is not None and oom_kills() != self._kills
                sure = "by the kernel" if counted else "probably"
                return {"status": "oom", "error": f"killed by SIGKILL, out of memory ({sure})"}
            name = signal.Signals(-code).name if -code in list(signal.Signals) else str(-code)
            return {"status": "failed", "error": f"killed by {name}"}
        return {"status": "failed", "error": f"the process ended with exit code {code}"}


def wait_for(children: Sequence[Child], seconds: float) -> None:
    """Returns when a child says something or ends, at the latest after some seconds."""
    if children:
        wait([child.pipe for child in children], seconds)
    else:
        time.sleep(seconds)


def oom_kills() -> int | None:
    """Out-of-memory kills in this control group so far, where the kernel tells."""
    try:
        for line in Path("/sys/fs/cgroup/memory.events").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    except (OSError, ValueError):
        pass
    return None


def _main(payload: Payload, pipe: Connection, environment: dict[str, str]) -> None:
    """Runs in the child."""
    os.environ.update(environment)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the runner decides, and ends its children
    lock = threading.Lock()
    last = 0.0

    def report(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _REPORT_SECONDS or done >= total:
            last = now
            send(("progress", (done, total)))

    def send(message: tuple[str, Any]) -> None:
        with lock:
            pipe.send(message)

    try:
        log = open_log(Path(payload["folder"]))
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        outcome = run_job(payload, report)
    except Exception as error:  # the folder: a full or read-only disk, an orphan in it
        outcome = {"status": "failed", "error": str(error)}
    send(("outcome", outcome))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
