"""Overlap of boxes: which detections are the same person's."""

from __future__ import annotations

import numpy as np
import torch
from torchvision.ops import box_convert, box_iou


def intersections(first_N4: np.ndarray, second_M4: np.ndarray) -> np.ndarray:
    """(N, M) areas that boxes x, y, w, h have in common."""
    first, second = (np.asarray(b, np.float64).reshape(-1, 4) for b in (first_N4, second_M4))
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(
        first[:, None, :2] + first[:, None, 2:], second[None, :, :2] + second[None, :, 2:]
    )
    return np.clip(high - low, 0, None).prod(axis=-1)


def iou(first_N4: np.ndarray, second_M4: np.ndarray) -> np.ndarray:
    """(N, M) intersections over unions of boxes x, y, w, h with positive sides, in 0..1."""
    first, second = (
        box_convert(torch.from_numpy(np.asarray(b, np.float64).reshape(-1, 4)), "xywh", "xyxy")
        for b in (first_N4, second_M4)
    )
    return box_iou(first, second).numpy()


def areas(boxes_N4: np.ndarray) -> np.ndarray:
    """(N,) areas of boxes x, y, w, h."""
    return np.asarray(boxes_N4, np.float64).reshape(-1, 4)[:, 2:].prod(axis=1)


def suppress(boxes_N4: np.ndarray, scores_N: np.ndarray, most: float) -> np.ndarray:
    """Rows that stay when of two overlapping boxes the better one does, best first.

    Args:
        boxes_N4: x, y, w, h.
        scores_N: their scores.
        most: overlap that two may have, as a part of the smaller box, so that a box inside a
            larger one counts as the same person.
    """
    order = np.argsort(-np.asarray(scores_N), kind="stable")
    size = areas(boxes_N4)
    share = intersections(boxes_N4, boxes_N4) / np.minimum(size[:, None], size[None])
    kept: list[int] = []
    for row in order:
        if not kept or share[row, kept].max() <= most:
            kept.append(int(row))
    return np.array(kept, int)
