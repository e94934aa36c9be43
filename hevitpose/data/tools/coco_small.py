"""coco_small from official COCO val2017: people with keypoints of the listed photographs."""

from __future__ import annotations

from functools import partial
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

from hevitpose import json_file
from hevitpose.data.registry import files_of
from hevitpose.data.tools.prepared import PreparedFile, find_original, read_object, write
from hevitpose.errors import DataError
from hevitpose.files import exists, is_dir, is_file


def photographs() -> dict[str, list[int]]:
    """By split, the ids of its photographs; all are of val2017."""
    return json_file.parse((package_files("hevitpose.data") / "coco_small_ids.json").read_bytes())


def make(folder: Path, source: Path) -> list[PreparedFile]:
    """Annotations of both splits, and a link to each photograph.

    Args:
        folder: of coco_small.
        source: of COCO, in its own layout or in ours.

    Raises:
        DataError: no val2017 annotations or photographs, or some of the list are not there.
    """
    names = files_of("coco").annotations["val"]
    path = find_original(source, *reversed(names))
    if path is None:
        raise DataError(f"{source}: no {names[1]}, expected COCO's from {files_of('coco').page}")
    listed = photographs()
    content = read_object(path, "images", "annotations", "categories")
    images = [image for image in content["images"] if isinstance(image, dict)]
    by_id = {image["id"]: image for image in images if type(image.get("id")) is int}
    absent = sorted({number for of in listed.values() for number in of} - by_id.keys())
    if absent:
        raise DataError(
            f"{path}: {len(absent)} of the {sum(map(len, listed.values()))} photographs of "
            f"coco_small are not in it, first id {absent[0]}; expected the annotations of val2017"
        )
    pictures = _photograph_folder(source)
    chosen = {split: [by_id[number] for number in of] for split, of in listed.items()}
    try:
        wanted = [Path(image["file_name"]).name for of in chosen.values() for image in of]
    except (KeyError, TypeError) as error:
        raise DataError(f"{path}: an image has no {error}, expected COCO's format") from None
    missing = [name for name in wanted if not is_file(pictures / name)]
    if missing:
        raise DataError(
            f"{pictures}: {len(missing)} of the {len(wanted)} photographs of coco_small are "
            f"absent, the first is {missing[0]}"
        )
    done = [_link(folder / "images", pictures, wanted)]
    for split, of in chosen.items():
        target = folder / "annotations" / files_of("coco_small").annotations[split][0]
        done.append(write(target, partial(_people, content, of)))
    return done


def _photograph_folder(source: Path) -> Path:
    for place in (source / "images" / "val2017", source / "val2017"):
        if is_dir(place):
            return place
    raise DataError(f"{source}: neither images/val2017 nor val2017, expected COCO's photographs")


def _link(target: Path, pictures: Path, names: list[str]) -> PreparedFile:
    try:
        target.mkdir(parents=True, exist_ok=True)
        new = [name for name in names if not exists(target / name)]
        for name in new:
            (target / name).unlink(missing_ok=True)  # a link whose photograph is gone
            (target / name).symlink_to((pictures / name).resolve())
    except OSError as error:
        raise DataError(
            f"{target}: {error.strerror or error}, expected to link to {pictures}"
        ) from None
    return PreparedFile(target, "linked" if new else "exists", f"{len(names):,} photographs")


def _people(content: dict[str, Any], images: list[dict[str, Any]]) -> dict[str, Any]:
    """Some photographs with their people: those with labelled keypoints, no crowds."""
    kept = {image["id"] for image in images}
    people = [
        person
        for person in content["annotations"]
        if isinstance(person, dict)
        and person.get("image_id") in kept
        and not person.get("iscrowd")
        and any((person.get("keypoints") or ())[2::3])
    ]
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
