"""Forms of a set cut out of COCO: the official one, or the samples' re-encoded one.

The re-encoded form has some areas estimated, and says which, and photographs at JPEG quality 72.
The two halves are told apart: a set may have one of each.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from hevitpose import json_file
from hevitpose.files import is_file

OFFICIAL, REENCODED, MIXED = "official", "re-encoded", "mixed"

_QUALITY = 72
_HEAD = 2048  # bytes of a photograph; its tables stand right behind the JFIF header
_FEW = 0.1  # official photographs come from many encoders, some of that quality


@dataclass(frozen=True)
class Areas:
    """What an annotation file says of its people's areas."""

    form: str
    people: int
    estimated: int
    missing: int

    @property
    def words(self) -> str:
        """As a clause."""
        said = f"{self.estimated:,} of {self.people:,} areas are estimated"
        said = "official areas" if self.form == OFFICIAL else said
        return f"{said}, areas: {self.missing:,} missing" if self.missing else said


def of_annotations(path: Path) -> Areas:
    """The form of an annotation file.

    Raises:
        DataError: it cannot be read.
    """
    told, people, estimated, missing = False, 0, 0, 0
    for key, position, person in json_file.records(
        path, "annotations", {"annotations": ("area", "area_estimated")}
    ):
        if key == "annotations" and position >= 0 and isinstance(person, dict):
            people += 1
            told = told or "area_estimated" in person
            estimated += bool(person.get("area_estimated"))
            missing += person.get("area") is None
    return Areas(REENCODED if told else OFFICIAL, people, estimated, missing)


def of_photographs(paths: Iterable[Path]) -> str:
    """The form of photographs; empty where none can be read."""
    table, count, found = _luminance_table(), 0, 0
    for path in paths:
        try:
            if is_file(path):
                with path.open("rb") as file:
                    found += table in file.read(_HEAD)
                count += 1
        except (OSError, ValueError):  # a name with a zero byte
            continue
    if not count:
        return ""
    return REENCODED if found == count else OFFICIAL if found <= _FEW * count else MIXED


def describe(areas: Areas, photographs: str) -> str:
    """One form, or what each half has."""
    if photographs in ("", areas.form):
        return f"{areas.form} form, {areas.words}"
    return f"mixed form: annotations {areas.form} ({areas.words}), photographs {photographs}"


@cache
def _luminance_table() -> bytes:
    """The 64 bytes of quantisation that every photograph of that quality has."""
    options = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
    data = cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8), options)[1].tobytes()
    start = data.index(b"\xff\xdb") + 5  # marker, length, number of the table
    return data[start : start + 64]
