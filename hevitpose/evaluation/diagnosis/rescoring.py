"""The scores that would rank detections best, and what the given ones do wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hevitpose.evaluation.diagnosis.scene import Scene, box_areas
from hevitpose.metrics.oks import pairwise_oks

_DECAY = 0.5  # of soft-NMS
_BATCH = 1 << 16  # pairs of detections whose joints are held in memory at once


def best_oks(scene: Scene, oks: np.ndarray, ignored: np.ndarray) -> np.ndarray:
    """Each detection's highest OKS with a person who counts, 0 without any: (D,)."""
    best = np.zeros(len(scene.scores))
    if len(oks):
        starts = np.flatnonzero(np.diff(scene.pair_detection, prepend=-1))
        value = np.where(ignored[scene.pair_person], 0.0, oks)
        best[scene.pair_detection[starts]] = np.maximum.reduceat(value, starts)
    return best


def optimal_scores(scene: Scene, best: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
    """Scores that rank detections by OKS and put a person's second detections behind.

    Soft-NMS of the highest OKS: by falling score, each detection multiplies the scores of the
    rest of its image by ``exp(-oks^2 / 0.5)``, with the OKS between the two detections.

    Args:
        scene: for images and sigmas.
        best: (D,) of :func:`best_oks`.
        keypoints: (D, K, 2) that the OKS between detections is of.

    Returns:
        (D,) in 0..1.
    """
    scores = best.copy()
    order = np.argsort(scene.detection_image, kind="stable")
    _, starts, counts = np.unique(
        scene.detection_image[order], return_index=True, return_counts=True
    )
    for count in np.unique(counts[counts > 1]):
        firsts = starts[counts == count]
        step = max(1, _BATCH // count**2)
        for begin in range(0, len(firsts), step):  # images with equally many are done together
            rows = order[firsts[begin : begin + step, None] + np.arange(count)]
            points = keypoints[rows]
            mutual = pairwise_oks(points, box_areas(points), scene.sigmas)
            scores[rows] = _soften(scores[rows], mutual)
    return scores


def _soften(scores_BN: np.ndarray, oks_BNN: np.ndarray) -> np.ndarray:
    scores, waiting = scores_BN.copy(), np.ones(scores_BN.shape, bool)
    images = np.arange(len(scores))
    for _ in range(scores.shape[1]):
        first = np.where(waiting, scores, -1.0).argmax(1)
        waiting[images, first] = False
        scores *= np.where(waiting, np.exp(-(oks_BNN[images, first] ** 2) / _DECAY), 1.0)
    return scores


@dataclass(frozen=True)
class ScoreErrors:
    """People with several detections, and how often a worse one has the higher score."""

    people: int  # with at least two detections at OKS 0.5 that have nobody nearer
    errors: int  # of them: the best detection is not the one with the highest score


def score_errors(
    scene: Scene, oks: np.ndarray, scores: np.ndarray, ignored: np.ndarray
) -> ScoreErrors:
    """Count wrongly ordered detections of the same person.

    Args:
        scene: people, detections, pairs.
        oks: (P,) of the pairs.
        scores: (D,) of the detections.
        ignored: (A,) bool: people who do not count.
    """
    best = best_oks(scene, oks, ignored)
    near = (oks >= 0.5) & (oks == best[scene.pair_detection]) & ~ignored[scene.pair_person]
    people, values = scene.pair_person[near], oks[near]
    order = np.lexsort((-values, people))
    people, values = people[order], values[order]
    ranked = scores[scene.pair_detection[near]][order]
    several, starts, counts = np.unique(people, return_index=True, return_counts=True)
    if not len(several):
        return ScoreErrors(0, 0)
    wrong = np.maximum.reduceat(ranked, starts) > ranked[starts]
    return ScoreErrors(int((counts > 1).sum()), int((wrong & (counts > 1)).sum()))
