"""Readers: what they give on good files, and what they say about bad ones."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest

from hevitpose.config.schema import DataConfig
from hevitpose.data import load
from hevitpose.data.fingerprint import fingerprint
from hevitpose.data.keypoints import COCO, CROWDPOSE, MPII, mapping
from hevitpose.data.readers.coco_format import clip_boxes, read
from hevitpose.data.registry import ROWS
from hevitpose.errors import DataError, UsageError
from tests.data import annotation_files as files
from tests.data.reference_crop import box_to_crop

SIZE = (192, 256)
SPLITS = {"coco": "val", "crowdpose": "test", "ochuman": "test", "mpii": "val"}


@pytest.fixture
def root(tmp_path):
    return files.root(tmp_path)


# ---------------------------------------------------------------- good files


@pytest.mark.parametrize("dataset", SPLITS)
def test_generated_files(root, dataset):
    table = load(dataset, root, SPLITS[dataset], input_size=SIZE, training=True)
    assert len(table) == (2 if dataset == "mpii" else 3) == table.counts["people"]
    assert table.layout == {"mpii": MPII, "crowdpose": CROWDPOSE}.get(dataset, COCO)
    assert table.keypoints.dtype == np.float32 and table.visibility.dtype == np.uint8
    assert (table.keypoints[table.visibility == 0] == 0).all()
    assert all(table.image_path(i).is_file() for i in range(len(table)))
    assert not table.skipped
    if dataset != "mpii":
        assert table.counts["dropped_crowd"] == table.counts["dropped_unlabelled"] == 1


def test_coco_values_against_the_json(samples):
    """On real people: plain loops over json.load, with the field's rules written out."""
    content = json.loads((samples / "coco/annotations/coco_val.json").read_text())
    sizes = {i["id"]: (i["width"], i["height"]) for i in content["images"]}
    expected = []
    for person in content["annotations"]:
        if person["iscrowd"] or person["area"] <= 0 or not any(person["keypoints"][2::3]):
            continue
        (x, y, w, h), (wide, tall) = person["bbox"], sizes[person["image_id"]]
        x1, y1 = max(0, x), max(0, y)
        x2, y2 = min(wide - 1, x1 + max(0, w - 1)), min(tall - 1, y1 + max(0, h - 1))
        expected.append((person, (x1, y1, x2 - x1, y2 - y1)))
    table = load("coco", samples, "val", input_size=SIZE)
    assert len(table) == len(expected) == 12
    for n, (person, box) in enumerate(expected):
        center, size = box_to_crop(box, 0.75)
        np.testing.assert_allclose(table.bboxes[n], box, rtol=1e-6)
        np.testing.assert_allclose(table.centers[n], center, rtol=1e-6)
        np.testing.assert_allclose(table.sizes[n], size, rtol=1e-6)
        assert table.person_ids[n] == person["id"]
        assert table.areas[n] == pytest.approx(person["area"])
        xyv = np.array(person["keypoints"]).reshape(-1, 3)
        np.testing.assert_array_equal(table.visibility[n], xyv[:, 2])
        np.testing.assert_allclose(table.keypoints[n], xyv[:, :2] * (xyv[:, 2:] > 0))
        assert table.image_ids[table.image_index[n]] == person["image_id"]
        np.testing.assert_array_equal(
            table.image_sizes[table.image_index[n]], sizes[person["image_id"]]
        )


def test_mpii_is_one_based(samples):
    """Every person of val: joints and centre lose one pixel, the centre moves down first."""
    people = json.loads((samples / "mpii/annotations/mpii_val.json").read_text())
    table = load("mpii", samples, "val", input_size=(256, 256), present_only=True)
    assert (len(table), table.counts["absent_images"]) == (5, 2729 - 5)
    for n, row in enumerate(table.person_ids):
        person = people[row]
        joints, seen = np.array(person["joints"]), np.array(person["joints_vis"])
        np.testing.assert_allclose(table.keypoints[n][seen > 0], joints[seen > 0] - 1)
        x, y = person["center"]
        np.testing.assert_allclose(
            table.centers[n], (x - 1, y + 15 * person["scale"] - 1), rtol=1e-6
        )
        np.testing.assert_allclose(table.sizes[n], [200 * person["scale"] * 1.25] * 2, rtol=1e-6)
        assert table.image_path(n).name == person["image"]


