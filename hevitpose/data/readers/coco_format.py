"""The reader of COCO's format: COCO itself, and what CrowdPose, OCHuman and users build on it.

Who counts is decided here, once, for training and scoring alike, by the rules of MMPose 0.29:
crowds, people without a labelled keypoint and people whose area is given, used and not positive are
dropped; boxes are clipped to the image. Whatever else is wrong is an error that names the record,
or is left out and listed (``skip_bad``).
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hevitpose.data.files import find, find_boxes
from hevitpose.data.keypoints import require_same_order
from hevitpose.data.readers import json_file
from hevitpose.data.readers.detections import read_boxes
from hevitpose.data.registry import ROWS, Declared
from hevitpose.data.table import PoseTable, Problems, image_name_array
from hevitpose.data.transforms import box_to_center_size
from hevitpose.data.truth import AREA_OF_BOX, LARGEST_AREA, PoseTruth
from hevitpose.errors import DataError
from hevitpose.models.keypoints import KeypointLayout

#: A box that is a line or a point, because its person's keypoints are, is grown to this share of
#: its image's longer side.
GROWN_SIDE = 0.1


def load_split(
    root: Path,
    dataset: str,
    annotations: Mapping[str, tuple[str, ...]],
    split: str,
    *,
    images: str = "images",
    boxes: str = "gt",
    **options: Any,
) -> PoseTable:
    """One split of a dataset that lies as the authors had theirs, below ROOT/DATASET.

    Args:
        root: the folder that holds the datasets.
        dataset: its folder's name, and its registry row.
        annotations: by split, the file names to look for.
        split: one of them.
        images: the folder of images.
        boxes: ``gt``, or a file of detections.
        options: of :func:`read`.

    Raises:
        UsageError: no such split.
        DataError: a file or record is missing or is not what it should be.
    """
    folder = root / dataset
    return read(
        find(folder / "annotations", annotations, split),
        folder / images,
        ROWS[dataset],
        split=split,
        boxes=find_boxes(folder, boxes),
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
    problems, layout = Problems(path), declared.layout
    content = _read_file(
        path, declared, problems, need_people=boxes == "gt", people=boxes == "gt" or truth
    )
    images, people = content.images, content.people
    order = np.argsort(images.ids, kind="stable")
    compared = None
    if content.has_people:
        known = _index_of(images.ids, order, people.image_ids)
        choice = _choose(people, images, known, problems, declared)
        if truth:
            compared = _truth(people, known, choice, declared)
    skipped = problems.settle(skip_bad)
    if boxes == "gt":
        chosen, bboxes, counts = choice.used, choice.boxes, choice.counts
        count = len(chosen)
        xyv = people.points(len(layout))[people.row[chosen]]
        ids, image_index = people.ids[chosen], known[chosen]
        areas = people.areas[chosen] if declared.use_area else np.zeros(count)
        scores = np.ones(count, np.float32)
    else:
        detections = read_boxes(
            Path(boxes), box_threshold, images.ids, skip_bad, content.category_id
        )
        skipped += detections.skipped
        count, bboxes, counts = len(detections.ids), detections.bboxes, detections.counts
        xyv = np.zeros((count, len(layout), 3), np.float32)
        ids, areas = detections.ids, np.zeros(count)
        image_index = _index_of(images.ids, order, detections.image_ids)
        scores = detections.scores.astype(np.float32)
    centers, sizes = box_to_center_size(bboxes, input_size[0] / input_size[1])
    visible = xyv[..., 2].astype(np.uint8)
    counts = {"images": len(images.ids), "people": count, **counts, "skipped": len(skipped)}
    return PoseTable(
        declared=declared,
        split=split,
        image_root=image_root,
        annotation_file=path,
        image_ids=images.ids,
        image_names=image_name_array(images.names),
        image_sizes=images.sizes.astype(np.int32),
        image_index=image_index.astype(np.int32),
        person_ids=ids,
        centers=centers.astype(np.float32),
        sizes=sizes.astype(np.float32),
        bboxes=bboxes.astype(np.float32),
        keypoints=np.where(visible[..., None] > 0, xyv[..., :2], np.float32(0)),
        visible=visible,
        areas=areas.astype(np.float32),
        box_scores=scores,
        boxes="gt" if boxes == "gt" else f"{Path(boxes).name}>={box_threshold:g}",
        counts=counts,
        skipped=skipped,
        category_id=content.category_id,
        crowd_index=images.crowd_index if declared.protocol == "crowdpose" else None,
        truth=compared,
    )


@dataclass
class Images:
    """The images of a file."""

    ids: np.ndarray  # (M,) int64
    names: list[str]
    sizes: np.ndarray  # (M, 2) int64
    crowd_index: np.ndarray  # (M,) float64, NaN where it is no number


@dataclass
class People:
    """Every person annotation whose fields could be read, before any rule is applied."""

    ids: np.ndarray  # (A,) int64
    image_ids: np.ndarray  # (A,) int64
    crowd: np.ndarray  # (A,) bool
    bboxes: np.ndarray  # (A, 4) float64, NaN where not read
    areas: np.ndarray  # (A,) float64, NaN where absent
    row: np.ndarray  # (A,) int64 into keypoints; -1 without a labelled one
    keypoints: np.ndarray  # (R * K * 3,) float32
    other_categories: int  # annotations of other categories, left out

    def points(self, num_keypoints: int) -> np.ndarray:
        """(R, K, 3) x, y, v."""
        return self.keypoints.reshape(-1, num_keypoints, 3)


@dataclass
class _Content:
    images: Images
    people: People
    has_people: bool  # the file has a list of them
    category_id: int


@dataclass
class _Choice:
    used: np.ndarray  # (N,) int64 into the people
    boxes: np.ndarray  # (N, 4) clipped
    fault: np.ndarray  # (A,) bool: left out as bad
    empty: np.ndarray  # (A,) bool: dropped for its area
    counts: dict[str, int]  # how many were dropped and why


def read_images(path: Path, declared: Declared, problems: Problems) -> Images:
    """The images of a file, whose people, if any, are not read.

    Raises:
        DataError: the file is not in COCO's format; bad records go to ``problems``.
    """
    return _read_file(path, declared, problems, need_people=False, people=False).images


def _read_file(
    path: Path, declared: Declared, problems: Problems, need_people: bool, people: bool = True
) -> _Content:
    images = _ImageCollector(problems)
    collector = _PersonCollector(problems, declared)
    categories: dict[int, str] = {}
    seen = set()
    for key, position, record in json_file.records(path):
        seen.add(key)
        if position < 0:
            if key in ("", "images", "annotations", "categories") and record != []:
                raise DataError(f"{path}: {key} is not a list, expected COCO's format")
        elif key == "images":
            images.add(position, record)
        elif key == "annotations" and people:
            collector.add(position, record)
        elif key == "categories":
            name = _read_category(path, position, record, declared)
            categories[name[0]] = name[1]
        elif key == "":
            raise DataError(
                f"{path}: a list of records, expected COCO's object with images and annotations"
            )
    has_people = people and "annotations" in seen
    wanted = ("images", "annotations", "categories") if need_people or has_people else ("images",)
    for key in wanted:
        if key not in seen:
            raise DataError(f"{path}: {key} is missing, expected COCO's format")
    category_id = 1  # of a list of images without categories
    if "categories" in seen:
        category_id = _category_id(path, categories, declared.category)
    if has_people:
        collector.settle(category_id, categories)
    return _Content(images.arrays(), collector.arrays(), has_people, category_id)


def _category_id(path: Path, categories: dict[int, str], wanted: str) -> int:
    found = [number for number, name in categories.items() if name == wanted]
    if not found:
        raise DataError(f"{path}: categories has no {wanted!r}, expected it")
    if len(found) > 1:
        raise DataError(f"{path}: categories {found} are called {wanted!r}, expected one")
    return found[0]


def _read_category(path: Path, position: int, record: Any, declared: Declared) -> tuple[int, str]:
    where = f"{path}: categories[{position}]"
    if not isinstance(record, dict):
        raise DataError(f"{where} is not an object, expected id and name")
    try:
        number = json_file.whole(record, "id")
    except ValueError as error:
        raise DataError(f"{where}: {error}") from None
    name = record.get("name")
    if not isinstance(name, str):
        raise DataError(f"{where}: name is not text, expected for instance {declared.category!r}")
    if name == declared.category and record.get("keypoints") not in (None, []):
        _check_names(where, record["keypoints"], declared.layout)
    return number, name


def _check_names(where: str, names: Any, layout: KeypointLayout) -> None:
    if not isinstance(names, list) or len(names) != len(layout):
        found = len(names) if isinstance(names, list) else "no list of"
        raise DataError(f"{where}: {found} keypoint names, expected {len(layout)} ({layout.name})")
    require_same_order(where, tuple(map(str, names)), layout)


class _ImageCollector:
    def __init__(self, problems: Problems) -> None:
        self.problems = problems
        self.ids, self.sizes, self.crowd_index = array("q"), array("q"), array("d")
        self.names: list[str] = []
        self.known: set[int] = set()

    def add(self, position: int, record: Any) -> None:
        where = f"images[{position}]"
        if not isinstance(record, dict):
            self.problems.add("image", where, "not an object, expected id, file_name, width")
            return
        try:
            number = json_file.whole(record, "id")
            where = f"{where} (id {number})"
            name = json_file.file_name(record, "file_name")
            size = [json_file.whole(record, key) for key in ("width", "height")]
            if not all(0 < side < 2**20 for side in size):
                raise ValueError(f"width, height are {size}, expected positive pixels")
            if number in self.known:
                raise ValueError(f"id {number} is a duplicate, expected every id once")
        except ValueError as error:
            self.problems.add("image", where, str(error))
            return
        self.known.add(number)
        self.ids.append(number)
        self.names.append(name)
        self.sizes.extend(size)
        index: Any = record.get("crowdIndex")  # CrowdPose's, and needed for scoring only
        self.crowd_index.append(float(index) if type(index) in (int, float) else float("nan"))

    def arrays(self) -> Images:
        ids = np.array(self.ids, np.int64)
        sizes = np.array(self.sizes, np.int64).reshape(-1, 2)
        return Images(ids, self.names, sizes, np.array(self.crowd_index, np.float64))


class _PersonCollector:
    def __init__(self, problems: Problems, declared: Declared) -> None:
        self.problems, self.declared = problems, declared
        self.ids, self.image_ids, self.categories = array("q"), array("q"), array("q")
        self.crowd, self.row = array("b"), array("q")
        self.bboxes, self.areas, self.keypoints = array("d"), array("d"), array("f")
        self.rows = 0
        self.bad: list[tuple[int | None, str, str]] = []  # category, where, why
        self.other = np.zeros(0, bool)
        self.dropped = 0  # of other categories

    def add(self, position: int, record: Any) -> None:
        where = f"annotations[{position}]"
        kind = None
        if not isinstance(record, dict):
            self.bad.append((None, where, "not an object, expected a person"))
            return
        try:
            kind = json_file.whole(record, "category_id")
            number = json_file.whole(record, "id")
            where = f"{where} (id {number})"
            image = json_file.whole(record, "image_id")
            crowd = json_file.flag(record, "iscrowd")
            if crowd:
                points, box, area = self._region(record)
            else:
                points, box, area = self._person(record)
        except ValueError as error:
            self.bad.append((kind, where, str(error)))
            return
        self.ids.append(number)
        self.image_ids.append(image)
        self.categories.append(kind)
        self.crowd.append(crowd)
        self.bboxes.extend(box)
        self.areas.append(area)
        self.row.append(self.rows if points else -1)
        if points:
            self.keypoints.extend(points)
            self.rows += 1

    def _person(self, record: dict[str, Any]) -> tuple[list[float], list[float], float]:
        """Keypoints (nothing where no joint is labelled), box and area."""
        points = json_file.keypoints(record, "keypoints", len(self.declared.layout))
        if not any(points[2::3]):
            return self._region(record)  # nobody reads the box of a person who is dropped
        area = float("nan")
        box = json_file.numbers(record, "bbox", 4)
        if self.declared.use_area and "area" in record:
            area = json_file.number(record, "area", limit=1e14)
        return points, box, area

    def _region(self, record: dict[str, Any]) -> tuple[list[float], list[float], float]:
        """What a crowd or an unlabelled person has of the same; what cannot be read is absent."""
        points, box, area = [], [float("nan")] * 4, float("nan")
        with suppress(ValueError):
            points = json_file.keypoints(record, "keypoints", len(self.declared.layout))
        with suppress(ValueError):
            box = json_file.numbers(record, "bbox", 4)
        with suppress(ValueError):
            area = json_file.number(record, "area", limit=1e14)
        return points if any(points[2::3]) else [], box, area

    def settle(self, category_id: int, names: dict[int, str]) -> None:
        """Part people from annotations of other categories, and report what is bad."""
        kinds = np.array(self.categories, np.int64)
        self.other = kinds != category_id
        others = [(int(kinds[i]), f"id {self.ids[i]}") for i in np.flatnonzero(self.other)]
        for kind, where, why in self.bad:
            if kind in (None, category_id):
                self.problems.add("annotation", where, why)
            else:
                others.append((kind, where))
        if self.declared.other_categories:
            self.dropped = len(others)
            return
        for kind, where in others:
            self.problems.add(
                "annotation",
                where,
                f"category_id {kind} ({names.get(kind, 'not in categories')}), "
                f"expected {category_id} ({self.declared.category})",
            )

    def arrays(self) -> People:
        keep = ~self.other if len(self.other) else np.ones(len(self.ids), bool)
        return People(
            ids=np.array(self.ids, np.int64)[keep],
            image_ids=np.array(self.image_ids, np.int64)[keep],
            crowd=np.array(self.crowd, bool)[keep],
            bboxes=np.array(self.bboxes, np.float64).reshape(-1, 4)[keep],
            areas=np.array(self.areas, np.float64)[keep],
            row=np.array(self.row, np.int64)[keep],
            keypoints=np.frombuffer(self.keypoints, np.float32)
            if self.keypoints
            else np.zeros(0, np.float32),
            other_categories=self.dropped,
        )


def _index_of(ids: np.ndarray, order: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Position of each wanted id among ``ids``, -1 where unknown."""
    if not len(ids):
        return np.full(len(wanted), -1, np.int64)
    place = np.minimum(np.searchsorted(ids, wanted, sorter=order), len(ids) - 1)
    index = order[place]
    return np.where(ids[index] == wanted, index, -1)


