"""The records of a file in COCO's format as arrays, before any rule about who counts."""

from __future__ import annotations

from array import array
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hevitpose import json_file
from hevitpose.data.keypoints import require_same_order
from hevitpose.data.readers import fields
from hevitpose.data.registry import Declared
from hevitpose.data.table import Problems
from hevitpose.errors import DataError
from hevitpose.models.keypoints import KeypointLayout

#: What is read of each record; polygons are most of a file, and nobody's business here.
_KEYS = {
    "images": ("id", "file_name", "width", "height", "crowdIndex"),
    "annotations": (
        *("id", "image_id", "category_id", "iscrowd"),
        *("keypoints", "bbox", "area"),
    ),
    "categories": ("id", "name", "keypoints"),
}


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
class Content:
    """What a file says, its records arrays."""

    images: Images
    people: People
    has_people: bool  # the file has a list of them
    category_id: int


def read_images(path: Path, declared: Declared, problems: Problems) -> Images:
    """The images of a file, whose people, if any, are not read.

    Raises:
        DataError: the file is not in COCO's format; bad records go to ``problems``.
    """
    return read_file(path, declared, problems, need_people=False, people=False).images


def read_file(
    path: Path, declared: Declared, problems: Problems, need_people: bool, people: bool = True
) -> Content:
    """A file's images and people; bad records go to ``problems``.

    Raises:
        DataError: the file is not in COCO's format.
    """
    images = _ImageCollector(problems)
    collector = _PersonCollector(problems, declared)
    categories: dict[int, str] = {}
    seen = set()
    for key, position, record in json_file.records(path, "annotations", _KEYS):
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
    return Content(images.arrays(), collector.arrays(), has_people, category_id)


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
        number = fields.whole(record, "id")
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
            number = fields.whole(record, "id")
            where = f"{where} (id {number})"
            name = fields.file_name(record, "file_name")
            size = [fields.whole(record, key) for key in ("width", "height")]
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
            kind = fields.whole(record, "category_id")
            number = fields.whole(record, "id")
            where = f"{where} (id {number})"
            image = fields.whole(record, "image_id")
            crowd = fields.flag(record, "iscrowd")
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
        points = fields.keypoints(record, "keypoints", len(self.declared.layout))
        if not any(points[2::3]):
            return self._region(record)  # nobody reads the box of a person who is dropped
        area = float("nan")
        box = fields.numbers(record, "bbox", 4)
        if self.declared.use_area and "area" in record:
            area = fields.number(record, "area", limit=1e14)
        return points, box, area

    def _region(self, record: dict[str, Any]) -> tuple[list[float], list[float], float]:
        """What a crowd or an unlabelled person has of the same; what cannot be read is absent."""
        points, box, area = [], [float("nan")] * 4, float("nan")
        with suppress(ValueError):
            points = fields.keypoints(record, "keypoints", len(self.declared.layout))
        with suppress(ValueError):
            box = fields.numbers(record, "bbox", 4)
        with suppress(ValueError):
            area = fields.number(record, "area", limit=1e14)
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
