"""``hevitpose records``: list, show, move."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from hevitpose.records import ImportReport, Problem, RecordStore

app = typer.Typer(help="Result records: list, show, move.", no_args_is_help=True)

Store = Annotated[Path, typer.Option("--store", help="A folder of records.")]
RUNS = Path("runs/records")
MEASURED = Path("results/measured")


@app.command("list")
def list_records(
    store: Store = RUNS,
    kind: Annotated[
        str | None, typer.Option("--kind", help="complexity, latency, accuracy")
    ] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Failures too.")] = False,
) -> None:
    """One line per record."""
    from hevitpose.records.listing import render

    found = RecordStore(store)
    print(render(r for r in found.load(failures=failed) if kind in (None, r.kind)))
    _problems(found.problems)


def _problems(problems: Sequence[Problem]) -> None:
    for problem in problems:
        typer.echo(f"not usable: {problem}", err=True)


def _print_report(report: ImportReport) -> None:
    print(f"{len(report.added)} added, {len(report.present)} there already")
    _problems(report.problems)


@app.command()
def show(
    record: Annotated[str, typer.Argument(help="An id, or how it begins.")],
    store: Store = RUNS,
) -> None:
    """A record as its json."""
    print(RecordStore(store).find(record).to_json(), end="")


@app.command("export")
def export_command(
    file: Annotated[Path, typer.Argument(help="The file to write.")],
    ids: Annotated[list[str] | None, typer.Argument(help="Ids. [all]")] = None,
    store: Store = RUNS,
    failed: Annotated[bool, typer.Option("--failed", help="Failures too.")] = False,
) -> None:
    """Write records to one file, to take them to another machine."""
    from hevitpose.records import export_records

    print(f"{file}: {export_records(RecordStore(store), file, ids, failures=failed)} records")


@app.command("import")
def import_command(
    file: Annotated[Path, typer.Argument(help="A file that export wrote.")],
    store: Store = RUNS,
) -> None:
    """Take over records from another machine; they keep where they came from."""
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
