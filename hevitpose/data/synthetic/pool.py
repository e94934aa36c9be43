"""Worker processes that render chunks of images.

Plain child processes that read jobs from their standard input, rather than ``multiprocessing``:
its children import the caller's main script again, which breaks (or repeats the work) when that
script has no ``if __name__ == "__main__":`` or comes from standard input. They run in sessions of
their own, so that Ctrl-C reaches the parent alone, and end when the parent closes their input or
is gone, whatever they are at. The child's side is ``worker.py``.
"""

from __future__ import annotations

import os
import pickle
import queue
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path
from typing import Any

from hevitpose.errors import DataError


class _Worker:
    """One child process and its two pipes."""

    def __init__(self) -> None:
        above = str(Path(__file__).resolve().parents[3])
        path = os.pathsep.join(filter(None, (above, os.environ.get("PYTHONPATH"))))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "hevitpose.data.synthetic.worker", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,
        )

    def run(self, function: Callable, arguments: tuple) -> Any:
        """The function's result, or what it raised."""
        try:
            pickle.dump((function, arguments), self._process.stdin)  # type: ignore[arg-type]
            self._process.stdin.flush()  # type: ignore[union-attr]
            reply = pickle.load(self._process.stdout)  # type: ignore[arg-type]  # noqa: S301 (ours)
        except (EOFError, BrokenPipeError, pickle.UnpicklingError) as error:
            code = self._process.wait()
            raise DataError(f"a rendering process ended with status {code}") from error
        if isinstance(reply, Exception):
            raise reply
        return reply

    def close(self) -> None:
        """End the process once it has finished what it is at."""
        with suppress(BrokenPipeError):  # it has ended already, and run() has said so
            self._process.stdin.close()  # type: ignore[union-attr]
        self._process.wait()
        self._process.stdout.close()  # type: ignore[union-attr]


def run(function: Callable, arguments: Sequence[tuple], workers: int) -> Iterator[Any]:
    """Results of ``function(*arguments[i])`` in the order in which they are finished.

    Args:
        function: importable by name.
        arguments: one tuple per call.
        workers: processes.

    Yields:
        Each call's result.

    Raises:
        DataError: a process died.
        Exception: whatever the function raised. In either case, and when the caller stops early,
            every process has ended by the time this returns.
    """
    idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
    started = [_Worker() for _ in range(workers)]
    for worker in started:
        idle.put(worker)

    def call(one: tuple) -> Any:
        worker = idle.get()
        try:
            return worker.run(function, one)
        finally:
            idle.put(worker)

    threads = ThreadPoolExecutor(workers)
    try:
        for future in as_completed([threads.submit(call, one) for one in arguments]):
            yield future.result()
    finally:
        threads.shutdown(wait=True, cancel_futures=True)
        for worker in started:
            worker.close()