def test_mpii_joints_agree_with_the_ground_truth_matrix(samples):
    """The evaluator's matrix is one-based too: a second witness for the readers' minus one."""
    from scipy.io import loadmat

    truth = loadmat(samples / "mpii" / "annotations" / "mpii_gt_val.mat")
    table = load("mpii", samples, "val", input_size=(256, 256), present_only=True)
    for n, row in enumerate(table.person_ids):
        seen = truth["jnt_missing"][:, row] == 0
        expected = truth["pos_gt_src"][:, :, row][seen] - 1
        lost = expected - table.keypoints[n][seen]  # the json keeps whole pixels
        assert (lost > -1e-3).all() and (lost < 1).all()
        assert (np.abs(lost) < 1e-3).mean() > 0.8
        assert (table.visibility[n] > 0)[seen].all()


def test_mpii_not_square(samples):
    table = load("mpii", samples, "val", input_size=SIZE, present_only=True)
    np.testing.assert_allclose(table.sizes[:, 0] / table.sizes[:, 1], 0.75, rtol=1e-6)
    square = load("mpii", samples, "val", input_size=(256, 256), present_only=True)
    np.testing.assert_allclose(table.sizes[:, 0], square.sizes[:, 0])  # the width stays


def test_detections(root):
    table = load("coco", root, "val", input_size=SIZE, boxes="boxes.json", box_threshold=0.5)
    assert table.boxes == "boxes.json>=0.5"
    np.testing.assert_allclose(table.bboxes, [[-5, 3, 90, 20], [5, 3, 20, 20]])  # not clipped
    np.testing.assert_allclose(table.box_scores, [0.9, 0.5])
    assert not table.visibility.any() and (table.image_ids[table.image_index] == 7).all()
    assert table.counts["dropped_category"] == table.counts["dropped_score"] == 1
    everything = load("coco", root, "val", input_size=SIZE, boxes="boxes.json")
    assert len(everything) == 3


@pytest.mark.parametrize(
    ("dataset", "boxes", "people"),
    [
        ("coco", "COCO_val2017_detections_AP_H_56_person.json", 118),
        ("crowdpose", "det_for_crowd_test_0.1_0.5.json", 6),
    ],
)
def test_real_detections(samples, dataset, boxes, people):
    table = load(dataset, samples, SPLITS[dataset], input_size=SIZE, boxes=boxes)
    path = samples / dataset / "person_detection_results" / boxes
    expected = [d for d in json.loads(path.read_text()) if d["category_id"] == 1]
    assert len(table) == len(expected) == people
    np.testing.assert_allclose(table.bboxes, [d["bbox"] for d in expected], rtol=1e-6)


def test_test_dev_has_no_people(root):
    content = files.coco()
    del content["annotations"]
    files.write(root / "coco/annotations/image_info_test-dev2017.json", content)
    for name in ("a.jpg", "b.jpg"):
        files.image(root / "coco/images/test2017" / name)
    table = load("coco", root, "test", input_size=SIZE, boxes="boxes.json")
    assert len(table) == 3
    with pytest.raises(DataError, match="annotations is missing"):
        load("coco", root, "test", input_size=SIZE)
    with pytest.raises(UsageError, match="no keypoints to train on"):
        load("coco", root, "test", input_size=SIZE, training=True)


@pytest.mark.parametrize(
    ("dataset", "split", "name"),
    [
        ("coco", "val", "person_keypoints_val2017.json"),
        ("crowdpose", "test", "mmpose_crowdpose_test.json"),
        ("ochuman", "test", "ochuman_coco_format_test_range_0.00_1.00.json"),
        ("mpii", "val", "valid.json"),
    ],
)
def test_upstream_spellings(root, dataset, split, name):
    folder = root / dataset / "annotations"
    data = DataConfig(dataset=dataset, root=root)
    before = fingerprint(data, split)
    next(folder.glob("*.json")).rename(folder / name)
    after = load(dataset, root, split, input_size=SIZE)
    assert after.annotation_file.name == name
    assert fingerprint(data, split) == before  # content, not names of annotation files


def test_clip_boxes():
    clipped = clip_boxes(
        np.array([[1.0, 2, 10, 10], [-5, 0, 20, 5], [90, 90, 50, 50], [120, 0, 5, 5]]),
        np.array([[100, 100]] * 4),
    )
    np.testing.assert_allclose(clipped[:3], [[1, 2, 9, 9], [0, 0, 19, 4], [90, 90, 9, 9]])
    assert clipped[3, 2] < 0  # outside


