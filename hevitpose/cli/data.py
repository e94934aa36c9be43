"""``hevitpose data``: render, check, convert."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from hevitpose.cli.common import AsJson
from hevitpose.errors import on_one_line
from hevitpose.files import require_file
from hevitpose.progress import progress_bar

app = typer.Typer(help="Datasets: render, check, convert.", no_args_is_help=True)


@app.command()
def synth(
    root: Annotated[Path, typer.Option("--root")] = Path("data/synthetic"),
    people: Annotated[int, typer.Option("--people", min=20)] = 5000,
    size: Annotated[int, typer.Option("--size", min=64, help="Side of an image in pixels.")] = 256,
    seed: Annotated[int, typer.Option("--seed", min=0)] = 0,
    workers: Annotated[int | None, typer.Option("--workers", min=1)] = None,
    sheet: Annotated[
        Path | None, typer.Option("--sheet", help="Also write a contact sheet here (.png).")
    ] = None,
) -> None:
    """Render synthetic people with annotations in all four formats."""
    if sheet is not None:
        require_file(sheet, "--sheet")
    from hevitpose.data.synthetic import contact_sheet, generate

    with progress_bar("synthetic people", "images") as progress:
        made = generate(
            root, people=people, size=size, seed=seed, workers=workers, progress=progress
        )
    print(f"{root}: {made.people} people in {made.images} images")
    if sheet is not None:
        contact_sheet(root, sheet)
        print(f"{sheet}: contact sheet")


@app.command()
def check(
    root: Annotated[Path, typer.Option("--root", help="The folder with coco/, mpii/, ...")] = Path(
        "data"
    ),
    datasets: Annotated[
        list[str] | None, typer.Argument(help="coco, mpii, ..., FILE.yaml [all]")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List what is present, what is missing and where to get it, and what is wrong.

    Exits with 1 if something is wrong; missing files and photographs alone are no fault.
    """
    from hevitpose.data.tools import check as doctor

    with progress_bar("photographs", "images") as progress:
        rows = doctor.check(root, datasets or None, progress=progress)
    print(json.dumps(doctor.as_json(rows)) if as_json else doctor.render(rows))
    if doctor.faulty(rows):
        raise typer.Exit(1)


@app.command()
def prepare(
    dataset: Annotated[str, typer.Argument(help="mpii, crowdpose, ochuman or coco_small.")],
    source: Annotated[
        Path,
        typer.Option("--source", help="Folder of the original release; of coco_small, COCO's."),
    ],
    root: Annotated[Path, typer.Option("--root", help="Where the readers look.")] = Path("data"),
) -> None:
    """Convert an original release to what the readers take; the originals stay untouched."""
    from hevitpose.data.tools.prepare import prepare as convert

    for made in convert(root, dataset, source):
        origin = f"from {made.source}" if made.source and made.status != "exists" else ""
        said = filter(None, (made.status, made.note, origin))
        print(on_one_line(f"{made.path}: {', '.join(said)}"))
