"""The images of a prediction: what each is called, its id, and the boxes that belong to it."""

from __future__ import annotations

import glob
import math
import mimetypes
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import PIL.Image

from hevitpose import json_file
from hevitpose.data.fingerprint import SUFFIXES
from hevitpose.data.images import look
from hevitpose.data.readers import fields
from hevitpose.data.readers.detections import read_boxes
from hevitpose.data.readers.image_ids import NameEnds, named
from hevitpose.errors import DataError, UsageError, notice_once
from hevitpose.files import broken_text, exists, is_dir, is_file

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
        return self._ends.find(name)

    @cached_property
    def _ends(self) -> NameEnds:
        whole = (Path(os.path.abspath(path)) for path in self.paths)  # noqa: PTH100 (links stay)
        return NameEnds("/".join(path.parts[1:]) for path in whole)


def find_images(
    sources: Sequence[str], suffixes: Sequence[str] = SUFFIXES, kind: str = "image"
) -> list[Path]:
    """Files of images, folders and globs in their order, of a folder or glob sorted, each once.

    Args:
        sources: files, folders, globs.
        suffixes: of the files that are taken of a folder.
        kind: what the error calls them.

    Raises:
        DataError: a source names no image.
        UsageError: a source is empty, which would be the working directory.

    Warns:
        Notice: a folder has images or videos with other suffixes.
    """
    found: dict[str, Path] = {}
    for source in sources:
        if not source:
            raise UsageError("a path is empty, expected a file, a folder or a glob")
        path = Path(source)
        if is_dir(path):
            # ._NAME is what macOS keeps of NAME on a foreign disk, and no picture.
            listed = sorted(p for p in path.iterdir() if not p.name.startswith("._"))
            files = [p for p in listed if p.suffix.lower() in suffixes]
            _tell_left_out(source, [p for p in listed if p.suffix.lower() not in suffixes], kind)
        elif is_file(path):
            files = [path]
        else:
            files = sorted(map(Path, glob.glob(source, recursive=True)))  # noqa: PTH207
        if not files and not exists(path) and not glob.has_magic(source):
            raise DataError(f"{source}: no such file or folder")
        if not files:
            raise DataError(f"{source}: no {kind} there (expected {', '.join(suffixes)})")
        for file in files:
            found.setdefault(os.path.abspath(file), file)  # noqa: PTH100 (links stay)
    return list(found.values())


def _tell_left_out(folder: str, others: Sequence[Path], kind: str) -> None:
    """Say which files of a folder look like what was asked for, and are not taken."""
    kinds = tuple(f"{word}/" for word in ("image", "video") if word in kind)
    alike = [p.name for p in others if (mimetypes.guess_type(p.name)[0] or "").startswith(kinds)]
    if alike:
        more = f" and {len(alike) - 5} more" if len(alike) > 5 else ""
        names = ", ".join(alike[:5])
        notice_once(f"{folder}: left out by their suffix: {names}{more} (give them by name)")


def name_images(paths: Sequence[Path], annotations: Path | None = None) -> Pictures:
    """Names and ids of images.

    Args:
        paths: the images.
        annotations: a file in COCO's format, whose ``images`` say the ids; its ``file_name`` is an
            image's path or the end of it.

    Raises:
        DataError: the annotations are damaged, know nothing of an image, or leave open which of
            two images is meant, or a name is not in UTF-8.
    """
    for path in paths:
        if broken_text(str(path)) is not None:
            raise DataError(f"{path}: a file name that is not UTF-8, which no json can hold")
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
            place = _only(pictures, name)
        except ValueError as error:
            raise DataError(f"{annotations}: images[{position}]: {error}") from None
        listed.append(name)
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


def look_at(images: Pictures, skip_bad: bool) -> None:
    """Look for damaged images before the first one is predicted.

    Of JPEG and PNG the first and last bytes; others, which have no end mark, are decoded.

    Warns:
        Notice: a file holds several images, of which the first is predicted.

    Raises:
        DataError: some are damaged, and are not to be left out.
    """
    bad = []
    for path in images.paths:
        fault = look(path).fault
        if fault is not None:
            bad.append(f"{path}: {fault}, expected a whole image")
        elif (count := _pages(path)) > 1:
            notice_once(f"{path}: {count} images in one file, the first is predicted")
    if bad and not skip_bad:
        raise DataError(few(bad) + "; nothing is predicted (--skip-bad leaves these out)")


