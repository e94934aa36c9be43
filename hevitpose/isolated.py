"""Work in a process of its own, whose crash, hang or out-of-memory kill is an outcome like another.

Children are forked from a server that has the heavy modules loaded (0.2 s a child, not 4). Each
leads a process group of its own, which ends with it; it ends with its parent, whoever was killed or
stopped. So Ctrl-C and Ctrl-Z reach the parent alone.
"""

from __future__ import annotations

import atexit
import ctypes
import fcntl
import multiprocessing
import multiprocessing.forkserver
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from hevitpose.errors import (
    BusyError,
    DivergedError,
    HEViTPoseError,
    UnavailableError,
    first_line,
)
from hevitpose.server import STARTER

ROOT = Path(__file__).resolve().parent.parent
_GRACE_SECONDS = 5.0
#: A longer time between two looks is not silence: this process was stopped, or the machine slept.
_LONGEST_LOOK = 2.0
#: How running out of memory reads in torch, onnxruntime and C++.
_NO_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "failed to allocate",
              "bad_alloc", "bad allocation")  # fmt: skip
_LATE = "timeout:"
#: The status of what was not tried, as another process works in its folder; no record has it.
BUSY = "busy"
#: What multiprocessing calls the exit code of a child whose server ended before it could tell.
_NOBODY_KNOWS = 255
_PR_SET_PDEATHSIG = 1  # of linux/prctl.h
_LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Outcome:
    """What came of some work."""

    status: str  # ok; skipped (unavailable on this machine), failed, oom, diverged, busy
    reason: str | None = None  # one line; None where ok
    result: Any = None

    @classmethod
    def of(cls, error: Exception) -> Outcome:
        """The outcome that an exception means: of an unexpected one also where it came from."""
        text = str(error).strip()
        names = {kind.__name__ for kind in type(error).__mro__}
        status = "failed"
        if names & {"MemoryError", "OutOfMemoryError"} or any(
            words in text.lower() for words in _NO_MEMORY
        ):
            status = "oom"
        elif isinstance(error, DivergedError):
            status = "diverged"
        elif isinstance(error, UnavailableError):
            status = "skipped"
        elif isinstance(error, BusyError):
            status = BUSY
        if isinstance(error, HEViTPoseError):
            return cls(status, text)
        line = first_line(text, "")[:300]
        frames = traceback.extract_tb(error.__traceback__)
        where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
        return cls(status, f"{type(error).__name__}{': ' if line else ''}{line}{where}")

    @classmethod
    def late(cls, seconds: float) -> Outcome:
        """Nothing came in the time there was."""
        return cls("failed", f"{_LATE} no sign of life for {seconds:.0f} s")

    @property
    def is_late(self) -> bool:
        """Whether the time was over, and nothing else."""
        return self.status == "failed" and (self.reason or "").startswith(_LATE)


