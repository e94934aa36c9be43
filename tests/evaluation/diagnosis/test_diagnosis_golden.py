"""Equal to coco-analyze, to the letter, on real and on made-up people."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hevitpose import diagnose


@pytest.fixture(scope="module", params=["coco_val", "synthetic"])
def both(request, samples):
    """(golden, ours) of one of the sets."""
    folder = samples.parent / "reference" / "mmpose" / "diagnose"
    if not folder.is_dir():
        pytest.skip(f"no reference outputs at {folder}")
    truth = folder / "synthetic.gt.json"
    if request.param == "coco_val":
        truth = samples / "coco/annotations/coco_val.json"
    golden = json.loads((folder / f"{request.param}.golden.json").read_text())
    found = diagnose("coco", truth, folder / f"{request.param}.predictions.json", reference=True)
    return golden, json.loads(json.dumps(found.to_dict(), allow_nan=False))


def test_counts(both):
    golden, ours = both
    for key in ("detections", "matched", "keypoints", "counts", "per_keypoint"):
        assert ours[key] == golden[key], key


def test_every_joint(both):
    golden, ours = both
    mine = {match["detection"]: match for match in ours["matches"]}
    assert set(mine) == {match["detection"] for match in golden["matches"]}
    for match in golden["matches"]:
        found = mine[match["detection"]]
        for key in ("gt", "ignore", "labels"):
            assert found[key] == match[key], (match["detection"], key)
        assert found["oks"] == pytest.approx(match["oks"], abs=1e-12)
        np.testing.assert_allclose(found["corrected"], match["corrected"], atol=1e-4)


def test_average_precision(both):
    golden, ours = both
    assert ours["coco_stats"] == pytest.approx(golden["coco_stats"], abs=1e-12)
    assert len(ours["progressive"]) == len(golden["progressive"]) == 240
    for found, row in zip(ours["progressive"], golden["progressive"], strict=True):
        assert {k: found[k] for k in ("err", "oks", "area")} == {
            k: row[k] for k in ("err", "oks", "area")
        }
        assert (found["ap"], found["recall"]) == pytest.approx((row["ap"], row["recall"]), abs=1e-9)


def test_scores_and_background(both):
    golden, ours = both
    assert set(ours["opt_score_and_max_oks"]) == set(golden["opt_score_and_max_oks"])
    for number, pair in golden["opt_score_and_max_oks"].items():
        assert ours["opt_score_and_max_oks"][number] == pytest.approx(pair, abs=1e-12)
    for key in (
        *("false_positives", "false_negatives"),
        *("false_positive_ids_all_050", "false_negative_ids_all_050"),
    ):
        assert ours[key] == golden[key], key
