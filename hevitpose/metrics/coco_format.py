"""What pycocotools and xtcocotools are given: annotations and results, checked first.

Both take anything and fail with a bare KeyError or assertion, or count wrongly in silence (an
annotation of id 0 never matches). Here every entry is checked, and copies are handed over.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hevitpose import json_file
from hevitpose.errors import DataError

#: Where annotations have no area: this share of the box's, as the field's code has it.
AREA_OF_BOX = 0.53


def load(ground_truth: str | Path | dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The content of an annotation file, and the name that errors give it.

    Raises:
        DataError: absent, empty, truncated, or not annotations.
    """
    if isinstance(ground_truth, dict):
        content, name = ground_truth, "ground truth"
    else:
        name = str(ground_truth)
        content = json_file.read(Path(ground_truth), "annotations")
    for key in ("images", "annotations", "categories"):
        entries = content.get(key) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise DataError(f"{name}: no list {key!r} of objects, expected COCO-format annotations")
    return content, name


def prepare(
    ground_truth: str | Path | dict[str, Any],
    num_keypoints: int,
    *,
    use_area: bool = True,
) -> dict[str, Any]:
    """Annotations for an evaluator: checked, completed, copied.

    Args:
        ground_truth: annotation file, or its content (left as it is).
        num_keypoints: K.
        use_area: False takes 0.53 x the box's area for every person.

    Returns:
        The same format, people renumbered from 1.

    Raises:
        DataError: an entry that is not a COCO keypoint annotation of K keypoints.
    """
    content, name = load(ground_truth)
    images = [dict(image) for image in content["images"]]
    known = {_whole(image, "id", f"{name}: images[{i}]") for i, image in enumerate(images)}
    if len(known) < len(images):
        raise DataError(f"{name}: images have {len(known)} ids for {len(images)} images")
    categories = content["categories"]
    for position, category in enumerate(categories):
        _whole(category, "id", f"{name}: categories[{position}]")
    # A category of which nothing has keypoints (COCO-format files may hold things too) is left out.
    posed = {
        _whole(a, "category_id", f"{name}: annotations[{i}]")
        for i, a in enumerate(content["annotations"])
        if "keypoints" in a
    }
    people = []
    for position, annotation in enumerate(content["annotations"]):
        where = f"{name}: annotations[{position}] (id {annotation.get('id')})"
        if posed and _whole(annotation, "category_id", where) not in posed:
            continue
        if _whole(annotation, "image_id", where) not in known:
            raise DataError(f"{where}: image_id {annotation['image_id']} is not among the images")
        points = _numbers(annotation, "keypoints", 3 * num_keypoints, where)
        box = _numbers(annotation, "bbox", 4, where)
        person = {"iscrowd": 0, "num_keypoints": int((points[2::3] > 0).sum())} | annotation
        _whole(person, "num_keypoints", where)
        if not use_area:
            person["area"] = float(box[2] * box[3] * AREA_OF_BOX)
        elif not _is_number(annotation.get("area")):
            raise DataError(
                f"{where}: area is {annotation.get('area')!r}, expected a number "
                "(without areas: use_area=False)"
            )
        people.append(person)
    for number, person in enumerate(people, 1):
        person["id"] = number  # pycocotools takes id 0 for "not matched"
    return {
        "images": images,
        "annotations": people,
        "categories": [c for c in categories if not posed or c["id"] in posed],
        "info": content.get("info", {}),
    }


