"""coco_small from official COCO val2017: people with keypoints of the listed photographs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from importlib.resources import files as package_files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hevitpose import json_file
from hevitpose.data.keypoints import COCO
from hevitpose.data.readers import coco_format
from hevitpose.data.registry import ROWS, files_of
from hevitpose.data.table import PoseTable
from hevitpose.data.tools import forms
from hevitpose.data.tools.prepared import (
    PreparedFile,
    find_original,
    make_folder,
    read_object,
    write,
)
from hevitpose.errors import DataError
from hevitpose.files import exists, is_dir, is_file, write_atomically

_PLACE = re.compile(r"\w+\[\d+\] \((id \d+)\)")


def _listed() -> dict[str, Any]:
    return json_file.parse((package_files("hevitpose.data") / "coco_small_ids.json").read_bytes())


def photographs() -> dict[str, list[int]]:
    """By split, the ids of its photographs; all are of val2017."""
    listed = _listed()
    return {split: listed[split] for split in ("train", "val")}


def people_counts() -> dict[str, int]:
    """By split, how many of the people in its photographs have keypoints."""
    return _listed()["people"]


def unlike_list(split: str, ids: Sequence[int], people: int) -> list[str]:
    """How a split differs from the list: a line each on its photographs and its people.

    Args:
        split: train or val.
        ids: of its photographs.
        people: usable ones.
    """
    listed, found, lines = set(photographs()[split]), set(ids), []
    if found != listed:
        others = f", and {len(found - listed):,} others" if found - listed else ""
        lines.append(f"{len(found & listed):,} of {len(listed):,} photographs of the list{others}")
    if people != (expected := people_counts()[split]):
        lines.append(f"{people:,} people, the list has {expected:,}")
    return lines


def make(folder: Path, source: Path) -> list[PreparedFile]:
    """Annotations of both splits, and a link to each photograph.

    Args:
        folder: of coco_small.
        source: of COCO, in its own layout or in ours.

    Raises:
        DataError: no val2017 annotations or photographs, they are not whole, some of the list are
            not there, training would refuse them, or what the folder has already is refused or of
            another form. Nothing is written then.
    """
    names = files_of("coco").annotations["val"]
    path = find_original(source, *reversed(names))
    if path is None:
        raise DataError(f"{source}: no {names[1]}, expected COCO's from {files_of('coco').page}")
    content = read_object(path, "images", "annotations", "categories")
    chosen = _chosen(path, content["images"])
    everybody = _usable(path, content["annotations"])
    made = {split: _split(content, everybody, images) for split, images in chosen.items()}
    _require_whole(path, made)
    _require_usable(path, made)
    wanted = [image["file_name"] for one in made.values() for image in one["images"]]
    pictures = _photograph_folder(source, wanted)
    called = files_of("coco_small").annotations
    targets = {split: folder / "annotations" / called[split][0] for split in made}
    _require_kept(targets)
    mixed = _mixed_form(folder / "images", targets.values(), path, pictures, wanted)
    make_folder(folder / "annotations")
    done = [_link(folder / "images", pictures, wanted)]
    done[0] = replace(done[0], note=f"{done[0].note}{mixed}")
    return done + [
        write(target, partial(made.__getitem__, split), path) for split, target in targets.items()
    ]


def _chosen(path: Path, images: Sequence[Any]) -> dict[str, list[dict[str, Any]]]:
    """By split, the entries of its photographs.

    Raises:
        DataError: some are not there, or twice, or have no file name.
    """
    listed = photographs()
    everything = list(_objects(path, "images", images))
    entries = [entry for entry in everything if type(entry.get("id")) is int]
    if everything and not entries:
        first = everything[0].get("id")
        raise DataError(
            f"{path}: images[0].id: {first!r:.80} ({type(first).__name__}), and no other id is a "
            "whole number; expected whole numbers, as val2017 has"
        )
    _require_once(path, "images", [entry["id"] for entry in entries])
    by_id = {entry["id"]: entry for entry in entries}
    absent = sorted({number for of in listed.values() for number in of} - by_id.keys())
    if absent:
        raise DataError(
            f"{path}: {len(absent)} of the {sum(map(len, listed.values()))} photographs of "
            f"coco_small are not in it, first id {absent[0]}; expected the annotations of val2017"
        )
    chosen = {split: [by_id[number] for number in of] for split, of in listed.items()}
    for image in (image for of in chosen.values() for image in of):
        name = image.get("file_name")
        if not isinstance(name, str) or not Path(name).name:
            raise DataError(
                f"{path}: image {image['id']}: file_name {name!r:.80}, expected a file's name"
            )
    names = [Path(image["file_name"]).name for of in chosen.values() for image in of]
    _require_once(path, "images", names, "file_name")
    return chosen


def _usable(path: Path, annotations: Sequence[Any]) -> list[dict[str, Any]]:
    """The people with labelled keypoints who are no crowd.

    Raises:
        DataError: an entry that is none of COCO's people, or an id that two have.
    """
    kept, length = [], 3 * len(COCO)
    for index, person in enumerate(_objects(path, "annotations", annotations)):
        points, where = person.get("keypoints"), f"{path}: annotations[{index}]"
        for key in ("id", "image_id"):
            if type(person.get(key)) is not int:
                raise DataError(f"{where}.{key}: {person.get(key)!r:.80}, expected a whole number")
        crowd = person.get("iscrowd", 0)
        if type(crowd) is not int or crowd not in (0, 1):
            raise DataError(f"{where}.iscrowd: {crowd!r:.80}, expected 0 or 1")
        if not isinstance(points, list) or len(points) != length:
            raise DataError(
                f"{where}.keypoints: {points!r:.80}, expected {length} numbers, as "
                "person_keypoints_val2017.json has"
            )
        if not all(type(number) in (int, float) for number in points):
            raise DataError(f"{where}.keypoints: expected numbers alone")
        if not crowd and any(points[2::3]):
            kept.append(person)
    _require_once(path, "annotations", [person["id"] for person in annotations])
    return kept


def _objects(path: Path, key: str, entries: Sequence[Any]) -> Iterator[dict[str, Any]]:
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise DataError(f"{path}: {key}[{index}]: {entry!r:.80}, expected an object")
        yield entry


def _require_once(path: Path, key: str, values: Sequence[Any], field: str = "id") -> None:
    seen: set[Any] = set()
    for value in values:
        if value in seen:
            raise DataError(f"{path}: {key}: {field} {value!r} is there twice, expected it once")
        seen.add(value)


def _require_whole(path: Path, made: Mapping[str, dict[str, Any]]) -> None:
    """Refuses a part of val2017's people.

    Raises:
        DataError: a split has another number of people than coco_small has.
    """
    for split, expected in people_counts().items():
        found = len(made[split]["annotations"])
        if found != expected:
            raise DataError(
                f"{path}: {found:,} people with keypoints in the photographs of coco_small "
                f"{split}, expected {expected:,}: all annotations of val2017"
            )


def _require_usable(path: Path, made: Mapping[str, dict[str, Any]]) -> None:
    """Refuses people whom training would refuse or leave out: its own reader reads them.

    Raises:
        DataError: it refuses one, or keeps another number of people.
    """
    with TemporaryDirectory() as place:
        for split, content in made.items():
            file = write_atomically(Path(place) / f"{split}.json", json.dumps(content))
            try:
                table = _read(file, split, skip_bad=True)
            except DataError as error:
                raise DataError(str(error).replace(str(file), str(path))) from None
            if table.skipped:  # its place in the source's lists is another
                fault = _PLACE.sub(r"\1", str(table.skipped[0]))
                raise DataError(f"{path}: {fault}")
            expected = len(content["annotations"])
            if len(table) != expected:
                why = ", ".join(
                    f"{key} {count}"
                    for key, count in table.counts.items()
                    if key.startswith("dropped") and count
                )
                raise DataError(
                    f"{path}: {len(table):,} usable people in the photographs of coco_small "
                    f"{split}, expected {expected:,} ({why})"
                )


def _require_kept(targets: Mapping[str, Path]) -> None:
    """Refuses what is there already and would stay, where training refuses it.

    Raises:
        DataError: it does.
    """
    for split, target in targets.items():
        if exists(target):
            try:
                _read(target, split)
            except DataError as error:
                raise DataError(f"{error}; delete {target} to have it made again") from None


def _read(path: Path, split: str, skip_bad: bool = False) -> PoseTable:
    """As training reads it; the size has no part in who is read."""
    return coco_format.read(
        path,
        path.parent,
        ROWS["coco_small"],
        split=split,
        input_size=(256, 256),
        skip_bad=skip_bad,
    )


def _mixed_form(
    folder: Path, targets: Iterable[Path], source: Path, pictures: Path, wanted: Sequence[str]
) -> str:
    """What is to be said where photographs and annotations are of two forms; empty otherwise.

    Raises:
        DataError: what is there already is of another form than what would be made beside it.
    """
    kept = [target for target in targets if exists(target)]
    old = [folder / name for name in wanted if exists(folder / name)]
    there = {forms.of_annotations(target).form for target in kept} | {forms.of_photographs(old)}
    new = {forms.of_annotations(source).form} if len(kept) < len(people_counts()) else set()
    if len(old) < len(wanted):
        new |= {forms.of_photographs(pictures / name for name in wanted)}
    there, new = there - {""}, new - {""}
    if there and new and len(there | new) > 1:
        raise DataError(
            f"{folder.parent}: has a part in the {' and '.join(sorted(there))} form, the rest of "
            f"{source} would be in the {' and '.join(sorted(new))} form; expected one form, delete "
            "the part that is there"
        )
    mixed = len(there | new) > 1
    return "; mixed form, photographs and annotations differ: see `data check`" if mixed else ""


def _photograph_folder(source: Path, wanted: Sequence[str]) -> Path:
    """The folder that has all photographs.

    Raises:
        DataError: none has; told of the one that lacks fewest.
    """
    places = (source / "images" / "val2017", source / "val2017")
    lacks = {
        place: [name for name in wanted if not is_file(place / name)]
        for place in places
        if is_dir(place)
    }
    if not lacks:
        raise DataError(
            f"{source}: neither images/val2017 nor val2017, expected COCO's photographs"
        )
    pictures, missing = min(lacks.items(), key=lambda item: len(item[1]))
    if missing:
        raise DataError(
            f"{pictures}: {len(missing)} of the {len(wanted)} photographs of coco_small are "
            f"absent, the first is {missing[0]}"
        )
    return pictures


def _link(target: Path, pictures: Path, names: list[str]) -> PreparedFile:
    try:
        target.mkdir(parents=True, exist_ok=True)
        new = [name for name in names if not exists(target / name)]
        for name in new:
            (target / name).unlink(missing_ok=True)  # a link whose photograph is gone
            with suppress(FileExistsError):  # another process has just made it
                (target / name).symlink_to((pictures / name).resolve())
    except OSError as error:
        raise DataError(
            f"{target}: {error.strerror or error}, expected to link to {pictures}"
        ) from None
    status = "linked" if new else "exists"
    return PreparedFile(target, status, f"{len(names):,} photographs", pictures)


def _split(
    content: dict[str, Any], everybody: Sequence[dict[str, Any]], images: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Some photographs with their people."""
    kept = {image["id"] for image in images}
    people = [person for person in everybody if person["image_id"] in kept]
    facts = ("id", "file_name", "width", "height")
    return {
        "info": {"description": files_of("coco_small").label},
        "images": [
            {key: image[key] for key in facts if key in image}
            | {"file_name": Path(image["file_name"]).name}
            for image in images
        ],
        "annotations": sorted(people, key=lambda person: (person["image_id"], person["id"])),
        "categories": content["categories"],
    }
