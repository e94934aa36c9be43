"""The reader of COCO's format: COCO itself, and what CrowdPose, OCHuman and users build on it.

Rules of MMPose 0.29: crowds, people without a labelled keypoint and people whose area is present
and not positive are dropped; boxes are clipped to the image. Whatever else is wrong is an error
that names the record, or is left out and listed (``skip_bad``).
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hevitpose.data import jsonfile
from hevitpose.data.boxes import read_boxes
from hevitpose.data.files import find, find_boxes
from hevitpose.data.keypoints import KeypointLayout
from hevitpose.data.table import PoseTable, Problems, image_name_array
from hevitpose.data.transforms import box_to_center_size
from hevitpose.errors import DataError


def load_split(
    root: Path,
    dataset: str,
    layout: KeypointLayout,
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
        dataset: its folder's name, and the table's.
        layout: the keypoints of a person.
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
        layout,
        dataset=dataset,
        split=split,
        boxes=find_boxes(folder, boxes),
        **options,
    )


def read(
    path: Path,
    image_root: Path,
    layout: KeypointLayout,
    *,
    dataset: str,
    split: str,
    input_size: tuple[int, int],
    boxes: str = "gt",
    box_threshold: float = 0.0,
    needs_area: bool = True,
    category: str = "person",
    skip_bad: bool = False,
) -> PoseTable:
    """One file in COCO's format as a table; image files are not looked at.

    Args:
        path: the annotations.
        image_root: the folder that ``file_name`` is relative to.
        layout: the K keypoints that a person must have.
        dataset: name for the table.
        split: likewise.
        input_size: the network's (W, H); its aspect ratio extends the boxes.
        boxes: ``gt``, or a file of detections.
        box_threshold: detections below it are dropped.
        needs_area: whether a person must have an ``area``.
        category: the name of the category that people have.
        skip_bad: leave bad records out and list them.

    Raises:
        DataError: a file or record is not what it should be.
    """
    problems = Problems(path)
    images, people = _read_file(path, layout, category, problems, with_people=boxes == "gt")
    order = np.argsort(images.ids, kind="stable")
    aspect_ratio = input_size[0] / input_size[1]
    if boxes == "gt":
        known = _index_of(images.ids, order, people.image_ids)
        chosen, bboxes, counts = _choose(people, images, known, problems, needs_area)
        skipped = problems.settle(skip_bad)
        count = len(chosen)
        xyv = people.keypoints.reshape(-1, len(layout), 3)[people.row[chosen]]
        ids, areas = people.ids[chosen], np.nan_to_num(people.areas[chosen])
        image_index, scores = known[chosen], np.ones(count, np.float32)
    else:
        skipped = problems.settle(skip_bad)
        detections = read_boxes(Path(boxes), box_threshold, images.ids, skip_bad)
        skipped += detections.skipped
        count, bboxes, counts = len(detections.ids), detections.bboxes, detections.counts
        xyv = np.zeros((count, len(layout), 3), np.float32)
        ids, areas = detections.ids, np.zeros(count)
        image_index = _index_of(images.ids, order, detections.image_ids)
        scores = detections.scores.astype(np.float32)
    centers, sizes = box_to_center_size(bboxes, aspect_ratio)
    visible = xyv[..., 2].astype(np.uint8)
    counts = {"images": len(images.ids), "people": count, **counts, "skipped": len(skipped)}
    return PoseTable(
        dataset=dataset,
        split=split,
        layout=layout,
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
    )


@dataclass
class Images:
    """The images of a file: ids (M,), names, sizes (M, 2)."""

    ids: np.ndarray
    names: list[str]
    sizes: np.ndarray


@dataclass
class People:
    """Every person annotation whose fields could be read, before any rule is applied."""

    ids: np.ndarray  # (A,) int64
    image_ids: np.ndarray  # (A,) int64
    crowd: np.ndarray  # (A,) bool
    bboxes: np.ndarray  # (A, 4) float64
    areas: np.ndarray  # (A,) float64, NaN where absent
    row: np.ndarray  # (A,) int64 into keypoints; -1 without a labelled one
    keypoints: np.ndarray  # (R * K * 3,) float32


def read_images(path: Path, layout: KeypointLayout, problems: Problems) -> Images:
    """The images of a file, whose people, if any, are not read.

    Raises:
        DataError: the file is not in COCO's format; bad records go to ``problems``.
    """
    return _read_file(path, layout, "person", problems, with_people=False)[0]


def _read_file(
    path: Path, layout: KeypointLayout, category: str, problems: Problems, with_people: bool
) -> tuple[Images, People]:
    images, people = _ImageCollector(problems), _PersonCollector(problems, len(layout))
    categories: dict[int, str] = {}
    seen = set()
    for key, position, record in jsonfile.records(path):
        seen.add(key)
        if position < 0:
            if key in ("", "images", "annotations", "categories") and record != []:
                raise DataError(f"{path}: {key} is not a list, expected COCO's format")
        elif key == "images":
            images.add(position, record)
        elif key == "annotations" and with_people:
            people.add(position, record)
        elif key == "categories":
            name = _read_category(path, position, record, layout, category)
            categories[name[0]] = name[1]
        elif key == "":
            raise DataError(
                f"{path}: a list of records, expected COCO's object with images and annotations"
            )
    wanted = ("images", "annotations", "categories") if with_people else ("images",)
    for key in wanted:
        if key not in seen:
            raise DataError(f"{path}: {key} is missing, expected COCO's format")
    if with_people:
        accepted = [number for number, name in categories.items() if name == category]
        if not accepted:
            raise DataError(f"{path}: categories has no {category!r}, expected it")
        people.check_categories(set(accepted), categories, category)
    return images.arrays(), people.arrays()


def _read_category(
    path: Path, position: int, record: Any, layout: KeypointLayout, category: str
) -> tuple[int, str]:
    where = f"{path}: categories[{position}]"
    if not isinstance(record, dict):
        raise DataError(f"{where} is not an object, expected id and name")
    try:
        number = jsonfile.whole(record, "id")
    except ValueError as error:
        raise DataError(f"{where}: {error}") from None
    name, names = record.get("name"), record.get("keypoints")
    if not isinstance(name, str):
        raise DataError(f"{where}: name is not text, expected for instance {category!r}")
    if name == category and names is not None:
        if not isinstance(names, list) or len(names) != len(layout):
            found = len(names) if isinstance(names, list) else "no list of"
            raise DataError(
                f"{where}: {found} keypoint names, expected {len(layout)} ({layout.name})"
            )
    return number, name


class _ImageCollector:
    def __init__(self, problems: Problems) -> None:
        self.problems = problems
        self.ids, self.sizes = array("q"), array("q")
        self.names: list[str] = []
        self.known: set[int] = set()

    def add(self, position: int, record: Any) -> None:
        where = f"images[{position}]"
        if not isinstance(record, dict):
            self.problems.add("image", where, "not an object, expected id, file_name, width")
            return
        try:
            number = jsonfile.whole(record, "id")
            where = f"{where} (id {number})"
            name = jsonfile.file_name(record, "file_name")
            size = [jsonfile.whole(record, key) for key in ("width", "height")]
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

    def arrays(self) -> Images:
        ids = np.array(self.ids, np.int64)
        return Images(ids, self.names, np.array(self.sizes, np.int64).reshape(-1, 2))


class _PersonCollector:
    def __init__(self, problems: Problems, num_keypoints: int) -> None:
        self.problems, self.length = problems, 3 * num_keypoints
        self.ids, self.image_ids, self.categories = array("q"), array("q"), array("q")
        self.crowd, self.row = array("b"), array("q")
        self.bboxes, self.areas, self.keypoints = array("d"), array("d"), array("f")
        self.rows = 0
        self.bad_category = np.zeros(0, bool)

    def add(self, position: int, record: Any) -> None:
        where = f"annotations[{position}]"
        if not isinstance(record, dict):
            self.problems.add("annotation", where, "not an object, expected a person")
            return
        try:
            number = jsonfile.whole(record, "id")
            where = f"{where} (id {number})"
            image, kind = (jsonfile.whole(record, key) for key in ("image_id", "category_id"))
            crowd = jsonfile.whole(record, "iscrowd", 0)
            if crowd not in (0, 1):
                raise ValueError(f"iscrowd is {crowd}, expected 0 or 1")
            points: list[float] = []
            box, area = [0.0] * 4, float("nan")
            if not crowd:
                points = self._keypoints(record)
            if points:  # nobody reads the box of a person who is dropped
                box = jsonfile.numbers(record, "bbox", 4)
                if "area" in record:
                    area = jsonfile.number(record, "area", limit=1e14)
        except ValueError as error:
            self.problems.add("annotation", where, str(error))
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

    def _keypoints(self, record: dict[str, Any]) -> list[float]:
        """x, y, v of each joint; nothing where no joint is labelled."""
        points = jsonfile.numbers(record, "keypoints", self.length)
        flags = points[2::3]
        if any(flag not in (0, 1, 2) for flag in flags):
            bad = next(i for i, flag in enumerate(flags) if flag not in (0, 1, 2))
            raise ValueError(
                f"keypoints[{3 * bad + 2}] is {flags[bad]}, expected visibility 0, 1 or 2"
            )
        return points if any(flags) else []

    def check_categories(self, accepted: set[int], names: dict[int, str], wanted: str) -> None:
        kinds = np.array(self.categories, np.int64)
        self.bad_category = ~np.isin(kinds, list(accepted))
        for index in np.flatnonzero(self.bad_category):
            kind = int(kinds[index])
            self.problems.add(
                "annotation",
                f"id {self.ids[index]}",
                f"category_id {kind} ({names.get(kind, 'not in categories')}), "
                f"expected {min(accepted)} ({wanted})",
            )

    def arrays(self) -> People:
        keep = ~self.bad_category if len(self.bad_category) else np.ones(len(self.ids), bool)
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
        )


def _index_of(ids: np.ndarray, order: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Position of each wanted id among ``ids``, -1 where unknown."""
    if not len(ids):
        return np.full(len(wanted), -1, np.int64)
    place = np.minimum(np.searchsorted(ids, wanted, sorter=order), len(ids) - 1)
    index = order[place]
    return np.where(ids[index] == wanted, index, -1)


