"""Pictures that two datasets share under different names and perhaps different compression.

CrowdPose drew images from COCO and renumbered them, so neither names nor bytes tell. Pictures of
the same size are compared as small grey thumbnails.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from hevitpose.data.table import PoseTable
from hevitpose.progress import Progress, silent
from hevitpose.records import provenance

_SIDE = 16  # of a thumbnail, in pixels
#: Mean difference in grey levels. Recompression stays below 2; different pictures are above 10.
_SAME = 4.0
_CORRELATED = 0.98


def shared_images(
    first: PoseTable, second: PoseTable, progress: Progress = silent
) -> list[tuple[str, str]]:
    """Images of one table that are also in another, by content.

    Only images of equal width and height are decoded, at an eighth of their size.

    Args:
        first: people with image sizes stated.
        second: likewise.
        progress: told how many images are decoded, of how many.

    Returns:
        Pairs of file names, by the first's order. Absent and unreadable images are in none.
    """
    sizes = [{tuple(size) for size in table.image_sizes.tolist()} for table in (first, second)]
    common = sizes[0] & sizes[1]
    chosen = [
        [i for i, size in enumerate(table.image_sizes.tolist()) if tuple(size) in common]
        for table in (first, second)
    ]
    total, done = sum(map(len, chosen)), 0
    thumbnails = []
    for table, indices in zip((first, second), chosen, strict=True):
        paths = [table.image_root / table.image_names[i].decode() for i in indices]
        found: dict[int, np.ndarray] = {}
        for index, thumbnail in zip(indices, _thumbnails(paths), strict=True):
            done += 1
            progress(done, total)
            if thumbnail is not None:
                found[index] = thumbnail
        thumbnails.append(found)
    pairs = []
    for size in common:
        a, b = (
            [i for i in found if tuple(table.image_sizes[i].tolist()) == size]
            for table, found in zip((first, second), thumbnails, strict=True)
        )
        if a and b:
            pairs += _matches(a, b, *thumbnails)
    names = [
        (first.image_names[i].decode(), second.image_names[j].decode()) for i, j in sorted(pairs)
    ]
    return [(a, b) for a, b in names if _same(first.image_root / a, second.image_root / b)]


def _matches(
    a: list[int], b: list[int], first: dict[int, np.ndarray], second: dict[int, np.ndarray]
) -> list[tuple[int, int]]:
    others = np.stack([second[j] for j in b])
    out = []
    for i in a:
        difference = np.abs(others - first[i]).mean(axis=1)
        nearest = int(difference.argmin())
        if difference[nearest] < _SAME:
            out.append((i, b[nearest]))
    return out


def _same(a: Path, b: Path) -> bool:
    """Whether two pictures of one size correlate; dark ones may look alike as thumbnails only."""
    one, two = (cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in (a, b))
    if one is None or two is None or one.shape != two.shape:
        return False
    small = [
        cv2.resize(picture, (64, 64), interpolation=cv2.INTER_AREA).astype(np.float64).ravel()
        for picture in (one, two)
    ]
    if not all(np.ptp(picture) for picture in small):
        return False
    return float(np.asarray(np.corrcoef(np.stack(small)))[0, 1]) > _CORRELATED


def _thumbnails(paths: list[Path]) -> Iterable[np.ndarray | None]:
    with ThreadPoolExecutor(provenance.cores()) as pool:
        yield from pool.map(_thumbnail, paths, chunksize=64)


def _thumbnail(path: Path) -> np.ndarray | None:
    """(256,) float32 grey levels; None where there is no picture."""
    if not path.is_file():
        return None
    image = cv2.imread(str(path), cv2.IMREAD_REDUCED_GRAYSCALE_8)
    if image is None:
        return None
    small = cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32).ravel()
