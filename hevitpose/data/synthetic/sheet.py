"""A contact sheet of generated images, to be looked at."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hevitpose import json_file
from hevitpose.errors import DataError
from hevitpose.files import write_atomically

_ROWS, _COLS = 4, 8
_LEFT, _RIGHT, _MIDDLE = (255, 120, 0), (0, 60, 255), (0, 220, 220)  # BGR
#: Limbs by MPII index: the MPII file has the head's and the trunk's points.
_LIMBS = (
    (0, 1),
    (1, 2),
    (2, 6),
    (6, 3),
    (3, 4),
    (4, 5),
    (6, 7),
    (7, 8),
    (8, 9),
    (10, 11),
    (11, 12),
    (12, 7),
    (7, 13),
    (13, 14),
    (14, 15),
)
_RIGHT_JOINTS, _LEFT_JOINTS = {0, 1, 2, 10, 11, 12}, {3, 4, 5, 13, 14, 15}


def contact_sheet(root: Path, out: Path) -> Path:
    """Write the first 4 x 8 images of the val split side by side as a PNG.

    With the annotated joints: the person's left blue, right red; the middle yellow.

    Args:
        root: folder of a generated data set.
        out: file to write, ``.png``.

    Returns:
        ``out``.

    Raises:
        DataError: a file is missing or damaged.
    """
    import cv2

    people = json_file.read(root / "mpii/annotations/mpii_val.json", "annotations")
    tiles: dict[str, np.ndarray] = {}
    for person in people:
        name = person["image"]
        if name not in tiles:
            if len(tiles) == _ROWS * _COLS:
                break
            tile = cv2.imread(str(root / "mpii/images" / name))
            if tile is None:
                raise DataError(f"{root / 'mpii/images' / name}: missing or not an image")
            tiles[name] = tile
        _draw(tiles[name], np.array(person["joints"]) - 1, np.array(person["joints_vis"]))
    size = next(iter(tiles.values())).shape[0]
    rows, cols = -(-len(tiles) // _COLS), min(_COLS, len(tiles))  # a small set fills fewer
    sheet = np.zeros((rows * size, cols * size, 3), np.uint8)
    for i, tile in enumerate(tiles.values()):
        y, x = divmod(i, cols)
        sheet[y * size : (y + 1) * size, x * size : (x + 1) * size] = tile
    ok, data = cv2.imencode(".png", sheet)
    if not ok:
        raise DataError(f"{out}: OpenCV cannot encode PNG")
    return write_atomically(out, data.tobytes())


def _draw(image: np.ndarray, joints: np.ndarray, visible: np.ndarray) -> None:
    import cv2

    at = [tuple(int(v) for v in np.round(joint * 16)) for joint in joints]
    for a, b in _LIMBS:
        if visible[a] and visible[b]:
            cv2.line(image, at[a], at[b], _colour(a, b), 1, cv2.LINE_AA, 4)
    for i, labelled in enumerate(visible):
        if labelled:
            cv2.circle(image, at[i], 2 * 16, _colour(i, i), -1, cv2.LINE_AA, 4)


def _colour(a: int, b: int) -> tuple[int, int, int]:
    if {a, b} & _LEFT_JOINTS:
        return _LEFT
    return _RIGHT if {a, b} & _RIGHT_JOINTS else _MIDDLE