class Stopwatch:
    """Seconds in which this process was awake, as seen from its looks at the watch.

    A stopped process or a sleeping machine counts as at most two seconds, and only if somebody
    looks at least every two seconds is it exact.
    """

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Back to zero."""
        self._seconds, self._looked = 0.0, time.monotonic()

    def seconds(self) -> float:
        """Seconds so far."""
        now = time.monotonic()
        self._seconds += min(now - self._looked, _LONGEST_LOOK)
        self._looked = now
        return self._seconds


class Child:
    """A process that does some work and sends messages about it, an :class:`Outcome` at the end.

    Args:
        work: called in the child with its end of the pipe and the arguments; a module's function.
            What it raises is sent as an outcome.
        arguments: of the work; can be pickled.
        preload: modules that the server of all children loads, if it does not run yet. None may
            touch a GPU.
        environment: variables set in the child before the work begins.

    Attributes:
        pipe: ready to be read where a message has come or the child has ended.
        silence: since the last message that was received.
    """

    def __init__(
        self,
        work: Callable[..., None],
        *arguments: Any,
        preload: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        server = context(preload)
        self._oom_kills = _oom_kills()
        self.pipe, theirs = server.Pipe()
        self._process = server.Process(
            target=_main, args=(work, theirs, arguments, dict(environment or {}))
        )
        _wake_server()
        self._process.start()
        self._server = _server_pid()
        theirs.close()
        self.silence = Stopwatch()
        atexit.register(self.stop)

    def send(self, message: Any) -> None:
        """Say something to the work."""
        with suppress(BrokenPipeError):  # receive() says what became of it
            self.pipe.send(message)

    def receive(self, timeout: float) -> Any:
        """The next message; an :class:`Outcome` if the child has ended, or says nothing in time.

        Args:
            timeout: seconds.
        """
        watch = Stopwatch()
        while not self.pipe.poll(max(0.0, min(timeout - watch.seconds(), _LONGEST_LOOK / 2))):
            if watch.seconds() >= timeout:
                return Outcome.late(timeout)
        self.silence.restart()
        try:
            return self.pipe.recv()
        except (EOFError, OSError):
            self.stop(_GRACE_SECONDS)
            return self._died()

    def stop(self, patience: float = 0.0) -> None:
        """End the process and all that it started, if it does not end by itself.

        Args:
            patience: seconds that it gets to do so.
        """
        atexit.unregister(self.stop)
        self._process.join(patience)
        with suppress(ProcessLookupError, PermissionError):  # nobody is left in the group
            os.killpg(self._process.pid, signal.SIGKILL)
        if self._process.is_alive():
            self._process.kill()  # it has no group yet
            _wake_server()  # it is what tells us of the end
            self._process.join(_GRACE_SECONDS)
        self.pipe.close()

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._process.is_alive()

    def _died(self) -> Outcome:
        code = self._process.exitcode
        if code == _NOBODY_KNOWS and _has_ended(self._server):
            return Outcome(
                "failed",
                "the process ended without a result; how, nobody knows: the server of all "
                "children, which would tell, was killed",
            )
        if code is None or code >= 0:
            return Outcome("failed", f"the process ended with exit code {code} and no result")
        if -code == signal.SIGKILL:
            counted = self._oom_kills is not None and _oom_kills() != self._oom_kills
            sure = "by the kernel" if counted else "probably"
            return Outcome("oom", f"killed by SIGKILL, out of memory ({sure})")
        known = {int(number): number.name for number in signal.Signals}
        return Outcome("failed", f"killed by {known.get(-code, -code)}")


def context(preload: Sequence[str] = ()) -> Any:
    """Where processes come from: a server that has modules loaded, from its start on."""
    server = multiprocessing.get_context("forkserver")
    # The server does not inherit sys.path: without this, its preloading fails and is skipped.
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if str(ROOT) not in paths:
        os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, paths)])
    os.environ[STARTER] = str(os.getpid())
    server.set_forkserver_preload(["hevitpose.server", __name__, *preload])
    return server


def _wake_server() -> None:
    """Continue the server, had somebody stopped all children: it forks and tells of their ends."""
    pid = _server_pid()
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def _server_pid() -> int | None:
    return getattr(multiprocessing.forkserver._forkserver, "_forkserver_pid", None)


def _has_ended(child: int | None) -> bool:
    """Whether a child of this very process has; its status stays for whoever waits for it."""
    if child is None:
        return False
    try:
        return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:  # waited for already: another server has taken its place
        return True


def _oom_kills() -> int | None:
    """Out-of-memory kills in this control group so far, where the kernel tells."""
    try:
        for line in Path("/sys/fs/cgroup/memory.events").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    except (OSError, ValueError):
        pass
    return None


def end_with(parent: int) -> None:
    """Have this process killed when the one that started it is gone, also while it is stopped.

    For processes that were not started as a :class:`Child`.

    Args:
        parent: the id of the process that started this one.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_SECONDS)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=look, daemon=True).start()


# In the child ----------------------------------------------------------------------------------


def _main(
    work: Callable[..., None],
    pipe: Connection,
    arguments: Sequence[Any],
    environment: Mapping[str, str],
) -> None:
    os.environ.update(environment)
    _end_with_parent()
    with suppress(BrokenPipeError):  # the parent is gone, or has heard enough
        try:
            work(pipe, *arguments)
        except BrokenPipeError:
            raise
        except Exception as error:
            pipe.send(Outcome.of(error))


def _end_with_parent() -> None:
    """Have this process and all that it starts killed when its parent is gone."""
    os.setpgid(0, 0)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_kill_after, args=(parent.sentinel,), daemon=True).start()
    # The thread does not run while the process is stopped, or in one long operation. Linux itself
    # sends a signal when the parent's end of its pipe is closed.
    if hasattr(fcntl, "F_SETSIG"):
        fcntl.fcntl(parent.sentinel, fcntl.F_SETOWN, -os.getpid())
        fcntl.fcntl(parent.sentinel, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(parent.sentinel, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)


def _kill_after(sentinel: int) -> None:
    wait([sentinel])
    os.killpg(0, signal.SIGKILL)
