"""CrowdPose (Li et al., CVPR 2019): COCO's format with 14 keypoints, a crowdIndex, and no area."""

from __future__ import annotations

from pathlib import Path

from hevitpose.data.cocoformat import read
from hevitpose.data.files import find, find_boxes
from hevitpose.data.keypoints import CROWDPOSE
from hevitpose.data.table import PoseTable

#: Where a split's people are, below ROOT/crowdpose/annotations; later spellings are upstream's.
ANNOTATIONS = {
    split: (f"crowdpose_{split}.json", f"mmpose_crowdpose_{split}.json")
    for split in ("train", "val", "trainval", "test")
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
    """CrowdPose people of one split, from ROOT/crowdpose."""
    folder = root / "crowdpose"
    return read(
        find(folder / "annotations", ANNOTATIONS, split),
        folder / "images",
        CROWDPOSE,
        dataset="crowdpose",
        split=split,
        input_size=input_size,
        boxes=find_boxes(folder, boxes),
        box_threshold=box_threshold,
        needs_area=False,
        skip_bad=skip_bad,
    )
