"""Each measurement in a process of its own: a fresh allocator, and a failure that is only a row.

Children are forked from a server that has the heavy imports done (0.2 s a child, not 4).
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from hevitpose.errors import HEViTPoseError, UsageError

ROOT = Path(__file__).resolve().parent.parent
_PRELOAD = [
    "torch",
    "timm",
    "hevitpose.models.peers",
    "hevitpose.cost.latency",
    "hevitpose.inference.export",
]
#: How running out of memory reads in torch, onnxruntime and C++.
_NO_MEMORY = ("not enough memory", "can't allocate memory", "failed to allocate", "bad_alloc",
              "bad allocation", "out of memory")  # fmt: skip
#: How the reason of a late outcome begins.
_LATE = "timeout:"


@dataclass(frozen=True)
class Task:
    """One model under one set of conditions."""

    model: str
    keypoints: int
    conditions: Any  # hevitpose.cost.latency.Conditions
    budget: Any  # hevitpose.cost.latency.Budget
    seed: int = 0
    options: tuple[tuple[str, Any], ...] = ()  # of the network, where not its name's own
    imports: tuple[Path, ...] = ()  # users' modules that it needs


@dataclass(frozen=True)
class Outcome:
    """What came of a task."""

    status: str  # ok, skipped, failed, oom
    reason: str | None = None  # one line; None where ok
    result: Any = None  # hevitpose.cost.latency.LatencyResult

    @property
    def is_late(self) -> bool:
        """Whether it is the time that was over, and nothing else."""
        return self.status == "failed" and (self.reason or "").startswith(_LATE)


def prepared(task: Task) -> Any:
    """The task's model, built and settled: a :class:`hevitpose.cost.latency.Prepared` to enter."""
    from hevitpose.cost.latency import Prepared
    from hevitpose.imports import import_files

    import_files(task.imports)
    size = task.conditions.input_size
    model = _model(task.model, task.keypoints, size, task.seed, task.options)
    return Prepared(model, task.conditions, task.budget, seed=task.seed)


@functools.lru_cache(maxsize=16)  # a group takes its networks in turn; on the CPU they are small
def _model(
    name: str,
    keypoints: int,
    size: tuple[int, int],
    seed: int,
    options: tuple[tuple[str, Any], ...] = (),
) -> Any:
    from hevitpose.cost.latency import settle_
    from hevitpose.models import create_for_input

    model = create_for_input(name, keypoints, size, seed=seed, **dict(options))
    settle_(model, size, seed)
    return model


def measure_task(task: Task) -> Any:
    """The task's measurement, in this process."""
    with prepared(task) as ready:
        return ready.result()


def run(task: Task, timeout: float = 600.0, work: Callable[[Task], Any] = measure_task) -> Outcome:
    """The task in a child of its own; whatever happens to the child, an outcome comes back.

    Args:
        task: what to measure.
        timeout: seconds, after which the child is ended and the outcome says so.
        work: called in the child with the task; a module's function.
    """
    [outcome] = run_group([task], timeout, work)
    return outcome


def run_group(
    tasks: Sequence[Any],
    timeout: float,
    work: Callable[[Any], Any] = measure_task,
    *,
    daemon: bool = True,
) -> Iterator[Outcome]:
    """Several tasks in one child, which saves its start and its GPU context for all but the first.

    After an outcome that is not ok (a GPU may be unusable for the process then) the rest goes to a
    new child.

    Args:
        tasks: each with ``conditions``.
        timeout: seconds for all together; the task that is on then is the last with an outcome.
        work: called in the child with a task; a module's function.
        daemon: False where the work starts processes of its own.

    Yields:
        An outcome per task, in order, as it comes.
    """
    end, rest = time.monotonic() + timeout, list(tasks)
    while rest:
        ours, theirs = context().Pipe()
        process = context().Process(target=_answer, args=(theirs, work, rest), daemon=daemon)
        process.start()
        theirs.close()
        try:
            status = "ok"
            while rest and status == "ok":
                if not ours.poll(max(0.0, end - time.monotonic())):
                    yield Outcome("failed", f"{_LATE} no result after {timeout:.0f} s")
                    return
                try:
                    outcome: Outcome = ours.recv()
                except EOFError:
                    process.join()
                    outcome = _died(process.exitcode)
                status, rest = outcome.status, rest[1:]
                yield outcome
        finally:
            _end(process, patience=0.0 if rest and status == "ok" else 2.0)


