"""An evaluation by joint and by group of people."""

from __future__ import annotations

import dataclasses

import msgspec
import numpy as np
import pytest

from hevitpose.data import load
from hevitpose.data.keypoints import MPII
from hevitpose.evaluation.diagnosis.breakdown import breakdown
from hevitpose.evaluation.diagnosis.diagnose import diagnose_results
from hevitpose.evaluation.score import Predictions, results_of, score, score_pckh
from hevitpose.metrics.curves import THRESHOLDS, pck_auc, pck_curves
from hevitpose.metrics.oks import oks
from hevitpose.records.schema import Breakdown
from tests.evaluation.diagnosis.scenes import person, table_of, truth_of


def guesses(table, spread=0.03, seed=0):
    """The truth, moved by a share of the crop; scores at random."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, spread, table.keypoints.shape) * table.sizes[:, None]
    points = (table.keypoints + noise).astype(np.float32)
    return Predictions(np.arange(len(table)), points, rng.random(points.shape[:2]))


def test_curves_against_counting():
    rng = np.random.default_rng(0)
    errors, counted = rng.exponential(0.3, (200, 3)), rng.random((200, 3)) < 0.8
    errors[::17], counted[:, 2] = np.inf, False
    curves, areas = pck_curves(errors, counted), pck_auc(errors, counted)
    for joint in range(2):
        seen = errors[counted[:, joint], joint]
        by_hand = [(seen <= threshold).mean() for threshold in THRESHOLDS]
        np.testing.assert_allclose(curves[joint], by_hand)
        fine = (seen[:, None] <= np.linspace(0, 0.5, 20001)).mean(0)
        assert areas[joint] == pytest.approx(fine.mean(), abs=1e-4)
    assert np.isnan(curves[2]).all() and np.isnan(areas[2])


@pytest.mark.parametrize("dataset", ["coco", "crowdpose", "ochuman"])
def test_groups_are_the_evaluators_own(dataset, samples):
    if dataset == "crowdpose":
        pytest.importorskip("xtcocotools.cocoeval", reason="xtcocotools is not installed")
    split = "val" if dataset == "coco" else "test"
    table = load(dataset, samples, split, input_size=(256, 256), scored=True, present_only=True)
    predictions = guesses(table)
    found = breakdown(table, predictions)
    metrics = score(table, predictions)
    assert msgspec.to_builtins(msgspec.convert(found, Breakdown)) == {"groups": {}, **found}
    names = {"APM": "medium", "APL": "large"}
    for name in names.keys() & metrics.keys():
        ap = found["groups"]["size"][names[name]]["ap"]
        assert (-1 if ap is None else ap) == pytest.approx(metrics[name], abs=1e-5)
    for name, group in found["groups"].get("crowd_index", {}).items():
        assert (-1 if group["ap"] is None else group["ap"]) == pytest.approx(
            metrics[f"AP_{name}"], abs=1e-4
        )
    wanted = diagnose_results(table, results_of(table, predictions)).joint_counts
    for counts, joint in zip(wanted.T.tolist(), found["joints"].values(), strict=True):
        assert list(joint["errors"].values()) == counts
    people = [sum(g["people"] for g in groups.values()) for groups in found["groups"].values()]
    assert set(people) == {len(table)}
    everybody = oks(
        predictions.keypoints,
        table.keypoints,
        table.visibility,
        table.truth.areas[: len(table)],
        table.declared.sigmas,
    )
    mean = sum(g["oks"] * g["people"] for g in found["groups"]["size"].values() if g["people"])
    assert mean / len(table) == pytest.approx(everybody.mean(), abs=1e-5)


def test_missed_people_count_as_nothing(tmp_path):
    rng = np.random.default_rng(0)
    people = [person(i, 1, 100 * i + rng.integers(0, 90, (17, 2)).astype(float)) for i in (1, 2, 3)]
    table = table_of(truth_of(people), tmp_path)
    exact = Predictions(np.arange(3), table.keypoints, np.ones((3, 17), np.float32))
    perfect = breakdown(table, exact)
    assert all(j["oks"] == j["auc"] == 1 and j["n"] == 3 for j in perfect["joints"].values())
    assert perfect["groups"]["visible_joints"]["16-17"] == dict(people=3, oks=1.0, ap=1.0, ar=1.0)
    assert perfect["groups"]["visible_joints"]["1-5"] == dict(people=0, oks=None, ap=None, ar=None)
    two = Predictions(exact.index[:2], exact.keypoints[:2], exact.scores[:2])
    for boxes in ("gt", "detections.json>=0"):  # by the person's own box, or by matching
        missed = breakdown(dataclasses.replace(table, boxes=boxes), two)
        for joint in missed["joints"].values():
            assert (joint["oks"], joint["auc"]) == pytest.approx((2 / 3, 2 / 3), abs=1e-5)


def test_rendered_people(synthetic_root):
    table = load("synthetic", synthetic_root, "val", input_size=(256, 256), scored=True)
    predictions = guesses(table)
    found = breakdown(table, predictions)
    assert tuple(found["joints"]) == MPII.names and found["unit"] == "head size"
    assert found["joints"]["pelvis"]["oks"] is None  # CrowdPose's 14 joints have no pelvis
    assert 0 < found["joints"]["left_wrist"]["oks"] < 1
    metrics = score_pckh(table, predictions)
    half = {name: 100 * joint["pck"][-1] for name, joint in found["joints"].items()}
    assert half["head_top"] == pytest.approx(metrics["Head"], abs=1e-3)
    pair = (half["left_knee"] + half["right_knee"]) / 2
    assert pair == pytest.approx(metrics["Knee"], abs=1e-3)
    assert set(found["groups"]) == {"visible_joints", "size"}
    types = found["joints"]["left_wrist"]["errors"]
    assert sum(types.values()) == found["joints"]["left_wrist"]["n"]
    good = {name: 100 * j["errors"]["good"] / j["n"] for name, j in found["joints"].items()}
    # Within half a head, or nearer to somebody else's: good is PCKh@0.5 but for swaps, inversions.
    assert all(good[name] <= half[name] + 1e-9 for name in good)
