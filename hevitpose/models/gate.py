"""The one gate for files of weights: tensors and plain data, no more than the file has bytes for.

Nothing is executed: pickles go through torch's restricted unpickler. What a file says of its
network is built without memory first and compared with the file's own tensors.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hevitpose import files, json_file
from hevitpose.errors import DataError, HEViTPoseError, first_line
from hevitpose.sizes import LARGEST_SIDE

WHAT = "a file of weights"
#: Options whose modules are made one by one, each with entries of its own in a file.
_COUNTS = ("depths", "groups", "num_heads", "heads")
_FEWEST = 64
_LARGEST = 1_000_000  # of any other integer
_VALUES = 100_000  # of a description
_SMALL = 50_000_000  # parameters that any machine has the memory for


def unpickle(path: Path, allowed: Sequence[Any] = ()) -> Any:
    """What ``torch.save`` wrote, on the CPU.

    Args:
        path: a file in the zip or in the older format.
        allowed: stand-ins for more names than tensors need, as torch's ``safe_globals`` takes them.

    Raises:
        DataError: no regular file, damaged, larger inside than outside, or naming anything else.
    """
    files.require_regular(path, WHAT)
    try:
        _require_stored(path)
        with torch.serialization.safe_globals(list(allowed)), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of an older pickle protocol
            with _Bounded(io.FileIO(path)) as file:
                source = path if file.peek(4)[:4] == b"PK\x03\x04" else file
                return torch.load(source, map_location="cpu", weights_only=True)
    except DataError:
        raise
    except Exception as error:  # a damaged file can fail anywhere inside the unpickler
        raise DataError(
            f"{path}: not a readable file of weights ({_reason(error, path)})"
        ) from error


class _Bounded(io.BufferedReader):
    """A file that is never asked for more bytes than it has, whatever length a pickle states."""

    def read(self, size: int | None = -1, /) -> bytes:
        left = os.fstat(self.fileno()).st_size - self.tell()
        return super().read(left if size is None or size < 0 else min(size, left))


def _require_stored(path: Path) -> None:
    """Torch compresses nothing: what is larger inside is a bomb."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        inside = sum(entry.file_size for entry in archive.infolist())
    if inside > path.stat().st_size:
        raise DataError(f"{path}: holds {inside} bytes compressed, expected a file of weights")


def require_header(path: Path) -> None:
    """Refuse what does not begin like safetensors before its library maps the whole file.

    Raises:
        DataError: it cannot be read, or has no header: a length (8 bytes, little-endian) within the
            file, then ``{``.
    """
    try:
        with path.open("rb") as file:
            head = file.read(9)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}, expected {WHAT}") from None
    length = int.from_bytes(head[:8], "little")
    if len(head) < 9 or head[8:] != b"{" or not 0 < length <= path.stat().st_size - 8:
        raise DataError(f"{path}: not a readable safetensors file (it has no header)")


def _reason(error: Exception, path: Path) -> str:
    """What was refused, what the file seems to be, or the first line of what went wrong.

    Torch's own line advises to execute what is in the file.
    """
    text = str(error)
    if isinstance(error, pickle.UnpicklingError) and "GLOBAL " in text:
        name = (text.partition("GLOBAL ")[2].split() or ["something"])[0]
        return f"it names {name}, which is not read"
    with path.open("rb") as file:
        head = file.read(16)
    if head[8:9] == b"{" and 0 < int.from_bytes(head[:8], "little") <= path.stat().st_size - 8:
        return "it seems to be in safetensors, expected a name that ends in .safetensors"
    if head and all(32 <= byte < 127 or byte in b"\t\r\n" for byte in head):
        return "it seems to be text, or an old pickle"
    if "weights_only" in text or "magic number" in text:
        if head[:1] == b"\x80":
            return "it seems to be a pickle that torch.save did not write, or damaged"
        return "it is of an unknown kind"
    return first_line(text, type(error).__name__)[:300]


