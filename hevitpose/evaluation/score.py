"""A table of people and their predictions in, a dataset's metrics out. No file is read here.

The table's ``declared`` protocol, sigmas and areas decide; its ``truth`` and ``heads`` are what the
reader kept to compare with.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hevitpose.data.keypoints import CROWDPOSE, MPII_TO_CROWDPOSE
from hevitpose.data.table import PoseTable, require_truth
from hevitpose.data.truth import coco_truth
from hevitpose.errors import DataError, notice_once
from hevitpose.evaluation.statistics import bootstrap_ratio
from hevitpose.metrics.coco_api import MAX_DETECTIONS
from hevitpose.metrics.crowdpose import evaluate_crowdpose
from hevitpose.metrics.curves import pck_auc, pck_curves
from hevitpose.metrics.oks import coco_results, evaluate_keypoints
from hevitpose.metrics.pckh import IN_MEAN, head_errors, pckh

_RESAMPLE = 0xB007  # key of the bootstrap's stream


@dataclass(frozen=True)
class Predictions:
    """Keypoints of a table's people, in the table's order."""

    index: np.ndarray  # (N,) int64, rows of the table
    keypoints: np.ndarray  # (N, K, 2) float32, image pixels, 0-based
    scores: np.ndarray  # (N, K) float32

    @classmethod
    def join(cls, parts: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Predictions:
        """Batches of any number of ranks, sorted by row, each row exactly once.

        Whether the last rows are there, only a table can tell: see :func:`require_everybody`.

        Raises:
            ValueError: a row came twice, or one before the last is missing.
        """
        index, keypoints, scores = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        order = np.argsort(index, kind="stable")
        if len(index) > 1 and (np.diff(index[order]) == 0).any():
            raise ValueError("an evaluation sample was predicted twice")
        absent = np.setdiff1d(np.arange(index.max(initial=-1) + 1), index)
        if len(absent):
            raise ValueError(f"{len(absent)} evaluation samples were not predicted ({absent[0]})")
        return cls(index[order], keypoints[order], scores[order])


def score(
    table: PoseTable,
    predictions: Predictions,
    *,
    nms_threshold: float = 0.9,
    max_detections: int = MAX_DETECTIONS,
) -> dict[str, float]:
    """The metrics of a table's protocol.

    MPII: PCKh in percent. COCO, OCHuman, CrowdPose and custom datasets: AP and AR in 0..1.
    Synthetic people: PCKh, and the AP of the same predictions over the 14 CrowdPose joints, which
    MPII's 16 contain, with CrowdPose's sigmas and areas (of boxes, as its annotations have none).
    A custom dataset that declares ``pck`` has its PCK and AUC in percent as well, where every
    prediction is one person's: with ground-truth boxes.

    Args:
        table: the people, with what the reader kept to compare with.
        predictions: of all of them; for AP also of some, and who is not predicted is missed.
        nms_threshold: OKS above which the lower score of an image is dropped.
        max_detections: people of an image that count for AP, by descending score.

    Raises:
        DataError: the table has nothing to score by, or PCKh or PCK, which are of everybody, has
            no prediction of somebody.
    """
    require_truth(table)
    declared = table.declared
    metrics: dict[str, float] = {}
    if declared.protocol.startswith("pckh"):
        require_everybody(table, predictions, "PCKh")
        metrics = score_pckh(table, predictions)
    if declared.protocol == "pckh+oks":
        table, predictions = as_crowdpose(table, predictions)
    if declared.protocol in ("oks", "crowdpose", "pckh+oks"):
        metrics |= score_oks(table, predictions, nms_threshold, max_detections)
    if declared.pck is not None and table.boxes == "gt":
        require_everybody(table, predictions, declared.pck.name)
        metrics |= score_pck(table, predictions)
    return metrics


def require_everybody(table: PoseTable, predictions: Predictions, metric: str) -> None:
    """Refuse predictions of some people where the metric takes a joint of each.

    Who is left out would count neither as right nor as wrong, and so raise the number.

    Raises:
        DataError: somebody has no prediction.
    """
    absent = np.setdiff1d(np.arange(len(table)), predictions.index)
    if len(absent):
        raise DataError(
            f"{table.annotation_file}: {len(absent)} of {len(table)} people are not predicted, the "
            f"first is row {absent[0]}; {metric} is of everybody (table.take scores a part)"
        )


def score_oks(
    table: PoseTable,
    predictions: Predictions,
    nms_threshold: float = 0.9,
    max_detections: int = MAX_DETECTIONS,
) -> dict[str, float]:
    """AP and AR of a table's people by pycocotools, or by xtcocotools for CrowdPose."""
    results = results_of(table.take(predictions.index), predictions, nms_threshold=nms_threshold)
    return score_results(table, results, max_detections=max_detections)


