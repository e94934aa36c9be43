"""Latency against batch and input: what was measured where, and which points are noisy."""

from __future__ import annotations

import pytest
from matplotlib.colors import to_hex
from msgspec.structs import replace

from reports.figures.curves import draw_sweep, latency_sweeps
from reports.load import check


@pytest.fixture
def sweep(make):
    """Three sides by the wall's clock, the largest noisy; three by processor time."""
    records = []
    for clock in ("wall", "cpu"):
        for side in (64, 128, 256):
            conditions = {"input": f"{side}x{side}", "clock": clock, "threads": 1}
            record = make.latency(p50=side / 10, conditions=conditions)
            noisy = clock == "wall" and side == 256
            latency = replace(record.latency, n=150, noisy=noisy)
            config = {**record.config, "data": {"input_size": [side, side]}}
            records.append(replace(record, latency=latency, config=config))
    (plot,) = latency_sweeps(check((record.id, record) for record in records))
    return plot


def test_machine_threads_and_n_are_said(sweep):
    assert [label for label, _ in sweep.data["lines"]] == [
        "HEViTPose-nano, fused fp32, batch 1, example cpu, 1 thread",
        "HEViTPose-nano, fused fp32, batch 1, example cpu, 1 thread, processor time",
    ]
    note = sweep.data["note"]
    assert note.startswith("Times: example cpu; ") and "threads 1" in note and "n = 150" in note


def test_noisy_points_are_hollow_and_the_legend_says_so(sweep):
    figure = draw_sweep(sweep.data)
    (axes,) = figure.axes
    hollow = [line for line in axes.lines if to_hex(line.get_markerfacecolor()) == "#ffffff"]
    assert [[*line.get_xdata()] for line in hollow] == [[256], []]  # the point, and the legend's
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend[-1] == "hollow: noisy (IQR above 10% of the median)"
    assert figure.hover_tips[2].endswith("25.6 ms at 256, n = 150, noisy")
    quiet = [[label, [[*p[:3], False] for p in points]] for label, points in sweep.data["lines"]]
    (axes,) = draw_sweep(sweep.data | {"lines": quiet}).axes
    assert len(axes.get_legend().get_texts()) == 2
