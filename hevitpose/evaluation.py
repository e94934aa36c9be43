"""From a network's heatmaps to a dataset's metrics: the room where data, codec and metrics meet."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hevitpose.codec import Codec, make_codec
from hevitpose.config import Config
from hevitpose.data.keypoints import CROWDPOSE, MPII_TO_CROWDPOSE
from hevitpose.data.loader import normalise
from hevitpose.data.mpii import ground_truth_path
from hevitpose.data.table import PoseTable
from hevitpose.errors import DataError, DivergedError
from hevitpose.metrics.crowdpose import evaluate_crowdpose
from hevitpose.metrics.oks import coco_results, evaluate_keypoints
from hevitpose.metrics.pckh import (
    IN_MEAN,
    MpiiGroundTruth,
    head_errors,
    load_ground_truth,
    pckh,
)
from hevitpose.spec import DATASETS
from hevitpose.statistics import bootstrap_ratio

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

        Raises:
            ValueError: a row came twice.
        """
        index, keypoints, scores = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        order = np.argsort(index, kind="stable")
        if len(index) > 1 and (np.diff(index[order]) == 0).any():
            raise ValueError("an evaluation sample was predicted twice")
        return cls(index[order], keypoints[order], scores[order])


def codec_of(model: nn.Module, config: Config) -> Codec:
    """The codec that a network's head names, with the config's settings."""
    name = getattr(model, "codec", "heatmap")
    options: dict[str, Any] = {"udp": config.codec.udp}
    if name == "heatmap":
        options = {
            "sigma": config.codec.sigma,
            "method": config.codec.encode,
            "decoder": config.codec.decode,
        }
    return make_codec(name, config.data.input_size, **options)


