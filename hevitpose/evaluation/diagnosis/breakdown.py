"""What an evaluation's one number is made of: joints, crowds, visible joints, sizes.

Goes into every evaluation's record, so that "crowded" and "occluded" are columns.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from hevitpose.data.keypoints import MPII_TO_CROWDPOSE
from hevitpose.data.table import PoseTable
from hevitpose.evaluation.diagnosis.heads import diagnose_heads
from hevitpose.evaluation.diagnosis.labels import TYPES
from hevitpose.evaluation.diagnosis.matching import (
    THRESHOLDS,
    average_precision,
    match,
    mean_counted,
)
from hevitpose.evaluation.diagnosis.progressive import (
    AREAS,
    LOCALISATION,
    label_everybody,
)
from hevitpose.evaluation.diagnosis.scene import Scene, make_scene
from hevitpose.evaluation.score import (
    Predictions,
    as_crowdpose,
    box_sizes,
    pck_errors,
    results_of,
)
from hevitpose.metrics.coco_api import MAX_DETECTIONS
from hevitpose.metrics.crowdpose import TOOL_SPLITS
from hevitpose.metrics.curves import THRESHOLDS as PCK_THRESHOLDS
from hevitpose.metrics.curves import pck_auc, pck_curves
from hevitpose.metrics.oks import keypoint_similarity
from hevitpose.metrics.pckh import head_errors

#: Groups of people by how many of their joints are labelled, both ends inside.
VISIBLE_JOINTS = ((1, 5), (6, 10), (11, 15), (16, 10**9))
#: Groups by area in square pixels, both ends inside as in COCO's evaluators.
SIZES = {"small": (0.0, AREAS["medium"][0]), "medium": AREAS["medium"], "large": AREAS["large"]}


def breakdown(
    table: PoseTable,
    predictions: Predictions,
    *,
    nms_threshold: float = 0.9,
    max_detections: int = MAX_DETECTIONS,
) -> dict[str, Any]:
    """An evaluation by joint and by group of people.

    Args:
        table: the people, with what the reader kept to compare with.
        predictions: of all of them or of some; who is not predicted is missed.
        nms_threshold: of the AP of groups, as for :func:`hevitpose.evaluation.score.score`.
        max_detections: people of an image that count, likewise.

    Returns:
        Fields of :class:`hevitpose.records.schema.Breakdown`. ``joints``: per joint the number
        counted, the mean similarity (OKS of that joint alone), the area under its PCK curve up to
        0.5, the curve, and how many have each error type: as in
        :func:`hevitpose.evaluation.diagnose` (of COCO formats, joints of matched people; of MPII's,
        all counted joints by distance in head sizes). ``groups``: people, mean OKS, AP and AR by
        number of visible joints, by size, and on CrowdPose by crowd index. None where nobody is in
        a group. In the AP by visible joints, which is lower for it, a detection that matches
        nobody is wrong in each group, as it has no joints that say whose it is; by size and by
        crowd index, only in the group of its own area or image.
    """
    protocol, layout = table.declared.protocol, table.layout
    heads = protocol.startswith("pckh")
    unit = "head size" if heads else "longer side of the box"
    found: dict[str, Any] = {"unit": unit, "thresholds": PCK_THRESHOLDS.round(2).tolist()}
    if protocol == "pck":
        errors, counted = pck_errors(table, predictions)
        nothing = np.full(len(layout), np.nan)
        named = {"unit": "person size by the yaml's pck"}
        types: list[dict[str, int]] = [{} for _ in layout.names]
        joints = _joints(layout.names, nothing, errors, counted, types)
        return found | named | {"joints": joints}
    if heads:
        errors, counted = _in_heads(table, predictions)
        types = _types(_labels_in_heads(table, predictions))
        similarity = np.full(len(layout), np.nan)
        if protocol == "pckh":
            return found | {"joints": _joints(layout.names, similarity, errors, counted, types)}
        table, predictions = as_crowdpose(table, predictions)
    rows = table.take(predictions.index)
    scene = make_scene(table, results_of(rows, predictions, nms_threshold=nms_threshold))
    points = _predicted(table, scene, predictions, max_detections)
    per_joint, oks = _similarity(scene, points)
    if heads:
        similarity[list(MPII_TO_CROWDPOSE)] = per_joint
    else:
        similarity = per_joint
        errors, counted = _in_boxes(scene, points), scene.labelled & ~scene.unscored[:, None]
        types = _types(label_everybody(scene, max_detections).codes)
    groups = _groups(scene, table, oks, max_detections)
    joints = _joints(layout.names, similarity, errors, counted, types)
    return found | {"joints": joints, "groups": groups}


def _in_heads(table: PoseTable, predictions: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """(N, 16) errors in head sizes, and which are counted, of the people who were predicted."""
    heads = table.take(predictions.index).heads
    assert heads is not None
    points = predictions.keypoints + 1  # the ground truth is 1-based
    return head_errors(points, heads.keypoints, heads.head_boxes), ~heads.missing


def _labels_in_heads(table: PoseTable, predictions: Predictions) -> np.ndarray:
    rows = table.take(predictions.index)
    return diagnose_heads(rows, predictions.keypoints + 1).codes  # the ground truth is 1-based


def _types(codes: np.ndarray) -> list[dict[str, int]]:
    """Per joint how many have each error type."""
    counts = [(codes == code).sum(0) for code in range(1, 1 + len(TYPES))]
    return [dict(zip(TYPES, of_joint, strict=True)) for of_joint in np.stack(counts, 1).tolist()]


def _predicted(
    table: PoseTable, scene: Scene, predictions: Predictions, max_detections: int
) -> np.ndarray:
    """(A, K, 2) what was predicted for each person, NaN where nothing was.

    With ground-truth boxes, of the person's own box; else of the detection that COCOeval matches
    at OKS 0.1.
    """
    points = np.full(scene.truth.shape, np.nan)
    if table.boxes == "gt":
        order = np.argsort(scene.ids, kind="stable")
        wanted = table.person_ids[predictions.index]
        points[order[np.searchsorted(scene.ids, wanted, sorter=order)]] = predictions.keypoints
        return points
    matches = match(
        scene,
        scene.oks(scene.keypoints),
        scene.scores,
        np.array([LOCALISATION]),
        scene.unscored,
        max_detections=max_detections,
    )
    detections = np.flatnonzero(matches.person[0] >= 0)
    points[matches.person[0, detections]] = scene.keypoints[detections]
    return points


def _similarity(scene: Scene, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean similarity of each joint, (K,), NaN without any; OKS of each person, (A,)."""
    values = keypoint_similarity(points - scene.truth, scene.areas, scene.sigmas)
    values = np.nan_to_num(values, nan=0.0) * scene.labelled
    counted = scene.labelled & ~scene.unscored[:, None]
    total = counted.sum(0)
    per_joint = (values * counted).sum(0) / np.maximum(total, 1)
    oks = values.sum(1) / np.maximum(scene.labelled.sum(1), 1)
    return np.where(total > 0, per_joint, np.nan), oks


