"""Prediction files: scored, written for the servers, and refused where they are wrong."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import loadmat, savemat

from hevitpose.cli import execute
from hevitpose.data.readers.image_ids import ImageIds
from hevitpose.data.readers.results import read_results
from hevitpose.errors import DataError, HEViTPoseError, UsageError
from hevitpose.evaluation.prediction_files import (
    evaluate_predictions,
    read_arrays,
    write_pred_mat,
    write_results,
    write_testdev,
)
from tests.evaluation.diagnosis.scenes import mpii_files

RESULT = {"image_id": 785, "category_id": 1, "keypoints": [1.5, 2.0, 0.5] * 17, "score": 0.25}


def perfect(path):
    """The ground truth as somebody's result file, with keys that nobody asked for."""
    return [
        {
            "image_id": person["image_id"],
            "category_id": 1,
            "keypoints": person["keypoints"],
            "score": 0.9,
            "center": [1, 2],
        }
        for person in json.loads(path.read_text())["annotations"]
        if person["num_keypoints"]
    ]


def test_mpii(samples):
    truth = samples / "mpii/annotations/mpii_gt_val.mat"
    expected = json.loads((samples / "mpii/predictions/expected_pckh.json").read_text())
    for name, numbers in expected.items():
        metrics = evaluate_predictions("mpii", truth, samples / "mpii/predictions" / name)
        assert metrics == pytest.approx(numbers, abs=1e-3) and list(metrics) == list(numbers)


@pytest.mark.parametrize("dataset", ["coco", "ochuman", "crowdpose"])
def test_result_lists(dataset, samples, tmp_path):
    if dataset == "crowdpose":
        pytest.importorskip("xtcocotools.cocoeval", reason="xtcocotools is not installed")
    split = "val" if dataset == "coco" else "test"
    truth = samples / dataset / "annotations" / f"{dataset}_{split}.json"
    file = write_results(perfect(truth), tmp_path / "results.json")
    metrics = evaluate_predictions(dataset, truth, file)
    assert metrics["AP"] == pytest.approx(1) and metrics["boxes"] == "as given"
    assert len(metrics) == (12 if dataset == "crowdpose" else 13)
    assert metrics["counts"]["people"] > 0 and metrics["skipped"] == []
    other = "ochuman" if dataset == "coco" else "coco"
    foreign = (
        samples / other / "annotations" / f"{other}_{'val' if other == 'coco' else 'test'}.json"
    )
    theirs = write_results(perfect(foreign), tmp_path / "foreign.json")
    says = "keypoints has 51" if dataset == "crowdpose" else "is not in the ground truth"
    with pytest.raises(DataError, match=rf"foreign.json: entry 0: .*({says}|not in the ground)"):
        evaluate_predictions(dataset, truth, theirs)


def test_custom_and_unknown_datasets(tmp_path):
    person = {"id": 1, "image_id": 3, "category_id": 1, "bbox": [0, 0, 90, 90], "area": 4000.0}
    person |= {"keypoints": [5, 5, 2, 50, 60, 2], "num_keypoints": 2, "iscrowd": 0}
    image = {"id": 3, "file_name": "3.jpg", "width": 100, "height": 100}
    category = {"id": 1, "name": "person"}
    truth = {"images": [image], "categories": [category], "annotations": [person]}
    file = write_results(truth, tmp_path / "truth.json")
    result = {"image_id": 3, "category_id": 1, "keypoints": [5, 6, 1, 50, 60, 1], "score": 1.0}
    found = write_results([result], tmp_path / "results.json")
    (tmp_path / "hands.yaml").write_text(
        "name: hands\nkeypoints: [a, b]\nflip_pairs: []\nsigmas: [0.05, 0.05]\n"
        "splits: {val: {annotations: truth.json, images: .}}\n"
    )
    metrics = evaluate_predictions(str(tmp_path / "hands.yaml"), file, found)
    assert metrics["AP"] == pytest.approx(1)
    with pytest.raises(UsageError, match="did you mean 'coco'"):
        evaluate_predictions("cocoo", file, found)


