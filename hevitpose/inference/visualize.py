"""Pictures of poses: skeletons over images, and heatmaps beside them."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np

from hevitpose.data.skeleton import at, draw_skeleton
from hevitpose.models.keypoints import KeypointLayout

if TYPE_CHECKING:
    from hevitpose.inference.predictor import Pose


#: Boxes of tracks, by number (Okabe and Ito's palette, told apart also without colour vision).
_TRACKS = (
    *((86, 180, 233), (230, 159, 0), (0, 158, 115), (204, 121, 167)),
    *((240, 228, 66), (0, 114, 178), (213, 94, 0), (255, 255, 255)),
)


def draw_poses(
    image: np.ndarray,
    pose: Pose,
    layout: KeypointLayout,
    *,
    boxes: bool = True,
    min_score: float = 0.0,
    tracks: Sequence[int] = (),
) -> np.ndarray:
    """Skeletons, joints and boxes over an image.

    The person's left is blue, right is orange, the middle yellow; a joint scored below
    :data:`~hevitpose.data.skeleton.SURE` is hollow. Each box carries the mean of its joints'
    scores.

    Args:
        image: (H, W, 3) uint8 RGB; not changed.
        pose: its people.
        layout: names, skeleton and sides.
        boxes: also draw the boxes.
        min_score: joints scored lower are left out, with their limbs.
        tracks: the people's numbers in a video, which decide the colours of their boxes.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    picture = np.ascontiguousarray(image.copy())
    people = zip(pose.keypoints, pose.scores, pose.boxes, strict=True)
    for person, (keypoints, scores, box) in enumerate(people):
        extent = float(max(box[2:]))
        thick = max(1, round(extent / 110))
        if boxes:
            label = f"{scores.mean():.2f}"
            if tracks:
                label = f"#{tracks[person]} {label}"
            colour = _TRACKS[tracks[person] % len(_TRACKS)] if tracks else (255, 255, 255)
            _draw_box(picture, box, label, colour)
        draw_skeleton(picture, keypoints, np.where(scores < min_score, 0, scores), layout, thick)
    return picture


def _draw_box(
    picture: np.ndarray, box: np.ndarray, label: str, colour: tuple[int, int, int]
) -> None:
    corner, opposite = at(box[:2]), at(box[:2] + box[2:])
    height = picture.shape[0]
    cv2.rectangle(picture, corner, opposite, colour, max(1, height // 400), cv2.LINE_AA)
    size = max(0.35, min(0.8, height / 900))
    (width, tall), base = cv2.getTextSize(label, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
    x, y = max(0, corner[0]), max(tall + base, corner[1])
    cv2.rectangle(picture, (x, y - tall - base), (x + width + 2, y), colour, -1)
    where = (x + 1, y - base // 2)
    cv2.putText(picture, label, where, cv2.FONT_HERSHEY_SIMPLEX, size, (0, 0, 0), 1, cv2.LINE_AA)


def heatmap_panel(pose: Pose, person: int, layout: KeypointLayout) -> np.ndarray:
    """One person's crop with all maps laid over it, and the maps one by one.

    Args:
        pose: predicted with ``heatmaps=True``.
        person: its number.
        layout: for the names under the maps.

    Returns:
        (H', W', 3) uint8 RGB.

    Raises:
        ValueError: the pose holds no heatmaps.
    """
    if pose.heatmaps is None or pose.crops is None:
        raise ValueError("this pose was predicted without heatmaps")
    crop, maps = pose.crops[person], np.clip(pose.heatmaps[person], 0, 1)
    height, width = crop.shape[:2]
    grey = np.repeat(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    big = [cv2.resize(m, (width, height), interpolation=cv2.INTER_LINEAR) for m in maps]
    together = grey * 0.55
    for number, heat in enumerate(big):
        hue = colorsys.hsv_to_rgb(number / len(big), 0.85, 1.0)
        together += heat[..., None] * np.array(hue) * 255
    tiles = [np.clip(together, 0, 255).astype(np.uint8)]
    for name, heat, raw in zip(layout.names, big, maps, strict=True):
        tile = grey * 0.45 + heat[..., None] * np.array([255, 210, 90])
        tile = np.clip(tile, 0, 255).astype(np.uint8)
        label = f"{name.replace('_', ' ')} {raw.max():.2f}"
        scale = max(0.3, width / 520)
        place = (4, height - 6)
        for colour, extra in (((0, 0, 0), 2), ((255, 255, 255), 0)):
            cv2.putText(
                tile, label, place, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, 1 + extra, cv2.LINE_AA
            )
        tiles.append(tile)
    columns = 6
    blank = np.zeros_like(tiles[0])
    tiles += [blank] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]
    return np.vstack(rows)
