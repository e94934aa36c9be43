"""The reader of COCO's format: COCO itself, and what CrowdPose, OCHuman and users build on it.

Who counts is decided here, once, for training and scoring alike, by the rules of MMPose 0.29:
crowds, people without a labelled keypoint and people whose area is given, used and not positive are
dropped; boxes are clipped to the image. Whatever else is wrong is an error that names the record,
or is left out and listed (``skip_bad``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hevitpose.data.files import find, find_boxes
from hevitpose.data.images import resolved, size_of
from hevitpose.data.readers.coco_records import (
    LARGEST_SIDE,
    Content,
    Images,
    People,
    read_file,
)
from hevitpose.data.readers.detections import read_boxes
from hevitpose.data.readers.doubts import refuse_relative, tell_corners
from hevitpose.data.readers.image_ids import ImageIds
from hevitpose.data.registry import Declared
from hevitpose.data.table import PoseTable, Problems, Skipped, image_name_array
from hevitpose.data.transforms import box_to_center_size
from hevitpose.data.truth import AREA_OF_BOX, LARGEST_AREA, PoseTruth
from hevitpose.errors import DataError
from hevitpose.files import exists

#: A box that is a line or a point, because its person's keypoints are, is grown to this share of
#: its image's longer side.
GROWN_SIDE = 0.1


def load(
    root: Path, split: str, declared: Declared, *, boxes: str = "gt", **options: Any
) -> PoseTable:
    """One split of a dataset of the registry, as it lies below ``data.root``.

    Args:
        root: the folder that holds the datasets.
        split: of the dataset.
        declared: its registry row.
        boxes: ``gt``, or a file of detections.
        options: of :func:`read`.

    Raises:
        UsageError: no such split.
        DataError: a file or record is missing or is not what it should be.
    """
    files = declared.files
    assert files is not None
    return read(
        find(root / files.folder / "annotations", files.annotations, split),
        files.image_folder(root, split),
        declared,
        split=split,
        boxes=find_boxes(root / files.folder, boxes),
        **options,
    )


def read(
    path: Path,
    image_root: Path,
    declared: Declared,
    *,
    split: str,
    input_size: tuple[int, int],
    boxes: str = "gt",
    box_threshold: float = 0.0,
    truth: bool = True,
    skip_bad: bool = False,
) -> PoseTable:
    """One file in COCO's format as a table; image files are not looked at.

    Args:
        path: the annotations.
        image_root: the folder that ``file_name`` is relative to.
        declared: layout, category and rules.
        split: name for the table.
        input_size: the network's (W, H); its aspect ratio extends the boxes.
        boxes: ``gt``, or a file of detections.
        box_threshold: detections below it are dropped.
        truth: also keep what predictions are compared with, where the file has people.
        skip_bad: leave bad records out and list them.

    Raises:
        DataError: a file or record is not what it should be.
    """
    problems, gt = Problems(path), boxes == "gt"
    content = read_file(path, declared, problems, need_people=gt, people=gt or truth)
    if declared.derive:
        content.images = _with_sizes(content.images, image_root, problems, declared.stored_pixels)
    images = content.images
    choice = _choose(content.people, images, problems, declared) if content.has_people else None
    if choice is not None:
        _doubt(path, content.people, images, choice, declared)
    skipped = problems.raise_or_list(skip_bad)
    if gt:
        assert choice is not None
        rows = _annotated(content.people, choice, declared)
    else:
        rows = _detected(Path(boxes), box_threshold, content, declared, skip_bad)
        skipped += rows.skipped
    people = {"people": len(rows.ids), **rows.counts, "skipped": len(skipped)}
    return PoseTable(
        declared=declared,
        split=split,
        image_root=image_root,
        annotation_file=path,
        image_ids=images.ids,
        image_names=image_name_array(images.names),
        image_sizes=images.sizes.astype(np.int32),
        **rows.columns(input_size[0] / input_size[1]),
        boxes="gt" if gt else f"{Path(boxes).name}>={box_threshold:g}",
        counts={"images": len(images.ids), **people},
        skipped=skipped,
        category_ids=content.category_ids,
        crowd_index=images.crowd_index if declared.protocol == "crowdpose" else None,
        truth=_truth(content.people, choice, declared) if truth and choice else None,
    )


def _doubt(path: Path, people: People, images: Images, choice: _Choice, declared: Declared) -> None:
    """Whether those used look like something else than pixels and x, y, width, height."""
    chosen = choice.used
    refuse_relative(path, people.points(len(declared.layout))[people.row[chosen]])
    tell_corners(path, people.bboxes[chosen], _sides(images, choice.known)[chosen])


@dataclass
class _Rows:
    """The people of a table, in its order."""

    ids: np.ndarray  # (N,) int64
    image_index: np.ndarray  # (N,) int64
    boxes: np.ndarray  # (N, 4) float64
    keypoints: np.ndarray  # (N, K, 3) float32 x, y, v
    areas: np.ndarray  # (N,) float64
    scores: np.ndarray  # (N,) of the boxes
    counts: dict[str, int]
    skipped: tuple[Skipped, ...] = ()

    def columns(self, aspect: float) -> dict[str, Any]:
        """The table's fields of people; ``aspect`` is the width over the height of the crops."""
        centers, sizes = box_to_center_size(self.boxes, aspect)
        visible = self.keypoints[..., 2].astype(np.uint8)
        return {
            "image_index": self.image_index.astype(np.int32),
            "person_ids": self.ids,
            "centers": centers.astype(np.float32),
            "sizes": sizes.astype(np.float32),
            "bboxes": self.boxes.astype(np.float32),
            "keypoints": np.where(visible[..., None] > 0, self.keypoints[..., :2], np.float32(0)),
            "visibility": visible,
            "areas": self.areas.astype(np.float32),
            "box_scores": self.scores.astype(np.float32),
        }


