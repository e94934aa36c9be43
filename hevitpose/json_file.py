"""JSON of unknown origin, read one way everywhere: annotations, predictions, records, headers.

Regular files only, up to a size by kind; UTF-8 with or without a byte order mark; nesting up to
:data:`DEPTH`; every number finite; no half of a surrogate pair; no key twice. Anything else is one
line that names the file. Torch-free.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from hevitpose import files
from hevitpose.errors import DataError
from hevitpose.files import broken_text

Kind = Literal[
    "annotations", "results", "detections", "record", "export", "lease", "description", "gallery"
]
_MIB = 2**20
#: Bytes that a file of each kind may have; COCO train2017's annotations have 240 MB.
LIMITS: dict[Kind, int] = {
    "annotations": 4096 * _MIB,
    "results": 2048 * _MIB,
    "detections": 2048 * _MIB,
    "record": 64 * _MIB,
    "export": 2048 * _MIB,
    "lease": 4096,
    "description": 16 * _MIB,
    "gallery": 64 * _MIB,
}
#: Lists and objects inside each other.
DEPTH = 32
_NESTED = (dict, list)
_PLAIN = bytes(set(range(256)) - set(b'[]{}"\\'))
_HALF = re.compile(r"\\u[dD][89a-fA-F]")  # of a surrogate pair, as an escape
_SPACED = re.compile(rb'"\s+:')
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"')


class JsonError(ValueError):
    """Text that is not JSON, or is what no file of ours says; one line."""


def read(path: Path, kind: Kind) -> Any:
    """The content of a file.

    Raises:
        DataError: it is absent, no regular file, too large, or no JSON as the module says.
    """
    data = read_bytes(path, kind)
    try:
        return parse(data)
    except JsonError as error:
        raise DataError(f"{path}: {error}, expected {kind} as JSON") from None


def read_bytes(path: Path, kind: Kind) -> bytes:
    """The bytes of a regular file, no more than its kind may have.

    A pipe, a device or a folder is refused before anything is read, and so is a link to one.

    Raises:
        DataError: it is absent, no regular file, or too large.
    """
    try:
        return read_regular(path, kind)
    except JsonError as error:
        raise DataError(f"{path}: {error}") from None
    except OSError as error:
        raise DataError(
            f"{path}: {error.strerror or error}, expected {kind} as a JSON file"
        ) from None


def read_regular(path: Path, kind: Kind) -> bytes:
    """As :func:`read_bytes`, for callers with a line of their own.

    Raises:
        OSError: it cannot be opened.
        JsonError: it is no regular file, or too large.
    """
    try:
        return files.read_regular(path, LIMITS[kind], kind)
    except files.NotRegularError as error:
        raise JsonError(str(error)) from None


def parse(text: bytes | str, *, literals: bool = False) -> Any:
    """The value that a text of JSON holds.

    Args:
        text: of one value.
        literals: NaN and Infinity are let through, for a schema that names the key they are at.

    Raises:
        JsonError: it is not JSON as the module says.
    """
    if isinstance(text, bytes) and (value := at_first_sight(text)) is not UNSURE:
        return value
    text = decoded(text) if isinstance(text, bytes) else text
    if not text.strip():
        raise JsonError("empty")
    try:
        value = (_LITERALS if literals else _STRICT).decode(text)
    except json.JSONDecodeError as error:
        raise JsonError(
            f"not JSON or truncated at line {error.lineno}, column {error.colno} ({error.msg})"
        ) from None
    except RecursionError:
        raise JsonError(f"nested more than {DEPTH} deep") from None
    if _too_deep(value):
        raise JsonError(f"nested more than {DEPTH} deep")
    if _HALF.search(text) and (broken := broken_text(value)) is not None:
        raise JsonError(
            f"text {broken[:40]!a} has an unpaired surrogate, expected whole characters"
        )
    return value


#: What :func:`at_first_sight` says of a text that needs :func:`parse`.
UNSURE = object()
_DIGITS = bytes.maketrans(b"123456789", b"0" * 9)
_MANY_DIGITS = b"0" * 301  # more than _integer takes


def at_first_sight(data: bytes) -> Any:
    """The value that a fast parser finds where it is what :func:`parse` would find, or UNSURE.

    Every number in it is finite. A key that is there twice is dropped once, and its quotes are
    missing when the value is written again; an escape may hide a quote, and is left to the other
    parser, as is all that is wrong.
    """
    if (b"\\" in data and b"\\u" in data) or _MANY_DIGITS in data.translate(_DIGITS):
        return UNSURE
    try:
        value = _ANY.decode(data)
        quotes = msgspec.json.encode(value).count(b'"')
    except (ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
        return UNSURE
    if data.count(b'"') != quotes or not (_shallow(data) or not _too_deep(value)):
        return UNSURE
    return value


def decoded(data: bytes) -> str:
    """UTF-8, with or without a byte order mark, as text.

    Raises:
        JsonError: it is not UTF-8.
    """
    try:
        return files.text_of(data)
    except ValueError as error:
        raise JsonError(str(error)) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = {sys.intern(key): value for key, value in pairs}  # thousands of records share keys
    if len(made) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise JsonError(f"key {twice[:40]!a} is there twice, expected once")
    return made


def _not_a_number(literal: str) -> float:
    raise JsonError(f"a number is {literal}, expected finite numbers")


def _real(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise JsonError(f"a number is {digits[:40]}, expected finite numbers")
    return value


def _integer(digits: str) -> int:
    if len(digits) > 300:  # a float holds 1.8e308 at most
        raise JsonError(f"an integer has {len(digits)} digits, expected at most 300")
    return int(digits)


_STRICT = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_constant=_not_a_number,
    parse_float=_real,
    parse_int=_integer,
)
_LITERALS = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_constant=float,
    parse_float=_real,
    parse_int=_integer,
)


def _shallow(data: bytes) -> bool:
    """Whether JSON is surely not too deep, by its brackets alone.

    Without escapes and brackets, a text is two quotes; what else has quotes is left to others.
    """
    brackets = data.translate(None, _PLAIN).replace(b'""', b"")
    if b"\\" in brackets or b'"' in brackets:
        return False
    for _ in range(DEPTH // 2):  # each round takes away one or two levels
        if not brackets:
            return True
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
    return not brackets


def _too_deep(value: Any) -> bool:
    level = [[value]]
    for _ in range(DEPTH + 1):
        level = [
            item
            for each in level
            for item in (each.values() if type(each) is dict else each)
            if type(item) in _NESTED
        ]
        if not level:
            return False
    return True


# Large files, record by record ------------------------------------------------------------------


#: NaN and infinities as texts that a strict parser takes: as no writer has reason to write one.
_MARKED = re.compile(rb'"\\u0000(NaN|-?Infinity)"')


def records(
    path: Path, kind: Kind, wanted: Mapping[str, Iterable[str]] | None = None
) -> Iterator[tuple[str, int, Any]]:
    """Every element of the file's top-level lists, in the file's order.

    Only the bytes and one record are held, and of the records only what is asked for is made:
    COCO train2017 has tens of millions of floats of polygons that nobody here reads. NaN and
    infinities are let through to the fields, whose reader knows where they do no harm.

    Args:
        path: a JSON file whose top level is an object or a list.
        kind: of file.
        wanted: by top-level key, the keys of its records that are given; of what is not named only
            ``(key, -1, None)``. None: everything.

    Yields:
        ``(key, position, element)`` for each element of a list under a top-level key (key ``""``
        for a top-level list), and ``(key, -1, value)`` for what is not a list. An empty list
        yields ``(key, -1, [])``.

    Raises:
        DataError: as :func:`read`; the message has line and column where there is one.
    """
    data = read_bytes(path, kind)
    try:
        data = _clean(data)
        if data[:1] not in (b"{", b"["):
            start = data[:20].decode(errors="replace")
            raise JsonError(f"starts with {start!r}, expected a JSON object")
        lists, marked = _envelope(data)
        for key, content in lists.items():
            if key and wanted is not None and key not in wanted:
                yield key, -1, None
                continue
            keys = None if wanted is None else frozenset(wanted.get(key, ()))
            yield from _elements(key, content, keys, marked)
    except JsonError as error:
        raise DataError(f"{path}: {error}") from None


def _clean(data: bytes) -> bytes:
    if not data.isascii() or b"\0" in data[:2]:
        data = data.removeprefix(b"\xef\xbb\xbf")
        decoded(data)
    data = data.strip()
    if not data:
        raise JsonError("empty, expected JSON")
    return data


def _envelope(data: bytes) -> tuple[dict[str, msgspec.Raw], bool]:
    """The values under the top-level keys, and whether numbers that are none are marked."""
    try:
        return _top(data), False
    except JsonError:
        text = data.decode()
        if "NaN" not in text and "Infinity" not in text:
            raise
        return _top(_mark(text).encode()), True


def _mark(text: str) -> str:
    """NaN, Infinity and -Infinity outside of strings as :data:`_MARKED` finds them."""
    bare = re.compile(_STRING.pattern + r"|-?\b(?:NaN|Infinity)\b")
    return bare.sub(lambda m: m[0] if m[0][0] == '"' else f'"\\u0000{m[0]}"', text)


_RAW = msgspec.json.Decoder(msgspec.Raw)
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_LIST = msgspec.json.Decoder(list[msgspec.Raw])
_ANY = msgspec.json.Decoder()


def _top(data: bytes) -> dict[str, msgspec.Raw]:
    try:
        if data[:1] == b"[":
            return {"": _RAW.decode(data)}
        found = _FIELDS.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise JsonError(_place(data, str(error))) from None
    except RecursionError:
        raise JsonError("nested too deeply, expected an annotation file") from None
    for key in found:
        # Mostly a name is there once; where it is a text or another record's key, too, all is read.
        if data.count(msgspec.json.encode(key)) > 1:
            parse(data)
            break
    return found


#: msgspec's words where they name what its parser met, not what is wrong.
_SAID = {
    "trailing characters": "Extra data",
    "unexpected end of hex escape": "an unpaired surrogate, expected whole characters",
}


def _place(data: bytes, message: str) -> str:
    """Msgspec's message with line and column; truncated text ends where it ends."""
    at = re.search(r"\(byte (\d+)\)", message)
    byte = int(at[1]) if at else len(data)
    line = data.count(b"\n", 0, byte) + 1
    column = byte - (data.rfind(b"\n", 0, byte) + 1) + 1
    why = message.partition(" (byte")[0].removeprefix("JSON is malformed: ")
    why = _SAID.get(why, why)
    return f"not JSON or truncated at line {line}, column {column} ({why})"


