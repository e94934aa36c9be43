"""``hevitpose predict``: keypoints of people's own images and videos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hevitpose.cli.common import Imports, SkipBad
from hevitpose.errors import UsageError, on_one_line
from hevitpose.files import require_folder
from hevitpose.inference import defaults
from hevitpose.progress import progress_bars

if TYPE_CHECKING:
    from hevitpose.inference.predict import Written

_NAMED = 10  # images without people whose names are printed


Sources = Annotated[list[str], typer.Argument(help="Images, videos, folders, or globs in quotes.")]
Weights = Annotated[
    Path | None,
    typer.Option("--weights", "--checkpoint", help="Weights.", show_default="the nano that ships"),
]
Ids = Annotated[
    Path | None,
    typer.Option(
        "--ids", help="COCO-style annotations with the images' ids.", show_default="1, 2, ..."
    ),
]
DetectorName = Annotated[
    str | None,
    typer.Option(
        "--detector",
        help="What finds people: hog (OpenCV's, built in, misses many), torchvision or "
        "torchvision:NAME (fetched on first use), none (one person fills the image).",
        show_default=defaults.DETECTOR,
    ),
]
DetectorWeights = Annotated[
    Path | None, typer.Option("--detector-weights", help="The file of torchvision's weights, .pth.")
]
Boxes = Annotated[
    Path | None, typer.Option("--boxes", help="COCO-style detections json, instead of a detector.")
]
BoxThreshold = Annotated[
    float | None,
    typer.Option(
        "--box-threshold",
        help="Detections scored lower are dropped.",
        show_default=f"{defaults.BOX_THRESHOLD}, of --boxes 0",
    ),
]
MinScore = Annotated[
    float,
    typer.Option("--min-score", min=0, help="Joints scored lower are not drawn; the json has all."),
]
Category = Annotated[
    int, typer.Option("--category", help="People's id in the boxes and in the results.")
]


def predict(
    images: Sources,
    checkpoint: Weights = None,
    ids: Ids = None,
    detector: DetectorName = None,
    detector_weights: DetectorWeights = None,
    boxes: Boxes = None,
    box_threshold: BoxThreshold = None,
    min_score: MinScore = defaults.MIN_SCORE,
    category: Category = 1,
    out: Annotated[Path, typer.Option("--out")] = Path("runs/predict"),
    heatmaps: Annotated[
        bool, typer.Option("--heatmaps", help="Also draw every map; images only.")
    ] = False,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1.")] = "cpu",
    imports: Imports = None,
    skip_bad: SkipBad = False,
) -> None:
    """Keypoints of images and videos: COCO-style json, and pictures with the skeletons drawn.

    A video gives an mp4 and a json in which people keep their number (track_id) between frames.

    Files are looked at first: of an empty or cut one nothing is predicted, unless --skip-bad leaves
    it out. One whose pixels turn out to be damaged is named at the end, with exit code 1; all
    others are written.
    """
    if boxes is not None and (detector is not None or detector_weights is not None):
        option = "--detector-weights" if detector is None else f"--detector {detector}"
        raise UsageError(f"{option}: contradicts --boxes {boxes}, give one of them")
    require_folder(out, "--out")
    from hevitpose.inference.predict import Options, predict_files
    from hevitpose.models.imports import import_files

    import_files(imports or ())
    options = Options(
        ids=ids,
        boxes=boxes,
        detector=_detector(detector, boxes),
        detector_weights=detector_weights,
        box_threshold=box_threshold,
        min_score=min_score,
        category_id=category,
        heatmaps=heatmaps,
        device=device,
        skip_bad=skip_bad,
    )
    with progress_bars(("videos", "frames counted"), ("prediction", "images")) as (
        counting,
        progress,
    ):
        written = predict_files(
            images, checkpoint, out, options, progress=progress, counting=counting
        )
    _print(written)


def _detector(named: str | None, boxes: Path | None) -> str:
    if named is not None:  # "" is a name that no detector has
        return named
    return defaults.DETECTOR if boxes is None else "none"


def _print(written: Written) -> None:
    if written.results is not None:
        print(f"{written.results}: {written.people} people in {written.images} images")
        print(f"{written.pictures}: pictures")
    if written.empty:
        names = ", ".join(written.empty[:_NAMED]) + (", ..." if len(written.empty) > _NAMED else "")
        found = f"nobody found in {len(written.empty)} of {written.images} images: {names}"
        print(on_one_line(found))
    for video in written.videos:
        speed = f"{video.frames / video.seconds:.1f} frames/s"
        lines = [f"{video.path}: {video.frames} frames, {video.people} tracks, {speed}"]
        lines.append(f"{video.results}: keypoints and tracks of each frame")
        if video.empty:
            of = f"{video.empty} of {video.frames} frames of {video.path.name}"
            lines.append(f"nobody found in {of}")
        print("\n".join(map(on_one_line, lines)))
    for item in written.skipped:
        print(on_one_line(f"left out: {item}"))
