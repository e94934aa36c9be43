"""Fields of annotation records.

Each raises ``ValueError`` with "KEY is X, expected Y"; the reader knows the file and the record.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from typing import Any

LIMIT = 1e7  # pixels; a coordinate beyond it is damage, and float32 still resolves one pixel
#: Brackets around joints; JSON of unknown origin may have thousands.
NESTING = 8


class MissingError(ValueError):
    """A value that is wrong or missing, and that ``derive: true`` makes of what is there."""


def whole(record: dict[str, Any], key: str) -> int:
    """An integer that fits 64 bits; 640.0 is one, as some exporters write it."""
    value = record.get(key)
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int or not -(2**63) <= value < 2**63:
        raise ValueError(f"{key} {_found(record, key)}, expected an integer")
    return value


def identity(record: dict[str, Any], key: str, *, text: bool) -> int:
    """An id: an integer, or with ``text`` what :func:`number_of` makes of a text."""
    value = record.get(key)
    if not isinstance(value, str):
        return whole(record, key)
    if not text:
        raise MissingError(f"{key} {_found(record, key)}, expected an integer")
    return number_of(value, key)


def number_of(text: str, key: str) -> int:
    """The integer that a text id stands for: "785" is 785, "img_7" a number made of the text.

    A text gives the same number in every file, so that predictions find their images. The numbers
    made are 2**52 or more, which nobody numbers images by, and are whole as floats, too.
    """
    plain = text.strip()
    if not plain:
        raise ValueError(f"{key} is empty, expected an id")
    if re.fullmatch(r"[+-]?[0-9]{1,18}(\.0+)?", plain, re.ASCII):
        return int(plain.partition(".")[0])
    digest = hashlib.sha256(plain.encode("utf-8", "surrogatepass")).digest()
    return 2**52 + int.from_bytes(digest[:8], "big") % 2**52


def has(record: dict[str, Any], key: str) -> bool:
    """Whether a record has a value there; null and an empty list or text are none."""
    return record.get(key) not in (None, [], "")


def flag(record: dict[str, Any], key: str) -> bool:
    """A truth value, as 0 and 1 or as JSON has it; absent is false."""
    value = record.get(key, 0)
    if type(value) not in (bool, int, float) or value not in (0, 1):
        raise ValueError(f"{key} {_found(record, key)}, expected 0 or 1")
    return bool(value)


def triples(record: dict[str, Any], key: str, count: int) -> list[Any]:
    """Three values of each of ``count`` joints in one list, which nobody has looked at yet.

    ``[x, y, v, x, y, v]``, ``[[x, y, v], [x, y, v]]`` and the same in more brackets mean one thing;
    a joint that is null or empty there is not labelled.
    """
    values = record.get(key)
    if not isinstance(values, list):
        raise ValueError(f"{key} {_found(record, key)}, expected {3 * count} numbers")
    if len(values) == 3 * count:
        return values
    while len(values) == 1 and isinstance(values[0], list):
        values = values[0]
    if values == [None] * count or any(isinstance(value, list) for value in values):
        values = _joined(values, key)
    if len(values) != 3 * count:
        raise ValueError(f"{key} has {len(values)} values, expected {3 * count} numbers")
    return values


def _joined(values: list[Any], key: str, depth: int = 0) -> list[Any]:
    joined: list[Any] = []
    for joint in values:
        if joint is None or joint == []:
            joined += (0, 0, 0)
        elif not isinstance(joint, list) or depth == NESTING:
            raise ValueError(f"{key} has {_short(joint)} among lists, expected [x, y, v] for each")
        elif any(isinstance(value, list) for value in joint):
            joined += _joined(joint, key, depth + 1)
        elif len(joint) != 3:
            raise ValueError(f"{key} has a joint of {len(joint)} values, expected [x, y, v]")
        else:
            joined += joint
    return joined


def keypoints(record: dict[str, Any], key: str, count: int) -> list[float]:
    """x, y, v of ``count`` joints: v is 0, 1 or 2, and x, y are finite where it is not 0.

    Returns:
        3 * count numbers; x, y are 0 where v is 0, whatever they were (null and NaN, too). Three
        values that are none (null, NaN, "") are a joint that is not labelled.
    """
    values = triples(record, key, count)
    points = [0.0] * (3 * count)
    for start in range(0, 3 * count, 3):
        seen = values[start + 2]
        if _is_none(seen) and all(map(_is_none, values[start : start + 2])):
            continue
        if type(seen) not in (int, float, bool) or seen not in (0, 1, 2):
            raise ValueError(f"{key}[{start + 2}] is {_short(seen)}, expected visibility 0, 1 or 2")
        if not seen:
            continue
        for position in (start, start + 1):
            value = values[position]
            if not is_number(value):
                raise ValueError(
                    f"{key}[{position}] is {_short(value)}, expected a finite number of pixels"
                )
        points[start : start + 3] = values[start : start + 3]
    return points


def _is_none(value: Any) -> bool:
    return value is None or value == "" or (type(value) is float and math.isnan(value))


def is_number(value: Any, limit: float = LIMIT) -> bool:
    """Whether a value is a finite number, of no more than a size."""
    return type(value) in (int, float) and abs(value) <= limit  # false for NaN, too


def number(record: dict[str, Any], key: str, limit: float = LIMIT) -> float:
    """A finite number."""
    value: Any = record.get(key)
    if not is_number(value, limit):
        raise ValueError(f"{key} {_found(record, key)}, expected a finite number")
    return float(value)


def numbers(record: dict[str, Any], key: str, count: int) -> list[float]:
    """A list of ``count`` finite numbers."""
    values = record.get(key)
    if not isinstance(values, list) or len(values) != count:
        size = f"has {len(values)} values" if isinstance(values, list) else _found(record, key)
        raise ValueError(f"{key} {size}, expected {count} numbers")
    for position, value in enumerate(values):
        if not is_number(value):
            raise ValueError(
                f"{key}[{position}] is {_short(value)}, expected a finite number of pixels"
            )
    return values


def file_name(record: dict[str, Any], key: str) -> str:
    """A relative path that stays below its folder, as UTF-8 of at most 1,000 bytes."""
    value = record.get(key)
    if isinstance(value, str) and value and "\0" not in value:
        parts = value.replace("\\", "/").split("/")
        try:
            fits = len(value.encode()) <= 1000
        except UnicodeEncodeError:  # half of a surrogate pair
            fits = False
        if fits and parts[0] and ".." not in parts and not (len(parts[0]) == 2 and ":" in value):
            return value.replace("\\", "/")  # as Windows writes it
    raise ValueError(f"{key} {_found(record, key)}, expected a relative file name")


def _found(record: dict[str, Any], key: str) -> str:
    return f"is {_short(record[key])}" if key in record else "is missing"


def _short(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "infinite"
    text = str(value) if isinstance(value, int) and abs(value) < 1e30 else ""
    text = text or (f"{value:g}" if isinstance(value, float) else json.dumps(str(value)[:40]))
    return text if len(text) <= 42 else text[:40] + '..."'