def _choose(
    people: People, images: Images, known: np.ndarray, problems: Problems, declared: Declared
) -> _Choice:
    """Who is used."""
    fault = np.zeros(len(people.ids), bool)

    def refuse(mask: np.ndarray, why: Any) -> None:
        for index in np.flatnonzero(mask & ~fault):
            problems.add("annotation", f"id {people.ids[index]}", why(index))
        np.logical_or(fault, mask, out=fault)

    duplicate = np.ones(len(people.ids), bool)
    duplicate[np.unique(people.ids, return_index=True)[1]] = False
    refuse(duplicate, lambda i: "duplicate id, expected every id once")
    refuse(known < 0, lambda i: f"image_id {people.image_ids[i]} is unknown, expected an image's")
    sides = np.ones((len(people.ids), 2), np.int64)
    if len(images.ids):
        sides = np.where((known >= 0)[:, None], images.sizes[known], 1)
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
                "use_area: false takes the box's)"
            ),
        )
    areas = _areas(people, declared)
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
            f"{sides[i][0]}x{sides[i][1]} or under two pixels"
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
    return _Choice(chosen, clipped[chosen], fault, empty, counts)


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


def _areas(people: People, declared: Declared) -> np.ndarray:
    """What OKS is scaled by, NaN where it cannot be known."""
    if declared.use_area:
        return people.areas
    return people.bboxes[:, 2] * people.bboxes[:, 3] * AREA_OF_BOX


