"""Image files: what is there, what is damaged, and pixels as OpenCV reads them in pose code.

Grey, CMYK and 16-bit files become 8-bit BGR by OpenCV. EXIF orientation is applied, as by the
reference (MMPose 0.29 reads with OpenCV's plain colour flag). Where the annotations state an
image's size and only the unrotated pixels have it, they were made on those pixels, so those are
read.
"""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import cv2
import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import IMAGELENGTH, IMAGEWIDTH, TiffImageFile

from hevitpose.errors import DataError
from hevitpose.files import content, is_dir, is_file, other_kind, require_regular

# What these libraries cannot read is told by an error of ours; their logs would stand beside it.
logging.getLogger("PIL").addHandler(logging.NullHandler())
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

LIMIT = 256 * 2**20  # bytes of an image file
_RAW = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
_JPEG, _PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"  # how such files begin
_EXIF_ORIENTATION = 0x0112


def file_sizes(root: Path, names: Sequence[str]) -> np.ndarray:
    """Bytes of each file below ``root``, -1 where there is none.

    Each folder is listed once and no file is opened: 118,000 images take about a second.

    Returns:
        (M,) int64.
    """
    listings: dict[str, dict[str, int]] = {}
    sizes = np.full(len(names), -1, np.int64)
    for index, name in enumerate(names):
        folder, _, base = name.rpartition("/")
        if folder not in listings:
            listings[folder] = _listing(root / folder)
        sizes[index] = listings[folder].get(base, -1)
    return sizes


def resolved(root: Path, name: str) -> str:
    """Where a file of an annotation is below its folder, which the name may repeat.

    ``images/val2017/x.jpg`` and ``val2017/x.jpg`` are ``x.jpg`` of a folder ``.../images/val2017``.

    Returns:
        The name relative to ``root``; as given where no other file is meant.
    """
    if is_file(root / name):
        return name
    parts, folders = name.split("/"), root.absolute().parts
    for count in range(1, len(parts)):
        if list(folders[-count:]) == parts[:count] and is_file(root.joinpath(*parts[count:])):
            return "/".join(parts[count:])
    return name


def size_of(path: Path, stored: bool = False) -> tuple[int, int]:
    """(W, H) of an image as :func:`read_image` gives it, from its header.

    Args:
        path: the file.
        stored: EXIF's orientation is left aside.

    Raises:
        DataError: absent, empty or not an image.
    """
    require_regular(path, "a photograph, which says its width and height")
    try:
        with Image.open(path) as header:
            size, orientation = _as_stored(header)
            return size[::-1] if orientation in range(5, 9) and not stored else size
    except OSError as error:
        why = error.strerror or "not an image that can be read"
    except (SyntaxError, ValueError, Image.DecompressionBombError):
        why = "not an image that can be read"
    raise DataError(f"{path}: {why}, expected a photograph, which says its width and height")


def _as_stored(header: Image.Image) -> tuple[tuple[int, int], int]:
    """(W, H) of the pixels that :data:`_RAW` gives, and EXIF's orientation of them.

    OpenCV has no other form of a TIFF than the turned one; Pillow's size of it depends on its
    release, so it is read from the tags. OpenCV reads EXIF's own block alone, and none of an AVIF;
    Pillow also XMP and ImageMagick's text.
    """
    if header.format == "AVIF":
        return header.size, 1
    if header.format == "PNG" and "exif" not in header.info:
        header.load()  # as getexif() would: metadata may stand behind the pixels
    for key in ("xmp", "XML:com.adobe.xmp", "Raw profile type exif"):
        header.info.pop(key, None)
    orientation = header.getexif().get(_EXIF_ORIENTATION, 1)
    if not isinstance(header, TiffImageFile):
        return header.size, orientation
    width, height = header.tag_v2[IMAGEWIDTH], header.tag_v2[IMAGELENGTH]
    return ((height, width) if orientation in range(5, 9) else (width, height)), 1


def _listing(folder: Path) -> dict[str, int]:
    if not is_dir(folder):
        return {}
    found = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_file():
                found[entry.name] = entry.stat().st_size
    return found


