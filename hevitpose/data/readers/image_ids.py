"""Which image an entry of somebody's detections or predictions means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hevitpose.data.readers import fields


class ImageIds:
    """The ids of a set of images, and the file names that other tools give instead of them.

    Args:
        ids: of the images.
        names: their files, relative, in the same order.
    """

    def __init__(self, ids: Sequence[int], names: Sequence[str] = ()) -> None:
        self.known = frozenset(ids)
        self._by_end: dict[str, set[int]] = {}
        for number, name in zip(ids, names, strict=len(names) > 0):
            parts = name.split("/")
            for start in range(len(parts)):
                self._by_end.setdefault("/".join(parts[start:]), set()).add(number)

    def of(self, entry: dict[str, Any], key: str = "image_id") -> int:
        """The id that an entry's ``image_id`` means: a number, the same as text, or a file name.

        AlphaPose and others write ``"000000000785.jpg"``.

        Raises:
            ValueError: it is no id, no image's, or two images'.
        """
        value = entry.get(key)
        if isinstance(value, str) and value not in self._by_end:
            number = fields.number_of(value, key)
            found = {number} & self.known
        elif isinstance(value, str):
            found = self._by_end[value]
        else:
            number = fields.whole(entry, key)
            found = {number} & self.known
        if len(found) > 1:
            raise ValueError(f"{key} {value} is {len(found)} images, expected more of the path")
        if not found:
            raise ValueError(
                f"{key} {value} is not in the ground truth, expected an image of the same dataset"
            )
        return next(iter(found))