def test_fingerprint_sees_annotations_and_image_sizes(root):
    data = DataConfig(dataset="coco", root=root)
    before = fingerprint(data, "val")
    assert before.startswith("sha256:") and fingerprint(data, "val") == before
    (root / "coco/images/val2017/notes.txt").write_text("no photograph")
    (root / "coco/images/val2017/._b.jpg").write_text("neither")
    assert fingerprint(data, "val") == before
    with (root / "coco/images/val2017/b.jpg").open("ab") as file:
        file.write(b"\0")
    longer = fingerprint(data, "val")
    content = files.coco()
    content["annotations"][0]["area"] += 1
    files.write(root / "coco/annotations/coco_val.json", content)
    assert len({before, longer, fingerprint(data, "val")}) == 3


def test_polygons_cost_no_memory(tmp_path):
    """A small form of ``coco_scale``: what is held is arrays, a fraction of the file."""
    import tracemalloc

    from coco_scale import write

    path = tmp_path / "coco_train.json"
    write(path, images=1200, annotations=2600)
    tracemalloc.start()
    table = read(path, tmp_path, ROWS["coco"], split="train", input_size=SIZE, truth=False)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    size = path.stat().st_size
    assert len(table) == 2600 * 149_813 // 262_465
    assert held < 0.25 * size and peak < 2.5 * size  # json.load alone peaks above 5


def test_take(root):
    table = load("coco", root, "val", input_size=SIZE)
    some = table.take([2, 0])
    assert some.person_ids.tolist() == [102, 100] and some.counts["people"] == 2
    assert table.take(table.person_ids == 101).person_ids.tolist() == [101]


def test_synthetic_is_the_mpii_layout_with_its_own_fingerprint(tmp_path):
    from hevitpose.data.synthetic import generate

    data = DataConfig(dataset="synthetic", root=tmp_path, people=24, image_size=64)
    before = fingerprint(data, "train")  # known before anything is rendered
    generate(tmp_path, people=24, size=64, workers=1)
    assert fingerprint(data, "train") == before == "synthetic:v1:seed0:people24:size64"
    table = load("synthetic", tmp_path, "train", input_size=(64, 64), training=True)
    same = load("mpii", tmp_path, "train", input_size=(64, 64))
    assert table.dataset == "synthetic" and table.layout is MPII
    np.testing.assert_array_equal(table.keypoints, same.keypoints)
    # COCO's file of the same people is zero-based: shared joints are in the same place
    coco = load("coco", tmp_path, "train", input_size=(64, 64))
    row = {person: n for n, person in enumerate(coco.person_ids.tolist())}
    content = json.loads((tmp_path / "coco/annotations/coco_train.json").read_text())
    compared = 0
    for n, position in enumerate(table.person_ids):
        other = row.get(content["annotations"][position]["id"])
        for target, source in enumerate(mapping(MPII, COCO)):
            if other is not None and source >= 0 and coco.visibility[other, target]:
                np.testing.assert_allclose(
                    table.keypoints[n, source], coco.keypoints[other, target], atol=1e-3
                )
                compared += 1
    assert compared > 100


# ---------------------------------------------------------------- bad records

NAN = float("nan")


def person(**changed):
    """A change of the second person; ``None`` removes a key."""

    def change(content):
        record = content["annotations"][1]
        for key, value in changed.items():
            if value is None:
                del record[key]
            else:
                record[key] = value

    return change


def points(position, value):
    def change(content):
        content["annotations"][1]["keypoints"][position] = value

    return change


def duplicate(content):
    content["annotations"].append(content["annotations"][1] | {"bbox": [1, 1, 20, 20]})


