"""PCK, PCKh and AUC of custom datasets, by hand arithmetic; MPII-style sets of one's own."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import yaml
from scipy.io import savemat

from hevitpose.cli import execute
from hevitpose.data import declared, load
from hevitpose.data.registry import Pck
from hevitpose.errors import DataError, HEViTPoseError, UsageError
from hevitpose.evaluation.diagnosis.breakdown import breakdown
from hevitpose.evaluation.prediction_files import evaluate_predictions
from hevitpose.evaluation.score import Predictions, person_sizes, score, score_pck
from tests.data import annotation_files as files

SIZE = (64, 64)
JOINTS = ["a", "b", "c"]


def described(folder, **changed):
    split = {"annotations": "ann.json", "images": "images"}
    said = {"name": "mine", "keypoints": JOINTS, "flip_pairs": [], "sigmas": [0.1, 0.1, 0.1]}
    said |= {"splits": {"train": split, "val": split}, **changed}
    for name in ("a.jpg", "b.jpg"):
        files.image(folder / "images" / name)
    content = {k: v for k, v in said.items() if v is not None}
    return files.write(folder / "data.yaml", yaml.safe_dump(content))


def coco_people(folder):
    """Two people: joints a and b 10 pixels apart; the second has no b. Boxes 20 x 40."""
    people = [
        {"keypoints": [10, 10, 2, 10, 20, 2, 20, 20, 1], "bbox": [5.0, 2.0, 20.0, 40.0]},
        {"keypoints": [40, 10, 2, 0, 0, 0, 50, 20, 2], "bbox": [35.0, 2.0, 20.0, 40.0]},
    ]
    common = {"image_id": 7, "category_id": 1, "iscrowd": 0, "area": 800.0}
    files.write(
        folder / "ann.json",
        {
            "images": [{"id": 7, "file_name": "a.jpg", "width": 64, "height": 48}],
            "annotations": [{"id": 1 + n, **common, **each} for n, each in enumerate(people)],
            "categories": [{"id": 1, "name": "person"}],
        },
    )


def mpii_people(folder):
    """The same in MPII's format, in one-based pixels."""
    people = [
        {"joints": [[11, 11], [11, 21], [21, 21]], "joints_vis": [1, 1, 1]},
        {"joints": [[41, 11], [0, 0], [51, 21]], "joints_vis": [1, 0, 1]},
        {"joints": [[0, 0]] * 3, "joints_vis": [0, 0, 0]},
    ]
    common = {"image": "a.jpg", "center": [30.0, 20.0], "scale": 0.2}
    files.write(folder / "ann.json", [common | each for each in people])


def shifted(table, shifts):
    """Predictions that are off by (N, K) pixels in x."""
    keypoints = table.keypoints.astype(np.float32).copy()
    keypoints[..., 0] += np.array(shifts, np.float32)
    count = len(table)
    return Predictions(np.arange(count), keypoints, np.ones((count, len(JOINTS)), np.float32))


BOX = {"by": "bbox", "threshold": 0.1}  # 4 of 40 pixels


def test_the_rule_of_boxes_is_in_the_id():
    """It changed once: what was recorded before is not taken for what it gives now."""
    assert Pck("PCK", "bbox", 0.1).inputs()["boxes"] == "grown"
    assert Pck("PCKh", (1, 0), 0.5).inputs() == {"name": "PCKh", "by": [0, 1], "threshold": 0.5}


PAIR = {"name": "PCKh", "by": ["a", "b"], "threshold": 0.5}  # 5 of 10 pixels
#: 4 is right by the box, and 5 is not; b of the second person is not labelled.
SHIFTS = [[0, 4, 5], [5, 99, 4]]


def test_by_the_box(tmp_path):
    coco_people(tmp_path)
    table = load(str(described(tmp_path, pck=BOX)), tmp_path, "val", input_size=SIZE, scored=True)
    found = score(table, shifted(table, SHIFTS))
    assert found["PCK"] == pytest.approx(100 * (0.5 + 1 + 0.5) / 3) and "AP" in found
    area = [1 - error / 40 / 0.5 for error in (0, 4, 5, 5, 4)]
    by_joint = (area[0] + area[3]) / 2, area[1], (area[2] + area[4]) / 2
    assert found["AUC"] == pytest.approx(100 * sum(by_joint) / 3)
    points = shifted(table, SHIFTS).keypoints[1:]
    alone = Predictions(np.array([0]), points, np.ones((1, 3), np.float32))
    one = score(table.take(np.array([1])), alone)
    assert one["PCK"] == pytest.approx(50)  # a wrong, c right, b nobody's
    with pytest.raises(DataError, match="1 of 2 people are not predicted, the first is row 1; PCK"):
        score(table, alone)


