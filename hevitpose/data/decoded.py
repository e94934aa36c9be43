"""Decoded pictures in one memory-mapped file, which every training or evaluation on them reads.

A grid trains dozens of times on the same people; their JPEGs need decoding once. The file lies
beside the rendered people, is named by what it was made from (names, bytes and change times of the
images, OpenCV's version), is written aside and renamed, and takes the place of the one before.
Pictures under an evaluation's condition, the same for all weights, have a file a condition.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import warnings
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from hevitpose.data.images import read_image
from hevitpose.data.table import PoseTable
from hevitpose.errors import DataError, HEViTPoseError, Notice
from hevitpose.files import replacing

#: Bytes that decoded pictures may take: 5,000 rendered people take 0.7 GB. The
#: changed ones of all conditions together may take as much again; the least used give way.
LIMIT = 2 << 30


class Change(Protocol):
    """What an evaluation's condition does to pictures and to crops."""

    @property
    def key(self) -> str:
        """What, in which version: equal for equal pictures."""

    def picture(self, image: np.ndarray, number: int) -> np.ndarray:
        """Image ``number`` of the table, (h, w, 3) uint8 BGR, changed; of the same size."""

    def crop(self, window: np.ndarray) -> np.ndarray:
        """A crop, (H, W, 3) uint8 BGR, changed."""


class DecodedImages:
    """The pictures of a table's images, by image number, as :func:`read_image` gives them.

    Args:
        path: the file: W and H of each image, then their pixels.
        count: number of images M.

    Raises:
        DataError: the file is of another length than its sizes say.
    """

    def __init__(self, path: Path, count: int) -> None:
        self.path, self.count = path, count
        bytes_ = np.asarray(np.memmap(path, np.uint8, "r"))
        self._sizes = bytes_[: 8 * count].view(np.int32).reshape(-1, 2)
        self._ends = np.cumsum(self._sizes.astype(np.int64).prod(axis=1) * 3)
        self._pixels = bytes_[8 * count :]
        if len(self._pixels) != self._ends[-1]:
            raise DataError(
                f"{path}: {len(self._pixels)} bytes of pixels, not {self._ends[-1]}; remove it"
            )

    def __reduce__(self) -> Any:
        return DecodedImages, (self.path, self.count)  # a worker maps the file, nothing is copied

    def __getitem__(self, image: int) -> np.ndarray:
        """(h, w, 3) uint8, BGR, read-only."""
        width, height = (int(side) for side in self._sizes[image])
        end = self._ends[image]
        return self._pixels[end - width * height * 3 : end].reshape(height, width, 3)


def decoded_images(
    table: PoseTable, change: Change | None = None, *, limit: int = LIMIT
) -> DecodedImages | None:
    """A table's pictures, decoded (and changed) by the first process that asks.

    Args:
        table: people of any kind; only rendered ones, none left out, have a place for the file.
        change: of an evaluation under a condition.
        limit: bytes; above it, or on a full or read-only disk, a notice says so and pictures are
            decoded as they are needed.

    Raises:
        DataError: a picture is absent or damaged, or the file is.

    Warns:
        Notice: the file is done without.
    """
    if not table.declared.rendered_as or table.skipped:
        return None
    folder = table.annotation_file.parent.parent.parent / "decoded"
    stem = table.split if change is None else f"{table.split}@{_file_name(change.key)}"
    path = folder / f"{stem}-{_key(table)}.bin"
    if path.is_file():
        if change is not None:
            os.utime(path)  # used last
    else:
        total = len(table.image_names) * _read(table, 0).nbytes  # rendered pictures are of one size
        if total > limit:
            _notice(f"{path}: not written, {total} bytes are over the limit of {limit}")
            return None
        try:
            if change is not None:
                _make_room(folder, limit - total)
            _write(path, stem, table, total, change)
        except HEViTPoseError as error:
            if isinstance(error, DataError):
                raise
            _notice(str(error))
            return None
    return DecodedImages(path, len(table.image_names))


def _notice(why: str) -> None:
    warnings.warn(f"{why}; pictures are decoded as they are needed", Notice, stacklevel=3)


def _path(table: PoseTable, image: int) -> Path:
    return table.image_root / table.image_names[image].decode()


def _read(table: PoseTable, image: int) -> np.ndarray:
    width, height = table.image_sizes[image].tolist()
    return read_image(_path(table, image), (width, height))


def _key(table: PoseTable) -> str:
    digest = hashlib.sha256(f"1 {cv2.__version__}".encode())
    for image in range(len(table.image_names)):
        status = _path(table, image).stat()
        digest.update(table.image_names[image])
        digest.update(f" {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:20]


def _file_name(key: str) -> str:
    return re.sub(r"[^A-Za-z0-9-]", "_", key)


def _make_room(folder: Path, limit: int) -> None:
    """Remove changed pictures, the least recently used first, until the rest is within a limit."""
    files = sorted((path.stat().st_mtime_ns, path) for path in folder.glob("*@*.bin"))
    total = sum(path.stat().st_size for _, path in files)
    for _, path in files:
        if total <= limit:
            break
        total -= path.stat().st_size
        path.unlink()  # whoever reads it keeps it until they are done


def _write(path: Path, stem: str, table: PoseTable, total: int, change: Change | None) -> None:
    count = len(table.image_names)
    with replacing(path) as file:
        if shutil.disk_usage(path.parent).free < 2 * total:
            raise OSError(errno.ENOSPC, "less than twice its size is free")
        sizes = np.zeros((count, 2), np.int32)
        file.write(sizes.tobytes())
        for image in range(count):
            pixels = _read(table, image)
            if change is not None:
                pixels = np.ascontiguousarray(change.picture(pixels, image))
            sizes[image] = pixels.shape[1::-1]
            file.write(pixels.data)
        file.seek(0)
        file.write(sizes.tobytes())
    for old in path.parent.glob(f"{stem}-*.bin"):
        if old != path:
            old.unlink(missing_ok=True)  # whoever reads it keeps it until they are done