BAD_PEOPLE = {
    "nan box": (person(bbox=[1.0, NAN, 3.0, 4.0]), r"bbox\[1\] is NaN"),
    "infinite box": (person(bbox=[1.0, 2.0, float("inf"), 4.0]), r"bbox\[2\] is infinite"),
    "text in box": (person(bbox=[1, "2", 3, 4]), r'bbox\[1\] is "2"'),
    "short box": (person(bbox=[1, 2, 3]), "bbox has 3 values, expected 4"),
    "no box": (person(bbox=None), "bbox is missing"),
    "zero box": (person(bbox=[1, 2, 0, 4]), r"bbox is \[1, 2, 0, 4\], expected a positive"),
    "negative box": (person(bbox=[1, 2, -9, 4]), "expected a positive width"),
    "outside box": (person(bbox=[500, 2, 30, 40]), "outside its image of 64x48"),
    "nan area": (person(area=NAN), "area is NaN"),
    "missing area": (person(area=None), "area is missing"),
    "unknown image": (person(image_id=12345), "image_id 12345 is unknown"),
    "image id text": (person(image_id="7"), 'image_id is "7", expected an integer'),
    "category": (person(category_id=2), r"category_id 2 \(not in categories\), expected 1"),
    "crowd": (person(iscrowd=3), "iscrowd is 3, expected 0 or 1"),
    "few keypoints": (person(keypoints=[1, 2, 2]), "keypoints has 3 values, expected 51"),
    "no keypoints": (person(keypoints=None), "keypoints is missing"),
    "nan keypoint": (points(0, NAN), r"keypoints\[0\] is NaN"),
    "null keypoint": (points(6, None), r"keypoints\[6\] is null"),
    "visibility": (points(5, 7), r"keypoints\[5\] is 7, expected visibility 0, 1 or 2"),
    "duplicate": (duplicate, "id 101: duplicate id"),
    "not an object": (lambda c: c["annotations"].insert(1, [3]), "not an object"),
}


@pytest.mark.parametrize("name", BAD_PEOPLE)
def test_bad_person(tmp_path, name):
    change, message = BAD_PEOPLE[name]
    content = files.coco()
    change(content)
    root = files.root(tmp_path, coco=content)
    with pytest.raises(DataError, match=message) as caught:
        load("coco", root, "val", input_size=SIZE)
    assert "coco_val.json" in str(caught.value) and "\n" not in str(caught.value)
    table = load("coco", root, "val", input_size=SIZE, skip_bad=True)
    assert len(table.skipped) == table.counts["skipped"] == 1
    kept = [100, 101, 102] if name in ("duplicate", "not an object") else [100, 102]
    assert table.person_ids.tolist() == kept


def test_dropped_people_may_be_anything(tmp_path):
    """Nobody reads a crowd's box, nor that of a person without a labelled joint."""
    content = files.coco()
    content["annotations"][3]["bbox"] = content["annotations"][4]["bbox"] = [NAN, 0, 0, 0]
    content["annotations"][2]["area"] = 0
    table = load("coco", files.root(tmp_path, coco=content), "val", input_size=SIZE)
    assert table.person_ids.tolist() == [100, 101]
    assert table.counts["dropped_area"] == 1


def test_other_category_is_named(tmp_path):
    content = files.coco()
    content["categories"].append({"id": 18, "name": "dog"})
    content["annotations"][1]["category_id"] = 18
    with pytest.raises(DataError, match=r"category_id 18 \(dog\), expected 1 \(person\)"):
        load("coco", files.root(tmp_path, coco=content), "val", input_size=SIZE)


def image_record(**changed):
    return lambda content: content["images"][1].update(changed)


BAD_IMAGES = {
    "size": (image_record(width=-3), "expected positive pixels"),
    "no size": (image_record(width=0), "width is 0, expected pixels"),
    "height text": (image_record(height="48"), 'height is "48"'),
    "name": (image_record(file_name=None), "file_name is"),
    "climbing name": (image_record(file_name="../../b.jpg"), "expected a relative file name"),
    "absolute name": (image_record(file_name="/etc/passwd"), "expected a relative file name"),
    "nul": (image_record(file_name="b\0.jpg"), "expected a relative file name"),
    "duplicate": (image_record(id=7), "id 7 is a duplicate"),
}


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_bad_image_record(tmp_path, name):
    change, message = BAD_IMAGES[name]
    content = files.coco()
    del content["annotations"][3:]  # whoever is in image b
    change(content)
    root = files.root(tmp_path, coco=content)
    with pytest.raises(DataError, match=message):
        load("coco", root, "val", input_size=SIZE)
    assert len(load("coco", root, "val", input_size=SIZE, skip_bad=True)) == 3


def change_boxes(**changed):
    def change(content):
        content[0].update(changed)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (change_boxes(bbox=[1, 2, 0, 4]), "expected a positive width"),
        (change_boxes(bbox=[NAN, 2, 3, 4]), r"bbox\[0\] is NaN"),
        (change_boxes(score=NAN), "score is NaN"),
        (change_boxes(image_id=4), "image_id 4 is not in the ground truth"),
        (change_boxes(category_id="1"), "category_id is"),
    ],
)
def test_bad_detection(tmp_path, change, message):
    content = files.boxes()
    change(content)
    root = files.root(tmp_path, boxes=content)
    with pytest.raises(DataError, match=message):
        load("coco", root, "val", input_size=SIZE, boxes="boxes.json")
    table = load("coco", root, "val", input_size=SIZE, boxes="boxes.json", skip_bad=True)
    assert len(table) == 2 and table.counts["skipped"] == 1


