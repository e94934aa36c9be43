"""Who is who from frame to frame: boxes get the number of the track that they continue."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from hevitpose.inference.boxes import iou


@dataclass
class _Track:
    number: int
    box: np.ndarray
    missed: int = 0


class Tracker:
    """Gives people of a video numbers that stay.

    Boxes of a frame are assigned to the tracks' last boxes so that the sum of overlaps is largest
    (Hungarian method). A box that continues none starts a track.

    Args:
        min_iou: two boxes that overlap less are not the same person's.
        max_missed: frames in a row without a box that a track survives.
    """

    def __init__(self, min_iou: float = 0.3, max_missed: int = 12) -> None:
        self.min_iou, self.max_missed = min_iou, max_missed
        self.count = 0  # tracks so far; their numbers are 1 to count
        self._tracks: list[_Track] = []

    def update(self, boxes_P4: np.ndarray) -> list[int]:
        """Take in the next frame.

        Args:
            boxes_P4: its people, x, y, w, h with positive sides.

        Returns:
            Their tracks' numbers, from 1.
        """
        overlap = iou(np.array([track.box for track in self._tracks]), boxes_P4)
        overlap[overlap < self.min_iou] = 0
        taken = {
            box: self._tracks[row]
            for row, box in zip(*linear_sum_assignment(overlap, maximize=True), strict=True)
            if overlap[row, box] > 0
        }
        for track in self._tracks:
            track.missed += 1
        numbers = []
        for place, box in enumerate(boxes_P4):
            track = taken.get(place) or self._start(box)
            track.box, track.missed = box, 0
            numbers.append(track.number)
        self._tracks = [track for track in self._tracks if track.missed <= self.max_missed]
        return numbers

    def _start(self, box: np.ndarray) -> _Track:
        self.count += 1
        self._tracks.append(_Track(self.count, box))
        return self._tracks[-1]
