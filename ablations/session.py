"""One command: a request to a plan, a run, and its tables."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ablations import display, grids
from ablations.executors import check_executor, create_executor
from ablations.isolation import PRELOAD
from ablations.plan import WORK, History, Plan, changes, plan
from ablations.runner import Runner, Summary
from ablations.tune import SEEDS, Tuning, tuned_grids, tuning_plan
from hevitpose import runs
from hevitpose.config import Config, load_config
from hevitpose.errors import HEViTPoseError, UsageError
from hevitpose.records import Record, RecordStore, provenance


@dataclass(frozen=True)
class Request:
    """What a command line asks for; see ``python -m ablations run --help``."""

    grids: Sequence[str] = ()
    overrides: Sequence[str] = ()
    cells: Sequence[str] = ()
    variant: str | None = None
    dataset: str | None = None
    data: Path | None = None
    preset: str | None = None
    cfg: str | None = None
    seeds: Sequence[int] = (0,)
    out: Path = Path("runs")
    executor: str | None = None
    workers: int | None = None
    threads: int | None = None
    devices: int | None = None
    address: str | None = None
    gpus_per_run: float = 0.0
    timeout: float = 1800.0
    imports: Sequence[Path] = ()
    dry_run: bool = False
    match: str | None = None
    tune: str | None = None
    retry_failed: bool = False
    use_committed: bool = False
    work: str = field(default_factory=lambda: os.environ.get("HEVITPOSE_ABLATION_WORK", WORK))
    preload: Sequence[str] = PRELOAD
    tables: bool = True


def session(request: Request) -> int:
    """Does what is asked.

    Returns:
        The exit code: 1 if a cell failed.

    Raises:
        UsageError: anything that is wrong with the request or the grids.
        HEViTPoseError: data, disk, or cluster.
    """
    base = base_config(request)
    chosen = select(request, base)
    check_executor(executor_name(request), request.workers)
    if request.match is not None:
        chosen = _match(chosen, request.match, request.out)
    tuning = Tuning.parse(request.tune, request.seeds) if request.tune else None
    _prepare_data(base, dry_run=request.dry_run)
    if tuning is not None:
        if request.dry_run:
            first, _ = tuning_plan(chosen, tuning)
            print(describe(first, [runs.store_of(request.out)], request.out, request.retry_failed))
            print(f"then the seeds {list(request.seeds)} of each cell at its best {tuning.key}")
            return 0
        chosen = _tune(chosen, tuning, request, base)
    made = plan(chosen, request.seeds)
    store = runs.store_of(request.out)
    committed = [runs.measured()] if request.use_committed else []
    if request.dry_run:
        print(describe(made, [store, *committed], request.out, request.retry_failed))
        return 0
    summary = _run(made, request, base, committed)
    if request.tables:
        render(made, [store, *committed], request.out)
    print(summary.text())
    for line in reproduced(summary.made, runs.measured()):
        print(line)
    return summary.exit_code


def _run(
    made: Plan, request: Request, base: Config, committed: Sequence[RecordStore] = ()
) -> Summary:
    """What is missing of a plan."""
    executor = create_executor(
        executor_name(request),
        workers=request.workers,
        threads=base.training.threads,
        timeout=request.timeout,
        preload=request.preload,
        address=request.address,
        gpus_per_run=request.gpus_per_run,
    )
    runner = Runner(
        made,
        request.out,
        executor,
        retry_failed=request.retry_failed,
        work=request.work,
        committed=committed,
    )
    return runner.run()


def _tune(
    chosen: Sequence[grids.Grid], tuning: Tuning, request: Request, base: Config
) -> list[grids.Grid]:
    """Each cell at its own best value; says which, and what the others scored on minival."""
    first, candidates = tuning_plan(chosen, tuning)
    print(_run(first, request, base).text())
    found, lines = tuned_grids(chosen, tuning, candidates, runs.store_of(request.out).get)
    print("\n".join([f"best {tuning.key} of each cell on minival, seeds {list(SEEDS)}", *lines]))
    return found


def reproduced(made: Sequence[Record], committed: RecordStore) -> list[str]:
    """How the evaluations that were made now compare with the committed ones of the same ids.

    Returns:
        One line; none where nothing of this run is committed.
    """
    ids = {record.id for record in made}
    known = {record.id: record for record in committed.iter(failures=False, ids=ids)}
    pairs = [(record, known[record.id]) for record in made if record.id in known]
    if not pairs:
        return []
    differences = [_largest_difference(now.metrics, then.metrics) for now, then in pairs]
    same = sum(difference == 0 for difference in differences)
    line = (
        f"{same} of {len(pairs)} committed results reproduced, "
        f"largest difference {max(differences):.3g}"
    )
    then = {(r.machine.cpu, r.versions.get("torch")) for _, r in pairs}
    here = {(r.machine.cpu, r.versions.get("torch")) for r, _ in pairs}
    if then != here:
        line += f" (committed on {_where(then)}; this is {_where(here)})"
    return [line]


def _largest_difference(now: Mapping[str, float | None], then: Mapping[str, float | None]) -> float:
    """In points, over all metrics; AP and AR, which are shares of one, times 100."""
    found = [0.0]
    for name in now.keys() | then.keys():
        a, b = now.get(name), then.get(name)
        if a is None or b is None:
            found.append(0.0 if a is b else math.inf)
        else:
            scale = 100 if name.removeprefix("mean_pose_").startswith(("AP", "AR")) else 1
            found.append(scale * abs(a - b))
    return max(found)


def _where(places: set[tuple[str | None, str | None]]) -> str:
    return "; ".join(sorted(f"{cpu or 'unknown CPU'}, torch {torch}" for cpu, torch in places))


def executor_name(request: Request) -> str:
    """Unless asked otherwise: on a CPU, several cells at one thread each; else one at a time.

    A small network gains little from a second thread and loses much when anything else runs beside
    it: threads wait for the slowest at every operation. ``--threads`` means one cell at a time.
    """
    if request.executor or request.address:
        return request.executor or "ray"
    several = request.threads is None and provenance.device_type("auto") == "cpu"
    return "processes" if several and provenance.cores() > 1 else "local"


def base_config(request: Request) -> Config:
    """The default cell. Without a config file or preset: ``quick``.

    Raises:
        UsageError: a name, key or value that is not known.
    """
    given: list[str] = []
    if request.variant is not None:
        given.append(f"model.name={request.variant}")
    if request.dataset is not None:
        given.append(f"data.dataset={request.dataset}")
    if request.data is not None:
        given.append(f"data.root={request.data}")
    threads = request.threads
    if threads is None and executor_name(request) == "processes":
        threads = 1  # several cells at one thread each get more done than one cell at several
    if threads is not None:
        given.append(f"training.threads={threads}")
    if request.devices is not None:
        given.append(f"devices={request.devices}")
    for word in request.overrides:
        if word.partition("=")[0] == "seed":
            raise UsageError(f"override {word}: every cell runs all seeds, use --seeds")
    preset = request.preset or (None if request.cfg else "quick")
    config = load_config(request.cfg, [*given, *request.overrides], preset=preset)
    for file in request.imports:
        if not file.is_file():
            raise UsageError(f"--import {file}: no such file")
    if request.imports:
        config = config.model_copy(update={"imports": (*config.imports, *request.imports)})
    return config


def select(request: Request, base: Config) -> list[grids.Grid]:
    """The grids and cells of a request."""
    loaded = grids.load_grids(request.grids or grids.EMBEDDED, base)
    if not request.cells:
        return loaded
    known = {cell.name for grid in loaded for cell in grid.cells} | {grids.DEFAULT}
    for name in request.cells:
        if name not in known:
            raise grids.unknown_name("cell", name, known)
    return [
        grid.select([n for n in request.cells if n in {c.name for c in grid.cells}])
        for grid in loaded
    ]


def _match(chosen: Sequence[grids.Grid], by: str, out: Path) -> list[grids.Grid]:
    """Grids with matched forms; says what became of each cell."""
    from ablations.match import match
    from hevitpose.progress import progress_bar

    with progress_bar("widths of equal cost", "cells") as report:
        found, lines = match(chosen, by, out, report)
    print("\n".join([f"widths matched to the default's {by}, by the mmcv rule", *lines]) + "\n")
    return found


def _prepare_data(config: Config, *, dry_run: bool) -> None:
    """Synthetic people are rendered on first use; all other data must be there."""
    if config.data.dataset != "synthetic":
        return
    from hevitpose.data import synthetic
    from hevitpose.progress import progress_bar

    data = config.data
    if dry_run or synthetic.is_complete(data.folder, data.people, data.image_size):
        return
    with progress_bar("synthetic people", "images") as report:
        synthetic.generate(data.folder, people=data.people, size=data.image_size, progress=report)


def describe(
    made: Plan, stores: Sequence[RecordStore], out: Path, retry_failed: bool = False
) -> str:
    """What a run would do, a line per job, and a sum that starts with how many would run.

    Args:
        made: the plan.
        stores: the run's own, then others whose records count as done.
        out: the runs folder, which holds weights.
        retry_failed: failed jobs would run again.
    """
    history = History(*stores)
    again = history.trainings_to_run(made, lambda job: job.id in history.done, out)
    lines, total, unknown, count = [], 0.0, 0, 0
    width = made.label_width
    for job in made.jobs:
        seed = "" if job.seed is None else f"seed {job.seed}"
        name = f"{job.label:<{width}} {job.kind:<10} {seed:<7}"
        if job.id in history.done and job.id not in again:
            lines.append(f"{name} recorded  {job.id}")
            continue
        reason = history.why(job)
        if job.id in history.failed and not retry_failed:
            lines.append(f"{name} left out  {reason} (--retry-failed tries again)")
            continue
        seconds = history.seconds(job)
        count += 1
        total, unknown = total + (seconds or 0.0), unknown + (seconds is None)
        guess = "" if seconds is None else f"  ({display.duration(seconds)})"
        lines.append(f"{name} would run {reason}{guess}")
    lines += [f"not usable: {problem}" for store in stores for problem in store.problems]
    guess = f": about {display.duration(total)}" if unknown < count else ": no earlier times"
    more = f" and {unknown} of unknown time" if 0 < unknown < count else ""
    lines.append(f"{count} of {len(made.jobs)} would run{guess + more if count else ''}")
    return "\n".join(lines)


def render(made: Plan, stores: Sequence[RecordStore], out: Path) -> None:
    """Writes a table and a plot per grid, and prints the tables."""
    from reports.tables.grid import render_grid

    ids = {i for cells in made.members.values() for of in cells.values() for i in of}
    everything: list[Record] = []
    for store in stores:
        everything += store.iter(ids=ids)
    for grid in made.grids:
        rendered = render_grid(
            everything,
            grid.name,
            out / "tables",
            cells=made.members[grid.name],
            default=grid.cells[0].name,
            question=" ".join(grid.question.split()),
            primary=grid.primary,
        )
        print(f"\n{rendered.text}")
        print("written: " + ", ".join(str(path) for path in rendered.paths))


def explain_record(record_id: str, out: Path, data: Path | None = None) -> str:
    """The inputs of an id, and how they differ from what the code and machine are now.

    Args:
        record_id: an id or its beginning.
        out: the run folder.
        data: where the data are; a record does not say where they were.

    Raises:
        UsageError: no such record.
    """
    record = _find(record_id, [runs.store_of(out), runs.measured()])
    lines = [f"{record.id}  {record.kind}  {record.status}  {record.grid or '-'}/{record.cell}"]
    lines += _tree(record.inputs)
    lines.append(f"commit {record.code.commit}, dirty {record.code.dirty}")
    try:
        config = Config.model_validate(record.config)
        if data is not None:
            config = config.with_overrides({"data.root": str(data)})
        if record.kind == "training":
            now = runs.training_run(config)
        elif record.kind == "evaluation":
            now = runs.evaluation_run(config, tuned=record.tuned)
        elif record.kind == "complexity":
            now = runs.complexity_run(config)
        else:
            timed = record.inputs.get("conditions", {}), record.inputs.get("attempt", 1)
            now = runs.latency_run(config, timed[0], attempt=timed[1])
        found = changes(record, now)
        lines.append("now: the same" if not found else "now: " + "; ".join(found))
    except HEViTPoseError as error:
        lines.append(f"now: cannot be told ({error})")
    if record.error:
        lines.append(f"error: {record.error}")
    return "\n".join(lines)


def _find(record_id: str, stores: Sequence[RecordStore]) -> Record:
    """A record of the first store that has it.

    Raises:
        UsageError: none has.
    """
    *others, last = stores
    for store in others:
        with suppress(UsageError):
            return store.find(record_id)
    return last.find(record_id)


def _tree(value: object, indent: int = 1) -> list[str]:
    lines = []
    if isinstance(value, dict):
        for key, item in value.items():
            if isinstance(item, dict) and item:
                lines.append(f"{'  ' * indent}{key}:")
                lines += _tree(item, indent + 1)
            else:
                lines.append(f"{'  ' * indent}{key}: {item!r}")
    return lines
