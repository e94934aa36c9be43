"""Drawn people: enough of one for OpenCV's detector."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

needs_hog = pytest.mark.skipif(
    not hasattr(cv2, "HOGDescriptor"),
    reason="this OpenCV has no people detector (opencv-contrib-python-headless has)",
)


def figure(*middles: int, width: int = 320, height: int = 240) -> np.ndarray:
    """(H, W, 3) uint8 RGB: a standing person 160 pixels tall per x, of their middle."""
    noise = np.random.default_rng(0).integers(200, 215, (height, width, 3), np.uint8)
    picture = cv2.GaussianBlur(noise, (5, 5), 0)
    dark = (45, 40, 50)
    for middle in middles or (160,):
        cv2.ellipse(picture, (middle, 52), (10, 13), 0, 0, 360, dark, -1)
        cv2.ellipse(picture, (middle, 98), (20, 36), 0, 0, 360, dark, -1)
        for side in (-1, 1):
            shoulder, hand = (middle + 18 * side, 76), (middle + 24 * side, 125)
            hip, foot = (middle + 9 * side, 125), (middle + 12 * side, 198)
            cv2.line(picture, shoulder, hand, dark, 9)
            cv2.line(picture, hip, foot, dark, 13)
    return picture


def film(
    path: Path,
    frames: int,
    frame: Callable[[int], np.ndarray],
    fps: float = 25,
    code: str = "mp4v",
) -> Path:
    """A video of the RGB pictures ``frame(0)``, ``frame(1)``, ..."""
    height, width = frame(0).shape[:2]
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(
        str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*code), fps, (width, height)
    )
    assert writer.isOpened()
    for number in range(frames):
        writer.write(np.ascontiguousarray(frame(number)[..., ::-1]))
    writer.release()
    return path
