"""OCHuman (Zhang et al., CVPR 2019): COCO's format and keypoints, heavily occluded people.

Used two ways: trained on its val and tested on its test, and as a test set for COCO's models.
"""

from __future__ import annotations

from pathlib import Path

from hevitpose.data.cocoformat import read
from hevitpose.data.files import find, find_boxes
from hevitpose.data.keypoints import COCO
from hevitpose.data.table import PoseTable

#: Where a split's people are, below ROOT/ochuman/annotations; later spellings are upstream's.
ANNOTATIONS = {
    split: (f"ochuman_{split}.json", f"ochuman_coco_format_{split}_range_0.00_1.00.json")
    for split in ("val", "test")
}


def load(
    root: Path,
    split: str,
    *,
    input_size: tuple[int, int],
    boxes: str = "gt",
    box_threshold: float = 0.0,
    skip_bad: bool = False,
) -> PoseTable:
    """OCHuman people of one split, from ROOT/ochuman."""
    folder = root / "ochuman"
    return read(
        find(folder / "annotations", ANNOTATIONS, split),
        folder / "images",
        COCO,
        dataset="ochuman",
        split=split,
        input_size=input_size,
        boxes=find_boxes(folder, boxes),
        box_threshold=box_threshold,
        skip_bad=skip_bad,
    )
