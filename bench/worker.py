"""Each latency measurement in a process of its own, which has a fresh allocator.

What cannot run here, fails or runs out of memory is a row with its reason
(:mod:`hevitpose.isolated`).
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from hevitpose.errors import HEViTPoseError, UnavailableError, UsageError
from hevitpose.isolated import Child, Outcome, Stopwatch

_PRELOAD = ["torch", "timm", "hevitpose.models.peers", "hevitpose.cost.latency",
            "hevitpose.inference.export"]  # fmt: skip
_GRACE_SECONDS = 2.0


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


def prepared(task: Task) -> Any:
    """The task's model, built and settled: a :class:`hevitpose.cost.latency.Prepared` to enter."""
    from hevitpose.cost.latency import Prepared
    from hevitpose.models.imports import import_files

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
    from hevitpose.cost.latency import randomise_norms_
    from hevitpose.models import create_for_input

    model = create_for_input(name, keypoints, size, seed=seed, **dict(options))
    randomise_norms_(model, size, seed)
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
    tasks: Sequence[Any], timeout: float, work: Callable[[Any], Any] = measure_task
) -> Iterator[Outcome]:
    """Several tasks in one child, which saves its start and its GPU context for all but the first.

    After an outcome that is not ok (a GPU may be unusable for the process then) the rest goes to a
    new child.

    Args:
        tasks: each with ``conditions``.
        timeout: seconds for all together; the task that is on then is the last with an outcome.
        work: called in the child with a task; a module's function.

    Yields:
        An outcome per task, in order, as it comes.
    """
    watch, rest = Stopwatch(), list(tasks)
    while rest:
        child = Child(_answer, work, rest, preload=_PRELOAD)
        patience = 0.0
        try:
            status = "ok"
            while rest and status == "ok":
                outcome = child.receive(timeout - watch.seconds())
                if outcome.is_late:
                    yield Outcome.late(timeout)
                    return
                status, rest = outcome.status, rest[1:]
                yield outcome
            patience = _GRACE_SECONDS
        finally:
            child.stop(patience)


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
        self.child = Child(_serve, task, preload=_PRELOAD)
        try:
            self._receive()
        except HEViTPoseError:
            self.close()
            raise

    def round(self) -> list[float]:
        """Wall times of one round, ms."""
        self.child.send("round")
        return self._receive()

    def result(self) -> Any:
        """All rounds together as a :class:`hevitpose.cost.latency.LatencyResult`."""
        self.child.send("result")
        return self._receive()

    def close(self) -> None:
        """End the process."""
        self.child.stop(_GRACE_SECONDS)

    def _receive(self) -> Any:
        answer: Outcome = self.child.receive(self.timeout)
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
    """Runs in the child: an outcome per task, until one is not ok."""
    for task in tasks:
        with _within_limits(task):
            pipe.send(Outcome("ok", result=work(task)))


def _serve(pipe: Connection, task: Task) -> None:
    """Runs in the child: makes ready, then answers until the parent is gone."""
    samples: list[float] = []
    with _within_limits(task), prepared(task) as ready:
        pipe.send(Outcome("ok"))
        while True:
            try:
                command = pipe.recv()
            except EOFError:
                return
            if command == "round":
                times = ready.round()
                samples += times
                pipe.send(Outcome("ok", result=times))
            else:
                pipe.send(Outcome("ok", result=ready.result(samples)))


@contextlib.contextmanager
def _within_limits(task: Any) -> Iterator[None]:
    """On the CPU within the memory that is left; what a network cannot take is unavailable.

    Raises:
        UnavailableError: instead of a :class:`UsageError`.
    """
    if not task.conditions.is_cuda:
        _limit_memory()
    try:
        yield
    except UsageError as error:
        raise UnavailableError(str(error)) from error


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
