"""What predictions are compared with, as the reader decided it; no file is read again for it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from hevitpose.data.table import PoseTable

__all__ = ["AREA_OF_BOX", "LARGEST_AREA", "PoseTruth", "coco_truth"]

#: Where annotations have no area: this share of the box's, as MMPose has it.
AREA_OF_BOX = 0.53
#: COCO's evaluators count nobody whose area is larger, square pixels.
LARGEST_AREA = 1e10


@dataclass(frozen=True, eq=False)
class PoseTruth:
    """A annotated people: those who count, and regions where predictions are not judged.

    With ground-truth boxes, those who count are the table's people, in the table's order.
    """

    ids: np.ndarray  # (A,) int64: the table's ``person_ids`` where boxes are ground truth
    image_index: np.ndarray  # (A,) int32 into the table's images
    keypoints: np.ndarray  # (A, K, 2) float32, image pixels, 0-based; 0 where not labelled
    visibility: np.ndarray  # (A, K) uint8, labelled where > 0
    boxes: np.ndarray  # (A, 4) float64 x, y, w, h, not clipped; lines and points grown
    areas: np.ndarray  # (A,) float64: what OKS is scaled by, square pixels
    crowd: np.ndarray  # (A,) bool: ignored however many predictions fall on it
    order: np.ndarray  # (A,) int64: by which the file lists them, which breaks ties

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def ignored(self) -> np.ndarray:
        """(A,) bool: crowds, and people without a labelled keypoint."""
        return self.crowd | ~(self.visibility > 0).any(axis=1)

    def take(self, rows: np.ndarray) -> PoseTruth:
        """Some of the people, by indices or a mask."""
        return PoseTruth(*(getattr(self, field.name)[rows] for field in fields(self)))


def coco_truth(table: PoseTable) -> dict[str, Any]:
    """A table's truth in COCO's format, as pycocotools and xtcocotools are given it.

    People are numbered from 1 (pycocotools takes id 0 for "not matched"); ``area`` is what OKS is
    scaled by, whatever the annotation file had.

    Args:
        table: with ``truth``.
    """
    truth, declared = table.truth, table.declared
    assert truth is not None
    names = declared.layout.names
    images: list[dict[str, Any]] = [
        {"id": int(number), "file_name": name.decode(), "width": int(w), "height": int(h)}
        for number, name, (w, h) in zip(
            table.image_ids, table.image_names, table.image_sizes, strict=True
        )
    ]
    if table.crowd_index is not None:
        for image, index in zip(images, table.crowd_index.tolist(), strict=True):
            image["crowdIndex"] = index
    points = np.concatenate((truth.keypoints, truth.visibility[..., None]), -1).astype(np.float64)
    labelled = (truth.visibility > 0).sum(1)
    return {
        "images": images,
        "annotations": [
            {
                "id": row + 1,
                "image_id": int(table.image_ids[truth.image_index[row]]),
                "category_id": table.category_id,
                "iscrowd": int(truth.crowd[row]),
                "keypoints": points[row].ravel().tolist(),
                "num_keypoints": int(labelled[row]),
                "bbox": truth.boxes[row].tolist(),
                "area": float(truth.areas[row]),
            }
            for row in range(len(truth))
        ],
        "categories": [
            {
                "id": table.category_id,
                "name": str(declared.categories[0]),
                "keypoints": list(names),
            }
        ],
    }