def mpii_person(**changed):
    return lambda content: content[1].update(changed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (mpii_person(scale=-1.0), "scale is -1, expected a positive"),
        (mpii_person(scale=NAN), "scale is NaN"),
        (mpii_person(center=[1.0, NAN]), r"center\[1\] is NaN"),
        (mpii_person(joints=[[1, 2]] * 15), "15 joints, expected 16"),
        (mpii_person(joints=[[1, 2]] * 15 + [[1]]), r"joints\[15\] has 1 values"),
        (mpii_person(joints_vis=[1] * 17), "joints_vis has 17 values"),
        (mpii_person(joints_vis=[5] * 16), "expected zeros and ones"),
        (mpii_person(image=3), "image is 3"),
    ],
)
def test_bad_mpii_person(tmp_path, change, message):
    content = files.mpii()
    change(content)
    root = files.root(tmp_path, mpii=content)
    with pytest.raises(DataError, match=message):
        load("mpii", root, "val", input_size=SIZE)
    table = load("mpii", root, "val", input_size=SIZE, skip_bad=True)
    assert table.person_ids.tolist() == [0] and len(table.skipped) == 1


# ---------------------------------------------------------------- bad files


def without(key):
    content = files.coco()
    del content[key]
    return content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty, expected JSON"),
        ("  \n", "empty, expected JSON"),
        ("nonsense", "expected a JSON object"),
        ('{"images": [', "not JSON or truncated at line 1, column 13"),
        (json.dumps(files.coco())[:-40], "not JSON or truncated"),
        (json.dumps(files.coco()) + "x", "Extra data"),
        ("[" * 100_000, "nested too deeply|not JSON"),
        ('{"images": [{"id": ' + "9" * 5000 + "}]}", "id .*expected an integer|digits"),
        ('{"a": "\\ud800.jpg"}', "an unpaired surrogate"),
        ('{"images": [], "images": []}', "'images' is there twice"),
        (json.dumps(files.mpii()), "a list of records, expected COCO"),
        (files.crowdpose(), "keypoints are in another order"),
        (without("annotations"), "annotations is missing"),
        (without("images"), "images is missing"),
        (without("categories"), "categories is missing"),
        (files.coco() | {"annotations": {}}, "annotations is not a list"),
        (files.coco() | {"categories": [{"id": 1, "name": "dog"}]}, "has no 'person'"),
        (files.coco() | {"annotations": []}, "no usable people"),
        (files.coco() | {"images": [], "annotations": []}, "no usable people"),
    ],
)
def test_bad_coco_file(tmp_path, content, message):
    root = files.root(tmp_path, coco=content)
    with pytest.raises(DataError, match=message) as caught:
        load("coco", root, "val", input_size=SIZE)
    assert "coco_val.json" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty"),
        ("[]", "no usable people"),
        (files.coco(), "an object, expected MPII's list"),
        (json.dumps(files.mpii())[:-3], "truncated"),
        ([{"id": 3}], "image is missing"),
    ],
)
def test_bad_mpii_file(tmp_path, content, message):
    root = files.root(tmp_path, mpii=content)
    with pytest.raises(DataError, match=message):
        load("mpii", root, "val", input_size=SIZE)


def test_not_utf8(root):
    (root / "coco/annotations/coco_val.json").write_bytes(b'{"images": "\xff"}')
    with pytest.raises(DataError, match="byte 12 is not UTF-8"):
        load("coco", root, "val", input_size=SIZE)


def test_one_message_names_several_records(tmp_path):
    content = files.coco(people=9)
    for record in content["annotations"][:7]:
        record["bbox"] = [1, 1, -1, 5]
    with pytest.raises(DataError, match=r"id 100.*id 104.*and 2 more"):
        load("coco", files.root(tmp_path, coco=content), "val", input_size=SIZE)


