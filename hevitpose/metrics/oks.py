"""Object keypoint similarity: scoring, suppression, and AP by pycocotools.

OKS is COCO's (cocodataset.org, keypoint evaluation): the mean over keypoints of
``exp(-d^2 / (2 area (2 sigma)^2))``. The suppression is that of MMPose's top-down code
(``oks_nms``, ``soft_oks_nms`` of MMPose 0.29). Arrays in, arrays out; :func:`oks_nms` also takes
tensors.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from hevitpose.errors import UsageError
from hevitpose.metrics import coco_api

#: The ten numbers of COCO's keypoint evaluation, in pycocotools' order.
COCO_METRICS = ("AP", "AP50", "AP75", "APM", "APL", "AR", "AR50", "AR75", "ARM", "ARL")
#: Keypoints below this score have no part in a person's score.
SCORE_THRESHOLD = 0.2

_SPACING = np.spacing(1)  # pycocotools adds it to areas


def keypoint_similarity(
    offset_K2: np.ndarray, areas: np.ndarray, sigmas: Sequence[float] | np.ndarray
) -> np.ndarray:
    """``exp(-d^2 / (2 area (2 sigma)^2))`` of every keypoint, to the bit as pycocotools has it.

    Args:
        offset_K2: (..., K, 2) from the prediction to the truth, pixels.
        areas: (...) square pixels.
        sigmas: K constants.

    Returns:
        (..., K) in 0..1, float64.
    """
    x, y = np.moveaxis(offset_K2.astype(np.float64, copy=False), -1, 0)
    exponent = np.asarray(x**2 + y**2)  # divided in place, in pycocotools' order
    exponent /= -((2 * np.asarray(sigmas, np.float64)) ** 2)
    exponent /= areas[..., None] + _SPACING
    exponent /= 2
    return np.exp(exponent, out=exponent)


def oks(
    predictions_K2: np.ndarray,
    truth_K2: np.ndarray,
    visible_K: np.ndarray,
    areas: np.ndarray,
    sigmas: Sequence[float] | np.ndarray,
    boxes_4: np.ndarray | None = None,
) -> np.ndarray:
    """OKS of predictions with annotated people, as pycocotools computes it.

    Leading dimensions broadcast: P predictions with P people give (P,), and
    ``predictions[:, None]`` with all people gives (N, M).

    Args:
        predictions_K2: (..., K, 2) image pixels.
        truth_K2: (..., K, 2) image pixels.
        visible_K: (..., K) of the annotated people, labelled where > 0; only those count.
        areas: (...) of the annotated people, square pixels.
        sigmas: K constants.
        boxes_4: (..., 4) x, y, w, h; needed where a person has no labelled keypoint: the distances
            are then to the box grown by its own size on every side.

    Returns:
        (...) in 0..1.

    Raises:
        UsageError: a person without labelled keypoints and no boxes.
    """
    points = _array(predictions_K2)
    offset = (points - _array(truth_K2)).astype(np.float64, copy=False)
    labelled: np.ndarray = np.broadcast_to(_array(visible_K) > 0, offset.shape[:-1])
    blank = np.asarray(~labelled.any(-1))
    if blank.any():
        if boxes_4 is None:
            raise UsageError("oks: a person has no labelled keypoint, expected boxes_4 too")
        box = np.broadcast_to(_array(boxes_4), (*blank.shape, 4))[blank][:, None]
        low, high = box[..., :2] - box[..., 2:], box[..., :2] + 2 * box[..., 2:]
        inside = np.broadcast_to(points, offset.shape)[blank]
        offset[blank] = np.maximum(0, low - inside) + np.maximum(0, inside - high)
        labelled = labelled | blank[..., None]
    similarity = keypoint_similarity(offset, _array(areas), sigmas)
    return (similarity * labelled).sum(-1) / labelled.sum(-1)


def pairwise_oks(
    keypoints_NK3: np.ndarray, areas_N: np.ndarray, sigmas: Sequence[float] | np.ndarray
) -> np.ndarray:
    """OKS between predictions: all keypoints count, and the area is the mean of the two.

    Args:
        keypoints_NK3: (..., N, K, 2 or 3) image pixels; a third column is not looked at.
        areas_N: (..., N) square pixels.
        sigmas: K constants.

    Returns:
        (..., N, N) in 0..1, symmetric.
    """
    points, area = _array(keypoints_NK3)[..., :2], _array(areas_N)
    offset = points[..., :, None, :, :] - points[..., None, :, :, :]
    mean_area = (area[..., :, None] + area[..., None, :]) / 2
    return keypoint_similarity(offset, mean_area, sigmas).mean(-1)


def oks_nms(
    keypoints_NK3: Any,
    scores: Any,
    areas: Any,
    threshold: float,
    sigmas: Sequence[float],
    soft: bool = False,
    max_people: int = 20,
) -> Any:
    """Thin out predictions of one image that are the same person.

    Hard: by descending score, whoever has an OKS above the threshold with a kept person is
    dropped. Soft: everybody stays, but each kept person multiplies the others' scores by
    ``exp(-OKS^2 / threshold)``, which decides who comes next; at most ``max_people`` are kept.

    Args:
        keypoints_NK3: (N, K, 2 or 3) image pixels; keypoint scores are ignored.
        scores: (N,) people's scores.
        areas: (N,) square pixels: width x height of the padded, aspect-extended box.
        threshold: OKS, 0.9 by convention.
        sigmas: K constants.
        soft: the soft form.
        max_people: limit of the soft form.

    Returns:
        Kept indices by descending score (of equal ones the first first), int64; a tensor where
        the keypoints are one.
    """
    score = _array(scores).astype(np.float64)
    similarity = pairwise_oks(keypoints_NK3, areas, sigmas)
    order = np.argsort(-score, kind="stable")
    kept: list[int] = []
    if soft:
        while len(order) and len(kept) < max_people:
            best, order = order[0], order[1:]
            kept.append(int(best))
            score[order] *= np.exp(-(similarity[best, order] ** 2) / threshold)
            order = order[np.argsort(-score[order], kind="stable")]
    else:
        while len(order):
            best, order = order[0], order[1:]
            kept.append(int(best))
            order = order[similarity[best, order] <= threshold]
    if hasattr(keypoints_NK3, "new_tensor"):
        return keypoints_NK3.new_tensor(kept).long()
    return np.array(kept, np.int64)


def rescore(box_scores_N: np.ndarray, keypoint_scores_NK: np.ndarray) -> np.ndarray:
    """A person's score: the box's, times the mean of the keypoint scores above 0.2.

    Returns:
        (N,) float64; 0 where no keypoint is above it.
    """
    scores = _array(keypoint_scores_NK).astype(np.float64)
    above = scores > SCORE_THRESHOLD
    mean = (scores * above).sum(1) / np.maximum(above.sum(1), 1)
    return _array(box_scores_N) * mean


def coco_results(
    keypoints_NK2: np.ndarray,
    keypoint_scores_NK: np.ndarray,
    *,
    box_scores: np.ndarray,
    image_ids: np.ndarray,
    areas: np.ndarray,
    sigmas: Sequence[float],
    nms_threshold: float | None = 0.9,
    rescoring: bool = True,
    soft_nms: bool = False,
    category_id: int = 1,
) -> list[dict[str, Any]]:
    """Predictions as entries of a COCO result file.

    Args:
        keypoints_NK2: image pixels, 0-based.
        keypoint_scores_NK: the heatmaps' maxima.
        box_scores: (N,) 1 for ground-truth boxes.
        image_ids: (N,) integers.
        areas: (N,) width x height of the padded, aspect-extended boxes, square pixels.
        sigmas: K constants.
        nms_threshold: OKS above which the lower score is dropped; None keeps everybody.
        rescoring: multiply box scores by the mean keypoint score (see :func:`rescore`); else the
            box scores stand.
        soft_nms: the soft form of :func:`oks_nms`.
        category_id: of every entry.

    Returns:
        ``{image_id, category_id, keypoints: [x, y, score] * K, score}``. With suppression: image
        after image, by descending score; without: in the order given.
    """
    points = np.concatenate(
        (_array(keypoints_NK2)[..., :2], _array(keypoint_scores_NK)[..., None]), -1
    ).astype(np.float64)
    scores = _array(box_scores).astype(np.float64)
    if rescoring:
        scores = rescore(scores, keypoint_scores_NK)
    images, area = _array(image_ids), _array(areas)
    order = np.arange(len(points))
    if nms_threshold is not None and len(points):
        by_image = np.argsort(images, kind="stable")
        starts = np.flatnonzero(np.diff(images[by_image])) + 1
        order = np.concatenate(
            [
                rows[
                    oks_nms(points[rows], scores[rows], area[rows], nms_threshold, sigmas, soft_nms)
                ]
                for rows in np.split(by_image, starts)
            ]
        )
    return [
        {
            "image_id": int(images[row]),
            "category_id": category_id,
            "keypoints": points[row].ravel().tolist(),
            "score": float(scores[row]),
        }
        for row in order
    ]


def evaluate_keypoints(
    results: Sequence[dict[str, Any]],
    ground_truth: dict[str, Any],
    sigmas: Sequence[float] | None = None,
    image_ids: Collection[int] | None = None,
    max_detections: int = coco_api.MAX_DETECTIONS,
) -> dict[str, float]:
    """COCO's keypoint AP and AR, by pycocotools.

    Args:
        results: entries of :func:`coco_results`, or of a file as
            :func:`hevitpose.data.readers.results.read_results` checks it; none at all scores 0.
        ground_truth: content of an annotation file, as
            :func:`hevitpose.data.truth.coco_truth` makes it; left as it is.
        sigmas: K constants; None means COCO's 17.
        image_ids: evaluate these images only; None means all.
        max_detections: people of an image that count, by descending score; COCO's are 20.

    Returns:
        AP, AP50, AP75, APM, APL, AR, AR50, AR75, ARM, ARL in 0..1. As pycocotools has it, -1
        means that the ground truth has nobody of that size.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth, entries = coco_api.limited(ground_truth, results, image_ids)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        people = coco_api.indexed(COCO, truth)
        evaluator = COCOeval(people, coco_api.with_results(COCO, people, entries), "keypoints")
        if sigmas is not None:
            evaluator.params.kpt_oks_sigmas = np.array(sigmas, np.float64)
        stats = coco_api.stats(evaluator, max_detections)
    return dict(zip(COCO_METRICS, stats, strict=True))


def _array(values: Any) -> np.ndarray:
    """Arrays and lists as they are; tensors through the CPU."""
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