@pytest.mark.parametrize("dataset", ["coco", "crowdpose", "custom"])
def test_flags_that_errors_name_are_there(dataset, tmp_path, capsys):
    """A bad annotation's error says how to go on; the command takes what it says."""
    K = 14 if dataset == "crowdpose" else 17
    good = {"id": 1, "image_id": 3, "category_id": 1, "bbox": [0, 0, 90, 90], "area": 4000.0}
    good |= {"keypoints": [5, 5, 2] * K, "num_keypoints": K, "iscrowd": 0}
    image = {"id": 3, "file_name": "3.jpg", "width": 100, "height": 100, "crowdIndex": 0.5}
    truth = {"images": [image], "categories": [{"id": 1, "name": "person"}]}
    bad = good | {"id": 2, "keypoints": [1]}
    file = write_results({**truth, "annotations": [good, bad]}, tmp_path / "truth.json")
    results = write_results([], tmp_path / "results.json")
    names = ", ".join(f"k{i}" for i in range(17))
    sigmas = ", ".join(["0.05"] * 17)
    (tmp_path / "own.yaml").write_text(
        f"name: own\nkeypoints: [{names}]\nflip_pairs: []\nsigmas: [{sigmas}]\n"
        "splits: {val: {annotations: truth.json, images: .}}\n"
    )
    if dataset == "crowdpose":
        pytest.importorskip("xtcocotools.cocoeval", reason="xtcocotools is not installed")
    named = str(tmp_path / "own.yaml") if dataset == "custom" else dataset
    words = ["evaluate-predictions", "--dataset", named, "--ground-truth", str(file)]
    words += ["--predictions", str(results)]
    assert execute(words) == 1
    flags = re.findall(r"--[a-z-]+|[a-z]+_[a-z_]+ leaves", capsys.readouterr().err)
    assert flags == ["--skip-bad"]
    assert execute([*words, *flags]) == 0


def coco_case(tmp_path, samples):
    truth = samples / "coco/annotations/coco_val.json"
    return truth, perfect(truth)


def test_alphapose_calls_images_by_their_files(tmp_path, samples):
    truth, results = coco_case(tmp_path, samples)
    for entry in results:
        entry["image_id"] = f"{entry['image_id']:012}.jpg"
        entry["box"] = [1, 2, 3, 4]
    file = write_results(results, tmp_path / "alphapose-results.json")
    assert evaluate_predictions("coco", truth, file)["AP"] == pytest.approx(1)


@pytest.mark.parametrize("form", ["{}", "{:012}.jpg"])
def test_a_subset_of_photographs(tmp_path, samples, form, capsys):
    """As pycocotools does with ``imgIds``; predictions of the others do not count."""
    from tests.data.feeding_back import pycocotools_ap

    truth, results = coco_case(tmp_path, samples)
    content = json.loads(truth.read_text())
    images = sorted({entry["image_id"] for entry in results})
    for entry in results:
        if entry["image_id"] == images[0]:
            entry["keypoints"] = [v + 50 for v in entry["keypoints"]]
    file = write_results(results, tmp_path / "results.json")
    names = tmp_path / "images.txt"
    names.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(map(form.format, images[1:])).encode())
    words = ["evaluate-predictions", "--dataset", "coco", "--ground-truth", str(truth)]
    words += ["--predictions", str(file), "--json"]
    assert execute(words) == 0
    assert json.loads(capsys.readouterr().out)["AP"] < 0.99
    assert execute([*words, "--images", str(names)]) == 0
    found = json.loads(capsys.readouterr().out)
    some = [a for a in content["annotations"] if a["image_id"] in images[1:]]
    expected = pycocotools_ap(content | {"annotations": some}, [0.05] * 17)
    assert found["AP"] == pytest.approx(expected) == pytest.approx(1)
    assert found["images"] == len(images) - 1
    names.write_text("nobody.jpg")
    assert execute([*words, "--images", str(names)]) == 1
    assert "image nobody.jpg is not in the ground truth" in capsys.readouterr().err
    names.write_text(" \n")
    assert execute([*words, "--images", str(names)]) == 1
    assert execute([*words, "--images", str(tmp_path / "absent.txt")]) == 1


def test_people_a_photograph_are_an_option(tmp_path, samples, capsys):
    truth, results = coco_case(tmp_path, samples)
    file = write_results(results, tmp_path / "results.json")
    words = ["evaluate-predictions", "--dataset", "coco", "--ground-truth", str(truth)]
    words += ["--predictions", str(file), "--json", "--max-dets"]
    assert execute([*words, "20"]) == 0
    full = json.loads(capsys.readouterr().out)
    assert "max_detections" not in full and full["AR"] == pytest.approx(1)
    assert execute([*words, "1"]) == 0
    one = json.loads(capsys.readouterr().out)
    people = [entry["image_id"] for entry in results]
    assert one["max_detections"] == 1
    assert one["AR"] == pytest.approx(len(set(people)) / len(people))
    assert execute([*words, "0"]) == 2


