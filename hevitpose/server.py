"""Loaded first by the server that children are forked from, so that it ends with who started it.

The server looks whether it is still needed only once everything else is loaded, and takes it apart
again before it goes: ten seconds and more of torch on a busy machine. Torch-free.
"""

from __future__ import annotations

import fcntl
import os
import re
import signal
import sys

#: Environment variable with the process id of the starter.
STARTER = "HEVITPOSE_SERVER_OF"
_LOOK_SECONDS = 0.5
#: What multiprocessing starts; the second number is the pipe that closes with the starter.
_STARTED = re.compile(r"from multiprocessing\.forkserver import main; main\(\d+, (\d+), ")


def end_with_starter(starter: int, pipe: int) -> None:
    """Have this process end when its starter is gone.

    Args:
        starter: its process id.
        pipe: whose other end the starter has.
    """

    def look(*_: object) -> None:
        if os.getppid() != starter:
            os._exit(0)

    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, _LOOK_SECONDS, _LOOK_SECONDS)  # not of forked children
    look()
    # Also while it is stopped, Linux itself sends a signal when the other end is closed. Requests
    # for children that nobody has answered yet hold it open, so that this alone is not enough.
    if hasattr(fcntl, "F_SETSIG"):
        fcntl.fcntl(pipe, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(pipe, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(pipe, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)


if STARTER in os.environ and (found := _STARTED.match(sys.orig_argv[-1])):
    end_with_starter(int(os.environ[STARTER]), int(found[1]))