def few(lines: Sequence[str]) -> str:
    """The first three of several lines, and how many more there are."""
    more = f"; and {len(lines) - 3} more" if len(lines) > 3 else ""
    return "; ".join(lines[:3]) + more


#: How files begin that may hold several images: GIF, WebP, TIFF, APNG. A camera's JPEG with a
#: preview is one picture.
_SEVERAL = (b"GIF8", b"RIFF", b"II*\0", b"MM\0*", b"\x89PNG")


def _pages(path: Path) -> int:
    """Images that a file holds; 1 of a file that PIL does not know."""
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of many pixels
            if not file.read(4).startswith(_SEVERAL):
                return 1
            file.seek(0)
            with PIL.Image.open(file) as header:
                return int(getattr(header, "n_frames", 1))
    except (OSError, SyntaxError, ValueError, EOFError, PIL.Image.DecompressionBombError):
        return 1


def match_boxes(
    path: Path,
    images: Pictures,
    threshold: float,
    category_id: int = 1,
    skip_bad: bool = False,
) -> tuple[list[list[Detection]], tuple[str, ...]]:
    """Boxes per image from a list of detections, read as ``valid --boxes`` reads it.

    Args:
        path: json, ``[{bbox: [x, y, w, h], score, image_id or file_name}, ...]``; an ``image_id``
            is one of the annotation file that ``images`` have theirs from.
        images: whose boxes are wanted.
        threshold: detections scored lower are dropped; one without a score is sure.
        category_id: likewise of any other category; an entry without one counts.
        skip_bad: leave bad entries out.

    Returns:
        (per image its (box, score) pairs, where nobody was detected none; what was left out).

    Raises:
        DataError: not such a list, all of it is of other categories or of other images, or an
            entry is bad.
    """
    places = _Places(images)
    defaults = {"category_id": category_id, "score": 1.0}
    read = read_boxes(path, -math.inf, places, skip_bad, (category_id,), defaults)
    if read.others and not places.met:
        raise DataError(
            f"{path}: no box of category {category_id}, it has {list(read.others)}; "
            "--category names the one of people"
        )
    if places.met and not any(places.met.values()):
        met = list(places.met)
        ours: Sequence[str | int] = images.ids if isinstance(met[0], int) else images.names
        raise DataError(
            f"{path}: no detection is of any image: detections of {_first(met)}, "
            f"images {_first(ours)}"
        )
    found: list[list[Detection]] = [[] for _ in images.paths]
    for place, box, score in zip(read.image_ids, read.bboxes, read.scores, strict=True):
        if place >= 0 and score >= threshold:
            found[place].append((box.tolist(), float(score)))
    return found, tuple(f"{path}: {item}" for item in read.skipped)


class _Places:
    """Finds the image that a detection means, by id or file name: its place, -1 for none of them.

    Attributes:
        met: what detections called their images, and whether that is one of these.
    """

    def __init__(self, images: Pictures) -> None:
        self._images = images
        self._by_id = {number: place for place, number in enumerate(images.ids)}
        self.met: dict[str | int, bool] = {}

    def of(self, entry: dict[str, Any]) -> int:
        images = self._images
        key: str | int
        given = entry.get("image_id")
        if named(entry):
            key = fields.file_name(entry, "file_name")
            place = _only(images, key)
        elif isinstance(given, str) and images.find(given):
            key, place = given, _only(images, given)
        else:
            key = fields.identity(entry, "image_id", text=True)
            place = self._by_id.get(key)
            if not images.has_ids:
                raise ValueError(
                    f"image_id {key}, the first image is {images.names[0]}; --ids FILE names the "
                    "annotations that contain this id"
                )
        self.met[key] = place is not None
        return -1 if place is None else place


def _only(images: Pictures, name: str) -> int | None:
    """The place of the image that a file name means; None where it means none of them.

    Raises:
        ValueError: it means several.
    """
    places = images.find(name)
    if len(places) > 1:
        both = " and ".join(images.names[place] for place in places[:2])
        raise ValueError(f"{name} is both {both}, expected more of the path")
    return places[0] if places else None


def _first(values: Sequence[str | int], shown: int = 3) -> str:
    more = ", ..." if len(values) > shown else ""
    return ", ".join(map(str, values[:shown])) + more if values else "none"
