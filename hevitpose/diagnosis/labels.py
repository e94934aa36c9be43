"""The error types of joints, and where each joint would be without its error.

Ruggero Ronchi & Perona, Benchmarking and Error Diagnosis in Multi-Instance Pose Estimation,
ICCV 2017; the exact rules are those of its code (coco-analyze).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hevitpose.diagnosis.matching import Matches
from hevitpose.diagnosis.scene import Scene

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
    own, opposite = scene.joint_similarity(scene.keypoints, pairs)
    starts = np.flatnonzero(np.diff(detections, prepend=-1))
    matched = np.flatnonzero(itself)
    others = np.where(itself[:, None], -np.inf, own)
    others_opposite = np.where(itself[:, None], -np.inf, opposite)
    similarity = np.stack(  # of equals the first counts, hence the order
        (
            own[matched],
            _segment_max(others, starts),
            opposite[matched],
            _segment_max(others_opposite, starts),
        )
    )
    kind = similarity.argmax(0)
    best = np.maximum(similarity.max(0), 0)
    person = people[matched]
    low, high = LIMITS
    near = best > high if reference else best >= high
    codes = np.select(
        [best < low, kind == 2, kind != 0, near, best < high],
        [MISS, INVERSION, SWAP, GOOD, JITTER],
        default=0,
    )
    codes = np.where(scene.labelled[person], codes, 0).astype(np.int8)
    detection = detections[matched]
    return Labels(
        detection=detection,
        person=person,
        oks=oks[pairs[matched]],
        ignored=matches.ignored_people[person],
        codes=codes,
        corrected=_correct(scene, detection, person, codes, best, reference),
    )


def _segment_max(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    if not len(starts):
        return values[:0]
    return np.maximum.reduceat(values, starts, axis=0)


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
