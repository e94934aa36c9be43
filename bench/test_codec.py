"""Encode, decode and flip, timed: ``nox -s bench -- bench/test_codec.py``.

``fill`` and ``sum`` are the yardsticks: encoding should cost little more than filling fresh memory
of the same shape, decoding little more than one sum over it.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hevitpose import codec
from hevitpose.data.keypoints import COCO

SHAPE = (1000, 17, 64, 64)
INPUT, HEATMAP = (256, 256), (64, 64)


@pytest.fixture(scope="module")
def heatmaps() -> np.ndarray:
    return np.random.default_rng(0).random(SHAPE, dtype=np.float32)


@pytest.fixture
def extra(benchmark):
    benchmark.extra_info.update(shape=SHAPE, threads=torch.get_num_threads())
    return benchmark


@pytest.mark.benchmark(group="encode")
def test_fill(extra):
    extra(np.full, SHAPE, 1.0, np.float32)


@pytest.mark.benchmark(group="encode")
@pytest.mark.parametrize("method", codec.ENCODERS)
def test_encode(extra, method):
    rng = np.random.default_rng(0)
    keypoints = rng.uniform(-10, 266, (*SHAPE[:2], 2)).astype(np.float32)
    visible = (rng.random(SHAPE[:2]) < 0.8).astype(np.float32)
    maps, _ = extra(codec.encode, keypoints, visible, INPUT, HEATMAP, 2, method)
    assert maps.shape == SHAPE


@pytest.mark.benchmark(group="decode")
def test_sum(extra, heatmaps):
    extra(heatmaps.sum)


@pytest.mark.benchmark(group="decode")
@pytest.mark.parametrize("method", codec.DECODERS)
def test_decode(extra, heatmaps, method):
    xy, _ = extra(codec.decode, heatmaps, method)
    assert xy.shape == (*SHAPE[:2], 2)


@pytest.mark.benchmark(group="flip")
def test_flip_back(extra, heatmaps):
    assert extra(codec.flip_back, heatmaps, COCO.flip_pairs).shape == SHAPE


@pytest.mark.benchmark(group="loss")
def test_mse_loss(extra, heatmaps):
    maps = torch.from_numpy(heatmaps[:64])
    extra(codec.mse_loss, maps, maps.roll(1, 0), torch.ones(64, 17))
