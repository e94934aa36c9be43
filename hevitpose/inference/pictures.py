"""The images of a prediction: what each is called, its id, and the boxes that belong to it."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from hevitpose import json_file
from hevitpose.data.readers import fields
from hevitpose.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")

Detection = tuple[list[float], float]  # box x, y, w, h and score


@dataclass(frozen=True)
class Pictures:
    """Images to predict, in order."""

    paths: tuple[Path, ...]
    names: tuple[str, ...]  # relative to the folder that holds them all, with "/"
    ids: tuple[int, ...]  # those of an annotation file; without one, 1, 2, 3, ...
    has_ids: bool = False  # of an annotation file

    def find(self, name: str) -> list[int]:
        """Places of the images that a file name means: the whole of it, or the end of a path."""
        if name in self.names:
            return [self.names.index(name)]
        return self._by_end.get(name, [])

    @cached_property
    def _by_end(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for place, path in enumerate(self.paths):
            parts = Path(os.path.abspath(path)).parts[1:]  # noqa: PTH100 (links stay)
            for start in range(len(parts)):
                found.setdefault("/".join(parts[start:]), []).append(place)
        return found


def find_images(sources: Sequence[str]) -> list[Path]:
    """Files of a list of images, folders and globs, sorted, each once.

    Raises:
        DataError: a source names no image.
    """
    found: dict[str, Path] = {}
    for source in sources:
        path = Path(source)
        if path.is_dir():
            files = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
        elif path.is_file():
            files = [path]
        else:
            files = sorted(map(Path, glob.glob(source, recursive=True)))  # noqa: PTH207
        if not files:
            raise DataError(f"{source}: no image there (expected {', '.join(SUFFIXES)})")
        for file in files:
            found.setdefault(os.path.abspath(file), file)  # noqa: PTH100 (links stay)
    return list(found.values())


def name_images(paths: Sequence[Path], annotations: Path | None = None) -> Pictures:
    """Names and ids of images.

    Args:
        paths: the images.
        annotations: a file in COCO's format, whose ``images`` say the ids; its ``file_name`` is an
            image's path or the end of it.

    Raises:
        DataError: the annotations are damaged, know nothing of an image, or leave open which of
            two images is meant.
    """
    whole = [os.path.abspath(path) for path in paths]  # noqa: PTH100 (links stay)
    base = os.path.commonpath([os.path.dirname(each) for each in whole])  # noqa: PTH120
    names = tuple(Path(os.path.relpath(each, base)).as_posix() for each in whole)
    pictures = Pictures(tuple(paths), names, tuple(range(1, len(names) + 1)))
    if annotations is None:
        return pictures
    ids: dict[int, int] = {}  # by place
    listed: list[str] = []
    for key, position, record in json_file.records(
        annotations, "annotations", {"images": ("id", "file_name")}
    ):
        if key != "images" or position < 0:
            continue
        try:
            if not isinstance(record, dict):
                raise ValueError("not an object, expected id and file_name")
            number, name = fields.whole(record, "id"), fields.file_name(record, "file_name")
        except ValueError as error:
            raise DataError(f"{annotations}: images[{position}]: {error}") from None
        listed.append(name)
        place = _only(pictures, name, f"{annotations}: images[{position}]")
        if place is not None and ids.setdefault(place, number) != number:
            raise DataError(f"{annotations}: {names[place]} has two ids, {ids[place]} and {number}")
    for place, name in enumerate(names):
        if place not in ids:
            raise DataError(
                f"{annotations}: no image {name}, its first are {_first(listed)}; expected a "
                "file_name that is the image's path or the end of it"
            )
    if len(set(ids.values())) != len(ids):
        raise DataError(f"{annotations}: two of the images have the same id")
    return Pictures(tuple(paths), names, tuple(ids[place] for place in range(len(names))), True)


def match_boxes(
    path: Path, images: Pictures, threshold: float, category_id: int = 1
) -> list[list[Detection]]:
    """Boxes per image from a list of detections.

    Args:
        path: json, ``[{bbox: [x, y, w, h], score, image_id or file_name}, ...]``; an ``image_id``
            is one of the annotation file that ``images`` have theirs from.
        images: whose boxes are wanted.
        threshold: detections scored lower are dropped.
        category_id: likewise of any other category; an entry without one counts.

    Returns:
        Per image its (box, score) pairs; an image nobody was detected in has none.

    Raises:
        DataError: not such a list, all of it is of other categories or of other images, or an
            entry leaves open which image it means.
    """
    entries = json_file.read(path, "detections")
    if not isinstance(entries, list):
        raise DataError(f"{path}: expected a list of detections")
    found: list[list[Detection]] = [[] for _ in images.paths]
    place_of = {number: place for place, number in enumerate(images.ids)}
    kinds: set[int] = set()
    theirs: dict[str | int, bool] = {}  # whom the detections are of: whether it is one of images
    for number, entry in enumerate(entries):
        try:
            box, score = [float(v) for v in entry["bbox"]], float(entry.get("score", 1.0))
            named = "file_name" in entry
            key = str(entry["file_name"]) if named else int(entry["image_id"])
            kind = int(entry.get("category_id", category_id))
        except (TypeError, KeyError, ValueError, AttributeError):
            box, score, named, key, kind = [], 0.0, True, "", category_id
        if len(box) != 4 or not np.isfinite([*box, score]).all() or min(box[2:]) <= 0:
            raise DataError(
                f"{path}: entry {number}: expected bbox [x, y, w, h] with w, h > 0, a score, and "
                "image_id or file_name"
            )
        kinds.add(kind)
        if kind != category_id:
            continue
        if not named and not images.has_ids:
            raise DataError(
                f"{path}: entry {number} is of image_id {key}, the first image is "
                f"{images.names[0]}; --ids FILE names the annotations that say whose id that is"
            )
        where = f"{path}: entry {number}"
        place = _only(images, str(key), where) if named else place_of.get(int(key))
        theirs[key] = place is not None
        if place is not None and score >= threshold:
            found[place].append((box, score))
    if kinds and category_id not in kinds:
        raise DataError(
            f"{path}: no box of category {category_id}, it has {sorted(kinds)}; "
            "--category names the one of people"
        )
    if theirs and not any(theirs.values()):
        ours: list[str | int] = [*images.names]
        if isinstance(next(iter(theirs)), int):
            ours = [*images.ids]
        raise DataError(
            f"{path}: no detection is of any image: detections of {_first(list(theirs))}, "
            f"images {_first(ours)}"
        )
    return found


def _only(images: Pictures, name: str, where: str) -> int | None:
    """The place of the image that a file name means; None where it means none of them."""
    places = images.find(name)
    if len(places) > 1:
        both = " and ".join(images.names[place] for place in places[:2])
        raise DataError(f"{where}: {name} is both {both}, expected more of the path")
    return places[0] if places else None


def _first(values: Sequence[str | int], shown: int = 3) -> str:
    more = ", ..." if len(values) > shown else ""
    return ", ".join(map(str, values[:shown])) + more if values else "none"