@torch.inference_mode()
def predict_batch(
    model: Callable[[Tensor], Any],
    batch: dict[str, Tensor],
    codec: Codec,
    flip_pairs: Sequence[tuple[int, int]] | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints of a batch of crops, in image pixels.

    Args:
        model: in evaluation mode.
        batch: ``image``, ``center`` and ``size`` of :class:`~hevitpose.data.loader.PoseDataset`.
        codec: decoder and geometry.
        flip_pairs: for the flip test; None for a single pass.

    Returns:
        Keypoints (N, K, 2) float32, 0-based, and scores (N, K).
    """
    images = normalise(batch["image"], torch.channels_last)
    outputs: Any = (
        model(images) if flip_pairs is None else codec.flip_test(model, images, flip_pairs)
    )
    outputs = tuple(o.float() for o in outputs) if isinstance(outputs, tuple) else outputs.float()
    xy, scores = codec.decode(outputs)
    if not bool(torch.isfinite(scores).all()):
        bad = int((~torch.isfinite(scores)).any(-1).sum())
        raise DivergedError(f"outputs are not finite for {bad} of {len(scores)} people of a batch")
    keypoints = codec.to_image(xy.double(), batch["center"].double(), batch["size"].double())
    return keypoints.float().cpu().numpy(), scores.cpu().numpy()


def score(
    table: PoseTable, predictions: Predictions, *, nms_threshold: float = 0.9
) -> dict[str, float]:
    """The metrics that belong to a table's dataset.

    MPII: PCKh in percent. COCO, OCHuman, CrowdPose and custom datasets: AP and AR in 0..1.
    Synthetic people: PCKh, and the AP of the same predictions over the 14 CrowdPose joints, which
    MPII's 16 contain, with CrowdPose's sigmas and areas (of boxes, as its annotations have none).

    Raises:
        DataError: the split's ground truth is missing, or has none.
    """
    rows = table.take(predictions.index)
    if table.dataset == "mpii":
        return score_pckh(rows, predictions)
    if table.dataset == "synthetic":
        return score_pckh(rows, predictions) | _synthetic_ap(rows, predictions, nms_threshold)
    truth, images = table.annotation_file, table.image_ids.tolist()
    if table.dataset == "crowdpose":
        results = results_of(rows, predictions, nms_threshold=nms_threshold)
        return evaluate_crowdpose(results, truth, image_ids=images)
    return evaluate_keypoints(
        results_of(rows, predictions, nms_threshold=nms_threshold, category_id=_category_of(table)),
        truth,
        sigmas=table.layout.sigmas,
        use_area=table.dataset in DATASETS or bool(table.areas.any()),  # custom: may have none
        image_ids=images,
    )


def score_pckh(table: PoseTable, predictions: Predictions) -> dict[str, float]:
    """PCKh of MPII-format people against the split's ``.mat`` ground truth, in percent.

    Raises:
        DataError: there is no ground truth for this split, or it lists other people.
    """
    truth = _mpii_truth(table)  # 1-based
    return pckh(predictions.keypoints + 1, truth.keypoints, truth.head_boxes, truth.missing)


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
    if table.dataset not in ("mpii", "synthetic"):
        return {}
    rows = table.take(predictions.index)
    truth = _mpii_truth(rows)
    errors = head_errors(predictions.keypoints + 1, truth.keypoints, truth.head_boxes)
    counted = ~truth.missing
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


def _mpii_truth(table: PoseTable) -> MpiiGroundTruth:
    """The rows of the split's ``.mat`` that a table's people are.

    Raises:
        DataError: there is no ground truth for this split, or it lists other people.
    """
    path = ground_truth_path(table.annotation_file.parent.parent.parent)
    if table.split != "val":
        raise DataError(
            f"{table.annotation_file}: PCKh needs head boxes, which MPII has for val only "
            f"({path}); use data.val_split=val"
        )
    truth = load_ground_truth(path)
    people = table.person_ids
    if people.max() >= len(truth.keypoints):
        raise DataError(
            f"{path}: {len(truth.keypoints)} people, {table.annotation_file} has person "
            f"{people.max()}; expected the same list"
        )
    return MpiiGroundTruth(truth.keypoints[people], truth.missing[people], truth.head_boxes[people])


def results_of(
    table: PoseTable,
    predictions: Predictions,
    *,
    nms_threshold: float = 0.9,
    category_id: int = 1,
) -> list[dict[str, Any]]:
    """Predictions as entries of a COCO result file: rescored, and thinned by OKS per image."""
    areas = table.sizes[:, 0].astype(np.float64) * table.sizes[:, 1]
    return coco_results(
        predictions.keypoints,
        predictions.scores,
        box_scores=table.box_scores,
        image_ids=table.image_ids[table.image_index],
        areas=areas,
        sigmas=table.layout.sigmas,
        nms_threshold=nms_threshold,
        category_id=category_id,
    )


def _category_of(table: PoseTable) -> int:
    """The category that a table's people have; in a custom file it may be any number."""
    if table.dataset in DATASETS:
        return 1
    data = json.loads(table.annotation_file.read_text(encoding="utf-8"))
    found = {a["category_id"] for a in data["annotations"] if a.get("keypoints")}
    if len(found) > 1:
        raise DataError(
            f"{table.annotation_file}: categories {sorted(found)} have keypoints, expected one"
        )
    return found.pop() if found else 1


def _synthetic_ap(
    table: PoseTable, predictions: Predictions, nms_threshold: float
) -> dict[str, float]:
    root = table.annotation_file.parent.parent.parent
    path = root / "crowdpose" / "annotations" / f"crowdpose_{table.split}.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    by_name = {image["file_name"]: image["id"] for image in data["images"]}
    names = [name.decode() for name in table.image_names]
    image_ids = np.array([by_name[name] for name in names], np.int64)
    mapping = list(MPII_TO_CROWDPOSE)
    mapped = dataclasses.replace(table, layout=CROWDPOSE, image_ids=image_ids)
    results = results_of(
        mapped,
        Predictions(
            predictions.index, predictions.keypoints[:, mapping], predictions.scores[:, mapping]
        ),
        nms_threshold=nms_threshold,
    )
    return evaluate_keypoints(results, data, sigmas=CROWDPOSE.sigmas, use_area=False)


def box_pck(table: PoseTable, predictions: Predictions, threshold: float = 0.05) -> float:
    """Percent of labelled joints within ``threshold`` x the crop's longer side.

    For choosing a checkpoint on held-out training people, whose head boxes nobody has; never
    reported as a result.
    """
    rows = table.take(predictions.index)
    distance = np.linalg.norm(predictions.keypoints - rows.keypoints, axis=-1)
    hit = distance <= threshold * rows.sizes.max(axis=1)[:, None]
    return float(100 * hit[rows.visible > 0].mean())


def mean_pose(train: PoseTable, val: PoseTable) -> Predictions:
    """What predicting everybody's average pose inside the box would give: a floor for any network.

    Joints are averaged over ``train`` in units of the crop, and put into the crops of ``val``.
    """
    seen = (train.visible > 0)[..., None]
    unit = (train.keypoints - train.centers[:, None]) / train.sizes[:, None]
    mean = (unit * seen).sum(0) / np.maximum(seen.sum(0), 1)
    keypoints = mean[None] * val.sizes[:, None] + val.centers[:, None]
    scores = np.ones((len(val), len(val.layout)), np.float32)
    return Predictions(np.arange(len(val)), keypoints.astype(np.float32), scores)
