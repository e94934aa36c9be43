"""OKS, rescoring and suppression, against loops and by hand."""

from __future__ import annotations

import contextlib
import io
import math

import numpy as np
import pytest
import torch

from hevitpose.data.keypoints import COCO, CROWDPOSE
from hevitpose.errors import UsageError
from hevitpose.metrics.oks import (
    coco_results,
    oks,
    oks_nms,
    pairwise_oks,
    rescore,
)
from tests.metrics import reference_ap as reference

SIGMAS = reference.COCO_SIGMAS


def test_sigmas_are_the_layouts():
    assert tuple(reference.CROWDPOSE_SIGMAS) == CROWDPOSE.sigmas
    assert tuple(SIGMAS) == COCO.sigmas


def crowd(rng, N, spread=3.0, K=17):
    """Clusters of near-duplicates."""
    bodies = rng.uniform(0, 200, (3, K, 2))
    points = bodies[rng.integers(0, 3, N)] + rng.normal(0, spread, (N, K, 2))
    keypoints = np.concatenate((points, rng.random((N, K, 1))), -1)
    return keypoints, rng.random(N), rng.uniform(5e3, 4e4, N)


def test_oks_by_hand():
    # One keypoint 5 px off (3-4-5), sigma 0.1 (variance 0.04), area 1250: exp(-25 / 100).
    value = oks([[3.0, 4.0]], [[0.0, 0.0]], [2], 1250.0, [0.1])
    assert value == pytest.approx(math.exp(-0.25))
    # An unlabelled keypoint has no part, whatever its error.
    value = oks([[3.0, 4.0], [99, 99]], [[0.0, 0.0], [0, 0]], [2, 0], 1250.0, [0.1, 0.1])
    assert value == pytest.approx(math.exp(-0.25))
    # Between predictions the area is the mean of both, and every keypoint counts.
    value = pairwise_oks(
        np.array([[[3.0, 4, 0], [0, 0, 0]], [[0, 0, 1], [0, 0, 1]]]), [2000, 500], [0.1] * 2
    )
    assert value[0, 1] == value[1, 0] == pytest.approx((math.exp(-0.25) + 1) / 2)


def test_oks_equals_pycocotools(tmp_path):
    import pycocotools.coco
    from pycocotools.cocoeval import COCOeval

    rng = np.random.default_rng(0)
    truth = reference.make_ground_truth(rng, 17, images=6)
    truth["annotations"][0]["keypoints"] = [0] * 51  # scored by its box
    people = reference.wild_predictions(rng, truth, 17)
    with contextlib.redirect_stdout(io.StringIO()):
        api = pycocotools.coco.COCO(str(reference.write(tmp_path / "truth.json", truth)))
        evaluator = COCOeval(api, api.loadRes(reference.raw_list(people)), "keypoints")
        evaluator.evaluate()
    compared = 0
    for image in truth["images"]:
        theirs = evaluator.ious[image["id"], 1]
        annotated = [a for a in truth["annotations"] if a["image_id"] == image["id"]]
        found = [p for p in people if p["image_id"] == image["id"]]
        found = sorted(found, key=lambda p: -p["box_score"])[:20]
        if len(theirs):
            points = np.array([a["keypoints"] for a in annotated], float).reshape(-1, 17, 3)
            ours = oks(
                np.array([p["keypoints"] for p in found])[:, None, :, :2],
                points[..., :2],
                points[..., 2],
                np.array([a["area"] for a in annotated]),
                SIGMAS,
                np.array([a["bbox"] for a in annotated]),
            )
            np.testing.assert_allclose(ours, theirs, atol=1e-12)
            compared += ours.size
    assert compared > 20
    with pytest.raises(UsageError, match="boxes_4"):
        oks(np.zeros((1, 17, 2)), np.zeros((1, 17, 2)), np.zeros((1, 17)), [1.0], SIGMAS)


def plainly(points, truth, labelled, area, box, sigmas):
    """OKS of one prediction with one person, keypoint by keypoint."""
    counted = [k for k in range(len(sigmas)) if labelled[k] > 0] or list(range(len(sigmas)))
    total = 0.0
    for k in counted:
        dx, dy = points[k] - truth[k]
        if not (labelled > 0).any():  # to the box, grown by its own size on every side
            low, high = box[:2] - box[2:], box[:2] + 2 * box[2:]
            dx, dy = np.maximum(0, low - points[k]) + np.maximum(0, points[k] - high)
        total += math.exp(-(dx**2 + dy**2) / (2 * area * (2 * sigmas[k]) ** 2))
    return total / len(counted)


def test_oks_equals_loops():
    rng = np.random.default_rng(3)
    truth, areas = rng.uniform(0, 200, (7, 17, 2)), rng.uniform(5e3, 4e4, 7)
    points = truth[rng.integers(0, 7, 9)] + rng.normal(0, 9, (9, 17, 2))
    labelled = rng.integers(0, 3, (7, 17))
    labelled[2] = 0
    boxes = rng.uniform(20, 90, (7, 4))
    expected = [
        [plainly(p, *person, SIGMAS) for person in zip(truth, labelled, areas, boxes, strict=True)]
        for p in points
    ]
    given = (truth, labelled, areas, SIGMAS, boxes)
    everybody = oks(points[:, None], *given)
    np.testing.assert_allclose(everybody, expected, rtol=0, atol=1e-15)
    assert 0.2 < everybody.max() and everybody.min() < 1e-3
    of_pairs = oks(points[:7], *given)  # row by row, to the bit what all with all gives
    np.testing.assert_array_equal(of_pairs, np.diag(everybody))


