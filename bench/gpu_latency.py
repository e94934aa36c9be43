"""Parts a and b of ``bench/gpu.py``: do all forms agree, and how long does each take."""

from __future__ import annotations

import datetime
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.gpu_session import Session, Way
from bench.latency_records import Row, Store
from bench.worker import Task, measure_task, prepared
from hevitpose.collector import no_garbage_collection
from hevitpose.cost.latency import Conditions, LatencyResult, Prepared, interleave, ratio_of_rounds
from hevitpose.errors import HEViTPoseError, first_line
from hevitpose.isolated import Outcome

#: Children at once where nothing is timed; more only wait for each other.
CHILDREN = 3
#: Of the time for one interleaved comparison, for making its contenders ready.
READY = 0.6
#: Compiling a network is not begun with less.
COMPILE_SECONDS = 45.0


# ---------------------------------------------------------------------------------- in a child


@dataclass(frozen=True)
class Interleaving:
    """Contenders to be measured in turn, A B C A B C ..., by name."""

    conditions: Conditions  # of all
    tasks: dict[str, Task]
    rounds: int
    seconds: float  # for making them ready; who comes later stays out


@dataclass(frozen=True)
class Interleaved:
    """What came of it."""

    times: dict[str, list[list[float]]]  # ms, by contender, of each round
    results: dict[str, LatencyResult]
    out: dict[str, Outcome]  # who stayed out, and why

    @property
    def unfinished(self) -> str | None:
        """Who stayed out for want of time alone, which the next call has."""
        late = [name for name, outcome in self.out.items() if outcome.status == "late"]
        return f"without {', '.join(late)}" if late else None


def relative_error(task: Task) -> float | None:
    """How far a form is from eager fp32, of its largest value; None for eager fp32 itself."""
    with prepared(task) as ready:
        return ready.parity


def measure_in_turn(job: Interleaving) -> Interleaved:
    """All contenders in this process: the GPU's context and libraries are loaded once.

    Raises:
        HEViTPoseError: one broke, and perhaps the GPU's context with it; the message begins with
            its name.
    """
    end = time.monotonic() + job.seconds
    ready: dict[str, Prepared] = {}
    out: dict[str, Outcome] = {}
    with ExitStack() as stack:
        for name, task in job.tasks.items():
            if time.monotonic() > end:
                out[name] = Outcome("late", f"timeout: not ready after {job.seconds:.0f} s")
                continue
            try:
                ready[name] = stack.enter_context(prepared(task))
            except HEViTPoseError as error:
                out[name] = Outcome("failed", str(error))
            except Exception as error:
                line = first_line(str(error))
                raise HEViTPoseError(f"{name}: {type(error).__name__}: {line}") from error
        rounds = {name: contender.round for name, contender in ready.items()}
        with no_garbage_collection():
            interleave(rounds, 1)
            times = interleave(rounds, job.rounds)
        samples = {name: [ms for block in blocks for ms in block] for name, blocks in times.items()}
        results = {name: contender.result(samples[name]) for name, contender in ready.items()}
    return Interleaved(times, results, out)


# ------------------------------------------------------------------------------------- part a


def check(session: Session) -> None:
    """Part a: every network in every form, a few children at once, since nothing is timed.

    The forms in their order, so that little time still shows the first ones of every network.
    """
    scale = session.scale
    models = (*scale.ours, *scale.peers)
    groups = [
        [(model, way) for way in scale.checks for model in models[first::CHILDREN]]
        for first in range(min(CHILDREN, len(models)))
    ]
    groups += [[(model, scale.compiled_way)] for model in scale.compiled]

    def one(group: list[tuple[str, Way]]) -> None:
        jobs = [(f"{model} {way}", session.task(model, way)) for model, way in group]
        session.group(jobs, relative_error, lambda key, task, outcome: {"error": outcome.result})

    with ThreadPoolExecutor(CHILDREN) as pool:
        list(pool.map(one, groups))


