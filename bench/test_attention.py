"""Every attention at the three stages of HEViTPose-B, timed beside each other."""

from __future__ import annotations

from typing import Any

import pytest

from hevitpose.models.registry import create
from hevitpose.models.spec import ATTENTIONS, resolve

WIDTHS = resolve("b").widths

#: One part of CGSR-MHA left out or changed at a time.
PARTS: dict[str, dict[str, Any]] = {
    "no-cascade": {"cascade": False},
    "no-reduction": {"reductions": (1, 1, 1)},
    "one-group": {"groups": (1, 1, 1)},
    "one-head": {"num_heads": 1},
    "no-head-conv": {"per_head_conv": False},
    "no-group-linear": {"group_linear": False},
    "avg-pool": {"reduction_mode": "avg-pool"},
}


@pytest.mark.parametrize("stage", range(3))
@pytest.mark.parametrize("name", [name for name in ATTENTIONS if name != "none"])
def test_attention(timed, benchmark, name, stage):
    benchmark.group = f"attention, stage {stage + 1}"
    channels, side = WIDTHS[stage], 64 >> stage
    module = create("attention", name, dim=channels, **resolve("b").attention_numbers(stage, 1))
    assert timed(module, channels, side).shape == (1, channels, side, side)


@pytest.mark.parametrize("stage", range(3))
@pytest.mark.parametrize("part", PARTS)
def test_cgsr_part(timed, benchmark, part, stage):
    benchmark.group = f"attention, stage {stage + 1}"
    channels, side = WIDTHS[stage], 64 >> stage
    numbers = resolve("b", **PARTS[part]).attention_numbers(stage, 1)
    module = create("attention", "cgsr", dim=channels, **numbers)
    assert timed(module, channels, side).shape == (1, channels, side, side)
