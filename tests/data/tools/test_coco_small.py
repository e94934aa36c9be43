"""coco_small: made from official files, and as ``../shared`` has it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import coco as official_api
from pycocotools.cocoeval import COCOeval

from hevitpose import json_file
from hevitpose.cli import execute
from hevitpose.data import load
from hevitpose.data.registry import ROWS
from hevitpose.data.tools import coco_small
from hevitpose.data.tools.check import check
from hevitpose.data.tools.prepare import prepare
from hevitpose.errors import DataError, UsageError
from hevitpose.evaluation.prediction_files import evaluate_predictions
from tests.data import annotation_files as files

LABEL = "coco_small: COCO val2017 people, own split; not COCO val AP"


@pytest.fixture
def official(tmp_path, monkeypatch):
    """A tiny COCO as its authors distribute it; photograph 9 has a crowd and nobody else."""
    monkeypatch.setattr(coco_small, "photographs", lambda: {"train": [9], "val": [7]})
    monkeypatch.setattr(coco_small, "people_counts", lambda: {"train": 1, "val": 3})
    content = files.coco()
    content["annotations"][-1]["image_id"] = 9
    content["annotations"].append(content["annotations"][0] | {"id": 300, "image_id": 9})
    source = tmp_path / "coco"
    files.write(source / "annotations/person_keypoints_val2017.json", content)
    for name in ("a.jpg", "b.jpg"):
        files.image(source / "val2017" / name)
    return source


def test_prepare(official, tmp_path, capsys):
    made = prepare(tmp_path, "coco_small", official)
    assert [each.status for each in made] == ["linked", "written", "written"]
    assert [each.status for each in prepare(tmp_path, "coco_small", official)] == ["exists"] * 3
    val = load("coco_small", tmp_path, "val", input_size=(64, 64), scored=True)
    train = load("coco_small", tmp_path, "train", input_size=(64, 64), training=True)
    assert val.person_ids.tolist() == [100, 101, 102] and train.person_ids.tolist() == [300]
    assert set(val.areas.tolist()) == {321.5}  # the official ones
    assert (tmp_path / "coco_small/images/a.jpg").is_symlink()
    rows = check(tmp_path, ["coco_small"])
    assert all(LABEL in row.note and "official form" in row.note for row in rows)
    assert [row.absent_images for row in rows] == [0, 0]


def test_another_process_prepares_it_too(official, tmp_path, monkeypatch):
    real, late = Path.symlink_to, []

    def symlink_to(link, target, **options):
        if not late:
            late.append(link)
            real(link, target)
        real(link, target, **options)

    monkeypatch.setattr(Path, "symlink_to", symlink_to)
    assert prepare(tmp_path, "coco_small", official)[0].status == "linked"
    assert late and late[0].is_symlink() and late[0].exists()


def test_what_cannot_be_prepared(official, tmp_path, monkeypatch):
    (official / "val2017/a.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of the 2 photographs .* absent, the first is a\.jpg"):
        prepare(tmp_path, "coco_small", official)
    assert not list((tmp_path / "coco_small").rglob("*.json"))
    monkeypatch.setattr(coco_small, "photographs", lambda: {"train": [9], "val": [7, 5]})
    with pytest.raises(DataError, match="first id 5; expected the annotations of val2017"):
        prepare(tmp_path, "coco_small", official)
    (official / "annotations/person_keypoints_val2017.json").rename(
        official / "annotations/person_keypoints_train2017.json"
    )
    line = ["data", "prepare", "coco_small", "--source", str(official), "--root", str(tmp_path)]
    assert execute(line) == 1


@pytest.mark.parametrize("number", [{"a": 1}, [7], "7", None])
def test_an_image_whose_id_is_none(official, tmp_path, number):
    path = official / "annotations/person_keypoints_val2017.json"
    content = json.loads(path.read_text())
    content["images"][0]["id"] = number
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="1 of the 2 photographs"):
        prepare(tmp_path, "coco_small", official)


def _changed(source, change):
    path = source / "annotations/person_keypoints_val2017.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def _one(key, **values):
    return lambda content: content[key][0].update(values)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c.update(annotations=[]), "0 people .* coco_small train, expected 1: all"),
        (lambda c: c["annotations"].pop(0), "2 people .* coco_small val, expected 3: all"),
        (_one("annotations", iscrowd=1), "2 people .* coco_small val, expected 3"),
        (_one("annotations", iscrowd="0"), r"annotations\[0\]\.iscrowd: '0', expected 0 or 1"),
        (_one("annotations", image_id="7"), r"annotations\[0\]\.image_id: '7', expected a whole"),
        (_one("annotations", image_id=[7]), r"annotations\[0\]\.image_id: \[7\], expected"),
        (_one("annotations", id=None), r"annotations\[0\]\.id: None, expected a whole number"),
        (_one("annotations", id="100"), r"annotations\[0\]\.id: '100', expected"),
        (_one("annotations", id=101), "annotations: id 101 is there twice"),
        (_one("annotations", keypoints=5), r"annotations\[0\]\.keypoints: 5, expected 51"),
        (_one("annotations", keypoints={}), r"annotations\[0\]\.keypoints: {}, expected 51"),
        (_one("annotations", keypoints=["1"] * 51), r"keypoints: expected numbers alone"),
        (lambda c: c["annotations"][0].pop("keypoints"), r"keypoints: None, expected 51"),
        (lambda c: c["annotations"].insert(0, 5), r"annotations\[0\]: 5, expected an object"),
        (_one("images", id=9), "images: id 9 is there twice"),
        (_one("images", file_name=7), "image 7: file_name 7, expected a file's name"),
        (_one("images", file_name="b.jpg"), "file_name 'b.jpg' is there twice"),
        (lambda c: c["images"].insert(0, 5), r"images\[0\]: 5, expected an object"),
    ],
)
def test_a_source_that_is_not_whole_or_not_cocos(official, tmp_path, change, says):
    """It is refused before anything is written or linked."""
    _changed(official, change)
    with pytest.raises(DataError, match=says):
        prepare(tmp_path / "data", "coco_small", official)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: [p.pop("area") for p in c["annotations"]], "id 300: area is missing"),
        (lambda c: c["annotations"][1].pop("area"), "id 101: area is missing"),
        (_one("annotations", area="12"), 'annotation id 100: area is "12"'),
        (_one("annotations", area=0), r"val, expected 3 \(dropped_area 1\)"),
        (lambda c: c["annotations"][0].pop("bbox"), "id 100.*bbox"),
        (_one("annotations", bbox=[10, 10, 0, 0]), r"id 100.*bbox is \[10, 10, 0, 0\]"),
        (_one("annotations", category_id=2), "id 100.*category_id"),
        (lambda c: c["annotations"][0]["keypoints"].__setitem__(5, 7), "id 100.*7"),
        (lambda c: c["images"][0].pop("width"), "id 7.*width"),
        (_one("images", width=3), "outside its image of 3x48"),
        (lambda c: c.update(categories=[]), "categor"),
        (_one("categories", id=3), "categor"),
        (lambda c: c["categories"][0]["keypoints"].reverse(), "keypoints"),
    ],
)
def test_what_training_would_refuse_is_not_made(official, tmp_path, change, says):
    _changed(official, change)
    with pytest.raises(DataError, match=says) as refused:
        prepare(tmp_path / "data", "coco_small", official)
    assert str(refused.value).startswith(str(official / "annotations/person_keypoints_val2017"))
    assert "annotations[" not in str(refused.value)  # a position in what would be made
    assert not (tmp_path / "data").exists()


def test_what_is_there_and_refused_by_training_is_said_to_be_deleted(official, tmp_path):
    prepare(tmp_path, "coco_small", official)
    target = tmp_path / "coco_small/annotations/coco_small_val.json"
    target.write_text(target.read_text().replace('"area": 321.5', '"area": "12"'))
    with pytest.raises(DataError, match=f'area is "12".*; delete {target} to have it made again'):
        prepare(tmp_path, "coco_small", official)
    target.unlink()
    made = prepare(tmp_path, "coco_small", official)
    assert [each.status for each in made] == ["exists", "exists", "written"]


@pytest.mark.parametrize(("kind", "first"), [(float, r"7\.0 \(float\)"), (str, r"'7' \(str\)")])
def test_ids_of_another_type_are_said_to_be_so(official, tmp_path, kind, first):
    def change(content):
        for image in content["images"]:
            image["id"] = kind(image["id"])

    _changed(official, change)
    with pytest.raises(DataError, match=rf"images\[0\]\.id: {first}, .* expected whole numbers"):
        prepare(tmp_path, "coco_small", official)


def test_what_gzip_has_packed(official, tmp_path):
    path = official / "annotations/person_keypoints_val2017.json"
    path.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(DataError, match="compressed by gzip, unpack it"):
        prepare(tmp_path, "coco_small", official)
    with pytest.raises(DataError, match="compressed by gzip, unpack it"):
        next(json_file.records(path, "annotations"))


def _re_encode(folder):
    for path in folder.iterdir():
        image = cv2.imread(str(path))
        path.unlink()
        cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, 72])


def _estimate(content):
    for person in content["annotations"]:
        person["area_estimated"] = person["id"] == 100


def test_the_forms_of_photographs_and_annotations_are_told_apart(official, tmp_path):
    prepare(tmp_path, "coco_small", official)
    notes = [row.note for row in check(tmp_path, ["coco_small"])]
    assert all("official form, official areas" in note for note in notes)
    _re_encode(tmp_path / "coco_small/images")
    for row in check(tmp_path, ["coco_small"]):
        assert (
            "mixed form: annotations official (official areas), photographs re-encoded" in row.note
        )
    for split in ("train", "val"):
        path = tmp_path / f"coco_small/annotations/coco_small_{split}.json"
        content = json.loads(path.read_text())
        _estimate(content)
        path.write_text(json.dumps(content))
    train, val = check(tmp_path, ["coco_small"])
    assert "re-encoded form, 0 of 1 areas are estimated" in train.note
    assert "re-encoded form, 1 of 3 areas are estimated" in val.note
    content["annotations"][0].pop("area")
    path.write_text(json.dumps(content))
    assert "areas: 1 missing" in check(tmp_path, ["coco_small"])[1].note


def test_no_half_is_made_beside_the_other_form(official, tmp_path):
    data, annotations = tmp_path / "data", tmp_path / "data/coco_small/annotations"
    prepare(data, "coco_small", official)
    (annotations / "coco_small_val.json").unlink()
    _changed(official, _estimate)
    says = "has a part in the official form, .* in the re-encoded form; expected one form"
    with pytest.raises(DataError, match=says):
        prepare(data, "coco_small", official)
    assert not (annotations / "coco_small_val.json").exists()
    (made, *_) = prepare(tmp_path / "other", "coco_small", official)
    assert "mixed form" in made.note  # the source's own halves


def test_check_compares_with_the_list(official, tmp_path, monkeypatch, capsys):
    prepare(tmp_path, "coco_small", official)
    words = ["data", "check", "coco_small", "--root", str(tmp_path)]
    assert execute(words) == 0 and "of the list" not in capsys.readouterr().out
    monkeypatch.setattr(coco_small, "photographs", lambda: {"train": [9, 5], "val": [7]})
    monkeypatch.setattr(coco_small, "people_counts", lambda: {"train": 1, "val": 1422})
    train, val = check(tmp_path, ["coco_small"])
    assert "1 of 2 photographs of the list" in train.note and train.unlike_list
    assert "3 people, the list has 1,422" in val.note and "photographs of" not in val.note
    assert execute(words) == 1
    load("coco_small", tmp_path, "train", input_size=(64, 64), training=True)  # is not refused


def test_where_nothing_can_be_written(official, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="file is not a folder that can be written"):
        prepare(tmp_path / "file", "coco_small", official)
    with pytest.raises(DataError, match="File name too long, expected a folder"):
        prepare(tmp_path / ("a" * 300), "coco_small", official)
    (tmp_path / "data/coco_small").mkdir(parents=True)
    (tmp_path / "data/coco_small/annotations").write_text("")
    with pytest.raises(UsageError, match="annotations is not a folder that can be written"):
        prepare(tmp_path / "data", "coco_small", official)
    assert [path.name for path in (tmp_path / "data/coco_small").iterdir()] == ["annotations"]


def test_the_source_is_taken_from_where_coco_has_it(official, tmp_path):
    """Neither a copy elsewhere nor an empty folder hides it, and it may be a link."""
    (official / "annotations").rename(tmp_path / "elsewhere")
    (official / "annotations").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    files.write(official / "annotations_backup/person_keypoints_val2017.json", {"images": []})
    (official / "images/val2017").mkdir(parents=True)
    made = prepare(tmp_path, "coco_small", official)
    assert [each.status for each in made] == ["linked", "written", "written"]
    assert (tmp_path / "coco_small/images/a.jpg").resolve().parent == official / "val2017"


def test_the_list():
    listed = coco_small.photographs()
    assert {split: len(of) for split, of in listed.items()} == {"train": 1855, "val": 491}
    assert len({number for of in listed.values() for number in of}) == 2346
    assert coco_small.people_counts() == {"train": 4930, "val": 1422}


@pytest.fixture
def shared_set(samples):
    if not (samples / "coco_small").is_dir():
        pytest.skip("no coco_small in the samples")
    return samples


@pytest.mark.parametrize("split", ["train", "val"])
def test_the_shared_files(shared_set, split):
    path = shared_set / f"coco_small/annotations/coco_small_{split}.json"
    content = json.loads(path.read_text())
    assert {image["id"] for image in content["images"]} == set(coco_small.photographs()[split])
    table = load("coco_small", shared_set, split, input_size=(192, 256), scored=True)
    assert table.declared is ROWS["coco_small"]
    by_id = {person["id"]: person for person in content["annotations"]}
    assert sorted(table.person_ids.tolist()) == sorted(by_id)
    assert len(table) == coco_small.people_counts()[split]
    for row in range(0, len(table), 97):
        points = np.reshape(by_id[int(table.person_ids[row])]["keypoints"], (-1, 3))
        np.testing.assert_array_equal(table.visibility[row], points[:, 2])
        labelled = points[:, 2] > 0
        np.testing.assert_allclose(table.keypoints[row][labelled], points[labelled, :2])


def test_truth_scores_one_and_pycocotools_agrees(shared_set, tmp_path):
    path = shared_set / "coco_small/annotations/coco_small_val.json"
    people = json.loads(path.read_text())["annotations"]
    keys = ("image_id", "category_id", "keypoints")
    results = [{key: person[key] for key in keys} | {"score": 1.0} for person in people]
    out = files.write(tmp_path / "results.json", results)
    assert evaluate_predictions("coco_small", path, out)["AP"] == pytest.approx(1.0)
    rng = np.random.default_rng(0)
    for entry in results:
        noise = rng.normal(0, 6, (17, 3)) * (1, 1, 0)
        entry["keypoints"] = (np.reshape(entry["keypoints"], (17, 3)) + noise).ravel().tolist()
        entry["score"] = float(rng.uniform())
    files.write(out, results)
    ours = evaluate_predictions("coco_small", path, out)
    truth = official_api.COCO(str(path))
    judge = COCOeval(truth, truth.loadRes(str(out)), "keypoints")
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    numbers = [ours[key] for key in ours if key.startswith(("AP", "AR"))]
    assert len(numbers) == 10 and 0.1 < numbers[0] < 0.99
    assert numbers == pytest.approx(judge.stats.tolist(), abs=1e-12)


def test_check_says_that_nobody_is_there(official, tmp_path):
    prepare(tmp_path, "coco_small", official)
    path = tmp_path / "coco_small/annotations/coco_small_val.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"annotations": []}))
    train, val = check(tmp_path, ["coco_small"])
    assert "no usable people" in val.note and "no usable people" not in train.note


def test_check_tells_the_shared_form(shared_set):
    rows = check(shared_set, ["coco_small"])
    assert all("re-encoded form" in row.note and LABEL in row.note for row in rows)
