"""PCKh against the published predictions, and against a loop over plain numbers."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from hevitpose.errors import DataError, UsageError
from hevitpose.metrics.pckh import JOINTS, load_ground_truth, pckh

KEYS = ["Head", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle", "Mean", "Mean@0.1"]


def test_published_predictions(samples):
    truth = load_ground_truth(samples / "mpii/annotations/mpii_gt_val.mat")
    assert len(truth) == 2958
    expected = json.loads((samples / "mpii/predictions/expected_pckh.json").read_text())
    assert len(expected) == 2
    for name, numbers in expected.items():
        predictions = np.load(samples / "mpii/predictions" / name)
        metrics = pckh(predictions, truth.keypoints, truth.head_boxes, truth.missing)
        assert list(metrics) == list(numbers) == KEYS
        for key, value in numbers.items():
            assert metrics[key] == pytest.approx(value, abs=1e-3), (name, key)
        # Predictions kept 0-based by mistake lose visibly.
        off = pckh(predictions - 1, truth.keypoints, truth.head_boxes, truth.missing)
        assert abs(off["Mean@0.1"] - numbers["Mean@0.1"]) > 0.1


def by_loops(predictions, truth, boxes, missing):
    """The definition, joint by joint."""

    def share(joints, threshold):
        right = counted = 0
        for person in range(len(truth)):
            (x1, y1), (x2, y2) = boxes[person]
            size = 0.6 * math.hypot(x2 - x1, y2 - y1)
            for joint in joints:
                if not missing[person][joint]:
                    error = math.dist(predictions[person][joint], truth[person][joint])
                    counted += 1
                    right += error / size <= threshold
        return 100 * right / counted

    pairs = {"Shoulder": (12, 13), "Elbow": (11, 14), "Wrist": (10, 15), "Hip": (2, 3)}
    pairs |= {"Knee": (1, 4), "Ankle": (0, 5)}
    counted = [joint for joint in range(16) if joint not in (6, 7)]
    result = {"Head": share([9], 0.5)}
    result |= {k: (share([a], 0.5) + share([b], 0.5)) / 2 for k, (a, b) in pairs.items()}
    return result | {"Mean": share(counted, 0.5), "Mean@0.1": share(counted, 0.1)}


@settings(derandomize=True, deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000))
def test_equals_loops(seed):
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0, 600, (20, 16, 2))
    corner = rng.uniform(0, 500, (20, 1, 2))
    boxes = np.concatenate((corner, corner + rng.uniform(10, 90, (20, 1, 2))), 1)
    missing = rng.random((20, 16)) < 0.3
    missing[0] = False
    predictions = truth + rng.normal(0, 15, truth.shape)
    metrics = pckh(predictions, truth, boxes, missing)
    expected = by_loops(predictions, truth, boxes, missing)
    assert metrics == pytest.approx(expected, abs=1e-9) and list(metrics) == KEYS
    sizes = np.linalg.norm(boxes[:, 1] - boxes[:, 0], axis=1)
    assert pckh(predictions, truth, sizes, missing) == metrics


def test_the_thresholds_are_inclusive_and_exact():
    """Head box 3-4-5: size 5 * 0.6 = 3, so 1.5 px at 0.5 and 0.3 px at 0.1; 0.33 is not 0.1."""
    truth = np.zeros((1, 16, 2))
    boxes = np.array([[[0.0, 0.0], [3.0, 4.0]]])
    errors = np.full(16, 0.32)  # within 0.11, not within 0.1
    errors[[9, 12, 11]] = [1.5, 1.6, 0.29]
    metrics = pckh(truth + errors[None, :, None] * [1, 0], truth, boxes, np.zeros((1, 16)))
    assert metrics["Head"] == 100 and metrics["Shoulder"] == 50
    assert metrics["Mean"] == pytest.approx(100 * 13 / 14)
    assert metrics["Mean@0.1"] == pytest.approx(100 * 1 / 14)


def test_a_joint_that_nobody_has():
    truth, missing = np.zeros((2, 16, 2)), np.zeros((2, 16))
    missing[:, [9, 12]] = 1  # no head top, no right shoulder
    metrics = pckh(truth, truth, np.array([1.0, 1.0]), missing)
    assert math.isnan(metrics["Head"]) and metrics["Shoulder"] == metrics["Mean"] == 100


def test_bad_requests():
    truth, sizes, missing = np.zeros((2, 16, 2)), np.ones(2), np.zeros((2, 16))
    with pytest.raises(UsageError, match=r"\(3, 16, 2\).*expected"):
        pckh(np.zeros((3, 16, 2)), truth, sizes, missing)
    with pytest.raises(UsageError, match=r"head boxes \(2, 4\)"):
        pckh(truth, truth, np.ones((2, 4)), missing)
    broken = truth.copy()
    broken[1, 5, 0] = np.nan
    with pytest.raises(DataError, match="person 1, joint 5 is not a finite number"):
        pckh(broken, truth, sizes, missing)


def mat(people=3, **changes):
    names = np.empty((1, 16), object)
    for column, name in enumerate(JOINTS):
        names[0, column] = np.array([name])
    boxes = np.zeros((2, 2, people))
    boxes[1] = 30
    content = {
        "jnt_missing": np.zeros((16, people), np.uint8),
        "pos_gt_src": np.arange(16 * 2 * people, dtype=float).reshape(16, 2, people),
        "headboxes_src": boxes,
        "dataset_joints": names,
    }
    return content | changes


def test_ground_truth_axes(tmp_path):
    path = tmp_path / "gt.mat"
    content = mat()
    content["headboxes_src"][:] = np.arange(12).reshape(2, 2, 3) ** 2
    savemat(path, content)
    truth = load_ground_truth(path)
    assert truth.keypoints.shape == (3, 16, 2) and truth.missing.dtype == bool
    assert truth.keypoints[2, 5, 1] == content["pos_gt_src"][5, 1, 2]
    assert truth.head_boxes[2, 1, 0] == content["headboxes_src"][1, 0, 2]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"pos_gt_src": np.zeros((16, 2, 4))}, r"pos_gt_src is \(16, 2, 4\).*\(16, 2, 3\)"),
        ({"jnt_missing": np.zeros((17, 3))}, r"jnt_missing is \(17, 3\)"),
        ({"headboxes_src": np.zeros((2, 2, 3))}, "headboxes_src of person 0 has no diagonal"),
        ({"pos_gt_src": np.full((16, 2, 3), np.nan)}, "not finite"),
        ({"dataset_joints": np.array([["nose"]], object)}, "dataset_joints"),
        ({"dataset_joints": np.zeros((1, 16))}, "dataset_joints"),
        ({"pos_gt_src": "text"}, "pos_gt_src"),
        ({"jnt_missing": None}, "no 'jnt_missing'"),
    ],
)
def test_other_mat_files(tmp_path, changes, says):
    path = tmp_path / "gt.mat"
    savemat(path, {k: v for k, v in mat(**changes).items() if v is not None})
    with pytest.raises(DataError, match=says):
        load_ground_truth(path)


def test_damaged_files(tmp_path):
    """Absent, empty, foreign, and truncated at every length: an error of ours, every time."""
    whole = tmp_path / "gt.mat"
    savemat(whole, mat(), do_compression=True)
    content = whole.read_bytes()
    with pytest.raises(DataError, match=r"absent\.mat"):
        load_ground_truth(tmp_path / "absent.mat")
    rng = np.random.default_rng(0)
    cut = tmp_path / "cut.mat"
    damaged = [content[:length] for length in range(0, len(content) - 8, 37)]
    damaged += [b'{"images": []}', rng.bytes(5000), b"\x93NUMPY" + bytes(200)]
    for data in damaged:
        cut.write_bytes(data)
        with pytest.raises(DataError, match=r"cut.mat: .*expected|not a MATLAB 5 file"):
            load_ground_truth(cut)
    for _ in range(150):  # a flipped byte may be harmless, but never a stray exception
        at = int(rng.integers(len(content)))
        cut.write_bytes(content[:at] + rng.bytes(1) + content[at + 1 :])
        try:
            load_ground_truth(cut)
        except DataError:
            pass
