"""CrowdPose (Li et al., CVPR 2019): COCO's format with 14 keypoints, a crowdIndex, and no area."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hevitpose.data.readers.coco_format import load_split
from hevitpose.data.table import PoseTable

#: Where a split's people are, below ROOT/crowdpose/annotations; later spellings are upstream's.
ANNOTATIONS = {
    split: (f"crowdpose_{split}.json", f"mmpose_crowdpose_{split}.json")
    for split in ("train", "val", "trainval", "test")
}


def load(root: Path, split: str, **options: Any) -> PoseTable:
    """CrowdPose people of one split, from ROOT/crowdpose; options of ``cocoformat.read``."""
    return load_split(root, "crowdpose", ANNOTATIONS, split, **options)