def points_of_one_joint(folder, people):
    """Each with one keypoint, the box a point there, beside the two of :func:`coco_people`."""
    coco_people(folder)
    content = json.loads((folder / "ann.json").read_text())
    content["annotations"] = content["annotations"] * (people < 6)
    for row in range(people):
        point = {"keypoints": [20, 20 + row, 2, *[0] * 6], "bbox": [20.0, 20.0 + row, 0.0, 0.0]}
        common = {"image_id": 7, "category_id": 1, "iscrowd": 0, "area": 0.0}
        content["annotations"].append({"id": 10 + row, **common, **point})
    files.write(folder / "ann.json", content)


@pytest.mark.parametrize("people", [1, 6])
def test_a_box_that_is_a_point_counts_by_the_grown_one(tmp_path, people):
    """Grown to a tenth of 64 pixels: 0.6 is right, 0.7 is not, in the score and by joint."""
    points_of_one_joint(tmp_path, people)
    table = load(str(described(tmp_path, pck=BOX)), tmp_path, "val", input_size=SIZE, scored=True)
    assert table.counts["grown_boxes"] == people and len(table) in (3, 6)
    point = (table.visibility > 0).sum(1) == 1
    sizes, known = person_sizes(table)
    assert known.all() and sizes[point] == pytest.approx(6.4)
    for shift, right in ((0.6, True), (0.7, False), (1000, False)):
        shifts = np.where(point, shift, 0)[:, None] * np.ones((1, 3))
        found = score(table, shifted(table, shifts))
        a = 100 if right else 100 * (2 / 3) * (people == 1)  # joint a; b and c only of the two
        assert found["PCK"] == pytest.approx((a + 200) / 3 if people == 1 else a)
        parts = breakdown(table, shifted(table, shifts))["joints"]
        assert parts["a"]["n"] == len(table)
        assert parts["a"]["pck"][2] == pytest.approx(a / 100, abs=1e-6)  # at 0.1
        by_joint = [joint["auc"] for joint in parts.values() if joint["n"]]
        assert found["AUC"] == pytest.approx(100 * np.mean(by_joint), abs=1e-4)


def test_no_box_with_a_size(tmp_path):
    coco_people(tmp_path)
    table = load(str(described(tmp_path, pck=BOX)), tmp_path, "val", input_size=SIZE, scored=True)
    nothing = dataclasses.replace(table.truth, boxes=np.zeros((2, 4)))
    table = dataclasses.replace(table, truth=nothing)
    with pytest.raises(DataError, match="person whose box has a size, which normalises PCK"):
        score_pck(table, shifted(table, SHIFTS))


@pytest.mark.parametrize("form", ["coco", "mpii"])
def test_by_two_joints(tmp_path, form):
    """The second person has no size, and is not counted."""
    {"coco": coco_people, "mpii": mpii_people}[form](tmp_path)
    sigmas = {"sigmas": None} if form == "mpii" else {}
    path = described(tmp_path, pck=PAIR, format=form, **sigmas)
    table = load(str(path), tmp_path, "val", input_size=SIZE, scored=True)
    assert len(table) == 2 and table.keypoints[0].tolist() == [[10, 10], [10, 20], [20, 20]]
    found = score(table, shifted(table, [[0, 5, 6], [99, 99, 99]]))
    assert found["PCKh"] == pytest.approx(100 * (1 + 1 + 0) / 3)
    assert found["AUC"] == pytest.approx(100 * (1 + 0 + 0) / 3)
    assert ("AP" in found) == (form == "coco")
    perfect = score(table, shifted(table, np.zeros((2, 3))))
    assert perfect["PCKh"] == perfect["AUC"] == pytest.approx(100)
    parts = breakdown(table, shifted(table, [[0, 5, 6], [99, 99, 99]]))
    if form == "mpii":
        assert [joint["n"] for joint in parts["joints"].values()] == [1, 1, 1]
        assert parts["joints"]["a"]["auc"] == 1


