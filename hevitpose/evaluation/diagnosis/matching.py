"""COCOeval's greedy matching and its average precision, for all images at once.

Per image, detections by falling score each take the person with whom their OKS is largest, if it
reaches the threshold and nobody took that person before; a person who counts is preferred to one
who does not, the last of equals is taken, and crowds can be taken again and again. Images do not
see each other, so that all of them are at their n-th detection together.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from hevitpose.evaluation.diagnosis.scene import Scene
from hevitpose.metrics.coco_api import MAX_DETECTIONS

#: OKS thresholds of COCO's AP.
THRESHOLDS = np.array([0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95])
_RECALLS = np.linspace(0, 1, 101)
_ALMOST_ONE = 1 - 1e-10  # an OKS of 1 matches at any threshold, also after rounding


@dataclass(frozen=True, eq=False)
class Matches:
    """Who was matched with whom at T thresholds; people outside an area range are ignored."""

    person: np.ndarray  # (T, D) int64: the person that a detection took, -1 for none
    taken: np.ndarray  # (T, A) bool: people whom some detection took
    ignored_people: np.ndarray  # (A,) bool
    ignored: np.ndarray  # (T, D) bool: detections that are neither right nor wrong
    rank: np.ndarray  # (D,) int64: position in its image by falling score
    scores: np.ndarray  # (D,) that were matched by
    image: np.ndarray  # (D,)
    limit: int  # detections of an image that count

    @property
    def unmatched(self) -> np.ndarray:
        """(T, D) bool: detections that took nobody."""
        return self.person < 0

    @property
    def false_positives(self) -> np.ndarray:
        """(T, D) bool: detections that count and took nobody."""
        return self.unmatched & ~self.ignored & (self.rank < self.limit)

    @property
    def false_negatives(self) -> np.ndarray:
        """(T, A) bool: people who count and were taken by nobody."""
        return ~self.taken & ~self.ignored_people


def match(
    scene: Scene,
    oks: np.ndarray,
    scores: np.ndarray,
    thresholds: np.ndarray,
    ignored: np.ndarray,
    area_range: tuple[float, float] | None = None,
    max_detections: int = MAX_DETECTIONS,
) -> Matches:
    """Match detections with people as COCOeval does.

    Args:
        scene: people, detections, pairs.
        oks: (P,) of the pairs.
        scores: (D,) of the detections.
        thresholds: (T,) OKS.
        ignored: (A,) bool: people who do not count.
        area_range: an unmatched detection outside of it is not wrong; None: all count.
        max_detections: of an image that are looked at, by falling score.
    """
    levels, count = len(thresholds), len(scores)
    rank = ranks(scene.detection_image, scores)
    person = np.full((levels, count), -1, np.int64)
    taken = np.zeros((levels, len(scene.ids)), bool)
    enough = np.minimum(thresholds, _ALMOST_ONE)[:, None]
    for pairs in _by_rank(scene, rank, max_detections):
        detections, people = scene.pair_detection[pairs], scene.pair_person[pairs]
        starts = np.flatnonzero(np.diff(detections, prepend=-1))
        segment = np.cumsum(np.diff(detections, prepend=-1) != 0) - 1
        free = (oks[pairs] >= enough) & ~(taken[:, people] & ~scene.crowd[people])
        value = np.where(free, oks[pairs], -1.0)
        counting = np.where(ignored[people], -1.0, value)
        has_counting = np.maximum.reduceat(counting, starts, axis=1) >= 0
        value = np.where(has_counting[:, segment], counting, value)
        best = np.maximum.reduceat(value, starts, axis=1)[:, segment]
        place = np.where((value == best) & (value >= 0), np.arange(len(pairs)), -1)
        last = np.maximum.reduceat(place, starts, axis=1)
        level, which = np.nonzero(last >= 0)
        chosen = people[last[level, which]]
        person[level, detections[starts[which]]] = chosen
        taken[level, chosen] = True
    skipped = (person >= 0) & ignored[person]
    if area_range is not None:
        low, high = area_range
        areas = scene.detection_areas
        skipped |= (person < 0) & ((areas < low) | (areas > high))
    return Matches(
        person, taken, ignored, skipped, rank, scores, scene.detection_image, max_detections
    )


def ranks(image: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Position of each detection in its image by falling score, the first of equals first."""
    order = np.lexsort((-scores, image))
    grouped = image[order]
    starts = np.flatnonzero(np.diff(grouped, prepend=-1))
    rank = np.empty(len(order), np.int64)
    lengths = np.diff(np.append(starts, len(order)))
    rank[order] = np.arange(len(order)) - np.repeat(starts, lengths)
    return rank


def _by_rank(scene: Scene, rank: np.ndarray, limit: int) -> list[np.ndarray]:
    """Pairs of every image's first detection, of every second one, and so on."""
    pair_rank = rank[scene.pair_detection]
    order = np.argsort(pair_rank, kind="stable")
    order = order[pair_rank[order] < limit]
    edges = np.searchsorted(pair_rank[order], np.arange(limit + 1))
    parts = [order[a:b] for a, b in pairwise(edges)]
    return [part for part in parts if len(part)]


def counted_detections(matches: Matches) -> np.ndarray:
    """Detections that COCO's evaluators look at, in their order: by falling score."""
    top = np.flatnonzero(matches.rank < matches.limit)
    key = (matches.rank[top], matches.image[top], -matches.scores[top])
    return top[np.lexsort(key)]


def average_precision(
    matches: Matches,
    *,
    also_ignored: np.ndarray | None = None,
    missing: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """AP and recall at every threshold, as COCOeval accumulates them.

    Args:
        matches: of one area range.
        also_ignored: (T, D) bool: detections that do not count either.
        missing: (T, A) bool: people who do not count either.

    Returns:
        (T,) and (T,) in 0..1; -1 where nobody counts.
    """
    top = counted_detections(matches)
    ignored = matches.ignored if also_ignored is None else matches.ignored | also_ignored
    right = (matches.person[:, top] >= 0) & ~ignored[:, top]
    wrong = (matches.person[:, top] < 0) & ~ignored[:, top]
    counting = np.broadcast_to(~matches.ignored_people, matches.taken.shape)
    if missing is not None:
        counting = counting & ~missing
    return accumulate(right, wrong, counting.sum(1))


def accumulate(
    right: np.ndarray, wrong: np.ndarray, people: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """AP and recall of detections by falling score, as COCOeval accumulates them.

    Args:
        right: (T, D) how often each detection is right: a number, or bool for once.
        wrong: (T, D) likewise how often it is wrong.
        people: (T,) who count.

    Returns:
        (T,) and (T,) in 0..1; -1 where nobody counts.
    """
    hits, misses = np.cumsum(right, 1, np.float64), np.cumsum(wrong, 1, np.float64)
    precision = hits / (hits + misses + np.spacing(1))
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    ap, recall = np.full(len(people), -1.0), np.full(len(people), -1.0)
    for level in np.flatnonzero(people):
        share = hits[level] / people[level]
        place = np.searchsorted(share, _RECALLS, side="left")
        padded = np.append(precision[level], 0.0)
        ap[level] = padded[place].mean()
        recall[level] = share[-1] if len(share) else 0.0
    return ap, recall


def mean_counted(values: np.ndarray) -> float:
    """The mean without the -1 of "nobody counts"; -1 where there is nothing else."""
    counted = values[values > -1]
    return float(counted.mean()) if len(counted) else -1.0
