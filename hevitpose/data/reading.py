"""One split of any dataset: whom a training sees and whom an evaluation scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hevitpose.data.files import declared, require_rendered
from hevitpose.data.registry import is_custom
from hevitpose.data.table import (
    PoseTable,
    drop_missing_images,
    require_people,
    require_truth,
)
from hevitpose.errors import DataError, UsageError
from hevitpose.files import is_dir


def load(
    dataset: str,
    root: str | Path,
    split: str,
    *,
    input_size: tuple[int, int],
    boxes: str = "gt",
    box_threshold: float = 0.0,
    training: bool = False,
    scored: bool = False,
    present_only: bool = False,
    skip_bad: bool = False,
) -> PoseTable:
    """The people of one split of a dataset, and what their predictions are compared with.

    Trainings and evaluations read here: who is in the table is trained on and scored.

    Args:
        dataset: a name of the registry, or the yaml file of a custom dataset.
        root: the folder that holds ``coco/``, ``mpii/`` and so on (``data``, ``data/synthetic``).
        split: ``train``, ``val``, ``test``; CrowdPose and MPII also ``trainval``.
        input_size: the network's (W, H); its aspect ratio extends the boxes.
        boxes: ``gt``, or a file of detections.
        box_threshold: detections below it are dropped.
        training: refuses what has no keypoints (detections, unlabelled splits), and keeps nothing
            to score by.
        scored: refuses what the dataset's protocol cannot score.
        present_only: leave out people whose image is absent and count those images.
        skip_bad: leave out bad records and images, listed in ``table.skipped``.

    Raises:
        UsageError: unknown dataset or split, or options that exclude each other.
        DataError: files or records are missing or bad, or nobody is left.
    """
    if len(input_size) != 2 or min(input_size) < 2:
        raise UsageError(f"input_size {input_size!r}: expected (W, H) in pixels")
    said = declared(dataset)
    if training and (boxes != "gt" or (said.files and split in said.files.withheld)):
        raise UsageError(f"{dataset} {split} with boxes {boxes!r} has no keypoints to train on")
    root = Path(root)
    options: dict[str, Any] = {"input_size": input_size, "boxes": boxes, "skip_bad": skip_bad}
    options["truth"] = not training
    if said.rendered_as:
        require_rendered(said, root, split)
    if is_custom(dataset):
        from hevitpose.data.readers import custom

        table = custom.load(Path(dataset), split, box_threshold=box_threshold, **options)
    elif said.format == "mpii":
        from hevitpose.data.readers import mpii

        table = mpii.load(root, split, said, **options)
    else:
        from hevitpose.data.readers import coco_format

        table = coco_format.load(root, split, said, box_threshold=box_threshold, **options)
    if not is_dir(table.image_root):
        raise DataError(f"{table.image_root}: no such folder of images for {table.annotation_file}")
    table = drop_missing_images(table, present_only=present_only, skip_bad=skip_bad)
    return require_truth(require_people(table)) if scored else require_people(table)
