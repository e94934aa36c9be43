"""The same error types for MPII, by distances in head sizes. This form is ours, not coco-analyze's.

MPII has no areas and so no OKS. PCKh's own limit of half a head parts good from jitter, and twice
that distance jitter from miss; the ratio is about that of coco-analyze's similarities, 2.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hevitpose.data.table import PoseTable
from hevitpose.evaluation.diagnosis.labels import ERRORS, TYPES, classify, nearest
from hevitpose.metrics.pckh import HEAD_SIZE, IN_MEAN, head_errors

#: Distances in head sizes that part good from jitter, and jitter from miss.
NEAR, FAR = 0.5, 1.0


@dataclass(frozen=True, eq=False)
class HeadDiagnosis:
    """Labels of N people's joints, and PCKh after correcting one type after another."""

    codes: np.ndarray  # (N, K) int8, 0 not counted, 1.. as in TYPES
    errors: np.ndarray  # (N, K) float64, head sizes
    pckh: dict[str, float]  # Mean at 0.5 in percent, by step; -1 where no joint is counted


def diagnose_heads(table: PoseTable, keypoints: np.ndarray) -> HeadDiagnosis:
    """Label every counted joint.

    Args:
        table: with ``heads``; its images say who is beside whom.
        keypoints: (N, 16, 2) predictions, 1-based like the ground truth.
    """
    heads = table.heads
    assert heads is not None
    errors = head_errors(keypoints, heads.keypoints, heads.head_boxes)
    predicted, people = _beside(table.image_index)
    counted = ~heads.missing
    sizes = HEAD_SIZE * np.linalg.norm(heads.head_boxes[:, 1] - heads.head_boxes[:, 0], axis=1)
    similarity = []
    for joints in (slice(None), list(table.layout.flip_order)):
        offset = keypoints[predicted] - heads.keypoints[people][:, joints]
        distance = np.linalg.norm(offset, axis=-1) / sizes[people][:, None]
        similarity.append(np.where(counted[people][:, joints], -distance, -np.inf))
    own, opposite = similarity
    kind, best = nearest(own, opposite, predicted, predicted == people)
    codes = classify(kind, best, (-FAR, -NEAR))
    codes[~counted] = 0
    return HeadDiagnosis(codes, errors, _corrected(codes, errors))


def _corrected(codes: np.ndarray, errors: np.ndarray) -> dict[str, float]:
    """PCKh@0.5's Mean in percent; types add up, since each joint counts for itself."""
    joints = list(IN_MEAN)
    counted = codes[:, joints] > 0
    total = counted.sum()
    right = (errors[:, joints] <= NEAR) & counted
    found = {"baseline": right}
    for error in ERRORS:
        right = right | (codes[:, joints] == 1 + TYPES.index(error))
        found[error] = right
    return {
        name: float(100 * hits.sum() / total) if total else -1.0 for name, hits in found.items()
    }


def _beside(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every person with everybody of the same image: (P,) predicted, sorted, and (P,) people."""
    order = np.argsort(image, kind="stable")
    counts = np.bincount(image)
    first = np.cumsum(counts) - counts
    each = counts[image]
    predicted = np.repeat(np.arange(len(image)), each)
    within = np.arange(len(predicted)) - np.repeat(np.cumsum(each) - each, each)
    return predicted, order[first[image[predicted]] + within]
