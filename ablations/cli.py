"""``python -m ablations run | list | explain``; also ``nox -s ablation -- ...`` (run)."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ablations.display import Display
from ablations.explain import describe, explain_record, in_full, overview
from ablations.grid import Grid, available, load_grids, select_cells
from ablations.grid_file import MAIN_GRIDS
from ablations.match import match
from ablations.options import Options, command_of
from ablations.plan import Job, Plan, plan
from ablations.results import render, reproduced
from ablations.run import Runner, Summary
from ablations.tune import SEEDS, Tuning, tuned_grids, tuning_plan
from ablations.workers import check_executor, create_workers
from hevitpose import runs
from hevitpose.config import Config, load_config
from hevitpose.config.load import start_config
from hevitpose.errors import HEViTPoseError, UsageError, unknown_name
from hevitpose.files import is_dir, require_folder
from hevitpose.program import ending
from hevitpose.progress import progress_bar
from hevitpose.records import Record, RecordStore
from hevitpose.sizes import require_finite

app = typer.Typer(
    help="Ablation grids: run them, list them, explain a record.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
@command_of(Options)
def run(options: Options) -> None:
    """Run what is not recorded yet of some grids, and write their tables and plots."""
    raise typer.Exit(session(options))


def session(options: Options) -> int:
    """Do what is asked.

    Returns:
        The exit code: 1 if a cell failed.

    Raises:
        UsageError: anything that is wrong with the options or the grids.
        HEViTPoseError: data, disk, or cluster; a training that was to choose (--tune) failed.
    """
    require_finite(options.timeout, "--timeout")
    require_finite(options.gpus_per_run, "--gpus-per-run", zero=True)
    if not options.dry_run:
        require_folder(options.out, "--out")
    base, seeds = options.base_config(), options.seed_numbers()
    grids = load_grids(options.grid_names or MAIN_GRIDS, base)
    if options.cell_names:
        grids = select_cells(grids, options.cell_names)
    check_executor(options.executor_name, options.workers, options.address, options.gpus_per_run)
    if options.match is not None:
        grids = _match(grids, options)
    tuning = Tuning.parse(options.tune, seeds) if options.tune is not None else None
    chosen = 0  # the exit code of the trainings that choose
    stores = [runs.store_of(options.out), *([runs.measured()] if options.use_committed else [])]
    if tuning is not None:
        if options.dry_run:
            first, _ = tuning_plan(grids, tuning)
            print(describe(first, stores, options.out, options.retry_failed))
            print(f"then the seeds {seeds} of each cell at its best {tuning.key}")
            return 0
        grids, chosen = _tune(grids, tuning, options, base, stores)
    made = plan(grids, seeds)
    if options.dry_run:
        print(describe(made, stores, options.out, options.retry_failed))
        return 0
    summary = _run(made, options, base, stores[1:])
    _show(made, summary, stores, options)
    return max(chosen, summary.exit_code)


@app.command("list")
def list_grids(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[GRID]...", help="Everything about these.")
    ] = None,
) -> None:
    """The grids that come with the project; of those named, also cells, command and findings."""
    known = available()
    for name in names or ():
        if name not in known:
            raise unknown_name("grid", name, known)
    grids = load_grids(names or known, load_config(None, preset="quick"))
    print("\n\n".join(map(in_full, grids)) if names else overview(grids))


@app.command()
def explain(
    record_id: Annotated[str, typer.Argument(metavar="ID", help="An id or its beginning.")],
    out: Annotated[Path, typer.Option(help="The run folder.")] = runs.RUNS,
    data: Annotated[Path | None, typer.Option(help="The folder of the data.")] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """The inputs that an id is a hash of, and how they differ now."""
    if out != runs.RUNS and not is_dir(out):  # in the default one nothing may have run yet
        raise UsageError(f"--out {out}: no such folder, expected one of runs")
    print(explain_record(record_id, out, data))


# The steps of a run ------------------------------------------------------------------------------


def _match(grids: Sequence[Grid], options: Options) -> list[Grid]:
    """Grids with matched forms; says what became of each cell."""
    by = str(options.match)
    with progress_bar("widths of equal cost", "cells") as report:
        found, lines = match(grids, by, options.out, report, keep=not options.dry_run)
    print("\n".join([f"widths matched to the default's {by}, by the mmcv rule", *lines]) + "\n")
    return found


def _tune(
    grids: Sequence[Grid],
    tuning: Tuning,
    options: Options,
    base: Config,
    stores: Sequence[RecordStore],
) -> tuple[list[Grid], int]:
    """Each cell at its own best value, and the exit code of the trainings that chose.

    Says which value that is, and what the others scored on minival.
    """
    first, candidates = tuning_plan(grids, tuning)
    summary = _run(first, options, base, stores[1:])
    print(summary.text())

    def record(whose: str) -> Record | None:
        done = (store.get(whose) for store in stores)
        failed = (failure for store in stores for failure in reversed(store.failures(whose)))
        return next(filter(None, done), None) or next(failed, None)

    found, lines = tuned_grids(grids, tuning, candidates, record)
    print("\n".join([f"best {tuning.key} of each cell on minival, seeds {list(SEEDS)}", *lines]))
    return found, summary.exit_code


def _prepare_data(shown: Display, jobs: Iterable[Job], jobs_left: float | None) -> None:
    """Synthetic people are rendered on first use; all other data must be there."""
    from hevitpose.data.synthetic import generate

    jobs = list(jobs)
    missing = runs.unrendered(job.config for job in jobs)
    if missing:  # rendering takes minutes: first what would refuse the trainings after it
        for job in jobs:
            if job.kind == "training":
                runs.require_machine(job.config)
    for data in missing:
        start = time.monotonic()

        def report(done: int, total: int, start: float = start) -> None:
            left = None
            if done and jobs_left is not None:
                left = jobs_left + (time.monotonic() - start) * (total - done) / done
            shown.status(f"synthetic people {done}/{total}", left)

        generate(data.folder, people=data.people, size=data.image_size, progress=report)
    _look_first(shown, jobs)


def _look_first(shown: Display, jobs: Sequence[Job]) -> None:
    """What cells would find only after minutes of steps, each data once."""
    seen = set()
    for job in jobs:
        if job.kind != "training":
            continue
        data, training = job.config.data, job.config.training
        after_another = start_config(job.config) is not None
        people = data.model_dump_json(exclude={"input_size"})
        key = people, training.loggers, training.selection, training.precision, after_another
        if key not in seen:
            seen.add(key)
            shown.status(f"looking at {data.dataset}", None)
            runs.look_first(job.config, after_another=after_another)


def _expected(plan: Plan) -> dict[str, float]:
    """Seconds of each job as the project's machine took them: a guess until one is done here."""
    ids = {job.id for job in plan.jobs}
    return {r.id: r.seconds for r in runs.measured().iter(failures=False, ids=ids)}


