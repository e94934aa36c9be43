"""``python -m ablations run | list | explain``; also ``nox -s ablation -- ...`` (run)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from hevitpose.errors import HEViTPoseError, UsageError

app = typer.Typer(
    help="Ablation grids: run them, list them, explain a record.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def run(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[GRID | key=value]...", help="Grids, and config overrides."),
    ] = None,
    grid: Annotated[
        list[str] | None, typer.Option("--grid", help="A grid's name or yaml file; repeatable.")
    ] = None,
    cells: Annotated[str | None, typer.Option(help="Only these cells: cgsr,mhsa.")] = None,
    variant: Annotated[str | None, typer.Option(help="nano, t, s, b, or a peer.")] = None,
    dataset: Annotated[str | None, typer.Option(help="synthetic, coco, mpii, ...")] = None,
    data: Annotated[Path | None, typer.Option(help="The folder that holds coco/, mpii/.")] = None,
    preset: Annotated[str | None, typer.Option(help="quick, standard or paper.")] = None,
    cfg: Annotated[str | None, typer.Option(help="A config's name or yaml file.")] = None,
    seeds: Annotated[str | None, typer.Option(help="A list: 0,1,2.")] = None,
    num_seeds: Annotated[int | None, typer.Option(min=1, help="A count, from 0.")] = None,
    out: Annotated[Path, typer.Option(help="Where everything is written.")] = Path("runs"),
    executor: Annotated[
        str | None,
        typer.Option(
            help="local, processes or ray. On a CPU: processes, one thread a cell; sooner than two."
        ),
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Cells at once.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of each cell.")] = None,
    devices: Annotated[int | None, typer.Option(min=1, help="GPUs of each cell.")] = None,
    address: Annotated[str | None, typer.Option(help="Of a ray cluster; auto.")] = None,
    gpus_per_run: Annotated[float, typer.Option(min=0, help="ray: may be a fraction.")] = 0.0,
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds without a sign of life: a cell hangs.")
    ] = 1800.0,
    imports: Annotated[
        list[Path] | None, typer.Option("--import", help="Your own module; repeatable.")
    ] = None,
    match: Annotated[
        str | None,
        typer.Option(help="flops or params: each cell also at a width that costs the default's."),
    ] = None,
    tune: Annotated[
        str | None,
        typer.Option(help="training.lr=4e-3,8e-3: each cell at its own best value on minival."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what and why.")] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed")] = False,
    use_committed: Annotated[
        bool, typer.Option("--use-committed", help="results/measured counts as done.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Run what is not recorded yet of some grids, and write their tables and plots."""
    from ablations.session import Request, session

    named = [word for word in words or [] if "=" not in word]
    request = Request(
        grids=[*named, *(grid or [])],
        overrides=[word for word in words or [] if "=" in word],
        cells=_names(cells),
        variant=variant,
        dataset=dataset,
        data=data,
        preset=preset,
        cfg=cfg,
        seeds=_seeds(seeds, num_seeds),
        out=out,
        executor=executor,
        workers=workers,
        threads=threads,
        devices=devices,
        address=address,
        gpus_per_run=gpus_per_run,
        timeout=timeout,
        imports=imports or [],
        match=match,
        tune=tune,
        dry_run=dry_run,
        retry_failed=retry_failed,
        use_committed=use_committed,
    )
    raise typer.Exit(session(request))


@app.command("list")
def list_grids() -> None:
    """The grids that come with the project: question, cells, expected time, finding."""
    from ablations.grids import available, load_grids
    from hevitpose.config import load_config

    for grid in load_grids(available(), load_config(None, preset="quick")):
        print(f"{grid.name}\n  {' '.join(grid.question.split())}")
        print(f"  cells     {', '.join(cell.name for cell in grid.cells)}")
        for key in ("command", "expected", "finding"):
            print(f"  {key:<9} {' '.join(getattr(grid, key).split())}")


@app.command()
def explain(
    record_id: Annotated[str, typer.Argument(metavar="ID", help="An id or its beginning.")],
    out: Annotated[Path, typer.Option(help="The run folder.")] = Path("runs"),
    data: Annotated[Path | None, typer.Option(help="The folder that the data are in.")] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """What an id is a hash of, and which source files went into it."""
    from ablations.session import explain_record

    print(explain_record(record_id, out, data))


def _names(text: str | None) -> list[str]:
    return [name for name in (text or "").split(",") if name]


def _seeds(listed: str | None, count: int | None) -> list[int]:
    if listed is not None and count is not None:
        raise UsageError("--seeds is a list and --num-seeds a count: give one of them")
    if listed is None:
        return list(range(count or 1))
    if not all(part.isdigit() for part in listed.split(",")):
        raise UsageError(f"--seeds {listed!r}: expected a list like 0,1,2")
    return list(dict.fromkeys(int(part) for part in listed.split(",")))


def main(arguments: list[str] | None = None) -> int:
    """Runs a command line and gives its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        result = app(arguments, standalone_mode=False, prog_name="python -m ablations")
    except HEViTPoseError as error:
        if "--debug" in arguments:
            raise
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
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


if __name__ == "__main__":
    sys.exit(main())
