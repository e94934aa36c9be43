"""PCKh, OKS and suppression, timed: ``nox -s bench -- bench/test_metrics.py``."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hevitpose.data.keypoints import COCO
from hevitpose.metrics.oks import coco_results, evaluate_keypoints, oks_nms, pairwise_oks
from hevitpose.metrics.pckh import pckh

MPII_VAL = 2958  # people


@pytest.mark.benchmark(group="pckh")
def test_pckh(benchmark):
    rng = np.random.default_rng(0)
    truth = rng.uniform(0, 1000, (MPII_VAL, 16, 2))
    found, sizes = truth + rng.normal(0, 20, truth.shape), rng.uniform(40, 120, MPII_VAL)
    benchmark.extra_info.update(people=MPII_VAL)
    assert 0 < benchmark(pckh, found, truth, sizes, rng.random((MPII_VAL, 16)) < 0.1)["Mean"] < 100


def people(count: int):
    rng = np.random.default_rng(0)
    keypoints = rng.uniform(0, 300, (count, 17, 3)) / [1, 1, 300]
    return keypoints, rng.random(count), rng.uniform(5e3, 5e4, count)


@pytest.mark.benchmark(group="oks")
@pytest.mark.parametrize("count", [10, 100])
def test_pairwise_oks(benchmark, count):
    keypoints, _, areas = people(count)
    benchmark.extra_info.update(people=count)
    benchmark(pairwise_oks, keypoints, areas, COCO.sigmas)


@pytest.mark.benchmark(group="oks")
@pytest.mark.parametrize("soft", [False, True])
def test_oks_nms(benchmark, soft):
    keypoints, scores, areas = people(100)
    benchmark.extra_info.update(people=100, soft=soft)
    benchmark(oks_nms, keypoints, scores, areas, 0.9, COCO.sigmas, soft)


@pytest.mark.benchmark(group="results")
def test_coco_results(benchmark):
    keypoints, scores, areas = people(5000)
    images = np.sort(np.random.default_rng(1).integers(0, 1000, 5000))
    benchmark.extra_info.update(people=5000, images=1000)
    benchmark(
        coco_results,
        keypoints[..., :2],
        keypoints[..., 2],
        box_scores=scores,
        image_ids=images,
        areas=areas,
        sigmas=COCO.sigmas,
    )


@pytest.mark.benchmark(group="ap")
def test_evaluate_keypoints(benchmark):
    keypoints, scores, areas = people(500)
    images = [{"id": image} for image in range(100)]
    annotations: list[dict[str, Any]] = []
    results = []
    for row, points in enumerate(keypoints):
        labelled = np.where(np.arange(3) == 2, 2, points).ravel().tolist()
        common = {"image_id": row % 100, "category_id": 1}
        annotations.append(
            common | {"id": row + 1, "keypoints": labelled, "bbox": [0, 0, 300, 300]}
            | {"area": areas[row]}
        )  # fmt: skip
        results.append(common | {"keypoints": points.ravel().tolist(), "score": scores[row]})
    categories = [{"id": 1, "name": "person"}]
    truth = {"images": images, "categories": categories, "annotations": annotations}
    benchmark.extra_info.update(people=500, images=100)
    assert benchmark.pedantic(evaluate_keypoints, (results, truth), rounds=3)["AP"] == 1
