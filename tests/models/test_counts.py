"""The check values of the reconstruction, mmcv convention, 1x3x256x256, 16 keypoints."""

from __future__ import annotations

import pytest

from hevitpose.cost.complexity import count
from hevitpose.models import create_model


@pytest.mark.parametrize(
    ("name", "params", "gflops"),
    [
        ("hevitpose_t", 3.2103, 1.7488),
        ("hevitpose_s", 5.8806, 3.6469),
        ("hevitpose_b", 10.6295, 5.5807),
    ],
)
def test_published_sizes(name: str, params: float, gflops: float) -> None:
    complexity = count(create_model(name, 16, seed=0), (256, 256))
    assert round(complexity.params / 1e6, 4) == params
    assert complexity.flops / 1e9 == pytest.approx(gflops, abs=1e-4)