def check_results(
    results: Any,
    num_keypoints: int,
    *,
    image_ids: Collection[int] | None = None,
    category_ids: Collection[int] | None = None,
    source: str = "results",
) -> list[dict[str, Any]]:
    """Entries of a COCO result file, reduced to the four keys that count.

    Args:
        results: what the file holds, or the same from memory.
        num_keypoints: K.
        image_ids: the images there are; None checks none.
        category_ids: the categories there are; None checks none.
        source: what errors call it.

    Returns:
        New entries ``{image_id, category_id, keypoints, score}`` in the same order.

    Raises:
        DataError: the first entry that is malformed, not finite, or of another dataset.
    """
    if not isinstance(results, Sequence) or isinstance(results, str | bytes):
        raise DataError(f"{source}: {type(results).__name__}, expected a list of results")
    known = None if image_ids is None else frozenset(image_ids)
    for position, entry in enumerate(results):
        where = f"{source}: entry {position}"
        if not isinstance(entry, dict):
            raise DataError(f"{where}: {type(entry).__name__}, expected an object")
        image = _whole(entry, "image_id", where)
        category = _whole(entry, "category_id", where)
        if known is not None and image not in known:
            raise DataError(
                f"{where}: image_id {image} is not in the ground truth, "
                "expected results of the same dataset"
            )
        if category_ids is not None and category not in category_ids:
            raise DataError(
                f"{where}: category_id is {category}, expected one of {sorted(category_ids)}"
            )
        if not _is_number(entry.get("score")):
            raise DataError(f"{where}: score is {entry.get('score')!r}, expected a finite number")
        _numbers(entry, "keypoints", 3 * num_keypoints, where)
    keys = ("image_id", "category_id", "keypoints", "score")
    return [{key: entry[key] for key in keys} for entry in results]


def checked(
    results: Any,
    ground_truth: str | Path | dict[str, Any],
    num_keypoints: int,
    *,
    use_area: bool,
    image_ids: Collection[int] | None,
    source: str,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Annotations and results as an evaluator takes them, limited to some images or to none.

    Raises:
        DataError: see :func:`prepare` and :func:`check_results`.
    """
    truth = prepare(ground_truth, num_keypoints, use_area=use_area)
    entries = check_results(
        results,
        num_keypoints,
        image_ids=ids(truth["images"]),
        category_ids=ids(truth["categories"]),
        source=source,
    )
    if image_ids is not None:
        wanted = frozenset(image_ids)
        truth["images"] = [image for image in truth["images"] if image["id"] in wanted]
        truth["annotations"] = [a for a in truth["annotations"] if a["image_id"] in wanted]
        entries = [entry for entry in entries if entry["image_id"] in wanted]
    return truth, entries


def indexed(coco: type, content: dict[str, Any]) -> Any:
    """A COCO object of either library over content in memory."""
    api = coco()
    api.dataset = content
    api.createIndex()
    return api


def with_results(coco: type, truth: Any, results: list[dict[str, Any]]) -> Any:
    """A COCO object over results; unlike ``loadRes`` it takes an empty list."""
    if results:
        return truth.loadRes(results)
    return indexed(coco, truth.dataset | {"annotations": []})


def ids(entries: Iterable[dict[str, Any]]) -> frozenset[int]:
    """The ids of images or categories."""
    return frozenset(entry["id"] for entry in entries)


def _whole(entry: dict[str, Any], key: str, where: str) -> int:
    value = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise DataError(f"{where}: {key} is {value!r:.60}, expected an integer")
    return int(value)


def _is_number(value: Any) -> bool:
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    return number and math.isfinite(value)


def _numbers(entry: dict[str, Any], key: str, count: int, where: str) -> np.ndarray:
    values = entry.get(key)
    if not isinstance(values, list | tuple | np.ndarray) or len(values) != count:
        size = f"{len(values)} values" if isinstance(values, list) else f"{values!r:.60}"
        raise DataError(f"{where}: {key} has {size}, expected {count} numbers")
    try:
        array = np.asarray(values)
    except ValueError:  # lists of different lengths inside
        array = np.empty(0, object)
    if array.shape != (count,) or array.dtype.kind not in "iuf" or not np.isfinite(array).all():
        bad = next((value for value in values if not _is_number(value)), values)
        raise DataError(f"{where}: {key} has {bad!r:.60}, expected {count} finite numbers")
    return array