def _choose(
    people: People, images: Images, known: np.ndarray, problems: Problems, needs_area: bool
) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
    """Who is used: indices (N,), their clipped boxes (N, 4), and how many were dropped and why."""
    fault = np.zeros(len(people.ids), bool)

    def refuse(mask: np.ndarray, why: Any) -> None:
        for index in np.flatnonzero(mask & ~fault):
            problems.add("annotation", f"id {people.ids[index]}", why(index))
        np.logical_or(fault, mask, out=fault)

    duplicate = np.ones(len(people.ids), bool)
    duplicate[np.unique(people.ids, return_index=True)[1]] = False
    refuse(duplicate, lambda i: "duplicate id, expected every id once")
    refuse(known < 0, lambda i: f"image_id {people.image_ids[i]} is unknown, expected an image's")
    unlabelled = people.row < 0
    no_area = people.areas <= 0  # false where absent
    used = ~people.crowd & ~unlabelled & ~no_area
    if needs_area:
        refuse(
            used & np.isnan(people.areas),
            lambda i: "area is missing, expected pixels (OKS is scaled by it)",
        )
    refuse(
        used & ~(people.bboxes[:, 2:] > 0).all(axis=1),
        lambda i: f"bbox is {_box(people.bboxes[i])}, expected a positive width and height",
    )
    sides = np.where(
        (known >= 0)[:, None], images.sizes[known] if len(images.ids) else people.bboxes[:, :2], 1
    )
    clipped = clip_boxes(people.bboxes, sides)
    refuse(
        used & ~(clipped[:, 2:] > 0).all(axis=1),
        lambda i: (
            f"bbox is {_box(people.bboxes[i])}, outside its image of "
            f"{sides[i][0]}x{sides[i][1]} or under two pixels"
        ),
    )
    chosen = np.flatnonzero(used & ~fault)
    raw = people.bboxes[chosen]
    beyond = (raw[:, :2] < 0) | (raw[:, :2] + raw[:, 2:] > sides[chosen])
    counts = {
        "clipped_boxes": int(beyond.any(axis=1).sum()),
        "dropped_crowd": int((people.crowd & ~fault).sum()),
        "dropped_unlabelled": int((~people.crowd & unlabelled & ~fault).sum()),
        "dropped_area": int((~people.crowd & ~unlabelled & no_area & ~fault).sum()),
    }
    return chosen, clipped[chosen], counts


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