class Contender:
    """A model made ready in a process of its own, which measures a round whenever asked.

    Args:
        task: what to measure.
        timeout: seconds for getting ready, and for a round.

    Raises:
        HEViTPoseError: it could not be made ready; the message is the reason.
    """

    def __init__(self, task: Task, timeout: float = 600.0) -> None:
        self.timeout = timeout
        self._pipe, theirs = context().Pipe()
        self._process = context().Process(target=_serve, args=(theirs, task), daemon=True)
        self._process.start()
        theirs.close()
        try:
            self._receive()
        except HEViTPoseError:
            self.close()
            raise

    def round(self) -> list[float]:
        """Wall times of one round, ms."""
        self._pipe.send("round")
        return self._receive()

    def result(self) -> Any:
        """All rounds together as a :class:`hevitpose.cost.latency.LatencyResult`."""
        self._pipe.send("result")
        return self._receive()

    def close(self) -> None:
        """End the process."""
        _end(self._process)

    def _receive(self) -> Any:
        try:
            if not self._pipe.poll(self.timeout):
                raise HEViTPoseError(f"timeout: no answer after {self.timeout:.0f} s")
            answer: Outcome = self._pipe.recv()
        except EOFError:
            self._process.join()
            answer = _died(self._process.exitcode)
        if answer.status != "ok":
            raise HEViTPoseError(f"{answer.status}: {answer.reason}")
        return answer.result


@contextlib.contextmanager
def contenders(tasks: dict[str, Task], timeout: float = 600.0) -> Iterator[dict[str, Contender]]:
    """Contenders by name, ended when the block ends.

    Raises:
        HEViTPoseError: one cannot be made ready; the message names it.
    """
    with contextlib.ExitStack() as stack:
        ready = {}
        for name, task in tasks.items():
            try:
                ready[name] = Contender(task, timeout)
            except HEViTPoseError as error:
                raise HEViTPoseError(f"{name}: {error}") from None
            stack.callback(ready[name].close)
        yield ready


def preload(*modules: str) -> None:
    """Have the server import these too; before the first child. None may touch a GPU."""
    _PRELOAD.extend(name for name in modules if name not in _PRELOAD)


def _answer(pipe: Connection, work: Callable[[Any], Any], tasks: Sequence[Any]) -> None:
    with contextlib.suppress(BrokenPipeError):  # the parent may be gone
        for task in tasks:
            done = False
            with _outcomes(pipe, task):
                pipe.send(Outcome("ok", result=work(task)))
                done = True
            if not done:
                return


def _serve(pipe: Connection, task: Task) -> None:
    samples: list[float] = []
    with (
        contextlib.suppress(BrokenPipeError),
        _outcomes(pipe, task),
        prepared(task) as ready,
    ):
        pipe.send(Outcome("ok"))
        while True:
            try:
                command = pipe.recv()
            except EOFError:  # the parent is gone
                return
            if command == "round":
                times = ready.round()
                samples += times
                pipe.send(Outcome("ok", result=times))
            else:
                pipe.send(Outcome("ok", result=ready.result(samples)))


@contextlib.contextmanager
def _outcomes(pipe: Connection, task: Task) -> Iterator[None]:
    """Whatever is raised inside is sent as the outcome that it means."""
    from hevitpose.cost.latency import UnavailableError

    if not task.conditions.is_cuda:
        _limit_memory()
    try:
        yield
    except BrokenPipeError:
        raise
    except (UnavailableError, UsageError) as error:
        pipe.send(Outcome("skipped", str(error)))
    except HEViTPoseError as error:
        pipe.send(Outcome("failed", str(error)))
    except MemoryError:
        pipe.send(Outcome("oom", "MemoryError"))
    except Exception as error:  # a row with its reason, never a missing row
        line = (str(error).strip().splitlines() or [""])[0][:300]
        status = "oom" if any(text in str(error).lower() for text in _NO_MEMORY) else "failed"
        pipe.send(Outcome(status, f"{type(error).__name__}: {line}"))


def _limit_memory() -> None:
    """What the machine has left is the most this process may take.

    So an allocation fails, instead of the system ending some process, perhaps another one.
    """
    import resource

    import psutil

    status = Path("/proc/self/status")
    if not status.exists():
        return
    lines = (line.split() for line in status.read_text().splitlines())
    used = next(int(words[1]) * 1024 for words in lines if words[0] == "VmData:")
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = used + psutil.virtual_memory().available
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def _died(exitcode: int | None) -> Outcome:
    if exitcode == -9:
        return Outcome("oom", "ended by signal 9: most likely the system ran out of memory")
    return Outcome("failed", f"the process ended with exit code {exitcode} and no result")


def _end(process: Any, patience: float = 2.0) -> None:
    process.join(patience)
    if process.is_alive():
        process.kill()
        process.join()


def context() -> Any:
    """Where processes come from: a server that has the heavy imports done."""
    server = multiprocessing.get_context("forkserver")
    # The server does not inherit sys.path: without this, its preloading fails and is skipped.
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if str(ROOT) not in paths:
        os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, paths)])
    server.set_forkserver_preload(_PRELOAD)
    return server
