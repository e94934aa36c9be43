"""Result files of any system: read where they have one meaning, refused in one line elsewhere."""

from __future__ import annotations

import copy
import json
import warnings

import pytest

from hevitpose.data.readers.detections import read_boxes
from hevitpose.data.readers.image_ids import ImageIds
from hevitpose.data.readers.results import check_results, read_results
from hevitpose.errors import DataError

GOOD = {"image_id": 3, "category_id": 1, "keypoints": [1.0, 2.0, 0.5] * 17, "score": 0.5}
IMAGES = ImageIds([3, 785, 12], ["val/a.jpg", "val/000000000785.jpg", "train/a.jpg"])


def checked(entry, images=IMAGES):
    return check_results([GOOD, entry], 17, images=images, category_ids=[1])[1]


def test_an_id_tells_images_of_one_name_apart():
    """As ``predict cam1 --ids`` writes them: names below the folder that was given."""
    for image_id in (3, 12):
        entry = GOOD | {"file_name": "a.jpg", "image_id": image_id}
        assert checked(entry)["image_id"] == image_id
    for other in (785, [3], {"id": 3}, True, None, "3"):
        with pytest.raises(DataError, match=r"a\.jpg is 2 images"):
            checked(GOOD | {"file_name": "a.jpg", "image_id": other})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"image_id": 4},
            "entry 1: image_id 4 is not in the ground truth, expected an image of the same dataset",
        ),
        ({"image_id": "4"}, "entry 1: image_id 4 is not in the ground truth"),
        ({"image_id": "b.jpg"}, "entry 1: image_id b.jpg is not in"),
        ({"image_id": "a.jpg"}, "image_id a.jpg is 2 images, expected more of the path"),
        ({"image_id": ""}, "image_id is empty"),
        ({"file_name": "b.jpg"}, r"file_name b\.jpg is not in the ground truth"),
        ({"file_name": "test/a.jpg"}, r"file_name test/a\.jpg is not in the ground truth"),
        (
            {"file_name": "a.jpg", "image_id": 785},
            r"file_name a\.jpg is 2 images, expected more of the path",
        ),
        ({"file_name": 3}, "file_name is 3, expected text"),
        ({"image_id": True}, "image_id is true"),
        ({"image_id": 3.5}, "image_id is 3.5"),
        ({"category_id": 2}, r"category_id is 2, expected one of \[1\]"),
        ({"score": float("nan")}, "score is NaN, expected a finite number"),
        ({"score": float("inf")}, "score is infinite, expected a finite number"),
        ({"score": None}, "score is null"),
        ({"keypoints": [0.0] * 42}, "keypoints has 42 values, expected 51 numbers"),
        ({"keypoints": None}, "keypoints is null"),
        ({"keypoints": [1, 2, float("inf")] * 17}, "keypoints has inf at 2"),
        ({"keypoints": [1, 2, "3"] * 17}, "keypoints has '3' at 2"),
        ({"keypoints": [1, 2, [3]] * 17}, "keypoints has"),
        ({"keypoints": [[1, 2]] * 17}, r"joint of 2 values, expected \[x, y, v\]"),
        ({"keypoints": [[1.0] * 17] * 3}, "joint of 17 values"),
    ],
)
def test_refused(change, says):
    with pytest.raises(DataError, match=says) as caught:
        checked(GOOD | change)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("entry", [None, [], "x", 3])
def test_an_entry_is_an_object(entry):
    with pytest.raises(DataError, match=r"entry 1: .* expected an object"):
        checked(entry)
    with pytest.raises(DataError, match="expected a list of results"):
        check_results({"annotations": []}, 17)


