"""The error types of joints, and where each joint would be without its error.

Ruggero Ronchi & Perona, Benchmarking and Error Diagnosis in Multi-Instance Pose Estimation,
ICCV 2017; the exact rules are those of its code (coco-analyze).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hevitpose.evaluation.diagnosis.matching import Matches
from hevitpose.evaluation.diagnosis.scene import Scene

#: Labels of a joint, by their number; 0 is a joint that has none.
TYPES = ("good", "jitter", "inversion", "swap", "miss")
#: The errors, in the order in which they are corrected.
ERRORS = ("miss", "swap", "inversion", "jitter")
GOOD, JITTER, INVERSION, SWAP, MISS = range(1, 6)
#: One letter per label, as reports have them.
LETTERS = "-gjism"
#: Similarities that part miss from jitter, and jitter from good.
LIMITS = (0.5, 0.85)
#: A corrected joint is this much nearer than its similarity says, so that rounding cannot put it
#: on the wrong side of a threshold.
_NEARER = 1 - 1e-6


@dataclass(frozen=True, eq=False)
class Labels:
    """Joints of the N detections that were matched with somebody who has labelled joints."""

    detection: np.ndarray  # (N,) int64
    person: np.ndarray  # (N,) int64
    oks: np.ndarray  # (N,)
    ignored: np.ndarray  # (N,) bool: the person does not count
    codes: np.ndarray  # (N, K) int8: 0 not labelled, 1.. as in TYPES
    corrected: np.ndarray  # (N, K, 2) float64, image pixels

    def counts(self) -> np.ndarray:
        """(5, K) how often each joint has each label."""
        return np.stack([(self.codes == code).sum(0) for code in range(1, 1 + len(TYPES))])

    def has(self, error: str) -> np.ndarray:
        """(N, K) bool: joints with a label."""
        return self.codes == 1 + TYPES.index(error)

    def letters(self) -> list[str]:
        """One word per detection, one letter per joint."""
        alphabet = np.array(list(LETTERS))
        return ["".join(word) for word in alphabet[self.codes]]


def label_joints(scene: Scene, oks: np.ndarray, matches: Matches, *, reference: bool) -> Labels:
    """Label every labelled joint of the people that detections were matched with.

    Args:
        scene: people, detections, pairs.
        oks: (P,) of the pairs, as predicted.
        matches: at one threshold.
        reference: coco-analyze's own limits and distances; else a similarity of exactly 0.85 is
            good, and a corrected joint has the similarity that it was given.
    """
    partner = matches.person[0]
    pairs = np.flatnonzero(partner[scene.pair_detection] >= 0)
    pairs = pairs[scene.labelled[partner[scene.pair_detection[pairs]]].any(1)]
    detections, people = scene.pair_detection[pairs], scene.pair_person[pairs]
    itself = people == partner[detections]
    matched = np.flatnonzero(itself)
    person, detection = people[matched], detections[matched]
    own, opposite = scene.joint_similarity(scene.keypoints, pairs)
    kind, best = nearest(own, opposite, detections, itself)
    best = np.maximum(best, 0)
    codes = classify(kind, best, LIMITS, reference=reference)
    codes[~scene.labelled[person]] = 0
    return Labels(
        detection=detection,
        person=person,
        oks=oks[pairs[matched]],
        ignored=matches.ignored_people[person],
        codes=codes,
        corrected=_correct(scene, detection, person, codes, best, reference),
    )


def nearest(
    own: np.ndarray, opposite: np.ndarray, predicted: np.ndarray, itself: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Whose joint each predicted joint is most similar to, the first of equals.

    Args:
        own: (P, K) similarity with the same joint of a person; larger is nearer.
        opposite: (P, K) with the opposite (left, right) joint.
        predicted: (P,) of which detection, sorted.
        itself: (P,) bool: the person that the detection was matched with, one of each.

    Returns:
        (N, K) 0 that person's joint, 1 the same joint of somebody else, 2 that person's opposite
        joint, 3 somebody else's; and (N, K) the similarity.
    """
    if not len(predicted):
        return np.zeros(own.shape, np.int64), own
    starts = np.flatnonzero(np.diff(predicted, prepend=-1))
    others = (np.where(itself[:, None], -np.inf, values) for values in (own, opposite))
    same, crossed = (np.maximum.reduceat(values, starts, axis=0) for values in others)
    similarity = np.stack((own[itself], same, opposite[itself], crossed))
    return similarity.argmax(0), similarity.max(0)


def classify(
    kind: np.ndarray, best: np.ndarray, limits: tuple[float, float], *, reference: bool = False
) -> np.ndarray:
    """Labels of joints by whose joint is nearest and how near: (N, K) int8.

    Args:
        kind: of :func:`nearest`.
        best: of :func:`nearest`.
        limits: similarities that part miss from jitter, and jitter from good.
        reference: the second limit itself is neither jitter nor good.
    """
    low, high = limits
    near = best > high if reference else best >= high
    return np.select(
        [best < low, kind == 2, kind != 0, near, best < high],
        [MISS, INVERSION, SWAP, GOOD, JITTER],
        default=0,
    ).astype(np.int8)


def _correct(
    scene: Scene,
    detection: np.ndarray,
    person: np.ndarray,
    codes: np.ndarray,
    best: np.ndarray,
    reference: bool,
) -> np.ndarray:
    """Wrong joints to the right of their truth, at the distance of a similarity."""
    low, high = LIMITS
    spacing = np.spacing(1)
    kept = best + spacing * (best == 0) - spacing * (best == 1)
    goal = np.select([codes == JITTER, codes == MISS], [high, low], default=kept)
    scale = scene.sigmas if reference else 2 * scene.sigmas * _NEARER
    distance = np.sqrt(-np.log(goal) * 2 * scene.areas[person][:, None] * scale**2)
    points, truth = scene.keypoints[detection], scene.truth[person]
    moved = truth + distance[..., None] * np.array([1.0, 0.0])
    return np.where((codes > GOOD)[..., None], moved, points)


def corrected_keypoints(
    scene: Scene, labels: Labels, errors: tuple[str, ...] | list[str]
) -> np.ndarray:
    """(D, K, 2) keypoints of all detections, without some types of errors."""
    points = scene.keypoints.copy()
    chosen = np.isin(labels.codes, [1 + TYPES.index(error) for error in errors])
    points[labels.detection] = np.where(
        chosen[..., None], labels.corrected, points[labels.detection]
    )
    return points
