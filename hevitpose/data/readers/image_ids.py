"""Which image an entry of somebody's detections or predictions means.

A file name decides where an entry has one. Ids count the images of one list from 1 where no
annotations named them, and so mean others in the next list.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from hevitpose.data.readers import fields


class NameEnds:
    """Images by the ends of their paths: ``a/b.jpg`` is called so, or ``b.jpg``."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._whole: dict[str, set[int]] = {}
        self._by_end: dict[str, set[int]] = {}
        for place, path in enumerate(paths):
            self._whole.setdefault(path, set()).add(place)
            parts = path.split("/")
            for start in range(len(parts)):
                self._by_end.setdefault("/".join(parts[start:]), set()).add(place)

    def __contains__(self, name: str) -> bool:
        return name in self._by_end

    def find(self, name: str) -> list[int]:
        """Places of the images that a name means: a whole path before the end of another one."""
        return sorted(self._whole.get(name) or self._by_end.get(name) or set())

    def find_below(self, name: str) -> list[int]:
        """Places of the images whose whole path is an end of a name, the longest such end."""
        parts = name.split("/")
        ends = ("/".join(parts[start:]) for start in range(1, len(parts)))
        return next((sorted(self._whole[end]) for end in ends if end in self._whole), [])


def named(entry: dict[str, Any]) -> bool:
    """Whether a file name, not an id, says which image an entry is of."""
    return fields.has(entry, "file_name")


class ImageIds:
    """The ids of a set of images, and the file names that other tools give instead of them.

    Args:
        ids: of the images.
        names: their files, relative, in the same order; without them, ids alone are looked at.
    """

    def __init__(self, ids: Sequence[int], names: Sequence[str] = ()) -> None:
        if names and len(names) != len(ids):
            raise ValueError(f"{len(ids)} ids and {len(names)} names")
        self.known = frozenset(ids)
        self._ids = tuple(ids)
        self._names = NameEnds(names) if names else None
        self._longer: dict[int, str] = {}  # the one longer path that means an image, by its place

    def of(self, entry: dict[str, Any], key: str = "image_id") -> int:
        """The id of the image that an entry is of.

        ``file_name`` decides where there is one: as the images have it, an end of that, or a longer
        path that ends so; of several images of that name the one that ``image_id`` names. Else
        ``image_id``: a number, the same as text, or a file name; AlphaPose and others write
        ``"000000000785.jpg"``.

        Raises:
            ValueError: it is no image's, or may be two images'.
        """
        if key == "image_id" and self._names is not None and named(entry):
            return self._of_name(entry["file_name"], self._names, entry.get(key))
        value = entry.get(key)
        if isinstance(value, str) and self._names is not None and value in self._names:
            return self._only(self._names.find(value), key, value)
        number = (
            fields.number_of(value, key) if isinstance(value, str) else fields.whole(entry, key)
        )
        if number not in self.known:
            raise ValueError(
                f"{key} {value} is not in the ground truth, expected an image of the same dataset"
            )
        return number

    def _of_name(self, name: Any, names: NameEnds, said: Any) -> int:
        if not isinstance(name, str):
            raise ValueError(f"file_name is {name!r:.40}, expected text")
        # Other systems write absolute paths, and those of Windows.
        plain = "/".join(p for p in name.replace("\\", "/").split("/") if p not in ("", "."))
        places = names.find(plain)
        if not places:
            places = names.find_below(plain)
            for place in places[:1]:
                other = self._longer.setdefault(place, plain)
                if other != plain:
                    raise ValueError(
                        f"file_name {name} and {other} would both be image {self._ids[place]}, "
                        "expected names as the ground truth has them"
                    )
        if not places:
            raise ValueError(
                f"file_name {name:.200} is not in the ground truth, expected an image of the same "
                "dataset (a file_name decides, whatever image_id says)"
            )
        of_name = [self._ids[place] for place in places]
        # The id tells images of one name apart; it may be anything, also what no set takes.
        if len(places) > 1 and not isinstance(said, bool) and said in of_name:
            return of_name[of_name.index(said)]
        return self._only(places, "file_name", name)

    def _only(self, places: Sequence[int], key: str, value: str) -> int:
        found = {self._ids[place] for place in places}
        if len(found) > 1:
            raise ValueError(f"{key} {value} is {len(found)} images, expected more of the path")
        return found.pop()