def test_what_it_is_normalised_by_is_in_the_id(tmp_path):
    coco_people(tmp_path)
    inputs = [
        declared(described(tmp_path, pck=pck)).evaluation_inputs()
        for pck in (None, BOX, PAIR, PAIR | {"threshold": 0.2}, PAIR | {"by": ["b", "a"]})
    ]
    assert "pck" not in inputs[0]
    assert len({json.dumps(each, sort_keys=True) for each in inputs}) == 4
    assert inputs[2] == inputs[4]


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ({"pck": {"by": "head", "threshold": 0.5}}, "pck.by"),
        ({"pck": {"by": ["a", "z"], "threshold": 0.5}}, "unknown keypoint 'z'"),
        ({"pck": {"by": ["a", "a"], "threshold": 0.5}}, "two different keypoints"),
        ({"pck": {"by": [0, 9], "threshold": 0.5}}, "two different keypoints"),
        ({"pck": {"by": "bbox", "threshold": 0}}, "pck.threshold"),
        ({"format": "mpii"}, "pck: not given"),
        ({"sigmas": None}, "sigmas: not given"),
        ({"format": "voc"}, "format"),
    ],
)
def test_refused(tmp_path, said, says):
    with pytest.raises(UsageError, match=says) as caught:
        declared(described(tmp_path, **said))
    assert "\n" not in str(caught.value)


def test_nobody_with_a_size(tmp_path):
    coco_people(tmp_path)
    path = described(tmp_path, pck=PAIR)
    content = json.loads((tmp_path / "ann.json").read_text())
    content["annotations"] = content["annotations"][1:]
    files.write(tmp_path / "ann.json", content)
    table = load(str(path), tmp_path, "val", input_size=SIZE, scored=True)
    with pytest.raises(DataError, match=r"no person has both joints a and b labelled"):
        score(table, shifted(table, [[0, 0, 0]]))


@pytest.mark.parametrize("form", ["coco", "mpii"])
@pytest.mark.parametrize("suffix", ["npy", "preds.mat", "pos_pred_src.mat"])
def test_arrays(tmp_path, form, suffix, capsys):
    """One row for each person who is read, 0-based, or 1-based as MPII's format is."""
    {"coco": coco_people, "mpii": mpii_people}[form](tmp_path)
    path = described(tmp_path, pck=PAIR, format=form)
    table = load(str(path), tmp_path, "val", input_size=SIZE)
    points = shifted(table, SHIFTS).keypoints.astype(np.float64) + (form == "mpii")
    file = tmp_path / f"p.{suffix}"
    if suffix == "npy":
        np.save(file, points)
    else:
        key = suffix.partition(".")[0]
        savemat(file, {key: points if key == "preds" else points.transpose(1, 2, 0)})
    found = evaluate_predictions(str(path), tmp_path / "ann.json", file)
    expected = score(table, shifted(table, SHIFTS))
    assert found.pop("counts").items() <= table.counts.items() and found.pop("skipped") == []
    assert found == {key: pytest.approx(expected[key]) for key in ("PCKh", "AUC")}
    arguments = ["evaluate-predictions", "--dataset", str(path), "--predictions", str(file)]
    assert execute([*arguments, "--ground-truth", str(tmp_path / "ann.json"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["PCKh"] == pytest.approx(expected["PCKh"])
    with pytest.raises(UsageError, match="PCK is of all people, expected no --max-dets"):
        evaluate_predictions(str(path), tmp_path / "ann.json", file, max_detections=30)
    np.save(tmp_path / "short.npy", points[:1])
    with pytest.raises(DataError, match=r"short.npy: \(1, 3, 2\) .* expected numbers \(2, 3, 2\)"):
        evaluate_predictions(str(path), tmp_path / "ann.json", tmp_path / "short.npy")


def test_format_mpii_has_no_ap(tmp_path):
    mpii_people(tmp_path)
    path = described(tmp_path, pck=PAIR, format="mpii")
    results = files.write(tmp_path / "r.json", [])
    with pytest.raises(UsageError, match="scored by arrays"):
        evaluate_predictions(str(path), tmp_path / "ann.json", results)
    with pytest.raises(UsageError, match="centre and scale"):
        load(str(path), tmp_path, "val", input_size=SIZE, boxes=str(results))
    files.write(tmp_path / "ann.json", {"annotations": []})
    with pytest.raises(HEViTPoseError, match="expected MPII's list of people"):
        load(str(path), tmp_path, "val", input_size=SIZE)