def test_usage(root):
    with pytest.raises(UsageError, match="did you mean 'coco'"):
        load("cocoo", root, "val", input_size=SIZE)
    with pytest.raises(UsageError, match="expected one of train, val, test"):
        load("coco", root, "valid", input_size=SIZE)
    with pytest.raises(DataError, match=r"no coco_train\.json or person_keypoints_train2017"):
        load("coco", root, "train", input_size=SIZE)
    with pytest.raises(DataError, match="no such box file"):
        load("coco", root, "val", input_size=SIZE, boxes="nowhere.json")
    with pytest.raises(UsageError, match="expected gt"):
        load("mpii", root, "val", input_size=SIZE, boxes="boxes.json")
    with pytest.raises(UsageError, match="no keypoints to train on"):
        load("coco", root, "val", input_size=SIZE, boxes="boxes.json", training=True)


# ---------------------------------------------------------------- custom datasets

YAML = """
name: hands
keypoints: [wrist, left_tip, right_tip]
flip_pairs: [[left_tip, right_tip]]
sigmas: [0.062, 0.05, 0.05]
skeleton: [[wrist, left_tip], [0, 2]]
splits:
  val: {annotations: val.json, images: pictures}
"""


def hands():
    content = copy.deepcopy(files.coco())
    content["categories"] = [{"id": 3, "name": "person", "keypoints": ["a", "b", "c"]}]
    for record in content["annotations"]:
        record["category_id"] = 3
        record["keypoints"] = record["keypoints"][9:18]
    return content


@pytest.fixture
def custom(tmp_path):
    files.write(tmp_path / "val.json", hands())
    files.image(tmp_path / "pictures/a.jpg")
    files.image(tmp_path / "pictures/b.jpg")
    return files.write(tmp_path / "hands.yaml", YAML)


def test_custom(custom):
    table = load(str(custom), "unused", "val", input_size=(64, 64))
    assert (table.dataset, len(table), table.keypoints.shape) == ("hands", 3, (3, 3, 2))
    assert table.layout.flip_order == (0, 2, 1) and table.layout.skeleton == ((0, 1), (0, 2))
    with pytest.raises(UsageError, match="unknown split"):
        load(str(custom), "unused", "train", input_size=(64, 64))


@pytest.mark.parametrize(
    ("old", "new", "error", "message"),
    [
        ("0.05, 0.05]", "0.05]", UsageError, r"2 sigmas, expected one per name \(3\)"),
        ("[0.062", "[-1", UsageError, "sigmas must be positive"),
        ("[[left_tip, right_tip]]", "[[left_tip, thumb]]", UsageError, "unknown keypoint 'thumb'"),
        ("[[left_tip, right_tip]]", "[[0, 3]]", UsageError, "indices from 0 to 2"),
        ("skeleton", "skeletons", UsageError, "unknown key 'skeletons'; did .*'skeleton'"),
        ("images:", "image:", UsageError, "key of splits.val 'image'; did .*'images'"),
        ("skeleton", "pck: {by: bbox, treshold: 1}\nskeleton", UsageError, "mean 'threshold'"),
        ("skeleton", "pck: {by: bbox, threshold: .inf}\nskeleton", UsageError, "finite number"),
        ("0.05, 0.05]", "0.05, .nan]", UsageError, "sigmas.2: 'nan': .*finite number"),
        ("[[left_tip,", "[[true,", UsageError, "flip_pairs: .* expected a name or a number"),
        ("name: hands", "name: a\nname: b", UsageError, "key 'name' given twice"),
        ("name: hands", "name: ../hands", UsageError, "name: "),
        ("keypoints: [", "keypoints: [[", DataError, "not yaml"),
        ("val.json", "other.json", DataError, "other.json: No such file"),
        ("pictures", "photos", DataError, "photos: no such folder of images"),
        ("wrist, left_tip, right_tip]\n", "wrist, left_tip]\n", UsageError, "right_tip"),
    ],
)
def test_bad_custom(custom, old, new, error, message):
    assert old in YAML
    custom.write_text(YAML.replace(old, new, 1))
    with pytest.raises(error, match=message) as caught:
        load(str(custom), "unused", "val", input_size=(64, 64))
    assert "\n" not in str(caught.value)


def test_custom_needs_areas_unless_told(custom):
    content = hands()
    del content["annotations"][0]["area"]
    files.write(custom.parent / "val.json", content)
    with pytest.raises(DataError, match="area is missing"):
        load(str(custom), "unused", "val", input_size=(64, 64))
    custom.write_text(YAML + "use_area: false\n")
    assert len(load(str(custom), "unused", "val", input_size=(64, 64))) == 3
