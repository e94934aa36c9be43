"""Milliseconds of every model and mode, with everything that a time depends on beside it.

    python bench/latency.py                                     # all models, eager and fused, CPU
    python bench/latency.py --gpu --modes eager,cudagraph,fused+compile --batch 1,64 --dtype bf16
    python bench/latency.py --models b,t --modes fused,onnxruntime --scope decode,e2e --flip
    python bench/latency.py --vs b:fused+openvino:int8,pose_hrnet_w32:openvino:int8
    python bench/latency.py --quick                             # everything on the CPU, 3 minutes

Every model and mode has a process of its own; what cannot run here, fails or runs out of memory is
a row with its reason. Records go to ``--out`` (``runs/records``). ``--vs`` measures its contenders
in turn, A B A B ..., and prints the ratio of each to the last one with a bootstrap interval: the
only way to say that one is faster. On two cores it tells rounds with close cores from the others.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import latency_tables as tables
from bench.command import Parser, require_distinct, select_models, whole
from bench.cores import CoreProbe, close_rounds
from bench.latency_records import Row, Store
from bench.worker import Task, contenders, run
from hevitpose.config import network_options
from hevitpose.config.schema import LARGEST_SEED
from hevitpose.cost.latency import STANDARD, Budget, Conditions, Ratio, interleave, ratio_of_rounds
from hevitpose.errors import UsageError
from hevitpose.files import require_folder
from hevitpose.isolated import Outcome
from hevitpose.models.spec import full_name
from hevitpose.program import exit_code
from hevitpose.records import provenance
from hevitpose.sizes import parse_count, parse_size, require_finite

#: Of a measurement under --quick.
BRIEF = Budget(
    samples=30,
    min_samples=3,
    max_seconds=0.3,
    warmup_seconds=0.1,
    warmup_cap_s=0.3,
    block_seconds=0.05,
    energy=False,
    name="quick",
)
#: A --quick run is over after this.
QUICK_SECONDS = 170.0
#: Compiling takes a minute a model, and a file some seconds: of files, only the faster kind.
QUICK_MODES = "eager,fused,fused+onnxruntime"


@dataclass(frozen=True)
class Versus:
    """A contender of --vs against the last one."""

    to: str  # label of the last one
    ratio: Ratio  # over all rounds
    close: Ratio | None = None  # over those with close cores; None: there were none, or no looks

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready object, the same in records and on the screen."""
        close = {} if self.close is None else {"close_cores": asdict(self.close)}
        return {"to": self.to, **asdict(self.ratio), **close}


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line.

    Raises:
        UsageError: a value that cannot be read, or an unknown model, mode, dtype or scope.
    """
    parser = Parser("bench/latency.py", __doc__)
    add = parser.add_argument
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--gpu", action="store_true", help="on a CUDA GPU, or not at all")
    where.add_argument("--cpu", action="store_true", help="on the CPU (the default)")
    add("--models", default="all", help="names and wildcards, e.g. b,pose_*; default: all")
    add("--modes", help="e.g. eager,fused,compile,cudagraph,autocast,fused+openvino")
    add("--batch", default="1", help="images in a call, several by comma")
    add("--input", help="HEIGHTxWIDTH, several by comma; default 256x256 (--quick: 128x128)")
    add("--dtype", default="fp32", help="fp32,bf16,fp16,int8; what a mode lacks is skipped")
    add("--layout", default="nchw", help="nchw,nhwc")
    add("--scope", default="model", help="model,decode,e2e")
    add("--flip", action="store_true", help="with the flip test")
    add("--tf32", action="store_true", help="fp32 products in TF32 (GPU)")
    add("--cold-l2", action="store_true", help="caches flushed before each call")
    add("--clock", default="wall", help="cpu: processor time, on a busy machine, with --threads 1")
    add("--threads", type=whole(), help="of the CPU's operators; default: all this process may use")
    add("--keypoints", type=whole(), default=17)
    add("--quick", action="store_true", help="small, short and everything, within 3 minutes")
    add("--vs", help="MODEL[:MODE[:DTYPE]],MODEL...: interleaved ratios to the last one")
    add("--rounds", type=whole(2), default=30, help="of --vs")
    add(
        "--seed",
        type=whole(0, LARGEST_SEED),
        default=0,
        help="of weights, inputs and the bootstrap",
    )
    add("--timeout", type=float, default=600.0, help="seconds for one measurement")
    add("--out", type=Path, default=Path("runs"), help="records go to OUT/records")
    add("--json", action="store_true", help="one JSON object instead of the table")
    add("--import", dest="imports", action="append", type=Path, default=[],
        help="a module of yours that registers an attention; repeatable")  # fmt: skip
    add("overrides", nargs="*", help="options of the networks: model.attention=mhsa")
    options = parser.parse_intermixed_args(arguments)
    require_finite(options.timeout, "--timeout")
    require_folder(options.out, "--out")
    if options.tf32 and not options.gpu:
        raise UsageError("--tf32: only a GPU has it, expected --gpu with it")
    if options.vs:  # the overrides are for these alone
        parts = options.vs.split(",")
        options.models = list(dict.fromkeys(full_name(part.partition(":")[0]) for part in parts))
    else:
        options.models = select_models(options.models)
    options.modes = (options.modes or (QUICK_MODES if options.quick else "eager,fused")).split(",")
    options.input = (options.input or ("128x128" if options.quick else "256x256")).split(",")
    options.tasks = plan(options)
    return options


def plan(options: argparse.Namespace) -> list[Task]:
    """What to measure: every combination, a mode at a time so that a picture forms early.

    Raises:
        UsageError: an unknown name or a count that is not positive.
    """
    batches = [parse_count(text, "--batch") for text in options.batch.split(",")]
    sizes = [parse_size(text, "--input") for text in options.input]
    given = {flag: getattr(options, flag).split(",") for flag in ("scope", "dtype", "layout")}
    lists = {**given, "input": sizes, "batch": batches, "modes": options.modes}
    for flag, values in lists.items():
        text = getattr(options, flag)
        require_distinct(values, f"--{flag}", text if isinstance(text, str) else ",".join(text))
    product = itertools.product(*lists.values())
    conditions = [
        _conditions(options, scope=scope, dtype=dtype, layout=layout, input_size=size,
                    batch=batch, mode=mode)
        for scope, dtype, layout, size, batch, mode in product
    ]  # fmt: skip
    budget = BRIEF if options.quick else STANDARD
    networks = {name: network_options(name, options.overrides) for name in options.models}
    return [
        Task(
            name,
            options.keypoints,
            condition,
            budget,
            options.seed,
            tuple(sorted(asked.items())),
            (*files, *options.imports),
        )
        for condition in conditions
        for name, (asked, files) in networks.items()
    ]


def _conditions(options: argparse.Namespace, **given: Any) -> Conditions:
    return Conditions(
        device="cuda" if options.gpu else "cpu",
        threads=provenance.cores() if options.threads is None else options.threads,
        flip=options.flip,
        tf32=options.tf32,
        l2="cold" if options.cold_l2 else "warm",
        clock=options.clock,
        **given,
    )


def measure_all(options: argparse.Namespace) -> list[Row]:
    """Every task in its own process, a line on standard error for each, its record stored.

    The lines come between measurements: a display that refreshes itself would be measured too.
    """
    store = Store(options.out)
    rows: list[Row] = []
    start = time.monotonic()
    for task in options.tasks:
        spent = time.monotonic() - start
        left = QUICK_SECONDS - spent if options.quick else options.timeout
        row = _measure_one(task, min(options.timeout, left) if left > 0 else None, store)
        rows.append(row)
        spent = time.monotonic() - start
        left = spent / len(rows) * (len(options.tasks) - len(rows))
        line = tables.one_line(row)
        print(f"[{len(rows)}/{len(options.tasks)}] {line}; {left:.0f} s left", file=sys.stderr)
    return rows


def _measure_one(task: Task, timeout: float | None, store: Store) -> Row:
    """One measurement; without a time-out, as --quick is over, a skipped one."""
    try:
        store.config(task)
    except UsageError as error:  # it could be timed, but no record could keep it
        return Row(task, Outcome("skipped", str(error)))
    started, clock = datetime.datetime.now(datetime.UTC), time.perf_counter()
    if timeout is not None:
        outcome = run(task, timeout)
    else:
        outcome = Outcome("skipped", "the three minutes of --quick were over")
    return store.add(Row(task, outcome), started, time.perf_counter() - clock)


def versus_tasks(options: argparse.Namespace) -> dict[str, Task]:
    """The contenders of --vs by their label ``model:mode``, and ``:dtype`` where it was given.

    Raises:
        UsageError: fewer than two, one twice, or more than one batch, input and so on.
    """
    tasks: dict[str, Task] = {}
    for part in options.vs.split(","):
        if part.count(":") > 2:
            raise UsageError(f"--vs: {part!r}, expected MODEL[:MODE[:DTYPE]]")
        name, mode, dtype = [*part.split(":"), "", ""][:3]
        one = argparse.Namespace(**vars(options))
        one.models, one.modes = [full_name(name)], [mode or options.modes[0]]
        one.dtype = dtype or options.dtype
        task, *others = plan(one)
        if others:
            raise UsageError("--vs: expected one batch, input, dtype, layout and scope")
        label = ":".join([task.model, task.conditions.mode, *([dtype] if dtype else [])])
        # Labels can differ where tasks do not: a dtype that is the default need not be named.
        if task in tasks.values():
            raise UsageError(f"--vs: {label} is named twice")
        tasks[label] = task
    if len(tasks) < 2:
        raise UsageError(f"--vs {options.vs!r}: expected at least two contenders A,B")
    return tasks


def versus(options: argparse.Namespace) -> tuple[list[Row], dict[str, Versus]]:
    """Contenders measured in turn; their rows, and by label all but the last against the last."""
    tasks = versus_tasks(options)
    for label, task in tasks.items():
        try:
            Store.config(task)
        except UsageError as error:
            raise UsageError(f"{label}: {error}") from None
    store = Store(options.out)
    started, clock = datetime.datetime.now(datetime.UTC), time.perf_counter()
    print(f"making {len(tasks)} contenders ready", file=sys.stderr)
    trips: dict[str, list[float]] = {}
    with (
        _nothing_recorded(),
        contenders(tasks, options.timeout) as ready,
        _probe(next(iter(tasks.values()))) as probe,
    ):
        rounds = {label: contender.round for label, contender in ready.items()}
        if probe is not None:
            trips = {label: [] for label in tasks}
            rounds = {label: _probed(rounds[label], probe, trips[label]) for label in tasks}
        times = interleave(rounds, options.rounds, _report_rounds())
        results = {label: contender.result() for label, contender in ready.items()}
    seconds = time.perf_counter() - clock
    against_last = _against_last(times, trips, np.random.default_rng(options.seed))
    rows = []
    for label, task in tasks.items():
        details: dict[str, Any] = {"interleaved_with": list(tasks), "rounds": options.rounds}
        if label in trips:
            details["core_round_trip_us"] = trips[label]
        if label in against_last:
            details["ratio"] = against_last[label].to_dict()
        row = Row(task, Outcome("ok", result=results[label]))
        rows.append(store.add(row, started, seconds, **details))
    return rows, against_last


@contextlib.contextmanager
def _nothing_recorded() -> Iterator[None]:
    """Say at Ctrl-C that a comparison is recorded as a whole or not at all."""
    try:
        yield
    except KeyboardInterrupt:
        said = "interrupted; --vs records after its last round, nothing is recorded"
        raise KeyboardInterrupt(said) from None


def _probe(task: Task) -> contextlib.AbstractContextManager[CoreProbe | None]:
    """Two threads on two cores are where the probe is; on more, nobody knows which they are."""
    conditions = task.conditions
    if conditions.is_cuda or conditions.threads != 2 or provenance.cores() != 2:
        return contextlib.nullcontext()
    return CoreProbe()


def _probed(
    measure_round: Callable[[], list[float]], probe: CoreProbe, trips: list[float]
) -> Callable[[], list[float]]:
    """A round between two looks at the cores, of which the worse is kept."""

    def probed() -> list[float]:
        before = probe.round_trip_us()
        times = measure_round()
        trips.append(max(before, probe.round_trip_us()))
        return times

    return probed


def _against_last(
    times: dict[str, list[list[float]]],
    trips: dict[str, list[float]],
    generator: np.random.Generator,
) -> dict[str, Versus]:
    *others, last = times
    least = min(itertools.chain.from_iterable(trips.values()), default=0.0)
    against = {}
    for label in others:
        kept = close_rounds(trips[label], trips[last], least=least) if trips else []
        own, other = ([times[name][i] for i in kept] for name in (label, last))
        against[label] = Versus(
            last,
            ratio_of_rounds(times[label], times[last], generator),
            ratio_of_rounds(own, other, generator) if kept else None,
        )
    return against


def _report_rounds() -> Callable[[int, int], None]:
    start = last = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > 5:
            last = now
            left = (now - start) / done * (total - done)
            print(f"round {done}/{total}; {left:.0f} s left", file=sys.stderr)

    return report


def main(arguments: Sequence[str] | None = None) -> int:
    """0; 1 where a row failed; 2 for a wrong request, no GPU, or where all was skipped."""
    return exit_code(lambda: _run(parse(arguments)), "interrupted; what was measured is recorded")


def _run(options: argparse.Namespace) -> int:
    if options.gpu:
        import torch

        if not torch.cuda.is_available():
            raise UsageError("--gpu: no CUDA GPU is available here (nothing was measured)")
    rows, ratios = versus(options) if options.vs else (measure_all(options), {})
    if options.json:
        print(json.dumps(tables.as_json(rows, ratios)))
    else:
        tables.show(rows, ratios)
    statuses = {row.outcome.status for row in rows}
    if statuses & {"failed", "oom"}:
        return 1
    return 2 if statuses == {"skipped"} else 0


if __name__ == "__main__":
    sys.exit(main())
