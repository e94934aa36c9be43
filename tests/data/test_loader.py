"""Loading: items against the slow path, and the same bytes whoever loads them."""

from __future__ import annotations

import hashlib

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from hevitpose.data import load
from hevitpose.data.loader import PoseDataset, normalise
from hevitpose.data.transforms import Augmentation
from tests.data import annotation_files as files
from tests.data.reference_crop import box_to_crop, flip_person, to_crop

RECIPE = Augmentation(shift_probability=0.3, half_body_probability=0.3)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    root = files.root(tmp_path_factory.mktemp("loader"), coco=files.coco(people=8))
    return load("coco", root, "val", input_size=(64, 64))


def test_item_without_augmentation(table):
    dataset = PoseDataset(table, (64, 64))
    for index in range(len(table)):
        item = dataset[index]
        assert item["image"].shape == (64, 64, 3) and item["image"].dtype == np.uint8
        assert item["keypoints"].dtype == item["visibility"].dtype == np.float32
        center, size = box_to_crop(table.bboxes[index], 1.0)
        for k in np.flatnonzero(item["visibility"]):
            expected = to_crop(table.keypoints[index, k], center, size, 0, (64, 64), False)
            np.testing.assert_allclose(item["keypoints"][k], expected, atol=1e-4)
        np.testing.assert_allclose(item["center"], center)
        np.testing.assert_allclose(item["size"], size)
        assert item["index"] == index


def test_colours_are_rgb(tmp_path):
    root = files.root(tmp_path)
    picture = np.full((files.SIZE[1], files.SIZE[0], 3), (20, 100, 200), np.uint8)  # B, G, R
    cv2.imwrite(str(root / "coco/images/val2017/a.jpg"), picture)
    item = PoseDataset(load("coco", root, "val", input_size=(64, 64)), (64, 64))[0]
    np.testing.assert_allclose(item["image"][32, 32], (200, 100, 20), atol=4)


@pytest.mark.parametrize("udp", [False, True])
def test_augmented_item_against_the_slow_path(table, udp):
    """The reference flips the picture and the person, and only then crops and turns."""
    dataset = PoseDataset(table, (64, 64), augmentation=RECIPE, seed=3, udp=udp)
    flips = 0
    for index in range(len(table)):
        for epoch in range(4):
            item, drawn = dataset[epoch, index], dataset._parameters(epoch, index)
            image = cv2.imread(str(table.image_path(index)))[..., ::-1]
            points, seen, center = table.keypoints[index], table.visibility[index], drawn.center
            if drawn.flip:
                image = np.ascontiguousarray(image[:, ::-1])
                points, seen = flip_person(points, seen, table.layout.flip_pairs, image.shape[1])
                center = (image.shape[1] - center[0] - 1, center[1])
                flips += 1
            np.testing.assert_array_equal(item["visibility"], seen)
            for k in np.flatnonzero(seen):
                expected = to_crop(points[k], center, drawn.size, drawn.rotation, (64, 64), udp)
                np.testing.assert_allclose(item["keypoints"][k], expected, atol=1e-3)
                x, y = np.round(item["keypoints"][k]).astype(int)
                # far up-scaled, one rounded crop pixel is a fraction of an image pixel
                if 0 <= x < 64 and 0 <= y < 64 and drawn.size[0] < 60:
                    there = image[int(points[k][1] + 0.5), int(points[k][0] + 0.5)].astype(int)
                    assert np.abs(item["image"][y, x].astype(int) - there).max() < 60
    assert 8 <= flips <= 24


def digest(item) -> str:
    return hashlib.sha256(
        b"".join(np.ascontiguousarray(item[key]).tobytes() for key in sorted(item))
    ).hexdigest()


def loaded(table, workers, seed=0):
    torch.manual_seed(workers)  # global generators must not matter
    np.random.seed(workers)
    dataset = PoseDataset(table, (64, 64), augmentation=RECIPE, seed=seed)
    keys = [(epoch, index) for epoch in range(2) for index in range(len(table))]
    loader = DataLoader(dataset, batch_size=3, sampler=keys, num_workers=workers)
    rows = {}
    for batch in loader:
        for n in range(len(batch["index"])):
            rows[len(rows)] = digest({key: value[n].numpy() for key, value in batch.items()})
    return list(rows.values())


def test_same_bytes_for_any_number_of_workers(table):
    alone = loaded(table, 0)
    assert loaded(table, 2) == alone == loaded(table, 1)
    assert len(set(alone)) == len(alone)  # every epoch and person differs
    assert loaded(table, 0, seed=1) != alone


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_normalise(memory_format):
    images = torch.randint(0, 256, (2, 5, 7, 3), dtype=torch.uint8)
    got = normalise(images, memory_format)
    assert got.shape == (2, 3, 5, 7) and got.is_contiguous(memory_format=memory_format)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = (images.numpy() / 255 - mean) / std
    np.testing.assert_allclose(got.permute(0, 2, 3, 1).numpy(), expected, atol=1e-5)
