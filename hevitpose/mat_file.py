"""MATLAB files of unknown origin, read one way: their structure is checked before scipy sees it.

scipy trusts sizes and counts that a file states; on a damaged one it may allocate them, or end the
interpreter. Here every element must lie within the one that holds it, and every array must have the
values that its dimensions say. Version 5 only (``save -v6`` and ``-v7``); cells, structs, text and
plain numbers. Torch-free.
"""

from __future__ import annotations

import io
import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hevitpose.errors import DataError, first_line
from hevitpose.files import content

LIMIT = 512 * 2**20  # bytes, on disk and unpacked; MPII's release has 12 MB and a few hundred
DEPTH = 32
_HEADER = 128
_COMPRESSED, _MATRIX = 15, 14
#: Bytes of a value by type: int8 to uint32, float, double, int64, uint64, and texts.
_SIZES = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8, 16: 1, 17: 2, 18: 4}
_CELL, _STRUCT, _CHAR = 1, 2, 4
_NUMBERS = range(6, 16)
_IMAGINARY = 0x0800  # of the flags


class MatError(ValueError):
    """Bytes that are no MATLAB file as the module says; one line."""


def read(path: Path, names: Sequence[str] | None = None, **options: Any) -> dict[str, Any]:
    """The variables of a file, as scipy's ``loadmat`` gives them.

    Args:
        path: the file.
        names: only these variables.
        options: of ``loadmat``.

    Raises:
        DataError: absent, no regular file, too large, damaged, or not of version 5.
    """
    from scipy.io import loadmat

    data = content(path, LIMIT, "a .mat file")
    try:
        plain = unpacked(data)
        return dict(loadmat(io.BytesIO(plain), variable_names=names, **options))
    except Exception as error:  # scipy raises what the damage happens to hit
        why = first_line(str(error), type(error).__name__)
        raise DataError(f"{path}: not a MATLAB 5 file or truncated ({why})") from error


def unpacked(data: bytes) -> bytes:
    """A file with nothing in it compressed, and every size in it checked.

    Raises:
        MatError: it is damaged, or not of version 5.
    """
    order = {b"IM": "<", b"MI": ">"}.get(data[126:_HEADER])
    if order is None:
        newer = " (-v7.3 is HDF5, save with -v7)" if b"HDF" in data[:512] else ""
        raise MatError(f"no header of version 5{newer}")
    found = [data[:_HEADER]]
    place, room = _HEADER, LIMIT
    while place < len(data):
        kind, start, end, place = _element(order, data, place, len(data))
        body = data[start:end]
        if kind == _COMPRESSED:
            unpacker = zlib.decompressobj()
            try:
                body = unpacker.decompress(body, room)
            except zlib.error as error:
                raise MatError(str(error)) from None
            if not unpacker.eof:
                raise MatError("a compressed part is cut, or has too much in it")
            kind, start, end, _ = _element(order, body, 0, len(body))
            body = body[start:end]
        room -= len(body)
        if room <= 0:
            raise MatError(f"more than {LIMIT} bytes unpacked")
        if kind != _MATRIX:
            raise MatError(f"an element of type {kind}, expected a variable")
        _check(order, body, 0, len(body), 0)
        found += [struct.pack(f"{order}II", kind, len(body)), body, bytes(-len(body) % 8)]
    return b"".join(found)


def _element(order: str, data: bytes, place: int, limit: int) -> tuple[int, int, int, int]:
    """An element's type, where its content begins and ends, and where the next one begins."""
    if place + 8 > limit:
        raise MatError("an element is cut")
    kind, size = struct.unpack_from(f"{order}II", data, place)
    if kind >> 16:  # a small one has both in four bytes, and its content in the next four
        kind, size = kind & 0xFFFF, kind >> 16
        if size > 4:
            raise MatError("a small element of more than 4 bytes")
        return kind, place + 4, place + 4 + size, place + 8
    start = place + 8
    if start + size > limit:
        raise MatError("an element is larger than what holds it")
    padded = size if kind == _COMPRESSED else size + -size % 8
    return kind, start, start + size, min(start + padded, limit)


def _parts(order: str, data: bytes, place: int, end: int) -> Iterator[tuple[int, int, int]]:
    while place < end:
        kind, start, stop, place = _element(order, data, place, end)
        yield kind, start, stop


def _check(order: str, data: bytes, place: int, end: int, depth: int) -> None:
    """Check an array, and those in it.

    Raises:
        MatError: its parts are not what its flags and dimensions say.
    """
    if depth > DEPTH:
        raise MatError(f"nested more than {DEPTH} deep")
    if place == end:
        return  # MATLAB's way to say that nothing is there
    parts = _parts(order, data, place, end)
    kind, flags, count = _head(order, data, parts)
    rest = list(parts)
    if kind in (_CELL, _STRUCT):
        fields = 1
        if kind == _STRUCT:
            fields, rest = _fields(order, data, rest), rest[2:]
        if len(rest) != count * fields or count > (end - place) // 8:
            raise MatError(f"{len(rest)} parts, its dimensions say {count * fields}")
        for inner, start, stop in rest:
            if inner != _MATRIX:
                raise MatError(f"an element of type {inner}, expected an array")
            _check(order, data, start, stop, depth + 1)
    elif kind == _CHAR or kind in _NUMBERS:
        if len(rest) != 1 + bool(flags & _IMAGINARY):
            raise MatError(f"an array of {len(rest)} parts")
        for inner, start, stop in rest:
            # Of a text in UTF-8, letters count and not bytes.
            held = (stop - start) / _SIZES[inner] if inner in _SIZES else -1
            if not (held == count or (inner == 16 and held >= count)):
                raise MatError(f"an array of {held:g} values, its dimensions say {count}")
    else:
        raise MatError(f"an array of class {kind}, expected numbers, text, cells or structs")


def _head(order: str, data: bytes, parts: Iterator[tuple[int, int, int]]) -> tuple[int, int, int]:
    """An array's class, its flags, and the number of its values."""
    found = [part for _, part in zip(range(3), parts, strict=False)]
    if [kind for kind, _, _ in found] != [6, 5, 1]:
        raise MatError("an array without flags, dimensions and name")
    (_, at, stop), (_, first, last), _ = found
    if stop - at != 8 or (last - first) % 4 or not 8 <= last - first <= 128:
        raise MatError("an array whose flags or dimensions are cut")
    (flags,) = struct.unpack_from(f"{order}I", data, at)
    sides = struct.unpack_from(f"{order}{(last - first) // 4}i", data, first)
    if min(sides) < 0:
        raise MatError(f"an array of {min(sides)} values")
    return flags & 0xFF, flags, math.prod(sides)


def _fields(order: str, data: bytes, rest: list[tuple[int, int, int]]) -> int:
    """The number of a struct's fields."""
    if len(rest) < 2 or rest[0][0] != 5 or rest[0][2] - rest[0][1] != 4 or rest[1][0] != 1:
        raise MatError("a struct without names of fields")
    (width,) = struct.unpack_from(f"{order}i", data, rest[0][1])
    size = rest[1][2] - rest[1][1]
    if width <= 0 or size % width:
        raise MatError(f"names of fields of {width} letters in {size}")
    return size // width
