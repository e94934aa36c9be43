"""Originals of MPII, CrowdPose and OCHuman to what the readers take: ``hevitpose data prepare``.

Originals are only read. What exists at the destination is never rewritten, so a second run does
nothing; delete a file to have it made again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from hevitpose.data.keypoints import COCO
from hevitpose.data.registry import files_of, placed
from hevitpose.data.tools import coco_small
from hevitpose.data.tools.prepared import PreparedFile, find_original, read_object, write
from hevitpose.errors import DataError, UsageError, unknown_name
from hevitpose.files import exists, is_dir, require_folder


def prepare(root: str | Path, dataset: str, source: str | Path) -> list[PreparedFile]:
    """Makes ROOT/DATASET from a folder of originals.

    Annotations are converted; the folder of images is linked, not copied.

    Args:
        root: the folder that holds (or will hold) ``mpii/`` and so on.
        dataset: one that is made from another release (``mpii``, ``coco_small``, ...).
        source: the folder of the originals as downloaded and unpacked.

    Returns:
        What was made and what was there already.

    Raises:
        UsageError: an unknown dataset, COCO, which needs no preparation, or a place that cannot be
            written.
        DataError: an original is missing (the message says which, and its page) or damaged.
    """
    root, source = Path(root), Path(source)
    known = [name for name, row in placed().items() if row.files and row.files.source]
    if dataset in placed() and dataset not in known:
        raise UsageError(f"{dataset}: needs no preparation, its own file names are read")
    if dataset not in known:
        raise unknown_name("dataset to prepare", dataset, known)
    files = files_of(dataset)
    folder = root / files.folder
    if not is_dir(folder / "annotations"):  # else what is there already may be read-only
        require_folder(folder / "annotations")
    if not is_dir(source):
        raise DataError(f"{source}: no such folder, expected the originals from {files.page}")
    if files.source in placed():  # photographs of another dataset, chosen one by one
        return _MAKERS[dataset](folder, source)
    return [*_MAKERS[dataset](folder, source), *_images(folder / "images", source)]


def _images(target: Path, source: Path) -> list[PreparedFile]:
    """A link to the folder of images, where the source has one and the destination has not."""
    if exists(target) or target.is_symlink():
        return [PreparedFile(target, "exists")]
    for name in ("images", "Images"):
        if is_dir(source / name):
            try:
                target.symlink_to((source / name).resolve(), target_is_directory=True)
            except FileExistsError:  # another process has just made it
                return [PreparedFile(target, "exists")]
            except OSError as error:
                raise DataError(
                    f"{target}: {error.strerror or error}; link or move {source / name} there"
                ) from None
            return [PreparedFile(target, "linked", source=source / name)]
    return []


def _mpii(folder: Path, source: Path) -> list[PreparedFile]:
    from hevitpose.data.readers import mpii_release

    names = [f"mpii_{split}.json" for split in ("train", "val", "test")]
    targets = [folder / "annotations" / name for name in names]
    if all(exists(target) for target in targets):
        return [PreparedFile(target, "exists") for target in targets]
    release = find_original(source, "mpii_human_pose_v1_u12_1.mat")
    if release is None:
        raise DataError(
            f"{source}: no mpii_human_pose_v1_u12_1.mat, expected MPII's annotations "
            f"from {files_of('mpii').page}"
        )
    truth = find_original(
        folder / "annotations", "mpii_gt_val.mat", "gt_valid.mat"
    ) or find_original(source, "mpii_gt_val.mat", "gt_valid.mat")
    if truth is None:
        raise DataError(
            f"{source}: no mpii_gt_val.mat, the list of people of the usual val split; it is in "
            f"{files_of('mpii').derived}"
        )
    people = mpii_release.convert(release, truth)
    return [
        write(target, partial(people.__getitem__, split), release)
        for target, split in zip(targets, ("train", "val", "test"), strict=True)
    ]


def _crowdpose(folder: Path, source: Path) -> list[PreparedFile]:
    done = []
    for split, names in files_of("crowdpose").annotations.items():
        target = folder / "annotations" / names[0]
        if exists(target):
            done.append(PreparedFile(target, "exists"))
            continue
        original = find_original(source, *names)
        if original is not None:
            done.append(write(target, partial(_crowdpose_people, original), original))
        elif split != "trainval":
            raise DataError(
                f"{source}: no {names[0]}, expected CrowdPose's annotations from "
                f"{files_of('crowdpose').page}"
            )
    return done


def _crowdpose_people(path: Path) -> dict[str, Any]:
    """The original with the fields that COCO's tools need filled in."""
    content = read_object(path, "images", "annotations", "categories")
    for index, person in enumerate(content["annotations"]):
        points = person.get("keypoints") if isinstance(person, dict) else None
        if not isinstance(points, list) or len(points) != 42:
            raise DataError(f"{path}: annotations[{index}].keypoints: expected 42 numbers")
        if not all(type(flag) in (int, float) for flag in points[2::3]):
            raise DataError(f"{path}: annotations[{index}].keypoints: expected numbers alone")
        person.setdefault("iscrowd", 0)
        person.setdefault("num_keypoints", sum(flag > 0 for flag in points[2::3]))
    return content


