"""AP after correcting one type of error after another: what each of them costs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hevitpose.evaluation.diagnosis.labels import ERRORS, Labels, corrected_keypoints, label_joints
from hevitpose.evaluation.diagnosis.matching import (
    THRESHOLDS,
    Matches,
    average_precision,
    match,
    mean_counted,
)
from hevitpose.evaluation.diagnosis.rescoring import best_oks, optimal_scores
from hevitpose.evaluation.diagnosis.scene import Scene
from hevitpose.metrics.coco_api import MAX_DETECTIONS

#: What is corrected, in this order and cumulatively.
STEPS = ("baseline", *ERRORS, "score", "bckgd_false_pos", "false_neg")
#: The OKS at which a detection still belongs to somebody.
LOCALISATION = 0.1
_LARGEST = 1e10
_MEDIUM = (32.0**2, 96.0**2)
#: Area ranges by name; coco-analyze leaves small people out of "all", COCOeval does not.
AREAS = {"all": (0.0, _LARGEST), "medium": _MEDIUM, "large": (_MEDIUM[1], _LARGEST)}
REFERENCE_AREAS = AREAS | {"all": (_MEDIUM[0], _LARGEST)}


def areas_of(reference: bool) -> dict[str, tuple[float, float]]:
    """The area ranges, by name, in square pixels."""
    return REFERENCE_AREAS if reference else AREAS


@dataclass(frozen=True, eq=False)
class AreaDiagnosis:
    """Everything about the people of one area range; T thresholds, S steps."""

    name: str
    ignored: np.ndarray  # (A,) bool: people outside of it
    labels: Labels
    ap: np.ndarray  # (S, T), -1 where nobody counts
    recall: np.ndarray  # (S, T)
    alone: dict[str, float]  # AP after correcting one type alone
    optimal: np.ndarray  # (D,) scores after correction
    best: np.ndarray  # (D,) highest OKS after correction
    false_positives: np.ndarray  # (T, D) bool, after all corrections
    false_negatives: np.ndarray  # (T, A) bool


def diagnose_areas(scene: Scene, *, reference: bool) -> list[AreaDiagnosis]:
    """Label, correct and score again, for all people, for medium and for large ones.

    Args:
        scene: people, detections, pairs.
        reference: as coco-analyze does it, also where that is odd.
    """
    oks = scene.oks(scene.keypoints)
    labelled = {}
    for name, limits in areas_of(reference).items():
        found = match(
            scene, oks, scene.scores, np.array([LOCALISATION]), scene.outside(limits), limits
        )
        labelled[name] = label_joints(scene, oks, found, reference=reference)
    # Its suppression sees the keypoints as the last area range left them.
    last = corrected_keypoints(scene, labelled["large"], ERRORS) if reference else None
    return [
        _diagnose(scene, oks, name, labels, reference, last) for name, labels in labelled.items()
    ]


def label_everybody(scene: Scene, max_detections: int = MAX_DETECTIONS) -> Labels:
    """The labels of all people, as :func:`diagnose_areas` has them, without what they cost."""
    oks, limits = scene.oks(scene.keypoints), AREAS["all"]
    level, ignored = np.array([LOCALISATION]), scene.outside(limits)
    found = match(scene, oks, scene.scores, level, ignored, limits, max_detections)
    return label_joints(scene, oks, found, reference=False)


def _diagnose(
    scene: Scene,
    oks: np.ndarray,
    name: str,
    labels: Labels,
    reference: bool,
    suppressed: np.ndarray | None,
) -> AreaDiagnosis:
    limits = areas_of(reference)[name]
    ignored = scene.outside(limits)

    def matched(oks: np.ndarray, scores: np.ndarray) -> Matches:
        return match(scene, oks, scores, THRESHOLDS, ignored, limits)

    rows = [average_precision(matched(oks, scene.scores))]
    current = oks
    for number, error in enumerate(ERRORS, 1):
        points = corrected_keypoints(scene, labels, ERRORS[:number])
        current = _updated(scene, current, points, labels, error)
        rows.append(average_precision(matched(current, scene.scores)))
    best = best_oks(scene, current, ignored)
    optimal = optimal_scores(scene, best, points if suppressed is None else suppressed)
    final = matched(current, optimal)
    rows.append(average_precision(final))
    rows += _without_background(final, reference)
    return AreaDiagnosis(
        name=name,
        ignored=ignored,
        labels=labels,
        ap=np.stack([ap for ap, _ in rows]),
        recall=np.stack([recall for _, recall in rows]),
        alone=_alone(scene, oks, labels, ignored, limits) if name == "all" else {},
        optimal=optimal,
        best=best,
        false_positives=final.unmatched if reference else final.false_positives,
        false_negatives=~final.taken if reference else final.false_negatives,
    )


def _updated(
    scene: Scene, oks: np.ndarray, points: np.ndarray, labels: Labels, error: str
) -> np.ndarray:
    """OKS after some joints moved; only of the detections that have this error."""
    changed = np.zeros(len(scene.scores), bool)
    changed[labels.detection[labels.has(error).any(1)]] = True
    pairs = np.flatnonzero(changed[scene.pair_detection])
    updated = oks.copy()
    updated[pairs] = scene.oks(points, pairs)
    return updated


def _without_background(final: Matches, reference: bool) -> list[tuple[np.ndarray, np.ndarray]]:
    """AP without false positives, then also without the people whom nobody found."""
    precise = average_precision(final, also_ignored=final.unmatched)
    missing = ~final.taken
    if reference:  # missed at a lower threshold stays missed; rows are named in falling order
        missing = np.logical_or.accumulate(missing, axis=0)
    ap, recall = average_precision(final, also_ignored=final.unmatched, missing=missing)
    if reference:
        ap, recall = ap[::-1], recall[::-1]
    else:  # where all who count were missed, nothing is left that could be wrong
        somebody = (~final.ignored_people).any()
        ap, recall = (np.where(somebody & (v < 0), 1.0, v) for v in (ap, recall))
    return [precise, (ap, recall)]


def _alone(
    scene: Scene,
    oks: np.ndarray,
    labels: Labels,
    ignored: np.ndarray,
    limits: tuple[float, float],
) -> dict[str, float]:
    """AP after correcting one type and nothing else."""
    found = {}
    for error in ERRORS:
        points = corrected_keypoints(scene, labels, (error,))
        moved = _updated(scene, oks, points, labels, error)
        matches = match(scene, moved, scene.scores, THRESHOLDS, ignored, limits)
        found[error] = mean_counted(average_precision(matches)[0])
    best = optimal_scores(scene, best_oks(scene, oks, ignored), scene.keypoints)
    matches = match(scene, oks, best, THRESHOLDS, ignored, limits)
    found["score"] = mean_counted(average_precision(matches)[0])
    return found
