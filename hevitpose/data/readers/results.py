"""Result files of any system: COCO's list of people, checked before an evaluator sees it.

pycocotools and xtcocotools take anything and fail with a bare KeyError or assertion, or count
wrongly in silence.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hevitpose import json_file
from hevitpose.data.readers import fields
from hevitpose.data.readers.doubts import tell_relative
from hevitpose.data.readers.image_ids import ImageIds
from hevitpose.errors import DataError


def read_results(
    path: str | Path,
    num_keypoints: int,
    *,
    images: ImageIds | None = None,
    category_ids: Collection[int] | None = None,
) -> list[dict[str, Any]]:
    """The entries of a result file; see :func:`check_results`.

    Warns:
        Notice: the keypoints look like shares of the image's sides.

    Raises:
        DataError: absent, truncated, not JSON, or an entry is not what it should be.
    """
    content = json_file.read(Path(path), "results")
    found = check_results(
        content, num_keypoints, images=images, category_ids=category_ids, source=str(path)
    )
    points = np.array([entry["keypoints"] for entry in found]).reshape(-1, 3)
    tell_relative(Path(path), points[:, :2], "the keypoints")
    return found


def check_results(
    results: Any,
    num_keypoints: int,
    *,
    images: ImageIds | None = None,
    category_ids: Collection[int] | None = None,
    source: str = "results",
) -> list[dict[str, Any]]:
    """Entries of a COCO result file, reduced to the four keys that count.

    Args:
        results: what the file holds, or the same from memory.
        num_keypoints: K.
        images: those that there are, which entries may also call by their file name; None checks
            none.
        category_ids: the categories there are; None checks none.
        source: what errors call it.

    Returns:
        New entries ``{image_id, category_id, keypoints, score}`` in the same order, with 3 * K
        plain numbers.

    Raises:
        DataError: the first entry that is malformed, not finite, or of another dataset.
    """
    if not isinstance(results, Sequence) or isinstance(results, str | bytes):
        raise DataError(f"{source}: {type(results).__name__}, expected a list of results")
    found = []
    for position, entry in enumerate(results):
        try:
            if not isinstance(entry, dict):
                raise ValueError(f"{type(entry).__name__}, expected an object")
            found.append(_entry(entry, num_keypoints, images, category_ids))
        except ValueError as error:
            raise DataError(f"{source}: entry {position}: {error}") from None
    return found


def _entry(
    entry: dict[str, Any],
    num_keypoints: int,
    images: ImageIds | None,
    category_ids: Collection[int] | None,
) -> dict[str, Any]:
    image = fields.whole(entry, "image_id") if images is None else images.of(entry)
    category = fields.whole(entry, "category_id")
    if category_ids is not None and category not in category_ids:
        raise ValueError(f"category_id is {category}, expected one of {sorted(category_ids)}")
    points = fields.triples(entry, "keypoints", num_keypoints)
    for position, value in enumerate(points):
        if not fields.is_number(value, sys.float_info.max):
            raise ValueError(f"keypoints has {value!r:.60} at {position}, expected finite numbers")
    return {
        "image_id": image,
        "category_id": category,
        "keypoints": [float(value) for value in points],  # of a long integer numpy makes an object
        "score": fields.number(entry, "score", limit=sys.float_info.max),
    }