def _elements(
    key: str, content: msgspec.Raw, wanted: frozenset[str] | None, marked: bool
) -> Iterator[tuple[str, int, Any]]:
    if bytes(memoryview(content)[:1]) != b"[":
        yield key, -1, _value(content, marked)
        return
    position = -1
    for position, element in enumerate(_LIST.decode(content)):
        yield key, position, _record(element, wanted, marked)
    if position < 0:
        yield key, -1, []


def _record(raw: msgspec.Raw, wanted: frozenset[str] | None, marked: bool) -> Any:
    """An object's fields, of which only those asked for are made; another value as it is."""
    try:
        fields = _FIELDS.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _value(raw, marked)
    # Nested objects and texts may have colons as well: then, and only then, keys are looked at.
    text = bytes(raw)
    if text.count(b'":') != len(fields) or _SPACED.search(text):
        _no_key_twice(raw)
    keys = fields.keys() if wanted is None else wanted & fields.keys()
    return {key: _value(fields[key], marked) for key in keys}


def _no_key_twice(raw: msgspec.Raw) -> None:
    try:
        json.loads(bytes(raw), object_pairs_hook=_object, parse_int=str)  # of any length
    except json.JSONDecodeError:
        return  # whose fields are read by a stricter rule


def _value(raw: msgspec.Raw, marked: bool) -> Any:
    try:
        if not marked:
            return _ANY.decode(raw)
        return json.loads(_MARKED.sub(rb"\1", bytes(raw)))
    except (ValueError, msgspec.MsgspecError, RecursionError):
        pass
    try:  # a number beyond a float's range is an infinity, and a half of a surrogate pair is text
        return json.loads(bytes(raw))
    except (ValueError, RecursionError) as error:
        first = str(error).partition(";")[0]
        raise JsonError(f"not JSON or truncated ({first})") from None