def score_results(
    table: PoseTable,
    results: Sequence[dict[str, Any]],
    image_ids: Collection[int] | None = None,
    max_detections: int = MAX_DETECTIONS,
) -> dict[str, float]:
    """AP and AR of checked entries of a COCO result file, as they are; see :func:`score_oks`.

    Args:
        table: with ``truth``.
        results: entries ``{image_id, category_id, keypoints, score}`` of the table's images; of
            several categories that are people, all are one.
        image_ids: score these images only.
        max_detections: people of an image that count, by descending score.
    """
    tell_crowded(table, max_detections)
    truth = coco_truth(table)
    if len(table.category_ids) > 1:
        results = [entry | {"category_id": table.category_id} for entry in results]
    options: Any = {"image_ids": image_ids, "max_detections": max_detections}
    if table.declared.protocol == "crowdpose":
        return evaluate_crowdpose(results, truth, table.declared.sigmas, **options)
    return evaluate_keypoints(results, truth, table.declared.sigmas, **options)


def tell_crowded(
    table: PoseTable, max_detections: int, option: str = "evaluation.max_detections (--max-dets)"
) -> None:
    """Warn when photographs have more people than count: nobody can find all of them.

    Args:
        table: with ``truth``.
        max_detections: people of an image that count.
        option: what raises that.

    Warns:
        Notice: once a file.
    """
    truth = table.truth
    assert truth is not None
    counts = np.bincount(truth.image_index[~truth.ignored], minlength=len(table.image_ids))
    over = np.flatnonzero(counts > max_detections)
    if len(over):
        notice_once(
            f"{table.annotation_file}: {len(over)} photographs have more than {max_detections} "
            f"people (image {table.image_ids[over[0]]}: {counts[over[0]]}), of whom AP counts "
            f"{max_detections} predictions; {option} allows more"
        )


def score_pck(table: PoseTable, predictions: Predictions) -> dict[str, float]:
    """PCK and AUC of a custom dataset, normalised as its yaml says, in percent.

    Over people of whom the normalising joints are labelled; both are plain means over joints, as
    MMPose has it.
    """
    pck = table.declared.pck
    assert pck is not None
    errors, counted = pck_errors(table, predictions)
    curves = pck_curves(errors, counted, np.array([pck.threshold]))[:, 0]
    areas = pck_auc(errors, counted)
    seen = np.isfinite(curves)
    if not seen.any():
        why = "no labelled joint of a person whose box has a size, which normalises PCK"
        if pck.by != "bbox":
            ends = " and ".join(table.layout.names[joint] for joint in pck.by)
            why = f"no person has both joints {ends} labelled, whose distance normalises PCK"
        raise DataError(f"{table.annotation_file}: {why}")
    return {
        pck.name: float(100 * curves[seen].mean()),
        "AUC": float(100 * areas[seen].mean()),
    }


