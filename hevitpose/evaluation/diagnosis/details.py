"""Every number of a diagnosis as plain data, shaped as coco-analyze's are."""

from __future__ import annotations

from typing import Any

import numpy as np

from hevitpose.evaluation.diagnosis.labels import Labels
from hevitpose.evaluation.diagnosis.matching import THRESHOLDS, mean_counted
from hevitpose.evaluation.diagnosis.progressive import STEPS, AreaDiagnosis
from hevitpose.evaluation.diagnosis.scene import Scene


def details(scene: Scene, areas: list[AreaDiagnosis]) -> dict[str, Any]:
    """Matches, COCO's ten numbers, scores, background errors and AP by step, threshold and area.

    Detections are numbered from 1, as pycocotools does it.

    Args:
        scene: people, detections, pairs.
        areas: all, medium, large.
    """
    labels = areas[0].labels
    everybody, medium, large = (mean_counted(area.ap[0]) for area in areas)
    ar, ar_medium, ar_large = (mean_counted(area.recall[0]) for area in areas)
    ap, recall = areas[0].ap[0].tolist(), areas[0].recall[0].tolist()
    stats = [everybody, ap[0], ap[5], medium, large, ar, recall[0], recall[5], ar_medium, ar_large]
    levels = [(f"{threshold:g}", level) for level, threshold in enumerate(THRESHOLDS)]
    return {
        "keypoints": int(scene.labelled[labels.person].sum()),
        "matches": _matches(scene, labels),
        "coco_stats": stats,
        "opt_score_and_max_oks": {
            str(number): [float(score), float(best)]
            for number, (score, best) in enumerate(
                zip(areas[0].optimal, areas[0].best, strict=True), 1
            )
        },
        "false_positives": {
            f"{area.name}@{name}": int(area.false_positives[level].sum())
            for area in areas
            for name, level in levels
        },
        "false_negatives": {
            f"{area.name}@{name}": int(area.false_negatives[level].sum())
            for area in areas
            for name, level in levels
        },
        "false_positive_ids_all_050": (np.flatnonzero(areas[0].false_positives[0]) + 1).tolist(),
        "false_negative_ids_all_050": scene.ids[areas[0].false_negatives[0]].tolist(),
        "progressive": [
            {
                "err": name,
                "oks": float(THRESHOLDS[level]),
                "area": area.name,
                "ap": float(area.ap[step, level]),
                "recall": float(area.recall[step, level]),
            }
            for step, name in enumerate(STEPS)
            for level in reversed(range(len(THRESHOLDS)))
            for area in areas
        ],
    }


def _matches(scene: Scene, labels: Labels) -> list[dict[str, Any]]:
    """One row a matched detection: whom it is of, how good it is, and its joints' labels."""
    return [
        {
            "detection": int(detection) + 1,
            "gt": int(scene.ids[person]),
            "oks": float(oks),
            "ignore": int(ignored),
            "labels": letters,
            "corrected": points.round(4).ravel().tolist(),
        }
        for detection, person, oks, ignored, letters, points in zip(
            labels.detection,
            labels.person,
            labels.oks,
            labels.ignored,
            labels.letters(),
            labels.corrected,
            strict=True,
        )
    ]