def _in_boxes(scene: Scene, points: np.ndarray) -> np.ndarray:
    distance = np.linalg.norm(points - scene.truth, axis=-1)
    sizes, known = box_sizes(scene.boxes)  # of ignored regions, which do not count, it may not be
    return np.nan_to_num(distance / np.where(known, sizes, 1.0)[:, None], nan=np.inf)


def _joints(
    names: tuple[str, ...],
    similarity: np.ndarray,
    errors: np.ndarray,
    counted: np.ndarray,
    types: list[dict[str, int]],
) -> dict[str, dict[str, Any]]:
    curves, areas = pck_curves(errors, counted), pck_auc(errors, counted)
    return {
        name: {
            "n": int(count),
            "oks": _number(similarity[joint]),
            "auc": _number(areas[joint]),
            "pck": [round(float(value), 6) for value in curves[joint]] if count else [],
            "errors": types[joint],
        }
        for joint, (name, count) in enumerate(zip(names, counted.sum(0), strict=True))
    }


def _groups(
    scene: Scene, table: PoseTable, oks: np.ndarray, max_detections: int
) -> dict[str, dict[str, Any]]:
    pairs = scene.oks(scene.keypoints)
    visible = scene.labelled.sum(1)

    def group(
        inside: np.ndarray,
        limits: tuple[float, float] | None = None,
        elsewhere: np.ndarray | None = None,
    ) -> dict[str, Any]:
        inside = inside & ~scene.unscored
        if not inside.any():
            return {"people": 0, "oks": None, "ap": None, "ar": None}
        matches = match(scene, pairs, scene.scores, THRESHOLDS, ~inside, limits, max_detections)
        if elsewhere is not None:
            matches = dataclasses.replace(matches, ignored=matches.ignored | elsewhere)
        ap, recall = average_precision(matches)
        return {
            "people": int(inside.sum()),
            "oks": _number(oks[inside].mean()),
            "ap": _number(mean_counted(ap)),
            "ar": _number(mean_counted(recall)),
        }

    joints = len(scene.layout)
    found = {
        "visible_joints": {
            f"{low}-{min(high, joints)}": group((visible >= low) & (visible <= high))
            for low, high in VISIBLE_JOINTS
            if low <= joints
        },
        "size": {name: group(~scene.outside(limits), limits) for name, limits in SIZES.items()},
    }
    if table.crowd_index is not None:
        by_id = np.argsort(table.image_ids, kind="stable")
        level = np.digitize(table.crowd_index[by_id], TOOL_SPLITS)
        found["crowd_index"] = {
            name: group(
                level[scene.people_image] == number,
                elsewhere=level[scene.detection_image] != number,
            )
            for number, name in enumerate(("easy", "medium", "hard"))
        }
    return found


def _number(value: float) -> float | None:
    return None if math.isnan(value) or value < 0 else round(float(value), 6)