def _truth(people: People, known: np.ndarray, choice: _Choice, declared: Declared) -> PoseTruth:
    """The people who are used, then the regions that are ignored, as far as they can be read."""
    areas = _areas(people, declared)
    regions = ~choice.fault & np.isfinite(people.bboxes).all(1) & (areas >= 0)
    regions[choice.used] = False
    rows = np.concatenate((choice.used, np.flatnonzero(regions)))
    xyv = np.zeros((len(rows), len(declared.layout), 3), np.float32)
    labelled = people.row[rows] >= 0
    xyv[labelled] = people.points(len(declared.layout))[people.row[rows][labelled]]
    return PoseTruth(
        ids=people.ids[rows],
        image_index=known[rows].astype(np.int32),
        keypoints=xyv[..., :2],
        visible=xyv[..., 2].astype(np.uint8),
        boxes=people.bboxes[rows],
        areas=areas[rows],
        crowd=(people.crowd | choice.empty)[rows],
        order=rows,
    )


def _box(box: np.ndarray) -> str:
    return "[" + ", ".join(f"{value:g}" for value in box) + "]"


def clip_boxes(boxes: np.ndarray, image_sizes: np.ndarray) -> np.ndarray:
    """Boxes clipped to their images as the field does: the last pixel is inside (x2 <= w - 1).

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
