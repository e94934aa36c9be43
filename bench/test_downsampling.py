"""Every way down between two stages of HEViTPose-B, and every stage-1 embedding."""

from __future__ import annotations

import pytest

from hevitpose.models.downsample import create_downsample
from hevitpose.spec import DOWNSAMPLINGS, PEOWS, resolve

WIDTHS = resolve("b").widths


@pytest.mark.parametrize("stage", [1, 2])
@pytest.mark.parametrize("name", DOWNSAMPLINGS)
def test_downsampling(timed, benchmark, name, stage):
    benchmark.group = f"downsampling, stage {stage + 1}"
    channels, side = WIDTHS[stage - 1], 128 >> stage
    module = create_downsample(resolve("b", downsampling=name), stage)
    assert timed(module, channels, side).shape == (1, WIDTHS[stage], side // 2, side // 2)


@pytest.mark.parametrize("peow", PEOWS)
def test_embedding(timed, benchmark, peow):
    benchmark.group = "downsampling, stage 1"
    module = create_downsample(resolve("b", peow=peow), 0)
    assert timed(module, 3, 256).shape == (1, WIDTHS[0], 64, 64)
