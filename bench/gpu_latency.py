"""Parts a and b of ``bench/gpu.py``: do all forms agree, and how long does each take."""

from __future__ import annotations

import datetime
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.gpu_session import Session, Way
from bench.latency import Row, Store
from bench.worker import Contender, Outcome, Task, measure_task, prepared
from hevitpose.errors import HEViTPoseError
from hevitpose.latency import interleave, ratio_of_rounds


def relative_error(task: Task) -> float | None:
    """How far a form is from eager fp32, of its largest value; None for eager fp32 itself."""
    with prepared(task) as ready:
        return ready.parity


def check(session: Session) -> None:
    """Part a: every network in every form. All at once, since nothing is timed.

    The compiled forms are compiled here too: part b then finds most of that in the caches.
    """
    scale = session.scale
    groups = [[(model, way) for way in scale.checks] for model in (*scale.ours, *scale.peers)]
    groups += [[(model, scale.compiled_way)] for model in scale.compiled]

    def one(group: list[tuple[str, Way]]) -> None:
        jobs = [(f"{model} {way}", session.task(model, way)) for model, way in group]
        session.group(jobs, relative_error, lambda key, task, outcome: {"error": outcome.result})

    with ThreadPoolExecutor(len(groups)) as pool:
        list(pool.map(one, groups))


def latency(session: Session) -> None:
    """Part b: interleaved ratios first, then single rows, ours and HRNet before the others."""
    scale = session.scale
    store = Store(session.out)
    for way in scale.versus:
        try:
            versus(session, store, way)
        except HEViTPoseError as error:  # one ended in the middle
            session.keep(f"vs {way}", Outcome("failed", str(error)), {})
    models = [*scale.contenders, *scale.peers[:1]]
    models += [name for name in (*scale.ours, *scale.peers) if name not in models]
    for index, model in enumerate(models):
        if index == len(scale.contenders):
            compiled(session, store)
        rows(session, store, model, scale.ways, session.left / (len(models) - index))


def compiled(session: Session, store: Store) -> None:
    """The compiled form of the networks that have one here, each in a child of its own."""
    for model in session.scale.compiled:
        rows(session, store, model, (session.scale.compiled_way,), session.left / 3)


def rows(session: Session, store: Store, model: str, ways: tuple[Way, ...], seconds: float) -> None:
    """One network in several ways, each a record."""
    last = [time.perf_counter()]

    def record(key: str, task: Task, outcome: Outcome) -> dict[str, Any]:
        spent, last[0] = time.perf_counter() - last[0], time.perf_counter()
        started = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=spent)
        return facts_of(store.add(Row(task, outcome), started, spent))

    jobs = [(f"{model} {way}", session.task(model, way)) for way in ways]
    session.group(jobs, measure_task, record, seconds=seconds)


def facts_of(row: Row) -> dict[str, Any]:
    """What a log's row says of a measurement; the rest is in its record."""
    result = row.outcome.result
    if result is None:
        return {"record": row.record}
    return {
        "record": row.record,
        "ms": result.p50,
        "images_per_s": result.images_per_s,
        "stream_ms": result.stream.p50 if result.stream else None,
        "memory_mib": result.peak_memory / 2**20 if result.peak_memory else None,
        "energy_j": result.energy_j,
        "parity": result.parity,
    }


def versus(session: Session, store: Store, way: Way) -> None:
    """Ours and the peers in turn, A B C A B C ..., and the ratio of each of ours to each peer."""
    scale = session.scale
    names = (*scale.contenders, *scale.peers)
    key = f"vs {way}"
    if session.log.find(session.part, key) or session.left <= 0:
        return
    last = way == scale.versus[-1]
    tasks = {name: session.task(name, way, last and name in scale.energy) for name in names}
    started, clock = datetime.datetime.now(datetime.UTC), time.perf_counter()
    session.say(f"{key}: making {len(tasks)} contenders ready")
    with ready_together(session, key, tasks) as ready:
        if len(ready) < 2:
            session.keep(
                key, Outcome("failed", "fewer than two contenders could be made ready"), {}
            )
            return
        rounds = {name: contender.round for name, contender in ready.items()}
        interleave(rounds, 1)  # the processes have waited for each other
        times = interleave(rounds, scale.rounds)
        results = {name: contender.result() for name, contender in ready.items()}
    seconds = time.perf_counter() - clock
    generator = np.random.default_rng(0)
    for name, result in results.items():
        against = {
            peer: ratio_of_rounds(times[name], times[peer], generator)
            for peer in scale.peers
            if peer in ready and name in scale.contenders
        }
        details = {
            "interleaved_with": list(ready),
            "rounds": scale.rounds,
            "ratios": {peer: vars(ratio) for peer, ratio in against.items()},
        }
        row = Row(tasks[name], Outcome("ok", result=result))
        facts = facts_of(store.add(row, started, seconds, **details))
        session.keep(f"{name} {way} interleaved", row.outcome, facts)
        for peer, ratio in against.items():
            session.keep(
                f"{name} / {peer} {way}", row.outcome, {"ratio": ratio.ratio, **vars(ratio)}
            )
    session.keep(key, Outcome("ok"), {"contenders": list(ready)})


@contextmanager
def ready_together(
    session: Session, key: str, tasks: dict[str, Task]
) -> Iterator[dict[str, Contender]]:
    """Contenders made ready at the same time; one that cannot be is a row and stays out."""
    ready: dict[str, Contender] = {}
    with ExitStack() as stack, ThreadPoolExecutor(len(tasks)) as pool:
        futures = {name: pool.submit(Contender, tasks[name], session.left) for name in tasks}
        for name, future in futures.items():
            try:
                ready[name] = future.result()
            except HEViTPoseError as error:
                session.keep(f"{name} {key}", Outcome("failed", str(error)), {})
            else:
                stack.callback(ready[name].close)
        yield ready
