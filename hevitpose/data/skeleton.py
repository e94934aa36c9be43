"""One person's skeleton, drawn into a picture."""

from __future__ import annotations

import cv2
import numpy as np

from hevitpose.models.keypoints import KeypointLayout

#: Below this a joint is drawn hollow and its limbs thin: the network is not sure.
SURE = 0.3
#: Left, right and centre, told apart also without colour vision (Okabe and Ito's palette).
_SIDES = {"left": (0, 114, 178), "right": (213, 94, 0), "middle": (240, 228, 66)}


def side_of(name: str) -> str:
    """``left``, ``right`` or ``middle``, from a joint's name."""
    return next((side for side in ("left", "right") if name.startswith(side)), "middle")


def draw_skeleton(
    picture: np.ndarray,
    keypoints: np.ndarray,
    scores: np.ndarray,
    layout: KeypointLayout,
    thick: int,
) -> None:
    """One person's limbs and joints, drawn into a picture.

    Args:
        picture: (H, W, 3) uint8 RGB; changed.
        keypoints: (K, 2) pixels.
        scores: (K,); a joint at 0 is left out, with its limbs.
        layout: names, skeleton and sides.
        thick: width of a limb in pixels.
    """
    for limb in layout.skeleton:
        _draw_limb(picture, keypoints, scores, limb, layout, thick)
    for point, score, name in zip(keypoints, scores, layout.names, strict=True):
        if score > 0:
            _draw_joint(picture, point, score, _SIDES[side_of(name)], thick + 1)


def at(point: np.ndarray) -> tuple[int, int]:
    """The pixel nearest to a point (x, y)."""
    return round(float(point[0])), round(float(point[1]))


def _draw_limb(
    picture: np.ndarray,
    keypoints: np.ndarray,
    scores: np.ndarray,
    limb: tuple[int, int],
    layout: KeypointLayout,
    thick: int,
) -> None:
    a, b = limb
    score = float(min(scores[a], scores[b]))
    if score <= 0:
        return
    sides = {side_of(layout.names[a]), side_of(layout.names[b])} - {"middle"}
    colour = _SIDES[sides.pop() if len(sides) == 1 else "middle"]
    width = thick + 1 if score >= SURE else 1
    start, end = at(keypoints[a]), at(keypoints[b])
    cv2.line(picture, start, end, (20, 20, 20), width + 2, cv2.LINE_AA)
    cv2.line(picture, start, end, colour, width, cv2.LINE_AA)


def _draw_joint(
    picture: np.ndarray, point: np.ndarray, score: float, colour: tuple[int, ...], radius: int
) -> None:
    where = at(point)
    cv2.circle(picture, where, radius + 1, (20, 20, 20), -1, cv2.LINE_AA)
    inside = colour if score >= SURE else (235, 235, 235)
    cv2.circle(picture, where, radius, inside, -1, cv2.LINE_AA)
