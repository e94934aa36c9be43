"""COCO keypoints (Lin et al., ECCV 2014): 17 joints, the field's format."""

from __future__ import annotations

from pathlib import Path

from hevitpose.data.cocoformat import read
from hevitpose.data.files import find, find_boxes
from hevitpose.data.keypoints import COCO
from hevitpose.data.table import PoseTable

#: Where a split's files are, below ROOT/coco; later spellings are the upstream names.
ANNOTATIONS = {
    "train": ("coco_train.json", "person_keypoints_train2017.json"),
    "val": ("coco_val.json", "person_keypoints_val2017.json"),
    "test": ("coco_test.json", "image_info_test-dev2017.json"),
}
IMAGES = {"train": "train2017", "val": "val2017", "test": "test2017"}


def load(
    root: Path,
    split: str,
    *,
    input_size: tuple[int, int],
    boxes: str = "gt",
    box_threshold: float = 0.0,
    skip_bad: bool = False,
) -> PoseTable:
    """COCO keypoints of one split, from ROOT/coco."""
    folder = root / "coco"
    return read(
        find(folder / "annotations", ANNOTATIONS, split),
        folder / "images" / IMAGES[split],
        COCO,
        dataset="coco",
        split=split,
        input_size=input_size,
        boxes=find_boxes(folder, boxes),
        box_threshold=box_threshold,
        skip_bad=skip_bad,
    )