# ------------------------------------------------------------------------------------- part b


def latency(session: Session) -> None:
    """Part b: interleaved ratios first, then single rows, way by way; compiled ones at the end."""
    scale = session.scale
    store = Store(session.out)
    versus(session, store)
    rows(session, store, [(m, way) for way in scale.ways for m in (*scale.ours, *scale.peers)])
    for model in scale.compiled:
        if session.left < COMPILE_SECONDS:
            session.say(f"{model} {scale.compiled_way}: not tried, takes {COMPILE_SECONDS:.0f} s")
        else:
            rows(session, store, [(model, scale.compiled_way)])


def rows(session: Session, store: Store, wanted: list[tuple[str, Way]]) -> None:
    """A record of each network in its way, all in one child."""
    last = [time.perf_counter()]

    def record(key: str, task: Task, outcome: Outcome) -> dict[str, Any]:
        spent, last[0] = time.perf_counter() - last[0], time.perf_counter()
        started = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=spent)
        return facts_of(store.add(Row(task, outcome), started, spent))

    jobs = [(f"{model} {way}", session.task(model, way)) for model, way in wanted]
    session.group(jobs, measure_task, record)


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


def versus(session: Session, store: Store) -> None:
    """Ours and the peers in turn, and the ratio of each of ours to each peer.

    One that breaks the process it shares with the others is left out, and the others start again.
    """
    names = [*session.scale.contenders, *session.scale.peers]
    broken: list[str] = []

    def facts(key: str, job: Interleaving, outcome: Outcome) -> dict[str, Any]:
        name, _, reason = (outcome.reason or "").partition(": ")
        if name in job.tasks:
            broken.append(name)
            session.keep(f"{name} {key}", Outcome("failed", reason), {})
        return keep_interleaved(session, store, key, job, outcome)

    while True:
        known = len(broken)
        jobs = [(f"vs {way}", interleaving(session, way, names)) for way in session.scale.versus]
        session.group(jobs, measure_in_turn, facts, unfinished=lambda result: result.unfinished)
        names = [name for name in names if name not in broken]
        if len(broken) == known or len(names) < 2:
            return


def interleaving(session: Session, way: Way, names: list[str]) -> Interleaving:
    """The comparison of some networks in one way."""
    scale = session.scale
    last = way == scale.versus[-1]
    tasks = {name: session.task(name, way, last and name in scale.energy) for name in names}
    seconds = READY * session.left / len(scale.versus)
    return Interleaving(way.conditions(session.device, scale.size), tasks, scale.rounds, seconds)


def keep_interleaved(
    session: Session, store: Store, key: str, job: Interleaving, outcome: Outcome
) -> dict[str, Any]:
    """A row and a record of every contender, a row of every ratio; what the whole says."""
    found: Interleaved | None = outcome.result
    if found is None:
        return {}
    way = key.removeprefix("vs ")
    for name, reason in found.out.items():
        # The row that it has when it takes part: the next call's replaces this one.
        session.keep(f"{name} {way} interleaved", reason, {})
    seconds = sum(sum(map(sum, blocks)) for blocks in found.times.values()) / 1000
    started = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=seconds)
    generator = np.random.default_rng(0)
    for name, result in found.results.items():
        against = {
            peer: ratio_of_rounds(found.times[name], found.times[peer], generator)
            for peer in session.scale.peers
            if peer in found.results and name in session.scale.contenders
        }
        details = {
            "interleaved_with": list(found.results),
            "rounds": job.rounds,
            "ratios": {peer: vars(ratio) for peer, ratio in against.items()},
        }
        row = Row(job.tasks[name], Outcome("ok", result=result))
        facts = facts_of(store.add(row, started, seconds, **details))
        session.keep(f"{name} {way} interleaved", row.outcome, facts)
        for peer, ratio in against.items():
            session.keep(f"{name} / {peer} {way}", row.outcome, vars(ratio))
    return {"contenders": list(found.results)}
