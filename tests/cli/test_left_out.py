"""What was left out of a score, or of a file for a server, is printed beside it, or refused."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import PIL.Image
import pytest

from hevitpose import diagnose
from hevitpose.cli import execute
from hevitpose.cli.common import print_record
from hevitpose.errors import UsageError
from hevitpose.evaluation.diagnosis.report import render
from hevitpose.evaluation.prediction_files import evaluate_predictions
from tests.evaluation.diagnosis.scenes import body, detection, person, truth_of
from tests.reports.conftest import Factory

POINTS = body(np.random.default_rng(0))


@pytest.fixture
def files(tmp_path):
    """Truth with a person whom nobody can read, and everybody's right predictions."""
    bad = person(2, 2, POINTS)
    del bad["area"]
    content = {
        "truth": truth_of([person(1, 1, POINTS), bad], images=2),
        "results": [detection(1, POINTS), detection(2, POINTS)],
    }
    for name, value in content.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(value))
    truth, results = (str(tmp_path / f"{name}.json") for name in content)
    return ["--dataset", "coco", "--ground-truth", truth, "--predictions", results, "--skip-bad"]


def test_evaluate_predictions(files, capsys):
    assert execute(["evaluate-predictions", *files]) == 0
    lines = capsys.readouterr().out.splitlines()
    [line] = [line for line in lines if line.startswith("counted:   ")]
    assert "people 1" in line and "skipped 1" in line
    assert [line for line in lines if line.startswith("left out:  annotation id 2: ")]
    assert execute(["evaluate-predictions", *files, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["counts"]["people"], found["counts"]["skipped"]) == (1, 1)
    [item] = found["skipped"]
    assert item.startswith("annotation id 2: ") and "area is missing" in item


@pytest.mark.parametrize("dataset", ["mpii", "synthetic"])
def test_nothing_of_mpii_is_left_out(dataset):
    with pytest.raises(UsageError, match=f"{dataset}: PCKh is of all .* expected no --skip-bad"):
        evaluate_predictions(dataset, "truth.mat", "p.npy", skip_bad=True)


def test_diagnose(files, capsys, tmp_path):
    assert execute(["diagnose", *files, "--out", str(tmp_path / "out")]) == 0
    lines = capsys.readouterr().out.splitlines()
    [line] = [line for line in lines if line.startswith("counted:   ")]
    assert "people 1" in line and "skipped 1" in line
    assert [line for line in lines if line.startswith("left out:  annotation id 2: ")]
    assert execute(["diagnose", *files, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["people_counts"]["skipped"] == 1
    assert found["skipped"][0].startswith("annotation id 2: ")


def test_diagnose_tells_what_it_was_fitted_without(files, tmp_path):
    own = truth_of([person(1, 1, POINTS + 3)])
    for name, content in (("own", own), ("p", [detection(1, POINTS)])):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    fit = (tmp_path / "truth.json", tmp_path / "results.json")
    found = diagnose("coco", tmp_path / "own.json", tmp_path / "p.json", fit=fit, skip_bad=True)
    assert not found.skipped and found.rescored.skipped[0].startswith("annotation id 2: ")
    assert "left out of results.json: annotation id 2: " in render(found)


def test_train(capsys):
    made = Factory()

    def dataset(split):
        skipped = [f"annotation 7: bad in {split}"]
        return {"name": "coco", "split": split, "fingerprint": "sha256:0", "boxes": "gt",
                "counts": {"people": 5}, "skipped": skipped}  # fmt: skip

    evaluation = made.evaluation(metrics={"AP": 0.5}, dataset=dataset("val"))
    training = made.evaluation(dataset=dataset("train"))
    print_record(evaluation, False, training)
    lines = capsys.readouterr().out.splitlines()
    assert "  left out:  annotation 7: bad in val" in lines
    assert "  left out of train: annotation 7: bad in train" in lines
    print_record(evaluation, True, training)
    found = json.loads(capsys.readouterr().out)
    assert found["dataset"]["skipped"] == ["annotation 7: bad in val"]
    assert found["trained_on"]["skipped"] == ["annotation 7: bad in train"]


@pytest.fixture
def testdev(tmp_path):
    """The command on two photographs, with a good and a bad box of the first."""
    folder = tmp_path / "coco" / "images" / "test2017"
    folder.mkdir(parents=True)
    images = [{"id": i, "file_name": f"{i}.png", "width": 64, "height": 64} for i in (1, 2)]
    for image in images:
        PIL.Image.new("RGB", (64, 64)).save(folder / image["file_name"])
    content = {"images": images, "categories": [{"id": 1, "name": "person"}]}
    (tmp_path / "coco/annotations").mkdir()
    path = tmp_path / "coco/annotations/image_info_test-dev2017.json"
    path.write_text(json.dumps(content))
    boxes = [([4, 4, 50, 50], 1), ([4, 4, 50, 50], 2), ([4, 4, 0, 50], 1)]
    entries = [{"image_id": i, "category_id": 1, "bbox": b, "score": 0.9} for b, i in boxes]
    (tmp_path / "boxes.json").write_text(json.dumps(entries))
    return [
        *("infer-testdev", "--weights", "hevitpose_nano", "--boxes", str(tmp_path / "boxes.json")),
        *("--out", str(tmp_path / "out"), f"data.root={tmp_path}", "device=cpu", "--skip-bad"),
    ]


def test_infer_testdev_prints_it(testdev, capsys, tmp_path):
    assert execute(testdev) == 0, capsys.readouterr().err
    lines = capsys.readouterr().out.splitlines()
    [line] = [line for line in lines if line.startswith("counted:   ")]
    assert "people 2" in line and "skipped 1" in line
    assert [line for line in lines if line.startswith("left out:  box ")]
    [archive] = (tmp_path / "out").glob("*.zip")
    with zipfile.ZipFile(archive) as file:
        assert len(json.loads(file.read(file.namelist()[0]))) == 2


def test_infer_testdev_wants_all_photographs(testdev, capsys, tmp_path):
    (tmp_path / "coco/images/test2017/2.png").unlink()
    assert execute(testdev) == 1
    assert "1 photographs of" in capsys.readouterr().err
    assert execute([*testdev, "data.present_only=true"]) == 2
    assert "data.present_only=true would leave people out" in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("*"))


@pytest.mark.parametrize("words", [["--cfg", "coco", "--boxes", "b.json"], ["--cfg", "mpii"]])
def test_infer_testdev_degrades_nothing(words, capsys):
    assert execute(["infer-testdev", *words, "evaluation.condition=fog:3"]) == 2
    said = capsys.readouterr().err
    assert "evaluation.condition=fog:3" in said and "expected none" in said