def test_a_joint_that_nobody_has_is_null(tmp_path, capsys):
    _, truth = mpii_files(tmp_path)
    truth["jnt_missing"][9] = 1  # the head's top
    savemat(tmp_path / "mpii_gt_val.mat", truth)
    words = ["evaluate-predictions", "--dataset", "mpii", "--json"]
    words += ["--ground-truth", str(tmp_path / "mpii_gt_val.mat")]
    assert execute([*words, "--predictions", str(tmp_path / "perfect.npy")]) == 0
    shown = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert shown["Head"] is None and shown["Mean"] == 100


def test_pos_pred_src(samples, tmp_path):
    """MPII's own tools keep (16, 2, N)."""
    truth = samples / "mpii/annotations/mpii_gt_val.mat"
    name, numbers = next(
        iter(json.loads((samples / "mpii/predictions/expected_pckh.json").read_text()).items())
    )
    array = np.load(samples / "mpii/predictions" / name)
    file = tmp_path / "detections.mat"
    savemat(file, {"pos_pred_src": array.transpose(1, 2, 0)})
    assert evaluate_predictions("mpii", truth, file) == pytest.approx(numbers, abs=1e-3)
    savemat(file, {"pos_pred_src": array})
    with pytest.raises(DataError, match=r"detections.mat: .* expected numbers"):
        evaluate_predictions("mpii", truth, file)
    savemat(file, {"pos_pred_src": array.transpose(1, 2, 0), "preds": array})
    with pytest.raises(DataError, match="both 'preds' and 'pos_pred_src'"):
        evaluate_predictions("mpii", truth, file)
    with pytest.raises(UsageError, match="PCKh is of all people"):
        evaluate_predictions("mpii", truth, file, images=["a.jpg"])


def test_testdev(tmp_path):
    results = [RESULT | {"area": 5.0}, RESULT | {"image_id": 1, "score": 1}]
    path, archive = write_testdev(results, "hevitpose_b", tmp_path / "new", image_ids=(1, 785))
    assert path.name == "person_keypoints_test-dev2017_hevitpose_b_results.json"
    assert archive.name == "person_keypoints_test-dev2017_hevitpose_b_results.zip"
    with zipfile.ZipFile(archive) as file:
        assert file.namelist() == [path.name]  # at the top, nothing beside it
        assert file.read(path.name) == path.read_bytes()
    for entry in json.loads(path.read_text()):
        assert set(entry) == {"image_id", "category_id", "keypoints", "score"}
        assert type(entry["image_id"]) is int and entry["category_id"] == 1
        assert len(entry["keypoints"]) == 51 and 0 <= entry["score"] <= 1
    assert sorted(f.name for f in (tmp_path / "new").iterdir()) == [path.name, archive.name]
    before = archive.read_bytes()
    write_testdev(results, "hevitpose_b", tmp_path / "new")
    assert archive.read_bytes() == before


@pytest.mark.parametrize(
    ("results", "name", "says"),
    [
        ([], "b", "empty"),
        ([RESULT | {"category_id": 2}], "b", "category_id is 2"),
        ([RESULT | {"image_id": 9}], "b", "image_id 9 is not in"),
        ([RESULT | {"score": float("inf")}], "b", "score is infinite"),
        ([RESULT | {"keypoints": [0] * 48}], "b", "keypoints has 48"),
        ([RESULT], "../b", "model name"),
        ([RESULT], "", "model name"),
    ],
)
def test_testdev_refuses(results, name, says, tmp_path):
    with pytest.raises(HEViTPoseError, match=says):
        write_testdev(results, name, tmp_path, image_ids=[785])
    assert not list(tmp_path.iterdir())