def _run(
    plan: Plan, options: Options, base: Config, committed: Sequence[RecordStore] = ()
) -> Summary:
    """What is missing of a plan."""
    workers = create_workers(
        options.executor_name,
        workers=options.workers,
        threads=base.training.threads,
        timeout=options.timeout,
        preload=options.preload,
        address=options.address,
        gpus_per_run=options.gpus_per_run,
    )
    with Display() as shown:
        return Runner(
            plan,
            options.out,
            workers,
            retry_failed=options.retry_failed,
            work=options.work,
            committed=committed,
            expected=_expected(plan),
            shown=shown,
            prepare=partial(_prepare_data, shown),
        ).run()


def _show(plan: Plan, summary: Summary, stores: Sequence[RecordStore], options: Options) -> None:
    """Tables and plots, and how the run ended."""
    if options.tables:
        render(plan, stores, options)
    print("\n".join([summary.text(), *reproduced(summary.made, runs.measured())]))


_INTERRUPTED = 130  # what typer returns for Ctrl-C


# The program -------------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    """Run a command line and give its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        with ending():
            result = app(arguments, standalone_mode=False, prog_name="python -m ablations")
        if result == _INTERRUPTED:
            raise KeyboardInterrupt
    except HEViTPoseError as error:
        if "--debug" in arguments:
            raise
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    except Exception as error:
        if "--debug" in arguments:
            raise
        return _other(error)
    return result if isinstance(result, int) else 0


def _other(error: Exception) -> int:
    """Click's own errors print themselves; the rest is one line."""
    if hasattr(error, "show") and hasattr(error, "exit_code"):
        error.show()
        return int(error.exit_code)
    if isinstance(error, OSError):
        print(f"error: {error}", file=sys.stderr)
    else:
        print(f"error: {type(error).__name__}: {error} (--debug shows where)", file=sys.stderr)
    return 1