@pytest.mark.parametrize(
    ("change", "image"),
    [
        ({"image_id": "785"}, 785),
        ({"image_id": 785.0}, 785),
        ({"image_id": "000000000785.jpg"}, 785),  # AlphaPose
        ({"image_id": "val/000000000785.jpg"}, 785),
        ({"image_id": "train/a.jpg"}, 12),
        ({"file_name": "train/a.jpg"}, 12),  # ids of another list: predict without --ids
        ({"file_name": "000000000785.jpg", "image_id": 4}, 785),
        ({"file_name": "/images/val/000000000785.jpg"}, 785),
        ({"file_name": r"images\val\a.jpg"}, 3),
        ({"file_name": None, "image_id": 12}, 12),
        ({"keypoints": [[1.0, 2.0, 0.5]] * 17}, 3),
        ({"keypoints": [[[1.0, 2.0, 0.5]] * 17]}, 3),
        ({"box": [1, 2], "keypoints": GOOD["keypoints"]}, 3),
    ],
)
def test_read(change, image):
    entry = GOOD | change
    before = copy.deepcopy(entry)
    assert checked(entry) == {**GOOD, "image_id": image} and entry == before


def test_boxes_and_results_mean_the_same_image(tmp_path):
    """Truth: 1 is the zebra; an entry is of the first picture of a list, and that is the apple."""
    images = ImageIds([1, 2], ["zebra.jpg", "apple.jpg"])
    entry = GOOD | {"image_id": 1, "file_name": "apple.jpg", "bbox": [1, 2, 30, 40]}
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps([entry]))
    assert read_boxes(boxes, 0.0, images).image_ids.tolist() == [2]
    assert [found["image_id"] for found in check_results([entry], 17, images=images)] == [2]


def test_two_longer_paths_are_not_one_image():
    images = ImageIds([1, 2], ["zebra.jpg", "apple.jpg"])
    entries = [GOOD | {"file_name": f"{folder}/apple.jpg"} for folder in ("val", "val", "train")]
    assert len(check_results(entries[:2], 17, images=images)) == 2
    with pytest.raises(
        DataError, match=r"train/apple\.jpg and val/apple\.jpg would both be image 2"
    ):
        check_results(entries, 17, images=images)


def test_long_integers_are_floats_to_an_evaluator():
    """xtcocotools cannot take the exponential of an array of Python's own."""
    found = checked(GOOD | {"keypoints": [10**40, 2, 1] * 17})
    assert {type(value) for value in found["keypoints"]} == {float}
    with pytest.raises(DataError, match="at 0, expected finite numbers"):
        checked(GOOD | {"keypoints": [10**309, 2, 1] * 17})


def test_text_ids_of_the_truth_are_found():
    """A truth whose ids are text is read with numbers in their place; so are its predictions."""
    from hevitpose.data.readers.fields import number_of

    images = ImageIds([number_of("img_7", "id")], ["a.jpg"])
    assert checked(GOOD | {"image_id": "img_7"}, ImageIds([3, *images.known]))["image_id"] > 2**52


def test_files(tmp_path):
    path = tmp_path / "r.json"
    path.write_text(json.dumps([GOOD]))
    assert read_results(path, 17) == [GOOD]
    with pytest.raises(DataError, match=r"absent\.json: No such file"):
        read_results(tmp_path / "absent.json", 17)
    for content in (b"", b'[{"image_id": 3', b'{"a": 1}', b"\xff\xfe", b"[" * 200_000):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"r\.json"):
            read_results(path, 17)


@pytest.mark.parametrize(("scale", "said"), [(1, True), (400, False), (0, False)])
def test_shares_of_the_image_are_told(tmp_path, scale, said):
    """YOLO's coordinates, in predictions and in boxes; zeros are a network that learned nothing."""
    keypoints = [0.25 * scale, 0.5 * scale, 0.9] * 17
    results, boxes = tmp_path / f"{scale}.json", tmp_path / f"boxes{scale}.json"
    results.write_text(json.dumps([GOOD | {"keypoints": keypoints}]))
    bbox = [0.25 * scale, 0.25 * scale, 0.5 * scale or 1, 0.5 * scale or 1]
    boxes.write_text(json.dumps([GOOD | {"bbox": bbox}]))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read_results(results, 17)
        if scale:
            read_boxes(boxes, 0.0, ImageIds([GOOD["image_id"]]), skip_bad=False)
    lines = [str(w.message) for w in caught if "within 0..1" in str(w.message)]
    assert len(lines) == (2 if said else 0)
