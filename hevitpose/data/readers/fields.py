"""Fields of annotation records.

Each raises ``ValueError`` with "KEY is X, expected Y"; the reader knows the file and the record.
"""

from __future__ import annotations

import json
import math
from typing import Any

LIMIT = 1e7  # pixels; a coordinate beyond it is damage, and float32 still resolves one pixel


def whole(record: dict[str, Any], key: str, default: int | None = None) -> int:
    """An integer that fits 64 bits; 640.0 is one, as some exporters write it."""
    value = record.get(key, default)
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int or not -(2**63) <= value < 2**63:
        raise ValueError(f"{key} {_found(record, key)}, expected an integer")
    return value


def flag(record: dict[str, Any], key: str) -> bool:
    """A truth value, as 0 and 1 or as JSON has it; absent is false."""
    value = record.get(key, 0)
    if type(value) not in (bool, int, float) or value not in (0, 1):
        raise ValueError(f"{key} {_found(record, key)}, expected 0 or 1")
    return bool(value)


def keypoints(record: dict[str, Any], key: str, count: int) -> list[float]:
    """x, y, v of ``count`` joints: v is 0, 1 or 2, and x, y are finite where it is not 0.

    Returns:
        3 * count numbers; x, y are 0 where v is 0, whatever they were (null and NaN, too).
    """
    values = record.get(key)
    if not isinstance(values, list) or len(values) != 3 * count:
        size = f"has {len(values)} values" if isinstance(values, list) else _found(record, key)
        raise ValueError(f"{key} {size}, expected {3 * count} numbers")
    points = [0.0] * (3 * count)
    for start in range(0, 3 * count, 3):
        seen = values[start + 2]
        if type(seen) not in (int, float) or seen not in (0, 1, 2):
            raise ValueError(f"{key}[{start + 2}] is {_short(seen)}, expected visibility 0, 1 or 2")
        if not seen:
            continue
        for position in (start, start + 1):
            value = values[position]
            if type(value) not in (int, float) or not abs(value) <= LIMIT:
                raise ValueError(
                    f"{key}[{position}] is {_short(value)}, expected a finite number of pixels"
                )
        points[start : start + 3] = values[start : start + 3]
    return points


def number(record: dict[str, Any], key: str, limit: float = LIMIT) -> float:
    """A finite number."""
    value: Any = record.get(key)
    if type(value) not in (int, float) or not abs(value) <= limit:  # also false for NaN
        raise ValueError(f"{key} {_found(record, key)}, expected a finite number")
    return float(value)


def numbers(record: dict[str, Any], key: str, count: int) -> list[float]:
    """A list of ``count`` finite numbers."""
    values = record.get(key)
    if not isinstance(values, list) or len(values) != count:
        size = f"has {len(values)} values" if isinstance(values, list) else _found(record, key)
        raise ValueError(f"{key} {size}, expected {count} numbers")
    for position, value in enumerate(values):
        if type(value) not in (int, float) or not abs(value) <= LIMIT:
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
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "infinite"
    text = str(value) if isinstance(value, int) and abs(value) < 1e30 else ""
    text = text or (f"{value:g}" if isinstance(value, float) else json.dumps(str(value)[:40]))
    return text if len(text) <= 42 else text[:40] + '..."'
