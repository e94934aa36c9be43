"""Annotation files, record by record: a COCO train file never exists as Python objects at once.

``json.load`` on COCO train2017's keypoint annotations builds tens of millions of floats of
polygons that nobody here reads. This walks the top level itself and hands each element of a list
to the standard decoder, so that only the text and one record are held.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hevitpose.errors import DataError

_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()


def records(path: Path) -> Iterator[tuple[str, int, Any]]:
    """Every element of the file's lists, in the file's order.

    Args:
        path: a JSON file whose top level is an object or a list.

    Yields:
        ``(key, position, element)`` for each element of a list under a top-level key (key ``""``
        for a top-level list), and ``(key, -1, value)`` for what is not a list. An empty list
        yields ``(key, -1, [])``.

    Raises:
        DataError: the file is absent, empty, not UTF-8, not JSON, or truncated; the message has
            line and column.
    """
    text = _read(path)
    try:
        yield from _walk(path, text)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}: not JSON or truncated at line {error.lineno}, column {error.colno} "
            f"({error.msg})"
        ) from None
    except RecursionError:
        raise DataError(f"{path}: nested too deeply, expected an annotation file") from None


def _read(path: Path) -> str:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}, expected a JSON file") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start} is not UTF-8, expected JSON") from None
    if not text.strip():
        raise DataError(f"{path}: empty, expected JSON")
    return text


def _skip(text: str, at: int) -> int:
    return _SPACE.match(text, at).end()  # type: ignore[union-attr]  # it matches anywhere


def _decode(text: str, at: int) -> tuple[Any, int]:
    try:
        return _DECODER.raw_decode(text, at)
    except json.JSONDecodeError:
        raise
    except ValueError as error:  # an integer of more digits than Python converts
        raise json.JSONDecodeError(str(error).partition(";")[0], text, at) from None


def _walk(path: Path, text: str) -> Iterator[tuple[str, int, Any]]:
    at = _skip(text, 0)
    opening = text[at]
    if opening == "[":
        for position, element, end in _elements(text, at):
            at = end
            if position >= -1:
                yield "", position, element
    elif opening == "{":
        at = _skip(text, at + 1)
        while text[at : at + 1] != "}":
            key, at = _decode(text, at)
            if not isinstance(key, str):
                raise json.JSONDecodeError("Expecting a key", text, at)
            at = _expect(text, _skip(text, at), ":")
            if text[at : at + 1] == "[":
                for position, element, end in _elements(text, at):
                    at = end
                    if position >= -1:
                        yield key, position, element
            else:
                value, at = _decode(text, at)
                yield key, -1, value
            at = _skip(text, at)
            if text[at : at + 1] != "}":
                at = _expect(text, at, ",")
                if text[at : at + 1] == "}":
                    raise json.JSONDecodeError("Expecting a key", text, at)
        at += 1
    else:
        raise DataError(f"{path}: starts with {text[at : at + 20]!r}, expected a JSON object")
    at = _skip(text, at)
    if at != len(text):
        raise json.JSONDecodeError("Extra data", text, at)


def _expect(text: str, at: int, mark: str) -> int:
    if text[at : at + 1] != mark:
        raise json.JSONDecodeError(f"Expecting {mark!r}", text, at)
    return _skip(text, at + 1)


def _elements(text: str, at: int) -> Iterator[tuple[int, Any, int]]:
    """Elements of the list that opens at ``at``, each with where it ends; last, position -2."""
    at = _skip(text, at + 1)
    if text[at : at + 1] == "]":
        yield -1, [], at + 1
        return
    position = 0
    while True:
        element, at = _decode(text, at)
        yield position, element, at
        at = _skip(text, at)
        if text[at : at + 1] == "]":
            yield -2, None, at + 1
            return
        at = _expect(text, at, ",")
        position += 1


# Fields of a record. Each raises ``ValueError`` with "KEY is X, expected Y"; the reader knows the
# file and the record.

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
