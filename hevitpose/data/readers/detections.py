"""A detector's boxes in COCO's result format."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np

from hevitpose import json_file
from hevitpose.data.readers import fields
from hevitpose.data.readers.doubts import tell_relative
from hevitpose.data.table import Problems, Skipped
from hevitpose.errors import DataError

_KEYS = ("image_id", "file_name", "category_id", "bbox", "score")
#: Pixels; a narrower box would be of no width in float32.
SMALLEST = 1e-3


@dataclass
class Detections:
    """Boxes of a detector, in the file's order."""

    ids: np.ndarray  # (D,) int64: position in the file
    image_ids: np.ndarray  # (D,) int64
    bboxes: np.ndarray  # (D, 4) float64, not clipped
    scores: np.ndarray  # (D,) float64
    counts: dict[str, int]
    others: tuple[int, ...]  # categories that were left out
    skipped: tuple[Skipped, ...]


class Images(Protocol):
    """Images that there are, as :class:`~hevitpose.data.readers.image_ids.ImageIds`."""

    def of(self, entry: dict[str, Any]) -> int:
        """The number of the one that an entry means.

        Raises:
            ValueError: it means none, or leaves open which.
        """


def read_boxes(
    path: Path,
    threshold: float,
    images: Images,
    skip_bad: bool = False,
    category_ids: Sequence[int] = (1,),
    defaults: Mapping[str, Any] = MappingProxyType({}),
) -> Detections:
    """Detections in COCO's result format: a list of image_id, category_id, bbox, score.

    Those of the people's category with a score of at least ``threshold`` are kept, unclipped.

    Args:
        path: the file.
        threshold: the lowest score kept.
        images: those that there are.
        skip_bad: leave bad records out and list them.
        category_ids: the annotation file's, of people.
        defaults: values of keys that a record may lack.

    Raises:
        DataError: the file or a record is not what it should be.
    """
    problems, kept = Problems(path), _Kept()
    key = None  # of an empty object
    for key, position, record in json_file.records(path, "detections", {"": _KEYS}):
        if key != "" or (position < 0 and record != []):
            raise DataError(f"{path}: an object, expected a list of detections")
        if position < 0:
            break
        try:
            if not isinstance(record, dict):
                raise ValueError("not an object, expected image_id, category_id, bbox and score")
            kept.add(position, {**defaults, **record}, images, threshold, category_ids)
        except ValueError as error:
            problems.add("box", f"[{position}]", str(error))
    if key is None:
        raise DataError(f"{path}: an object, expected a list of detections")
    bboxes = np.array(kept.bboxes, np.float64).reshape(-1, 4)
    tell_relative(path, bboxes, "the boxes")
    return Detections(
        ids=np.array(kept.ids, np.int64),
        image_ids=np.array(kept.image_ids, np.int64),
        bboxes=bboxes,
        scores=np.array(kept.scores, np.float64),
        counts={"dropped_category": len(kept.others), "dropped_score": kept.low},
        others=tuple(sorted(set(kept.others))),
        skipped=problems.raise_or_list(skip_bad),
    )


@dataclass
class _Kept:
    """The boxes of a file that are kept, as flat numbers in its order."""

    ids: array[int] = field(default_factory=lambda: array("q"))
    image_ids: array[int] = field(default_factory=lambda: array("q"))
    bboxes: array[float] = field(default_factory=lambda: array("d"))  # x, y, w, h
    scores: array[float] = field(default_factory=lambda: array("d"))
    others: list[int] = field(default_factory=list)  # categories left out
    low: int = 0  # scores below the threshold

    def add(
        self,
        position: int,
        record: dict[str, Any],
        images: Images,
        threshold: float,
        category_ids: Sequence[int],
    ) -> None:
        """Keep or count one record.

        Raises:
            ValueError: it is not what it should be.
        """
        kind = fields.whole(record, "category_id")
        score = fields.number(record, "score")
        if kind not in category_ids:
            self.others.append(kind)
            return
        if score < threshold:
            self.low += 1
            return
        box = fields.numbers(record, "bbox", 4)
        if min(box[2:]) < SMALLEST:
            raise ValueError(f"bbox is {box}, expected a positive width and height")
        self.image_ids.append(images.of(record))
        self.ids.append(position)
        self.bboxes.extend(box)
        self.scores.append(score)
