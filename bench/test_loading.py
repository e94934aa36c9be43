"""From a JPEG to the network's input: per image beside a bare read, then the batch's own part."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from hevitpose import codec, data
from hevitpose.data import synthetic
from hevitpose.data.loader import PoseDataset, normalise
from hevitpose.data.transforms import Augmentation

SIZE = (256, 256)
BATCH = 32


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    root = tmp_path_factory.mktemp("synthetic")
    synthetic.generate(root, people=60, size=480, seed=0, workers=1)
    return data.load("synthetic", root, "train", input_size=SIZE)


@pytest.fixture
def images(benchmark, table):
    """Times a function of an image's number over the first images, one after the other."""

    def run(function):
        benchmark.group = f"loading {BATCH} images"
        benchmark.extra_info.update(
            batch=BATCH, dtype="uint8", image="480x480 jpeg", threads=cv2.getNumThreads()
        )
        count = min(BATCH, len(table))
        return benchmark.pedantic(
            lambda: [function(index) for index in range(count)], rounds=20, warmup_rounds=3
        )

    return run


def test_bare_imread(images, table):
    paths = [str(table.image_path(index)) for index in range(len(table))]
    assert images(lambda index: cv2.imread(paths[index]))[0].shape == (480, 480, 3)


@pytest.mark.parametrize("augmented", [False, True], ids=["plain", "augmented"])
def test_crop(images, table, augmented):
    people = PoseDataset(table, SIZE, augmentation=Augmentation() if augmented else None)
    assert images(lambda index: people[0, index])[0]["image"].shape == (256, 256, 3)


def test_batch(benchmark):
    """Normalisation and targets, made in batches on the device."""
    rng = np.random.default_rng(0)
    crops = torch.from_numpy(rng.integers(0, 256, (BATCH, 256, 256, 3), dtype=np.uint8))
    keypoints = torch.from_numpy(rng.uniform(0, 256, (BATCH, 17, 2)).astype(np.float32))
    visible = torch.ones(BATCH, 17)
    benchmark.group = f"loading {BATCH} images"
    benchmark.extra_info.update(batch=BATCH, dtype="float32", threads=torch.get_num_threads())

    def batch():
        return normalise(crops), codec.encode(keypoints, visible, SIZE, (64, 64))

    images, _ = benchmark.pedantic(batch, rounds=20, warmup_rounds=3)
    assert images.shape == (BATCH, 3, 256, 256)
