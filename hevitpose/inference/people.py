"""The people of one picture: found, their keypoints predicted, listed and drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from hevitpose.errors import UsageError
from hevitpose.inference.arrays import checked_boxes
from hevitpose.inference.detectors import Detector, Found
from hevitpose.inference.predictor import Pose, PosePredictor
from hevitpose.inference.visualize import draw_poses
from hevitpose.metrics.oks import rescore

_ROUNDING = 1e-6  # above 1, as a softmax in float32 may be


def checked_found(found: Any) -> Found:
    """What a detector returned, which may be a user's own: (P, 4) float32 and (P,) float64.

    Raises:
        UsageError: it is no such thing.
    """
    boxes, scores = getattr(found, "boxes", None), getattr(found, "scores", None)
    if boxes is None or scores is None:
        raise UsageError(
            f"the detector returned {type(found).__name__}, expected Found(boxes, scores)"
        )
    boxes = checked_boxes(boxes, (0, 0), "the detector")
    try:
        scores = scores.detach().cpu() if isinstance(scores, Tensor) else scores
        scores = np.asarray(scores, np.float64)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise UsageError("scores of the detector: expected numbers") from None
    if scores.shape != (len(boxes),):
        raise UsageError(
            f"the detector returned scores of shape {scores.shape} for {len(boxes)} boxes, "
            "expected one per box"
        )
    good = (scores >= 0) & (scores <= 1 + _ROUNDING)  # NaN is not
    if not good.all():
        bad = int(np.flatnonzero(~good)[0])
        raise UsageError(f"scores of the detector: {scores[bad]} of box {bad}, expected 0..1")
    return Found(boxes, scores)


@dataclass(frozen=True)
class People:
    """A detector and a pose network, and how their results are written.

    Args:
        predictor: the pose network.
        detect: finds the people.
        threshold: detections scored lower are dropped.
        min_score: joints scored lower are not drawn.
        category_id: of people, in what is written.
    """

    predictor: PosePredictor
    detect: Detector
    threshold: float
    min_score: float
    category_id: int

    def find(self, pixels: np.ndarray) -> Found:
        """The people that the detector sees in (H, W, 3) uint8 RGB, at or above the threshold.

        Raises:
            UsageError: the detector returns something else.
        """
        return self._sure(checked_found(self.detect(pixels)))

    def of(
        self, pixels: np.ndarray, found: Found, *, heatmaps: bool = False
    ) -> tuple[Pose, np.ndarray]:
        """The people of a picture.

        Args:
            pixels: (H, W, 3) uint8 RGB.
            found: their boxes.
            heatmaps: also their maps.

        Returns:
            The poses, and (P,) scores: of the box, times the mean of the keypoint scores that
            are above the threshold.
        """
        boxes, scores = self._sure(found)
        pose = self.predictor(pixels, [boxes], heatmaps=heatmaps)[0]
        return pose, rescore(scores, pose.scores)

    def _sure(self, found: Found) -> Found:
        boxes, scores = found
        sure = scores >= self.threshold
        return Found(boxes[sure], scores[sure])

    def detections(self, found: Found, image_id: int, name: str) -> list[dict[str, Any]]:
        """Boxes as entries of a COCO detection list."""
        return [
            {
                "image_id": image_id,
                "file_name": name,
                "category_id": self.category_id,
                "bbox": [round(float(v), 3) for v in box],
                "score": float(score),
            }
            for box, score in zip(found.boxes, found.scores, strict=True)
        ]

    def entries(
        self, pose: Pose, scores: np.ndarray, image_id: int, name: str, tracks: Sequence[int] = ()
    ) -> list[dict[str, Any]]:
        """People as entries of a COCO result list; with ``tracks``, of a frame of a video."""
        triples = np.concatenate((pose.keypoints, pose.scores[..., None]), axis=-1).astype(float)
        found: list[dict[str, Any]] = []
        for place, (triple, score, box) in enumerate(zip(triples, scores, pose.boxes, strict=True)):
            entry = {
                "image_id": image_id,
                "file_name": name,
                "category_id": self.category_id,
                "keypoints": [round(v, 3) for v in triple.reshape(-1).tolist()],
                "score": float(score),
                "bbox": [round(float(v), 3) for v in box],
            }
            found.append(entry | {"track_id": tracks[place]} if tracks else entry)
        return found

    def draw(self, pixels: np.ndarray, pose: Pose, tracks: Sequence[int] = ()) -> np.ndarray:
        """(H, W, 3) uint8 RGB with boxes and skeletons; boxes have their tracks' colours."""
        return draw_poses(
            pixels, pose, self.predictor.layout, min_score=self.min_score, tracks=tracks
        )
