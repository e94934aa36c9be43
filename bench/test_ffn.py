"""Every FFN at the three stages of HEViTPose-B, timed beside each other."""

from __future__ import annotations

import pytest

from hevitpose.models.registry import create
from hevitpose.models.spec import FFNS, resolve

WIDTHS = resolve("b").widths


@pytest.mark.parametrize("stage", range(3))
@pytest.mark.parametrize(
    ("name", "ratio"), [*((name, 2) for name in FFNS), ("standard", 1), ("standard", 4)]
)
def test_ffn(timed, benchmark, name, ratio, stage):
    benchmark.group = f"ffn, stage {stage + 1}"
    channels, side = WIDTHS[stage], 64 >> stage
    module = create("ffn", name, dim=channels, ratio=ratio)
    assert timed(module, channels, side).shape == (1, channels, side, side)
