"""The records of a file in COCO's format as arrays, before any rule about who counts."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hevitpose import json_file
from hevitpose.data.readers import fields
from hevitpose.data.readers.categories import Meant, category_id, read_category
from hevitpose.data.registry import Declared
from hevitpose.data.table import Problems
from hevitpose.errors import DataError

#: What is read of each record; polygons are most of a file, and nobody's business here.
_KEYS = {
    "images": ("id", "file_name", "width", "height", "crowdIndex"),
    "annotations": (
        *("id", "image_id", "category_id", "iscrowd"),
        *("keypoints", "bbox", "area"),
    ),
    "categories": ("id", "name", "keypoints"),
}


#: ``derive: true`` makes a missing box of the labelled keypoints, grown on every side by this share
#: of its longer side.
MARGIN = 0.1
#: Sides of images are below it, in pixels.
LARGEST_SIDE = 2**20


@dataclass
class Images:
    """The images of a file."""

    ids: np.ndarray  # (M,) int64
    names: list[str]
    sizes: np.ndarray  # (M, 2) int64; 0 where the photograph is to be asked
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
    derived: np.ndarray  # (A,) bool: the box is made of the keypoints

    def points(self, num_keypoints: int) -> np.ndarray:
        """(R, K, 3) x, y, v."""
        return self.keypoints.reshape(-1, num_keypoints, 3)


@dataclass
class Content:
    """What a file says, its records arrays."""

    images: Images
    people: People
    has_people: bool  # the file has a list of them
    category_ids: tuple[int, ...]  # of people


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
    images = _ImageCollector(problems, declared.derive)
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
            number, name = read_category(path, position, record, declared)
            if categories.setdefault(number, name) != name:
                raise DataError(
                    f"{path}: category {number} is {categories[number]!r} and {name!r}, "
                    "expected every id once"
                )
        elif key == "":
            raise DataError(
                f"{path}: a list of records, expected COCO's object with images and annotations"
            )
    has_people = people and "annotations" in seen
    wanted = ("images", "annotations", "categories") if need_people or has_people else ("images",)
    for key in wanted:
        if key not in seen:
            raise DataError(f"{path}: {key} is missing, expected COCO's format")
    category_ids: tuple[int, ...] = (1,)  # of a list of images without categories
    if "categories" in seen:
        category_ids = tuple(category_id(path, categories, each) for each in declared.categories)
    if has_people:
        collector.settle(category_ids, categories)
    return Content(images.arrays(), collector.arrays(), has_people, category_ids)


class _ImageCollector:
    def __init__(self, problems: Problems, derive: bool) -> None:
        self.problems, self.derive = problems, derive
        self.ids, self.sizes, self.crowd_index = array("q"), array("q"), array("d")
        self.names: list[str] = []
        self.known: set[int] = set()

    def add(self, position: int, record: Any) -> None:
        where = f"images[{position}]"
        if not isinstance(record, dict):
            self.problems.add("image", where, "not an object, expected id, file_name, width")
            return
        try:
            number = fields.identity(record, "id", text=self.derive)
            where = f"{where} (id {number})"
            name = fields.file_name(record, "file_name")
            size = self._size(record)
            if number in self.known:
                raise ValueError(f"id {number} is a duplicate, expected every id once")
        except ValueError as error:
            self.problems.add("image", where, str(error), isinstance(error, fields.MissingError))
            return
        self.known.add(number)
        self.ids.append(number)
        self.names.append(name)
        self.sizes.extend(size)
        index: Any = record.get("crowdIndex")  # CrowdPose's, and needed for scoring only
        self.crowd_index.append(float(index) if fields.is_number(index) else float("nan"))

    def _size(self, record: dict[str, Any]) -> list[int]:
        """(W, H); zeros where the photograph is to say it."""
        for key in ("width", "height"):
            value = record.get(key)
            unknown = value == 0 and not isinstance(value, bool)  # as some exporters write it
            if value is None or unknown:
                if self.derive:
                    return [0, 0]
                said = "0" if unknown else "missing"
                raise fields.MissingError(f"{key} is {said}, expected pixels")
        size = [fields.whole(record, key) for key in ("width", "height")]
        if not all(0 < side < LARGEST_SIDE for side in size):
            raise ValueError(f"width, height are {size}, expected positive pixels")
        return size

    def arrays(self) -> Images:
        ids = np.array(self.ids, np.int64)
        sizes = np.array(self.sizes, np.int64).reshape(-1, 2)
        return Images(ids, self.names, sizes, np.array(self.crowd_index, np.float64))


class _PersonCollector:
    def __init__(self, problems: Problems, declared: Declared) -> None:
        self.problems, self.declared = problems, declared
        self.ids, self.image_ids = array("q"), array("q")
        self.categories: list[int | str] = []  # as the file has them
        self.texts: dict[str, str] = {}  # of categories, each once
        self.crowd, self.row, self.derived = array("b"), array("q"), array("b")
        self.bboxes, self.areas, self.keypoints = array("d"), array("d"), array("f")
        self.rows = 0
        self.bad: list[tuple[int | str | None, str, ValueError]] = []  # category, where, why
        self.other = np.zeros(0, bool)
        self.dropped = 0  # of other categories

    def add(self, position: int, record: Any) -> None:
        where = f"annotations[{position}]"
        kind: int | str | None = None
        derive = self.declared.derive
        if not isinstance(record, dict):
            self.bad.append((None, where, ValueError("not an object, expected a person")))
            return
        try:
            kind = self._kind(record)
            number = -1 - position
            if not derive or record.get("id") is not None:
                number = fields.identity(record, "id", text=derive)
            where = f"{where} (id {number})"
            image = fields.identity(record, "image_id", text=derive)
            crowd = fields.flag(record, "iscrowd")
            if crowd:
                points, box, area = self._region(record)
            else:
                points, box, area = self._person(record)
        except ValueError as error:
            self.bad.append((kind, where, error))
            return
        self.ids.append(number)
        self.image_ids.append(image)
        self.categories.append(kind)
        self.crowd.append(crowd)
        self.bboxes.extend(box)
        self.areas.append(area)
        self.derived.append(derive and bool(points) and not fields.has(record, "bbox"))
        self.row.append(self.rows if points else -1)
        if points:
            self.keypoints.extend(points)
            self.rows += 1

    def _kind(self, record: dict[str, Any]) -> int | str:
        """A number or, with ``derive``, a text: what it means is known once categories are read."""
        number = fields.identity(record, "category_id", text=self.declared.derive)
        said = record["category_id"]
        return self.texts.setdefault(said, said) if isinstance(said, str) else number

    def _person(self, record: dict[str, Any]) -> tuple[list[float], list[float], float]:
        """Keypoints (nothing where no joint is labelled), box and area."""
        points = fields.keypoints(record, "keypoints", len(self.declared.layout))
        if not any(points[2::3]):
            return self._region(record)  # nobody reads the box of a person who is dropped
        area = float("nan")
        if not fields.has(record, "bbox"):
            if not self.declared.derive:
                raise fields.MissingError("bbox is missing, expected 4 numbers")
            box = _box_of(points)
        else:
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

    def settle(self, category_ids: tuple[int, ...], names: dict[int, str]) -> None:
        """Part people from annotations of other categories, and report what is bad."""
        meant = Meant(self.problems.path, names)
        kinds = np.array([meant.of(said) for said in self.categories], np.int64)
        self.other = ~np.isin(kinds, category_ids)
        others = [(int(kinds[i]), f"id {self.ids[i]}") for i in np.flatnonzero(self.other)]
        for said, where, why in self.bad:
            kind = None if said is None else meant.of(said)
            if kind is None or kind in category_ids:
                derivable = isinstance(why, fields.MissingError)
                self.problems.add("annotation", where, str(why), derivable)
            else:
                others.append((kind, where))
        if self.declared.other_categories:
            self.dropped = len(others)
            if others and self.dropped == len(kinds) + len(self.bad):
                self._refuse_all(dict(others), names)
            return
        for kind, where in others:
            self.problems.add(
                "annotation",
                where,
                f"category_id {kind} ({names.get(kind, 'not in categories')}), "
                f"expected {category_ids[0]} ({self.declared.categories[0]}), or a custom "
                "dataset's yaml that chooses by category: NAME",
            )

    def _refuse_all(self, kinds: Mapping[int, str], names: dict[int, str]) -> None:
        found = ", ".join(f"{names.get(kind, 'not in categories')} ({kind})" for kind in kinds)
        wanted = " or ".join(map(str, self.declared.categories))
        raise DataError(
            f"{self.problems.path}: no annotation is of {wanted}; they are of {found} "
            f"(category: {next(iter(kinds))} in the yaml chooses by id)"
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
            derived=np.array(self.derived, bool)[keep],
        )


def _box_of(points: list[float]) -> list[float]:
    """x, y, w, h around the labelled keypoints, with :data:`MARGIN`."""
    xyv = np.array(points, np.float64).reshape(-1, 3)
    seen = xyv[xyv[:, 2] > 0, :2]
    low, high = seen.min(0), seen.max(0)
    margin = MARGIN * (high - low).max()
    return [*(low - margin).tolist(), *(high - low + 2 * margin).tolist()]
