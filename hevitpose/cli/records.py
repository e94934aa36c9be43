"""``hevitpose records``: list, show, move, and the weights that trainings left."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from hevitpose.data.registry import label_of
from hevitpose.errors import UsageError, on_one_line, printable_json, unknown_name
from hevitpose.files import is_dir
from hevitpose.records import KINDS, ImportReport, Problem, RecordStore, whole_id

app = typer.Typer(help="Result records: list, show, move, prune.", no_args_is_help=True)

Store = Annotated[Path, typer.Option("--store", help="A folder of records.")]
RUNS = Path("runs/records")
MEASURED = Path("results/measured")


@app.command("list")
def list_records(
    store: Store = RUNS,
    kind: Annotated[
        str | None, typer.Option("--kind", help="complexity, latency, training, evaluation")
    ] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Failures too.")] = False,
) -> None:
    """One line per record."""
    from hevitpose.records.listing import render

    if kind not in (None, *KINDS):
        raise unknown_name("kind", str(kind), KINDS)
    found = _opened(store)
    print(render(r for r in found.load(failures=failed) if kind in (None, r.kind)))
    _problems(found.problems)


def _opened(store: Path) -> RecordStore:
    """A store to read; that of this folder's runs may have nothing yet.

    Raises:
        UsageError: there is none.
    """
    if store != RUNS and not is_dir(store):
        raise UsageError(f"--store {store}: no such folder, expected one with records")
    return RecordStore(store)


def _problems(problems: Sequence[Problem]) -> None:
    for problem in problems:
        typer.echo(f"not usable: {problem}", err=True)


def _print_report(report: ImportReport) -> None:
    print(f"{len(report.added)} added, {len(report.present)} there already")
    _left_out(report.problems)


def _left_out(problems: Sequence[Problem]) -> None:
    """What was not taken along, named; the command then ends with 1."""
    _problems(problems)
    if problems:
        raise typer.Exit(1)


@app.command()
def show(
    record: Annotated[str, typer.Argument(help="An id or its beginning.")],
    store: Store = RUNS,
) -> None:
    """Print a record as JSON, and what has to be said of its dataset to standard error."""
    found = RecordStore(store).find(record)
    print(printable_json(found.to_json()), end="")
    if found.dataset and (label := label_of(found.dataset.name)):
        typer.echo(label, err=True)


@app.command("export")
def export_command(
    file: Annotated[Path, typer.Argument(help="The file to write.")],
    ids: Annotated[list[str] | None, typer.Argument(help="Ids. [all]")] = None,
    store: Store = RUNS,
    failed: Annotated[bool, typer.Option("--failed", help="Failures too.")] = False,
) -> None:
    """Write records to one file, to take them to another machine."""
    from hevitpose.records import export_records

    found = _opened(store)
    print(f"{file}: {export_records(found, file, ids, failures=failed)} records")
    _left_out(found.problems)


@app.command("import")
def import_command(
    file: Annotated[Path, typer.Argument(help="A file that export wrote, or a folder of records.")],
    store: Store = RUNS,
) -> None:
    """Import records from another machine, keeping their provenance."""
    from hevitpose.records import import_records

    _print_report(import_records(RecordStore(store), file))


@app.command()
def promote(
    ids: Annotated[list[str], typer.Argument(help="Ids.")],
    store: Store = RUNS,
    target: Annotated[Path, typer.Option("--to")] = MEASURED,
) -> None:
    """Copy records to the store that is committed."""
    from hevitpose.records import promote as copy

    _print_report(copy(RecordStore(store), ids, RecordStore(target)))


@app.command()
def prune(
    ids: Annotated[
        list[str] | None, typer.Argument(help="Trainings, by id or its beginning. [all]")
    ] = None,
    runs: Annotated[Path, typer.Option("--runs", help="The runs folder.")] = Path("runs"),
    remove: Annotated[bool, typer.Option("--remove", help="Remove the listed weights.")] = False,
) -> None:
    """List the weights that trainings left, and remove them; records stay.

    An evaluation that needs removed weights trains again, and a dry run says so.
    """
    from hevitpose.runs import kept_weights, remove_weights

    if runs != Path("runs") and not is_dir(runs):
        raise UsageError(f"--runs {runs}: no such folder, expected one that trainings left")
    kept = kept_weights(runs)
    # As one id each: a short or empty beginning must not remove more than it was meant for.
    absent = f"{runs}: no weights of a training"
    wanted = {whole_id(prefix, (each.id for each in kept), absent) for prefix in ids or ()}
    chosen = [each for each in kept if not ids or each.id in wanted]
    for each in chosen:
        record = each.record
        of = "no record here" if record is None else f"{record.model} seed {record.seed}"
        cell = "/".join(p for p in (record.grid, record.cell) if p) if record else ""
        print(on_one_line(f"{each.id}  {each.bytes / 1e6:8.1f} MB  {of}  {cell}".rstrip()))
    total = sum(each.bytes for each in chosen)
    if remove:
        print(f"{len(chosen)} removed, {remove_weights(chosen) / 1e6:.1f} MB freed")
    else:
        print(f"{len(chosen)} weights, {total / 1e6:.1f} MB; --remove removes them")
