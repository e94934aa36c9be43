"""What data a run is about, as a hash of files and without parsing them.

The annotation files by their bytes, the photographs by name and size in bytes. Rendered people are
a function of parameters and of the renderer's version: their fingerprint is known before they are
rendered. Torch-free.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from hevitpose.config.schema import DataConfig
from hevitpose.data.files import locate
from hevitpose.data.minival import split_of_files
from hevitpose.data.registry import is_rendered
from hevitpose.errors import DataError
from hevitpose.records.identity import file_digest

#: What counts as a photograph in a folder that may hold other files too.
SUFFIXES = tuple(
    ".jpg .jpeg .jpe .jfif .jp2 .png .bmp .dib .webp .avif .gif .tif .tiff "
    ".pbm .pgm .ppm .pnm .pam .pfm .ras .sr .hdr .exr".split()
)


def fingerprint(data: DataConfig, split: str) -> str:
    """``sha256:...`` of a split's files, or ``synthetic:v1:seed0:people5000:size256``.

    The files of minival are those of the train split.

    Raises:
        UsageError: the dataset has no such split.
        DataError: its files are absent.
    """
    if is_rendered(data.dataset):
        from hevitpose.data.synthetic import expected_fingerprint

        return expected_fingerprint(data.folder, data.people, data.image_size)
    annotations, images = locate(data.dataset, data.folder, split_of_files(data, split))
    digest = hashlib.sha256()
    for path in annotations:
        digest.update(bytes.fromhex(file_digest(path)))
    try:
        root = images.stat()
        found = sorted(_photographs(images, "", frozenset({(root.st_dev, root.st_ino)})))
    except OSError as error:
        where = error.filename or images
        raise DataError(f"{where}: {error.strerror or error}, expected images") from None
    lines = "\n".join(f"{name}\0{size}" for name, size in found)
    digest.update(lines.encode(errors="surrogateescape"))
    return f"sha256:{digest.hexdigest()}"


def _photographs(
    folder: Path, prefix: str, above: frozenset[tuple[int, int]]
) -> Iterator[tuple[str, int]]:
    """(name below the root, bytes) of every photograph.

    Left out: hidden folders, macOS's ``._`` files, links whose file is gone, as if it were absent,
    and links to a folder that they are in: of ``above``, by device and inode.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                status = entry.stat()
            except OSError as error:
                if entry.is_symlink() and error.errno in (errno.ENOENT, errno.ELOOP):
                    continue
                raise
            if stat.S_ISDIR(status.st_mode):
                own = status.st_dev, status.st_ino
                if own not in above and not entry.name.startswith("."):
                    below = f"{prefix}{entry.name}/"
                    yield from _photographs(Path(entry.path), below, above | {own})
            elif (
                os.path.splitext(entry.name)[1].lower() in SUFFIXES  # noqa: PTH122 (100,000 names)
                and not entry.name.startswith("._")
            ):
                yield f"{prefix}{entry.name}", status.st_size