def test_pred_mat(tmp_path):
    keypoints = np.random.default_rng(0).uniform(0, 500, (5, 16, 2))
    path = write_pred_mat(keypoints, np.arange(5), tmp_path)
    assert path.name == "pred.mat"
    np.testing.assert_allclose(loadmat(path)["preds"], keypoints + 1)  # 1-based, same order
    np.testing.assert_allclose(read_arrays(path, 5), keypoints + 1)
    keypoints[3, 2, 1] = np.nan
    with pytest.raises(DataError, match="person 3, joint 2"):
        write_pred_mat(keypoints, np.arange(5), tmp_path)
    with pytest.raises(DataError, match=r"\(5, 17, 2\)"):
        write_pred_mat(np.zeros((5, 17, 2)), np.arange(5), tmp_path)
    for people, says in (([0, 1, 3, 4, 5], "person 2 is left out"), ([0, 2, 1, 3, 4], "order")):
        with pytest.raises(DataError, match=says):
            write_pred_mat(np.zeros((5, 16, 2)), np.array(people), tmp_path)
    assert [f.name for f in tmp_path.iterdir()] == ["pred.mat"]


def test_bad_arrays(tmp_path):
    good = np.zeros((4, 16, 2), np.float32)
    file = tmp_path / "p.npy"
    for array, says in (
        (np.zeros((4, 17, 2)), r"p.npy: \(4, 17, 2\) float64, expected numbers \(4, 16, 2\)"),
        (np.zeros((3, 16, 2)), r"\(3, 16, 2\)"),
        (np.full((4, 16, 2), np.nan), "person 0, joint 0 is not a finite"),
        (np.full((4, 16, 2), "x"), "<U1"),
        (np.zeros(()), r"\(\)"),
    ):
        np.save(file, array)
        with pytest.raises(DataError, match=says):
            read_arrays(file, 4)
    np.save(file, np.full((4, 16, 2), None, object), allow_pickle=True)
    with pytest.raises(DataError, match=r"not a \.npy array"):  # never unpickled
        read_arrays(file, 4)
    np.savez(tmp_path / "p.npz", good)
    with pytest.raises(DataError, match="archive"):
        read_arrays(tmp_path / "p.npz", 4)
    savemat(tmp_path / "p.mat", {"other": good})
    with pytest.raises(DataError, match="no 'preds'"):
        read_arrays(tmp_path / "p.mat", 4)
    for name in ("absent.npy", "absent.mat"):
        with pytest.raises(DataError, match=rf"{name}: No such file"):
            read_arrays(tmp_path / name, 4)


def results_in(file):
    """What ``evaluate_predictions`` makes of a result file before an evaluator sees it."""
    return read_results(file, 17, images=ImageIds([785]), category_ids=[1])


@settings(derandomize=True, deadline=None, max_examples=400)
@given(data=st.data())
def test_damaged_files_are_ours(data, tmp_path_factory):
    """Files cut, flipped or foreign: a DataError or a right answer, never a stray exception."""
    folder = tmp_path_factory.getbasetemp()
    kind = data.draw(st.sampled_from(["npy", "mat", "json"]))
    file = folder / f"damaged.{kind}"
    array = np.zeros((2, 16, 2), np.float32)
    if kind == "npy":
        np.save(file, array)
    elif kind == "mat":
        savemat(file, {"preds": array})
    else:
        file.write_text(json.dumps([RESULT, RESULT]))
    content = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    file.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        if kind == "json":
            assert len(results_in(file)) == 2
        else:
            assert read_arrays(file, 2).shape == (2, 16, 2)
    except DataError as error:
        assert file.name in str(error) and "\n" not in str(error)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@pytest.mark.slow
@settings(derandomize=True, deadline=None, max_examples=400)
@given(
    key=st.sampled_from([*RESULT, "extra", None]),
    value=JSON,
    whole=st.none() | JSON,
)
def test_any_json_is_a_result_list_or_refused(key, value, whole, tmp_path_factory):
    file = tmp_path_factory.getbasetemp() / "any.json"
    content = whole if whole is not None else [RESULT, RESULT | {key: value}]
    file.write_text(json.dumps(content, default=str))
    try:
        for entry in results_in(file):
            assert set(entry) == set(RESULT) and len(entry["keypoints"]) == 51
    except DataError as error:
        assert "any.json" in str(error)


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    file = write_results([RESULT], tmp_path / "results.json")
    before = file.read_bytes()
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space")))
    with pytest.raises(HEViTPoseError, match=r"results\.json: cannot be written"):
        write_results([], file)
    assert file.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_loads_no_torch():
    code = "import hevitpose.evaluation.prediction_files, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
