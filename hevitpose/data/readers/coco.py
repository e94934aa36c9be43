"""COCO keypoints (Lin et al., ECCV 2014): 17 joints, the field's format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hevitpose.data.readers.coco_format import load_split
from hevitpose.data.table import PoseTable

#: Where a split's files are, below ROOT/coco; later spellings are the upstream names.
ANNOTATIONS = {
    "train": ("coco_train.json", "person_keypoints_train2017.json"),
    "val": ("coco_val.json", "person_keypoints_val2017.json"),
    "test": ("coco_test.json", "image_info_test-dev2017.json"),
}
IMAGES = {"train": "train2017", "val": "val2017", "test": "test2017"}


def load(root: Path, split: str, **options: Any) -> PoseTable:
    """COCO keypoints of one split, from ROOT/coco; options of ``cocoformat.read``."""
    return load_split(
        root,
        "coco",
        ANNOTATIONS,
        split,
        images=f"images/{IMAGES.get(split, split)}",
        **options,
    )
