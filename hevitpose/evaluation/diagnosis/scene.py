"""Annotated people and detections of a whole data set as flat arrays, paired image by image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hevitpose.data.table import PoseTable
from hevitpose.metrics.oks import keypoint_similarity, oks
from hevitpose.models.keypoints import KeypointLayout

_CHUNK = 1 << 15  # pairs whose joints are held in memory at once


@dataclass(frozen=True, eq=False)
class Scene:
    """A annotated people and D detections; a pair is a detection and a person of one image.

    People are in the order of their images' ids, then of the annotation file; detections are in
    the order of the prediction file. The P pairs are sorted by detection, then by person.
    """

    layout: KeypointLayout
    sigmas: np.ndarray  # (K,) OKS constants
    image_ids: np.ndarray  # (I,) int64, ascending
    ids: np.ndarray  # (A,) int64, the annotations'
    people_image: np.ndarray  # (A,) int64 into image_ids
    truth: np.ndarray  # (A, K, 2) float64, image pixels
    labelled: np.ndarray  # (A, K) bool
    boxes: np.ndarray  # (A, 4) float64 x, y, w, h
    areas: np.ndarray  # (A,) float64, square pixels
    crowd: np.ndarray  # (A,) bool: any number of detections may match it
    detection_image: np.ndarray  # (D,) int64 into image_ids
    keypoints: np.ndarray  # (D, K, 2) float64, as predicted
    scores: np.ndarray  # (D,) float64
    pair_detection: np.ndarray  # (P,) int64
    pair_person: np.ndarray  # (P,) int64

    @property
    def unscored(self) -> np.ndarray:
        """(A,) bool: crowds and people without a labelled joint, never counted as missed."""
        return self.crowd | ~self.labelled.any(1)

    @property
    def detection_areas(self) -> np.ndarray:
        """(D,) area of the box of a detection's keypoints, as COCO's evaluators take it."""
        return box_areas(self.keypoints)

    def outside(self, area_range: tuple[float, float]) -> np.ndarray:
        """(A,) bool: people whose area is outside a range, or who are never scored."""
        low, high = area_range
        return self.unscored | (self.areas < low) | (self.areas > high)

    def oks(self, keypoints: np.ndarray, pairs: np.ndarray | None = None) -> np.ndarray:
        """OKS of each pair, as pycocotools computes it.

        Args:
            keypoints: (D, K, 2) of the detections.
            pairs: indices of the pairs wanted; None for all.

        Returns:
            (P',) in 0..1.
        """
        wanted = np.arange(len(self.pair_person)) if pairs is None else pairs
        found = np.empty(len(wanted))
        for start in range(0, len(wanted), _CHUNK):
            part = wanted[start : start + _CHUNK]
            people = self.pair_person[part]
            found[start : start + _CHUNK] = oks(
                keypoints[self.pair_detection[part]],
                self.truth[people],
                self.labelled[people],
                self.areas[people],
                self.sigmas,
                self.boxes[people],
            )
        return found

    def joint_similarity(self, keypoints: np.ndarray, pairs: np.ndarray) -> np.ndarray:
        """Similarity of each joint with the same joint and with the opposite one of a person.

        Args:
            keypoints: (D, K, 2).
            pairs: (P',) indices of pairs.

        Returns:
            (2, P', K): own, then opposite; in 0..1, -1 where the person's joint is not labelled.
        """
        people = self.pair_person[pairs]
        points = keypoints[self.pair_detection[pairs]]
        found = []
        for joints in (slice(None), list(self.layout.flip_order)):
            offset = points - self.truth[people][:, joints]
            # The constant is that of the predicted joint, also where it is measured elsewhere.
            similarity = keypoint_similarity(offset, self.areas[people], self.sigmas)
            found.append(np.where(self.labelled[people][:, joints], similarity, -1.0))
        return np.stack(found)


def make_scene(table: PoseTable, results: Sequence[dict[str, Any]]) -> Scene:
    """A table's truth with entries of a result file, both checked before.

    Args:
        table: with ``truth``.
        results: ``{image_id, keypoints, score}``, of images of the table.
    """
    truth, joints = table.truth, len(table.layout)
    assert truth is not None
    by_id = np.argsort(table.image_ids, kind="stable")
    rank = np.empty(len(by_id), np.int64)
    rank[by_id] = np.arange(len(by_id))
    image_ids = table.image_ids[by_id]
    people_image = rank[truth.image_index]
    order = np.lexsort((truth.order, people_image))
    wanted = np.array([entry["image_id"] for entry in results], np.int64)
    points = np.array([entry["keypoints"] for entry in results], np.float64)
    people_image, detection_image = people_image[order], np.searchsorted(image_ids, wanted)
    detections, people = _pair(people_image, detection_image, len(image_ids))
    return Scene(
        layout=table.layout,
        sigmas=np.array(table.declared.sigmas, np.float64),
        image_ids=image_ids,
        ids=truth.ids[order],
        people_image=people_image,
        truth=truth.keypoints[order].astype(np.float64),
        labelled=truth.visibility[order] > 0,
        boxes=truth.boxes[order],
        areas=truth.areas[order],
        crowd=truth.crowd[order],
        detection_image=detection_image,
        keypoints=points.reshape(-1, joints, 3)[..., :2],
        scores=np.array([entry["score"] for entry in results], np.float64),
        pair_detection=detections,
        pair_person=people,
    )


def box_areas(keypoints: np.ndarray) -> np.ndarray:
    """Area of the box of all keypoints, labelled or not: (..., K, 2) to (...)."""
    if not keypoints.size:
        return np.zeros(keypoints.shape[:-2])
    sides = keypoints.max(-2) - keypoints.min(-2)
    return sides[..., 0] * sides[..., 1]


def _pair(
    people_image: np.ndarray, detection_image: np.ndarray, images: int
) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of one image; people are sorted by image."""
    counts = np.bincount(people_image, minlength=images)
    first = np.concatenate(([0], np.cumsum(counts)))[:-1]
    each = counts[detection_image]
    detections = np.repeat(np.arange(len(detection_image)), each)
    within = np.arange(len(detections)) - np.repeat(np.cumsum(each) - each, each)
    return detections, first[detection_image[detections]] + within