def test_pairwise_equals_loops():
    keypoints, _, areas = crowd(np.random.default_rng(1), 9)
    people = [{"keypoints": k, "area": a} for k, a in zip(keypoints, areas, strict=True)]
    expected = [[reference.similarity(a, b, SIGMAS) for b in people] for a in people]
    found = pairwise_oks(keypoints, areas, SIGMAS)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    several = pairwise_oks(keypoints.reshape(3, 3, 17, 3), areas.reshape(3, 3), SIGMAS)
    for image in range(3):
        own = slice(3 * image, 3 * image + 3)
        np.testing.assert_array_equal(several[image], found[own, own])


@pytest.mark.parametrize("threshold", [0.3, 0.7, 0.9])
def test_nms_equals_loops(threshold):
    dropped = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        keypoints, scores, areas = crowd(rng, int(rng.integers(0, 25)))
        kept = []
        for i in sorted(range(len(scores)), key=lambda i: -scores[i]):
            one = {"keypoints": keypoints[i], "area": areas[i]}
            others = [{"keypoints": keypoints[j], "area": areas[j]} for j in kept]
            if all(reference.similarity(one, other, SIGMAS) <= threshold for other in others):
                kept.append(i)
        result = oks_nms(keypoints, scores, areas, threshold, SIGMAS)
        assert result.dtype == np.int64 and result.tolist() == kept
        tensors = (torch.from_numpy(a) for a in (keypoints, scores, areas))
        as_tensor = oks_nms(*tensors, threshold, SIGMAS)
        assert isinstance(as_tensor, torch.Tensor) and as_tensor.tolist() == kept
        dropped += len(scores) - len(kept)
    assert dropped > 20


def test_nms_by_hand():
    """Dropped only by a kept person: B falls to A, so C, close to B alone, stays."""
    x = np.array([0.0, 7.0, 14.0])  # A, B, C
    keypoints = np.stack((x, np.zeros(3), np.ones(3)), -1)[:, None]
    areas = np.full(3, 1250.0)  # one keypoint, sigma 0.1: OKS exp(-49/100) = .61, exp(-196/100)
    assert oks_nms(keypoints, np.array([0.9, 0.8, 0.7]), areas, 0.5, [0.1]).tolist() == [0, 2]
    assert oks_nms(keypoints, np.array([0.7, 0.9, 0.8]), areas, 0.5, [0.1]).tolist() == [1]
    same = np.zeros((2, 1, 3))
    assert oks_nms(same, np.array([0.5, 0.5]), areas[:2], 1.0, [0.1]).tolist() == [
        0,
        1,
    ]  # not above
    assert oks_nms(same, np.array([0.5, 0.5]), areas[:2], 0.99, [0.1]).tolist() == [0]
    assert oks_nms(same[:0], np.zeros(0), areas[:0], 0.9, [0.1]).tolist() == []


def test_soft_nms_by_hand():
    """A's twin B sinks below C but stays; C, far away, keeps its score."""
    keypoints = np.zeros((3, 1, 3))
    keypoints[2, 0, 0] = 1000
    areas, scores = np.full(3, 1250.0), np.array([0.9, 0.8, 0.5])
    assert oks_nms(keypoints, scores, areas, 0.9, [0.1], soft=True).tolist() == [0, 2, 1]
    assert oks_nms(keypoints, scores, areas, 0.9, [0.1], soft=True, max_people=2).tolist() == [0, 2]
    assert scores.tolist() == [0.9, 0.8, 0.5]  # the caller's scores are the caller's


def test_rescore_by_hand():
    scores = np.array([[0.2, 0.21, 0.9], [0.1, 0.1, 0.1]])
    assert rescore(np.array([0.5, 1.0]), scores).tolist() == [pytest.approx(0.5 * 0.555), 0]


def test_results_keep_the_order_without_suppression():
    keypoints, scores, areas = crowd(np.random.default_rng(2), 6)
    images = np.array([5, 3, 5, 3, 9, 5])
    common = {"box_scores": scores, "image_ids": images, "areas": areas, "sigmas": SIGMAS}
    xy, joint_scores = keypoints[..., :2].astype(np.float32), keypoints[..., 2]
    plain = coco_results(xy, joint_scores, **common, nms_threshold=None, rescoring=False)
    assert [r["image_id"] for r in plain] == images.tolist()
    assert [r["score"] for r in plain] == scores.tolist()
    assert set(plain[0]) == {"image_id", "category_id", "keypoints", "score"}
    assert len(plain[0]["keypoints"]) == 51 and type(plain[0]["keypoints"][0]) is float
    assert plain[1]["keypoints"][3:6] == [xy[1, 1, 0], xy[1, 1, 1], joint_scores[1, 1]]
    full = coco_results(xy, joint_scores, **common)
    assert [r["image_id"] for r in full] == sorted(r["image_id"] for r in full)
    empty = {k: v[:0] if k != "sigmas" else v for k, v in common.items()}
    assert coco_results(xy[:0], joint_scores[:0], **empty) == []