def tensors(path: Path, found: Any, what: str = "its state dict") -> dict[str, Tensor]:
    """A state dict, if it is one.

    Raises:
        DataError: no mapping of names to tensors, or a tensor that the file has no bytes for.
    """
    if not isinstance(found, Mapping) or not found:
        kind = f"a {type(found).__name__}" if found else "empty"
        raise DataError(f"{path}: {what} is {kind}, expected names and tensors")
    for key, value in found.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise DataError(f"{path}: {key!r:.80} is a {type(value).__name__}, expected a tensor")
        dense = value.layout == torch.strided and not value.is_meta and not value.is_quantized
        if not dense or value.is_complex():
            raise DataError(f"{path}: {key!r:.80} is not a plain tensor of numbers")
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise DataError(
                f"{path}: {key!r:.80} has {value.numel()} elements, more than its storage"
            )
    return dict(found)


def plain(path: Path, found: Any) -> dict[str, Any]:
    """A description out of a pickle, as if it had been read from JSON.

    Raises:
        DataError: it is not such data.
    """
    try:
        _require_few(found)
        value = json_file.parse(json.dumps(found))
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: its description is not plain data ({error})") from None
    if not isinstance(value, dict):
        raise DataError(f"{path}: its description is not a mapping")
    return value


def _require_few(found: Any) -> None:
    """Refuse what says much in few bytes: a pickle's parts may be there many times.

    Raises:
        ValueError: it does, or nests too deep.
    """
    level, count = [found], 1
    for _ in range(json_file.DEPTH + 2):
        level = [
            item
            for each in level
            if isinstance(each, (dict, list, tuple))
            for item in (each.values() if isinstance(each, dict) else each)
        ]
        count += len(level)
        if count > _VALUES:
            raise ValueError(f"more than {_VALUES} values")


def require_size(path: Path, size: Any) -> None:
    """Refuse an input that nobody has the memory for; None is none.

    Raises:
        DataError: no two sides, or one above :data:`LARGEST_SIDE`.
    """
    if size is None:
        return
    sides = size if isinstance(size, (list, tuple)) else ()
    good = [type(side) is int and 0 < side <= LARGEST_SIDE for side in sides]
    if len(good) != 2 or not all(good):
        raise DataError(
            f"{path}: an input of {size!r:.80}, expected two sides up to {LARGEST_SIDE}"
        )


def require_described(
    path: Path,
    state: Mapping[str, Tensor],
    options: Mapping[str, Any],
    build: Callable[[], nn.Module],
) -> None:
    """Refuse a description of a network that the file does not hold, before it takes memory.

    Args:
        path: the file.
        state: its tensors.
        options: of the described network.
        build: makes it, with its own number of keypoints.

    Raises:
        DataError: it is much larger than the file, or cannot be.
    """
    for key, value in options.items():
        most = max(_FEWEST, len(state)) if key in _COUNTS else _LARGEST
        numbers = value if isinstance(value, (list, tuple)) else (value,)
        total = sum(n for n in numbers if isinstance(n, (int, float)))
        if not total <= most:
            raise DataError(
                f"{path}: describes {key} {value}, more than its {len(state)} tensors can belong to"
            )
    require_size(path, options.get("input_size"))
    try:
        with torch.device("meta"):
            network = build()
    except HEViTPoseError as error:
        raise type(error)(f"{path}: {error}") from None
    except Exception as error:  # any value may be wrong in any way
        why = first_line(str(error), type(error).__name__)[:200]
        raise DataError(f"{path}: describes no network that can be built ({why})") from None
    described = sum(value.numel() for value in network.state_dict().values())
    held = sum(value.numel() for value in state.values())
    if described > 4 * held + _SMALL:  # of what is not so large, loading says where it differs
        raise DataError(f"{path}: describes a network of {described} values, the file holds {held}")


__all__ = [
    "LARGEST_SIDE",
    "plain",
    "require_described",
    "require_size",
    "tensors",
    "unpickle",
]
