"""``hevitpose diagnose``: which errors predictions make, and what each type costs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from hevitpose.cli.common import AsJson, SkipBad, note
from hevitpose.files import require_folder


def diagnose(
    dataset: Annotated[
        str, typer.Option("--dataset", help="coco, crowdpose, ochuman, mpii, or a custom yaml.")
    ],
    ground_truth: Annotated[Path, typer.Option("--ground-truth", help="Annotations.")],
    predictions: Annotated[Path, typer.Option("--predictions", help="Result json, or .npy.")],
    reference: Annotated[
        bool, typer.Option("--reference", help="Exactly coco-analyze's rules, quirks included.")
    ] = False,
    worst: Annotated[
        int, typer.Option("--worst", min=0, help="Also draw so many people, the worst first.")
    ] = 0,
    images: Annotated[
        Path | None,
        typer.Option("--images", help="The folder of the images.", show_default="beside the truth"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Folder for pictures.", show_default="runs/diagnose; --json: none"
        ),
    ] = None,
    fit: Annotated[
        tuple[Path, Path] | None,
        typer.Option("--fit", help="TRUTH PREDICTIONS of another split, to fit scores on."),
    ] = None,
    skip_bad: SkipBad = False,
    as_json: AsJson = False,
) -> None:
    """Name every joint's error (jitter, inversion, swap, miss) and what each type costs.

    Prints joints by type, AP after correcting one type after another, background errors and
    scores; draws bars per joint and the costs.
    """
    folder = out or Path("runs/diagnose")
    drawn = out is not None or worst > 0 or not as_json
    if drawn:
        require_folder(folder, "--out")
    from hevitpose.evaluation.diagnosis.diagnose import diagnose as find_errors

    found = find_errors(
        dataset, ground_truth, predictions, reference=reference, fit=fit, skip_bad=skip_bad
    )
    if as_json:
        print(json.dumps(found.to_dict(), allow_nan=False))
    else:
        from hevitpose.evaluation.diagnosis.report import render

        print(render(found))
    if not drawn:
        return
    from hevitpose.evaluation.diagnosis.picture import draw_errors, draw_worst, image_folders

    written = [draw_errors(found, folder / "errors.png")]
    if worst:
        folders = [images] if images else image_folders(ground_truth)
        path, blank = draw_worst(found, worst, folders, folder / "worst.png")
        written.append(path)
        if blank:
            note(f"{blank} people drawn without their image (--images FOLDER says where they are)")
    if not as_json:
        print("\n" + "\n".join(f"{path}: picture" for path in written))
