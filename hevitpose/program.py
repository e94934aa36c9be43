"""How the programs of this project end: signals as Ctrl-C, a full disk behind the output as a line.

Torch-free.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn, TextIO

from hevitpose.errors import HEViTPoseError

#: A scheduler's and a shutdown's, a closed terminal's, and Ctrl-\.
_SIGNALS = ("SIGTERM", "SIGHUP", "SIGQUIT")
#: An interrupt that some library lost, or whose clearing up hangs, ends the process after so long.
_PATIENCE_SECONDS = 20.0


@contextmanager
def interruptible() -> Iterator[None]:
    """Within the block, SIGTERM, SIGHUP and SIGQUIT raise ``KeyboardInterrupt`` as SIGINT does.

    A signal that was ignored before (``nohup``) stays so; in a thread, all of them do. What fails
    while an interrupt is on its way out, a library's clearing up for one, is the interrupt.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    over = threading.Event()

    def interrupt(number: int, frame: FrameType | None) -> None:
        threading.Thread(target=_insist, args=(over, os.getpid()), daemon=True).start()
        raise KeyboardInterrupt

    before = {}
    for name in _SIGNALS:
        known = getattr(signal, name, None)  # Windows has not all of them
        if known is not None and signal.getsignal(known) != signal.SIG_IGN:
            before[known] = signal.signal(known, interrupt)
    try:
        yield
    except Exception as error:
        if _while_interrupted(error):
            raise KeyboardInterrupt from error
        raise
    finally:
        over.set()
        for known, handler in before.items():
            signal.signal(known, handler)


def _while_interrupted(error: BaseException) -> bool:
    before = error.__context__
    while before is not None and not isinstance(before, KeyboardInterrupt):
        before = before.__context__
    return before is not None


def _insist(over: threading.Event, pid: int) -> None:
    if not over.wait(_PATIENCE_SECONDS) and os.getpid() == pid:
        os.write(2, b"error: interrupted, and ended without clearing up\n")
        os._exit(1)


@contextmanager
def ending() -> Iterator[None]:
    """The outermost block of a program: :func:`interruptible`, and what is printed is written.

    Raises:
        BrokenPipeError: who reads, ``head`` for one, has had enough.
        HEViTPoseError: standard output cannot be written (a full disk).
    """
    before = sys.stdout
    if before is not None:  # closed from the start: nothing is printed
        sys.stdout = _Output(before)  # type: ignore[assignment]
    try:
        with interruptible():
            yield
            if before is not None:
                sys.stdout.flush()
    finally:
        sys.stdout = before


def exit_code(command: Callable[[], int], interrupted: str = "interrupted") -> int:
    """What a command returns; of an error its code, after its line.

    Args:
        command: the work; its result is the exit code.
        interrupted: said on Ctrl-C, unless the command says it better; the code is 130 then.
    """
    try:
        with ending():
            return command()
    except HEViTPoseError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # who reads, ``head`` for one, has had enough
        return 1
    except KeyboardInterrupt as interrupt:
        print(interrupt.args[0] if interrupt.args else interrupted, file=sys.stderr)
        return 130


class _Output:
    """A standard output whose errors are told from those of other files."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            self._fail(error)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> NoReturn:
        with suppress(OSError, ValueError):  # no file behind it
            # Python flushes once more at exit, and would say so in its own words.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
        if isinstance(error, BrokenPipeError):
            raise error
        raise HEViTPoseError(f"standard output: cannot be written ({error.strerror})") from None