def read_image(path: Path, size: tuple[int, int] = (0, 0), stored: bool = False) -> np.ndarray:
    """One image as OpenCV gives it.

    Args:
        path: the file.
        size: (W, H) that the annotations state; (0, 0) where they do not.
        stored: EXIF's orientation is left aside.

    Returns:
        (h, w, 3) uint8, BGR.

    Raises:
        DataError: absent, empty, not an image, truncated, or of another size than stated.
    """
    data = np.frombuffer(content(path, LIMIT, "an image"), np.uint8)
    if not data.size:
        raise DataError(f"{path}: zero bytes, expected an image")
    image = _decode(data, _RAW if stored else cv2.IMREAD_COLOR)
    if image is None or not _complete(data):
        raise DataError(f"{path}: {_why_unreadable(data)}, expected a whole image")
    height, width = image.shape[:2]
    if size[0] and (width, height) != tuple(size):
        if (height, width) == tuple(size) and not stored:
            raw = _decode(data, _RAW)
            if raw is not None and raw.shape[:2] == (width, height):
                return raw
        raise DataError(
            f"{path}: {width}x{height} pixels, but the annotations say {size[0]}x{size[1]}"
        )
    return image


class Looked(NamedTuple):
    """What an image file is, from its first and last bytes."""

    fault: str | None  # in words
    turned: Literal["", "stored", "displayed", "either"] = ""  # by EXIF; which has the stated size


def look(path: Path, size: tuple[int, int] = (0, 0), stored: bool = False) -> Looked:
    """Look at an image's first and last bytes and its header; at pixels only on suspicion.

    Args:
        path: the file.
        size: (W, H) that the annotations state; (0, 0) where they do not.
        stored: EXIF's orientation is left aside.
    """
    try:
        if kind := other_kind(path.stat().st_mode):
            return Looked(f"is {kind}")
        with path.open("rb") as file:
            length = file.seek(0, os.SEEK_END)
            if not length:
                return Looked("zero bytes")
            if length > LIMIT:
                return Looked(f"{length} bytes")
            file.seek(max(0, length - 64))
            tail = file.read()
            file.seek(0)
            if not _ends_well(file.read(8), tail):
                file.seek(0)
                data = np.frombuffer(file.read(), np.uint8)
                image = _decode(data, cv2.IMREAD_COLOR)
                if image is None or not _complete(data):
                    return Looked(_why_unreadable(data))
            if not size[0]:
                return Looked(None)
            file.seek(0)
            with Image.open(file) as header:
                as_stored, orientation = _as_stored(header)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return Looked(getattr(error, "strerror", None) or "not an image that can be read")
    orientation = 1 if stored else orientation
    displayed = as_stored[::-1] if orientation in range(5, 9) else as_stored
    fits = [form == tuple(size) for form in (as_stored, displayed)]
    if not any(fits):
        return Looked(
            f"{as_stored[0]}x{as_stored[1]} pixels, but the annotations say {size[0]}x{size[1]}"
        )
    if orientation not in range(2, 9):
        return Looked(None)
    return Looked(None, "either" if all(fits) else "stored" if fits[0] else "displayed")


def _decode(data: np.ndarray, flags: int) -> np.ndarray | None:
    try:
        return cv2.imdecode(data, flags)
    except cv2.error:  # a size beyond OpenCV's limit
        return None


def _ends_well(head: bytes, tail: bytes) -> bool:
    """JPEG and PNG have an end marker; zeros and line ends behind it are harmless."""
    if head[:2] == _JPEG:
        return tail.rstrip(b"\0\r\n ").endswith(b"\xff\xd9")
    if head == _PNG:
        return b"IEND" in tail[-16:]
    return False


def _complete(data: np.ndarray) -> bool:
    """Whether the file holds all its pixels. Some OpenCVs paint what a cut JPEG lacks in grey.

    A file without its end marker is decoded again by a strict reader, since cameras append data
    behind the marker. Formats other than JPEG and PNG are left to OpenCV's own judgement.
    """
    head = data[:8].tobytes()
    if head[:2] != _JPEG and head != _PNG:
        return True
    if _ends_well(head, data[-64:].tobytes()):
        return True
    try:
        with Image.open(io.BytesIO(data.tobytes())) as image:
            image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False
    return True


def _why_unreadable(data: np.ndarray) -> str:
    known = data[:2].tobytes() == _JPEG or data[:8].tobytes() == _PNG
    return "truncated" if known else f"not an image ({data.size} bytes)"