def _ochuman(folder: Path, source: Path) -> list[PreparedFile]:
    done = []
    for split, names in files_of("ochuman").annotations.items():
        target = folder / "annotations" / names[0]
        if exists(target):
            done.append(PreparedFile(target, "exists"))
            continue
        make: Callable[[], dict[str, Any]]
        if original := find_original(source, names[1], names[0]):  # in COCO's format
            make = partial(read_object, original, "images", "annotations", "categories")
        elif original := find_original(source, "ochuman.json"):
            make = partial(_ochuman_people, original, split)
        else:
            raise DataError(
                f"{source}: neither {names[1]} nor ochuman.json, expected OCHuman's annotations "
                f"from {files_of('ochuman').page}"
            )
        done.append(write(target, make, original))
    return done


#: OCHuman's visibility (missing, visible, occluded by oneself, by others) in COCO's terms.
_VISIBILITY = {0: 0, 1: 2, 2: 2, 3: 1}
#: The first so many images, by ascending id, of those with keypoints and masks are val.
_VAL_IMAGES = 2500


def _ochuman_people(path: Path, split: str) -> dict[str, Any]:
    """OCHuman's own format to COCO's, as its authors define val and test.

    Only people with both keypoints and a mask count (8,110 in 4,731 images); boxes are corners;
    the area is the box's. Masks are left out: keypoint metrics do not read them.
    """
    content = read_object(path, "images", "keypoint_names")
    try:
        order = [content["keypoint_names"].index(name) for name in COCO.names]
        usable = []
        for image in sorted(content["images"], key=lambda image: image["image_id"]):
            people = [p for p in image["annotations"] if p["keypoints"] and p["segms"]]
            if people:
                usable.append((image, people))
        chosen = usable[:_VAL_IMAGES] if split == "val" else usable[_VAL_IMAGES:]
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for number, (image, people) in enumerate(chosen, 1):
            images.append(
                {key: image[key] for key in ("file_name", "width", "height")} | {"id": number}
            )
            for person in people:
                annotations.append(
                    _ochuman_person(person, order)
                    | {"image_id": number, "id": len(annotations) + 1}
                )
    except (KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
        raise DataError(
            f"{path}: {type(error).__name__} {error}, expected OCHuman's own format"
        ) from None
    category = {
        "supercategory": "person",
        "id": 1,
        "name": "person",
        "keypoints": list(COCO.names),
        "skeleton": [[a + 1, b + 1] for a, b in COCO.skeleton],
    }
    return {"images": images, "annotations": annotations, "categories": [category]}


def _ochuman_person(person: dict[str, Any], order: list[int]) -> dict[str, Any]:
    points = person["keypoints"]
    keypoints = []
    for joint in order:
        x, y, flag = points[3 * joint : 3 * joint + 3]
        keypoints += [x, y, _VISIBILITY[flag]]
    x1, y1, x2, y2 = person["bbox"]
    return {
        "category_id": 1,
        "iscrowd": 0,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": (x2 - x1) * (y2 - y1),
        "keypoints": keypoints,
        "num_keypoints": sum(flag > 0 for flag in keypoints[2::3]),
    }


_MAKERS: dict[str, Callable[[Path, Path], list[PreparedFile]]] = {
    "mpii": _mpii,
    "crowdpose": _crowdpose,
    "ochuman": _ochuman,
    "coco_small": coco_small.make,
}