def _annotated(people: People, choice: _Choice, declared: Declared) -> _Rows:
    chosen = choice.used
    return _Rows(
        ids=people.ids[chosen],
        image_index=choice.known[chosen],
        boxes=choice.boxes,
        keypoints=people.points(len(declared.layout))[people.row[chosen]],
        areas=choice.areas[chosen] if declared.use_area else np.zeros(len(chosen)),
        scores=np.ones(len(chosen)),
        counts=choice.counts,
    )


def _detected(
    path: Path, threshold: float, content: Content, declared: Declared, skip_bad: bool
) -> _Rows:
    images = content.images
    known = ImageIds(images.ids.tolist(), images.names)
    found = read_boxes(path, threshold, known, skip_bad, content.category_ids)
    count = len(found.ids)
    return _Rows(
        ids=found.ids,
        image_index=_index_of(images.ids, found.image_ids),
        boxes=found.bboxes,
        keypoints=np.zeros((count, len(declared.layout), 3), np.float32),
        areas=np.zeros(count),
        scores=found.scores,
        counts=found.counts,
        skipped=found.skipped,
    )


@dataclass
class _Choice:
    known: np.ndarray  # (A,) int64 position of each person's image, -1 where unknown
    used: np.ndarray  # (N,) int64 into the people
    boxes: np.ndarray  # (N, 4) clipped
    whole: np.ndarray  # (A, 4) not clipped, lines and points grown
    fault: np.ndarray  # (A,) bool: left out as bad
    empty: np.ndarray  # (A,) bool: dropped for its area
    areas: np.ndarray  # (A,) float64: what OKS is scaled by, NaN where it cannot be known
    counts: dict[str, int]  # how many were dropped and why


