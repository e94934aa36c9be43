"""Where data, codec and metrics meet: indices, geometry, categories, areas."""

from __future__ import annotations

import dataclasses
import json
import shutil

import cv2
import numpy as np
import pytest

from hevitpose.data import load
from hevitpose.errors import DataError
from hevitpose.evaluation.score import Predictions, box_pck, mean_pose, score

COCO_NUMBERS = {"AP", "AP50", "AP75", "APM", "APL", "AR", "AR50", "AR75", "ARM", "ARL"}


def perfect(table, shift=0.0):
    scores = np.ones(table.visibility.shape, np.float32)
    return Predictions(np.arange(len(table)), table.keypoints + np.float32(shift), scores)


def test_joined_parts_are_in_order_and_once():
    def part(*rows):
        rows = np.array(rows)
        return rows, np.repeat(rows, 4).reshape(-1, 2, 2).astype(np.float32), rows[:, None] * 1.0

    joined = Predictions.join([part(0, 2, 4), part(1, 3)])
    assert joined.index.tolist() == [0, 1, 2, 3, 4]
    assert joined.keypoints[:, 0, 0].tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="twice"):
        Predictions.join([part(0, 1), part(1)])
    with pytest.raises(ValueError, match=r"2 evaluation samples were not predicted \(1\)"):
        Predictions.join([part(0, 2, 4)])


def test_perfect_synthetic_people_score_everything(synthetic_root):
    table = load("synthetic", synthetic_root, "val", input_size=(64, 64))
    metrics = score(table, perfect(table))
    assert metrics["Mean"] == pytest.approx(100)
    assert metrics["Mean@0.1"] == pytest.approx(100)
    assert metrics["AP"] > 0.99


def test_mpii_is_one_based(synthetic_root):
    """Off by one pixel costs at the tight threshold: the shift the evaluation adds matters."""
    table = load("mpii", synthetic_root, "val", input_size=(64, 64))
    exact = score(table, perfect(table))["Mean@0.1"]
    assert exact == pytest.approx(100)
    assert score(table, perfect(table, shift=-1))["Mean@0.1"] < 90


def test_a_part_of_the_people_is_scored_against_its_own_rows(synthetic_root):
    table = load("mpii", synthetic_root, "val", input_size=(64, 64))
    some = table.take(np.arange(len(table))[::2])
    everybody = perfect(some)
    assert score(some, everybody)["Mean"] == pytest.approx(100)
    arrays = (everybody.index, everybody.keypoints, everybody.scores)
    few = Predictions(*(array[:-1] for array in arrays))
    for metric in (score, box_pck):
        with pytest.raises(DataError, match=f"1 of {len(some)} people are not predicted"):
            metric(some, few)


@pytest.mark.parametrize("dataset", ["coco", "ochuman"])
def test_coco_format(synthetic_root, dataset):
    split = "val"
    table = load(dataset, synthetic_root, split, input_size=(64, 64))
    metrics = score(table, perfect(table))
    assert metrics.keys() == COCO_NUMBERS
    assert metrics["AP"] > 0.99


def test_crowdpose(synthetic_root):
    pytest.importorskip("xtcocotools", reason="xtcocotools is not built here")
    table = load("crowdpose", synthetic_root, "val", input_size=(64, 64))
    metrics = score(table, perfect(table))
    assert metrics["AP"] > 0.99
    assert {"AP_easy", "AP_medium", "AP_hard"} <= metrics.keys()
    # What the dataset declares decides: with a tenth of the sigmas the same distance is far.
    strict = dataclasses.replace(
        table.layout, sigmas=tuple(sigma / 10 for sigma in table.layout.sigmas)
    )
    declared = dataclasses.replace(table.declared, layout=strict)
    near = perfect(table, shift=1.0)
    found = [score(t, near)["AP"] for t in (table, dataclasses.replace(table, declared=declared))]
    assert found[1] < 0.2 < 0.5 < found[0]


def test_mpii_train_has_no_head_boxes(synthetic_root):
    table = load("mpii", synthetic_root, "train", input_size=(64, 64))
    with pytest.raises(DataError, match="head boxes"):
        score(table, perfect(table))


def test_mean_pose_is_a_floor(synthetic_root):
    train = load("synthetic", synthetic_root, "train", input_size=(64, 64))
    val = load("synthetic", synthetic_root, "val", input_size=(64, 64))
    assert score(val, mean_pose(train, val))["Mean"] < 40
    same = dataclasses.replace(val, keypoints=mean_pose(val, val).keypoints)
    np.testing.assert_allclose(mean_pose(same, same).keypoints, same.keypoints, atol=20)


def test_box_pck_counts_labelled_joints(synthetic_root):
    table = load("synthetic", synthetic_root, "val", input_size=(64, 64))
    assert box_pck(table, perfect(table)) == 100
    far = float(table.sizes.max())
    assert box_pck(table, perfect(table, shift=far)) == 0


@pytest.fixture
def tools(tmp_path):
    """A custom dataset whose category is 7 and whose annotations have no areas."""
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    images, annotations = [], []
    for number in range(1, 4):
        image = rng.integers(0, 255, (60, 80, 3), np.uint8)
        cv2.imwrite(str(tmp_path / "images" / f"{number}.png"), image)
        images.append({"id": number, "file_name": f"{number}.png", "width": 80, "height": 60})
        points = rng.uniform(15, 40, (3, 2)).round(1)
        flat = [v for x, y in points.tolist() for v in (x, y, 2)]
        annotations.append(
            {
                "id": 10 + number,
                "image_id": number,
                "category_id": 7,
                "bbox": [10, 10, 40, 40],
                "iscrowd": 0,
                "keypoints": flat,
                "num_keypoints": 3,
            }
        )
    categories = [{"id": 7, "name": "tool", "keypoints": ["tip", "left", "right"]}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (tmp_path / "val.json").write_text(json.dumps(content))
    (tmp_path / "tools.yaml").write_text(
        "name: tools\ncategory: tool\nuse_area: false\nkeypoints: [tip, left, right]\n"
        "flip_pairs: [[left, right]]\nsigmas: [0.05, 0.05, 0.05]\n"
        "splits: {val: {annotations: val.json, images: images}}\n"
    )
    return tmp_path / "tools.yaml"


def test_a_custom_dataset_of_another_category_without_areas(tools):
    table = load(str(tools), tools.parent, "val", input_size=(64, 64))
    metrics = score(table, perfect(table))
    assert metrics["AP"] == pytest.approx(1)
    assert score(table, perfect(table, shift=30))["AP"] == 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (slice(1, None), r"[0-9]+ people, .* expected the same list"),
        (slice(None, None, -1), "differ"),
    ],
)
def test_rendered_people_of_another_crowdpose_file(synthetic_root, tmp_path, change, says):
    """Its boxes are taken row by row."""
    from hevitpose.data.files import declared
    from hevitpose.data.readers import mpii

    for name in ("mpii", "crowdpose"):
        shutil.copytree(synthetic_root / name / "annotations", tmp_path / name / "annotations")
    path = tmp_path / "crowdpose/annotations/crowdpose_val.json"
    content = json.loads(path.read_text())
    content["annotations"] = content["annotations"][change]
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=says):
        mpii.load(tmp_path, "val", declared("synthetic"), input_size=(64, 64))
