"""Every way down between two stages of HEViTPose-B, and every stage-1 embedding."""

from __future__ import annotations

import pytest

from hevitpose.models.hevitpose import OPE
from hevitpose.models.registry import create
from hevitpose.models.spec import DOWNSAMPLINGS, PEOWS, resolve

WIDTHS = resolve("b").widths


@pytest.mark.parametrize("stage", [1, 2])
@pytest.mark.parametrize("name", DOWNSAMPLINGS)
def test_downsampling(timed, benchmark, name, stage):
    benchmark.group = f"downsampling, stage {stage + 1}"
    channels, side = WIDTHS[stage - 1], 128 >> stage
    module = create("downsampling", name, in_channels=channels, out_channels=WIDTHS[stage])
    assert timed(module, channels, side).shape == (1, WIDTHS[stage], side // 2, side // 2)


@pytest.mark.parametrize("peow", PEOWS)
def test_embedding(timed, benchmark, peow):
    benchmark.group = "downsampling, stage 1"
    module = OPE(3, WIDTHS[0], stride=4, peow=peow)
    assert timed(module, 3, 256).shape == (1, WIDTHS[0], 64, 64)
