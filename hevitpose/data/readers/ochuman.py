"""OCHuman (Zhang et al., CVPR 2019): COCO's format and keypoints, heavily occluded people.

Used two ways: trained on its val and tested on its test, and as a test set for COCO's models.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hevitpose.data.readers.coco_format import load_split
from hevitpose.data.table import PoseTable

#: Where a split's people are, below ROOT/ochuman/annotations; later spellings are upstream's.
ANNOTATIONS = {
    split: (f"ochuman_{split}.json", f"ochuman_coco_format_{split}_range_0.00_1.00.json")
    for split in ("val", "test")
}


def load(root: Path, split: str, **options: Any) -> PoseTable:
    """OCHuman people of one split, from ROOT/ochuman; options of ``cocoformat.read``."""
    return load_split(root, "ochuman", ANNOTATIONS, split, **options)
