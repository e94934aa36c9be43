"""What annotations look like that are not in pixels, or whose boxes are corners."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hevitpose.errors import DataError, notice_once


def refuse_relative(path: Path, keypoints: np.ndarray) -> None:
    """Refuse keypoints that are shares of the image's sides, as YOLO has them.

    Args:
        path: the file that errors name.
        keypoints: (N, K, 3) x, y, v of everybody who is used.

    Raises:
        DataError: several are labelled, and all of them are within 0..1.
    """
    labelled = keypoints[keypoints[..., 2] > 0, :2]
    if len(labelled) > 1 and _are_shares(labelled):
        raise DataError(
            f"{path}: all {len(labelled)} labelled keypoints are within 0..1, expected pixels "
            "(shares of the image's sides times width and height)"
        )


def tell_relative(path: Path, values: np.ndarray, what: str) -> None:
    """Warn when results look like shares of the image's sides: in pixels they score nothing.

    Only that: a network that has learned nothing may well predict the first pixel.

    Args:
        path: the file that the warning names.
        values: its coordinates.
        what: they are, with an article.

    Warns:
        Notice: once a file.
    """
    if values.any() and _are_shares(values):
        notice_once(
            f"{path}: {what} are all within 0..1: shares of the image's sides? Expected pixels"
        )


def _are_shares(values: np.ndarray) -> bool:
    return bool((values >= 0).all() and (values <= 1).all())


def tell_corners(path: Path, boxes: np.ndarray, sides: np.ndarray) -> None:
    """Warn when boxes look like x1, y1, x2, y2: most leave their image, and as corners none does.

    Args:
        path: the file that the warning names.
        boxes: (N, 4) as annotated, of everybody who is used.
        sides: (N, 2) W, H of their images.

    Warns:
        Notice: once a file.
    """
    if not len(boxes):
        return
    beyond = (boxes[:, :2] + boxes[:, 2:] > sides + 1).any(axis=1)
    corners = (boxes[:, 2:] > boxes[:, :2]) & (boxes[:, 2:] <= sides + 1)
    if 2 * beyond.sum() > len(boxes) and corners.all():
        notice_once(
            f"{path}: {beyond.sum()} of {len(boxes)} boxes leave their image, and as corners "
            "none does: x1, y1, x2, y2 written as a bbox? Expected x, y, width, height"
        )