def _index_of(ids: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Position of each wanted id among ``ids``, -1 where unknown."""
    if not len(ids):
        return np.full(len(wanted), -1, np.int64)
    order = np.argsort(ids, kind="stable")
    place = np.minimum(np.searchsorted(ids, wanted, sorter=order), len(ids) - 1)
    index = order[place]
    return np.where(ids[index] == wanted, index, -1)


class _Faults:
    """Which annotations are bad, each reported once, for the first thing that is wrong with it."""

    def __init__(self, people: People, problems: Problems) -> None:
        self.people, self.problems = people, problems
        self.mask = np.zeros(len(people.ids), bool)

    def refuse(self, mask: np.ndarray, why: Callable[[Any], str]) -> None:
        for index in np.flatnonzero(mask & ~self.mask):
            self.problems.add("annotation", f"id {self.people.ids[index]}", why(index))
        np.logical_or(self.mask, mask, out=self.mask)


def _sides(images: Images, known: np.ndarray) -> np.ndarray:
    """(A, 2) W, H of each person's image; 1 where there is none, the largest where not known."""
    if not len(images.ids):
        return np.ones((len(known), 2), np.int64)
    sizes = np.where(images.sizes > 0, images.sizes, LARGEST_SIDE)
    return np.where((known >= 0)[:, None], sizes[known], 1)


def _choose(people: People, images: Images, problems: Problems, declared: Declared) -> _Choice:
    """Who is used."""
    known = _index_of(images.ids, people.image_ids)
    faults = _Faults(people, problems)
    refuse, fault = faults.refuse, faults.mask
    duplicate = np.ones(len(people.ids), bool)
    duplicate[np.unique(people.ids, return_index=True)[1]] = False
    refuse(duplicate, lambda i: "duplicate id, expected every id once")
    refuse(known < 0, lambda i: f"image_id {people.image_ids[i]} is unknown, expected an image's")
    sides = _sides(images, known)
    labelled = ~people.crowd & (people.row >= 0)
    boxes, grown = _grow_flat(people, labelled, sides, len(declared.layout))
    empty = labelled & (people.areas <= 0) & ~(grown & (people.areas == 0))  # false where absent
    if not declared.use_area:
        empty[:] = False
    used = labelled & ~empty
    if declared.use_area:
        refuse(
            used & np.isnan(people.areas),
            lambda i: (
                "area is missing, expected pixels (OKS is scaled by it; a custom dataset's "
                "`use_area: false` scores without)"
            ),
        )
    areas = _areas(people, declared, boxes, grown)
    refuse(
        used & ~(boxes[:, 2:] > 0).all(axis=1),
        lambda i: f"bbox is {_box(people.bboxes[i])}, expected a positive width and height",
    )
    refuse(
        used & (areas > LARGEST_AREA),
        lambda i: f"area is {areas[i]:g} pixels, expected at most {LARGEST_AREA:g}",
    )
    clipped = clip_boxes(boxes, sides)
    refuse(
        used & ~(clipped[:, 2:] > 0).all(axis=1),
        lambda i: (
            f"bbox is {_box(people.bboxes[i])}, outside its image of "
            f"{_by(sides[i])} or under two pixels"
        ),
    )
    chosen = np.flatnonzero(used & ~fault)
    raw = boxes[chosen]
    beyond = (raw[:, :2] < 0) | (raw[:, :2] + raw[:, 2:] > sides[chosen])
    counts = {
        "clipped_boxes": int(beyond.any(axis=1).sum()),
        "grown_boxes": int(grown[chosen].sum()),
        "dropped_crowd": int((people.crowd & ~fault).sum()),
        "dropped_unlabelled": int((~people.crowd & (people.row < 0) & ~fault).sum()),
        "dropped_area": int((empty & ~fault).sum()),
        "dropped_category": people.other_categories,
    }
    if declared.derive:
        counts["derived_boxes"] = int(people.derived[chosen].sum())
    return _Choice(known, chosen, clipped[chosen], boxes, fault, empty, areas, counts)


def _with_sizes(images: Images, root: Path, problems: Problems, stored: bool) -> Images:
    """The images, with sizes that the file does not state from the photographs' headers.

    Of an absent photograph it stays (0, 0): what handles missing images rules whether that matters.
    """
    keep, sizes = np.ones(len(images.ids), bool), images.sizes.copy()
    for index in np.flatnonzero(sizes[:, 0] == 0):
        path = root / resolved(root, images.names[index])
        try:
            if exists(path):
                sizes[index] = size_of(path, stored)
        except DataError as error:
            keep[index] = False
            problems.add("image", f"id {images.ids[index]}", str(error))
    names = [name for name, kept in zip(images.names, keep, strict=True) if kept]
    return Images(images.ids[keep], names, sizes[keep], images.crowd_index[keep])


def _grow_flat(
    people: People, labelled: np.ndarray, sides: np.ndarray, num_keypoints: int
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes, those that are a line or a point grown about their centre, and which ones grew.

    Only where the box is that of the person's labelled keypoints (to a pixel): with one keypoint,
    or with keypoints in a row, exporters can but write such a box. Any other is an error.
    """
    boxes, grown = people.bboxes, np.zeros(len(people.ids), bool)
    flat = np.flatnonzero(labelled & (boxes[:, 2:] >= 0).all(1) & (boxes[:, 2:] <= 1).any(1))
    if not len(flat):
        return boxes, grown
    points = people.points(num_keypoints)[people.row[flat]].astype(np.float64)
    seen = points[..., 2:] > 0
    low = np.where(seen, points[..., :2], np.inf).min(1)
    high = np.where(seen, points[..., :2], -np.inf).max(1)
    raw = boxes[flat]
    tight = (np.abs(raw[:, :2] - low) <= 1).all(1) & (np.abs(raw[:, 2:] - (high - low)) <= 1).all(1)
    flat, raw = flat[tight], raw[tight]
    smallest = GROWN_SIDE * sides[flat].max(axis=1, keepdims=True)
    size = np.maximum(raw[:, 2:], smallest)
    boxes, grown[flat] = boxes.copy(), True
    boxes[flat] = np.concatenate((raw[:, :2] + (raw[:, 2:] - size) / 2, size), axis=1)
    return boxes, grown


def _areas(people: People, declared: Declared, boxes: np.ndarray, grown: np.ndarray) -> np.ndarray:
    """What OKS is scaled by, NaN where it cannot be known.

    Keypoints in a row have no area, and by 0 only what equals them to the last bit would score:
    that of the grown box is taken.
    """
    of_box = boxes[:, 2] * boxes[:, 3] * AREA_OF_BOX
    if not declared.use_area:
        return of_box
    return np.where(grown & (people.areas == 0), of_box, people.areas)


def _truth(people: People, choice: _Choice, declared: Declared) -> PoseTruth:
    """The people who are used, then the regions that are ignored, as far as they can be read."""
    regions = ~choice.fault & np.isfinite(people.bboxes).all(1) & (choice.areas >= 0)
    regions[choice.used] = False
    rows = np.concatenate((choice.used, np.flatnonzero(regions)))
    xyv = np.zeros((len(rows), len(declared.layout), 3), np.float32)
    labelled = people.row[rows] >= 0
    xyv[labelled] = people.points(len(declared.layout))[people.row[rows][labelled]]
    return PoseTruth(
        ids=people.ids[rows],
        image_index=choice.known[rows].astype(np.int32),
        keypoints=xyv[..., :2],
        visibility=xyv[..., 2].astype(np.uint8),
        boxes=choice.whole[rows],
        areas=choice.areas[rows],
        crowd=(people.crowd | choice.empty)[rows],
        order=rows,
    )


def _box(box: np.ndarray) -> str:
    return "[" + ", ".join(f"{value:g}" for value in box) + "]"


def _by(sides: np.ndarray) -> str:
    return "unknown size" if sides[0] == LARGEST_SIDE else f"{sides[0]}x{sides[1]}"


def clip_boxes(boxes: np.ndarray, image_sizes: np.ndarray) -> np.ndarray:
    """Boxes clipped to their images as MMPose clips them: the last pixel is inside (x2 <= w - 1).

    x2 = min(w - 1, max(x, 0) + max(0, width - 1)), so that a box wholly inside loses one pixel
    of width and height (MMPose 0.29, HRNet).

    Args:
        boxes: (N, 4) x, y, w, h.
        image_sizes: (N, 2) W, H.

    Returns:
        (N, 4); a side that is not positive means that nothing of the box is inside.
    """
    low = np.maximum(boxes[:, :2], 0)
    high = np.minimum(image_sizes - 1, low + np.maximum(boxes[:, 2:] - 1, 0))
    return np.concatenate((low, high - low), axis=1)