def pck_errors(table: PoseTable, predictions: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """(N, K) errors in the sizes that a custom dataset's ``pck`` declares, and which count."""
    rows = table.take(predictions.index)
    sizes, known = person_sizes(rows)
    distance = np.linalg.norm(
        predictions.keypoints.astype(np.float64) - rows.keypoints.astype(np.float64), axis=-1
    )
    counted = (rows.visibility > 0) & known[:, None]
    return distance / np.where(known, sizes, 1.0)[:, None], counted


def person_sizes(table: PoseTable) -> tuple[np.ndarray, np.ndarray]:
    """What PCK is normalised by: (N,) pixels, and whether it is known for each person."""
    pck = table.declared.pck
    assert pck is not None
    if pck.by == "bbox":
        return box_sizes(_annotated_boxes(table))
    ends = list(pck.by)
    both = (table.visibility[:, ends] > 0).all(axis=1)
    points = table.keypoints[:, ends].astype(np.float64)
    sizes = np.linalg.norm(points[:, 0] - points[:, 1], axis=-1)
    return sizes, both & (sizes > 0)


def box_sizes(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N,) longer sides of x, y, w, h in pixels, and whether there is one to normalise by."""
    sizes = boxes[:, 2:].max(axis=1).astype(np.float64)
    return sizes, sizes > 0


def _annotated_boxes(table: PoseTable) -> np.ndarray:
    """(N, 4) not clipped, lines and points grown, of a table with ground-truth boxes."""
    if table.truth is None:  # MPII's format, whose boxes are of centre and scale
        return table.bboxes
    order = np.argsort(table.truth.ids, kind="stable")
    return table.truth.boxes[order[np.searchsorted(table.truth.ids[order], table.person_ids)]]


def score_pckh(table: PoseTable, predictions: Predictions) -> dict[str, float]:
    """PCKh of MPII-format people against the evaluators' ground truth, in percent."""
    heads = require_truth(table).take(predictions.index).heads
    assert heads is not None
    points = predictions.keypoints + 1  # the ground truth is 1-based
    return pckh(points, heads.keypoints, heads.head_boxes, heads.missing)


def pckh_intervals(
    table: PoseTable, predictions: Predictions, seed: int
) -> dict[str, dict[str, Any]]:
    """95% bootstrap intervals over images of one run's PCKh, in percent.

    Of what is a ratio of sums: Mean and Mean@0.1. Empty for people without head boxes.

    Args:
        table: the people that were predicted.
        predictions: of them.
        seed: of the resampling.
    """
    if table.heads is None:
        return {}
    rows = table.take(predictions.index)
    heads = rows.heads
    assert heads is not None
    errors = head_errors(predictions.keypoints + 1, heads.keypoints, heads.head_boxes)
    counted = ~heads.missing
    images, group = np.unique(rows.image_index, return_inverse=True)

    def per_image(values: np.ndarray) -> np.ndarray:
        return np.bincount(group, values[:, list(IN_MEAN)].sum(1), minlength=len(images))

    found = {}
    for name, threshold in (("Mean", 0.5), ("Mean@0.1", 0.1)):
        hits = per_image((errors <= threshold) & counted)
        generator = np.random.default_rng((seed, _RESAMPLE))
        interval = bootstrap_ratio(hits, per_image(counted), generator)
        if interval.low is None or interval.high is None:  # a single image has no spread
            continue
        found[name] = {
            "low": 100 * interval.low,
            "high": 100 * interval.high,
            "method": interval.method,
            "n": len(images),
        }
    return found


def results_of(
    table: PoseTable, predictions: Predictions, *, nms_threshold: float = 0.9
) -> list[dict[str, Any]]:
    """Predictions as entries of a COCO result file: rescored, and thinned by OKS per image.

    Args:
        table: the predicted people, row by row.
        predictions: of them.
        nms_threshold: OKS above which the lower score is dropped.
    """
    areas = table.sizes[:, 0].astype(np.float64) * table.sizes[:, 1]
    return coco_results(
        predictions.keypoints,
        predictions.scores,
        box_scores=table.box_scores,
        image_ids=table.image_ids[table.image_index],
        areas=areas,
        sigmas=table.declared.sigmas,
        nms_threshold=nms_threshold,
        category_id=table.category_id,
    )


def as_crowdpose(table: PoseTable, predictions: Predictions) -> tuple[PoseTable, Predictions]:
    """MPII's people and predictions reduced to CrowdPose's joints, scored as a custom dataset."""
    mapping = list(MPII_TO_CROWDPOSE)
    declared = dataclasses.replace(table.declared, layout=CROWDPOSE, protocol="oks")
    return (
        dataclasses.replace(table, declared=declared, heads=None),
        Predictions(
            predictions.index, predictions.keypoints[:, mapping], predictions.scores[:, mapping]
        ),
    )


def box_pck(table: PoseTable, predictions: Predictions) -> float:
    """Percent of labelled joints within 0.05 x the crop's longer side.

    For choosing on training people, whose head boxes nobody has: a checkpoint, or which layers stay
    in float32. Never reported as a result.
    """
    require_everybody(table, predictions, "PCK")
    rows = table.take(predictions.index)
    distance = np.linalg.norm(predictions.keypoints - rows.keypoints, axis=-1)
    hit = distance <= 0.05 * rows.sizes.max(axis=1)[:, None]
    return float(100 * hit[rows.visibility > 0].mean())


def mean_pose(train: PoseTable, val: PoseTable) -> Predictions:
    """What predicting everybody's average pose inside the box would give: a floor for any network.

    Joints are averaged over ``train`` in units of the crop, and put into the crops of ``val``.
    """
    seen = (train.visibility > 0)[..., None]
    unit = (train.keypoints - train.centers[:, None]) / train.sizes[:, None]
    mean = (unit * seen).sum(0) / np.maximum(seen.sum(0), 1)
    keypoints = mean[None] * val.sizes[:, None] + val.centers[:, None]
    scores = np.ones((len(val), len(val.layout)), np.float32)
    return Predictions(np.arange(len(val)), keypoints.astype(np.float32), scores)
