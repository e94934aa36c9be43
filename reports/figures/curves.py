"""Learning curves, and latency against batch and resolution."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from typing import Any

from hevitpose.markdown import plain
from hevitpose.records import Record
from hevitpose.records.schema import is_share
from reports.captions import (
    conditions_key,
    data_words,
    describe_conditions,
    place_words,
    precision_word,
)
from reports.figures import style
from reports.figures.plot import Plot, shown_name
from reports.load import Measured, input_size, p50
from reports.tables.accuracy import beside_published, measured_groups
from reports.tables.speed import latest_timings


def learning_curves(measured: Measured) -> Plot | None:
    """Loss and the held-out metric over steps, of every plain network's longest training.

    Only of runs that were validated on the way: a loss alone says nothing of poses.
    """
    series = []
    for dataset, split in sorted(
        {(r.dataset.name, r.dataset.split) for r in measured.of("evaluation") if r.dataset}
    ):
        for network, groups in measured_groups(measured, dataset, split).items():
            runs = beside_published(group for group in groups if group[0].curve)
            for record in runs[:8]:
                rows = [
                    [row.get("step", row.get("epoch")), row.get("loss"), _tracked(row)]
                    for row in record.curve
                    if isinstance(row.get("step", row.get("epoch")), (int, float))
                ]
                if sum(row[2] is not None for row in rows) > 1:
                    label = f"{shown_name(network)}, {plain(data_words(dataset, split))}"
                    series.append([label, record.seed, rows])
    if not series:
        return None
    return Plot(
        "learning-curves", "Training loss and held-out accuracy over steps", {"series": series},
        draw_learning_curves,
    )  # fmt: skip


def _tracked(row: Any) -> float | None:
    for name in ("Mean", "PCKh", "minival_pck", "AP"):
        value = row.get(name)
        if isinstance(value, (int, float)):
            return float(100 * value if is_share(name) else value)
    return None


def draw_learning_curves(data: Any) -> Any:
    """A panel for what was tracked: loss, held-out accuracy; a thin line a seed."""
    shown = [
        (column, name)
        for column, name in ((1, "training loss"), (2, "held-out accuracy, %"))
        if any(row[column] is not None for _, _, rows in data["series"] for row in rows)
    ]
    figure, panels = style.new_figure(0.6 + 3.4 * len(shown), 3.4, 1, len(shown))
    panels = [panels] if len(shown) == 1 else list(panels)
    for axes in panels[1:]:
        axes.sharex(panels[0])
    labels = list(dict.fromkeys(series[0] for series in data["series"]))
    for label, seed, rows in data["series"]:
        i = labels.index(label)
        color, line = style.SERIES[i % 7], style.LINES[i % 7]
        for axes, (column, _) in zip(panels, shown, strict=True):
            pairs = [(row[0], row[column]) for row in rows if row[column] is not None]
            if pairs:
                axes.plot(*zip(*pairs, strict=True), ls=line, color=color, lw=0.9, alpha=0.8)
                tip = f"{label}, seed {seed}: {pairs[-1][1]:.4g} at step {pairs[-1][0]:g}"
                style.point(axes, *pairs[-1], tip, ms=3.5, color=color)
    for i, label in enumerate(labels):
        panels[0].plot([], [], ls=style.LINES[i % 7], color=style.SERIES[i % 7], label=label)
    for axes, (column, name) in zip(panels, shown, strict=True):
        axes.set_xlabel("step")
        axes.set_ylabel(name)
        if column == 1 and any((row[1] or 0) > 0 for _, _, rows in data["series"] for row in rows):
            axes.set_yscale("log")
            style.plain_log_ticks(axes.yaxis)
    panels[0].legend(loc="upper right")
    figure.suptitle("Learning curves, one line a seed", x=0.01, ha="left", fontsize=10)
    return figure


def latency_sweeps(measured: Measured) -> list[Plot]:
    """p50 against batch, and against the side of the input, where at least three were timed.

    A line through two points would say more than was measured.
    """
    plots = []
    for name, key, title in (
        ("latency-batch", "batch", "batch size"),
        ("latency-side", "input", "side of the input"),
    ):
        lines: dict[tuple[str, str], list[tuple[float, Record]]] = defaultdict(list)
        for record in latest_timings(measured):
            x = _along(record, key)
            if x is not None and p50(record):
                line = _sweep_label(record, key), conditions_key(record, key)
                lines[line].append((x, record))
        kept = [
            line for line in sorted(lines.items(), key=lambda line: line[0]) if len(line[1]) > 2
        ]
        if kept := kept[:14]:
            timed = [record for _, points in kept for _, record in points]
            data = {
                "lines": [
                    [label, [_swept(*point) for point in sorted(points, key=lambda p: p[0])]]
                    for (label, _), points in kept
                ],
                "x": title,
                "note": describe_conditions(timed),
            }
            plots.append(Plot(name, f"Latency against {title}", data, draw_sweep))
    return plots


def _along(record: Record, key: str) -> float | None:
    """Where a timing stands on the axis: its batch, or the side of its square input."""
    assert record.latency is not None
    if key == "input":
        size = input_size(record)
        return size[0] if size and size[0] == size[1] else None
    batch = record.latency.conditions.get("batch")
    return batch if isinstance(batch, (int, float)) else None


def _sweep_label(record: Record, key: str) -> str:
    assert record.latency is not None
    given = record.latency.conditions
    other = f"batch {given.get('batch')}" if key == "input" else str(given.get("input"))
    return (
        f"{shown_name(record.model)}, {given.get('mode')} {precision_word(record)}, {other}, "
        f"{place_words(record)}"
    )


def _swept(x: float, record: Record) -> list[Any]:
    """x, milliseconds, n, and whether it is noisy."""
    assert record.latency is not None
    return [x, record.latency.p50, record.latency.n, record.latency.noisy]


def draw_sweep(data: Any) -> Any:
    """One line a network and mode, both axes logarithmic; what is noisy is hollow."""
    figure, axes = style.new_figure(6.8, 4.4 + 0.16 * len(data["lines"]))
    for i, (label, points) in enumerate(data["lines"]):
        color, marker = style.SERIES[i % 7], style.MARKERS[(i + i // 7) % 7]
        axes.plot(*zip(*(p[:2] for p in points), strict=True),
                  ls=style.LINES[i % 7], color=color, lw=1.2)  # fmt: skip
        for x, value, n, noisy in points:
            tip = f"{label}: {value:.3g} ms at {x:g}, n = {n}{', noisy' if noisy else ''}"
            face = "white" if noisy else color
            style.point(axes, x, value, tip, marker=marker, ms=5, color=color, mfc=face)
        axes.plot([], [], ls=style.LINES[i % 7], marker=marker, color=color, label=label)
    if any(noisy for _, points in data["lines"] for *_, noisy in points):
        axes.plot([], [], ls="none", marker="o", color=style.GREY, mfc="white",
                  label="hollow: noisy (IQR above 10% of the median)")  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    style.plain_log_ticks(axes.yaxis)
    ticks = sorted({point[0] for _, points in data["lines"] for point in points})
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.xaxis.minorticks_off()
    pixels = ", pixels" if data["x"].startswith("side") else ""
    axes.set_xlabel(data["x"] + pixels)
    axes.set_ylabel("p50, ms per call")
    axes.set_title(f"Latency against {data['x']}")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=1, fontsize=7)
    note = "\n".join(textwrap.wrap(data["note"], 125))
    figure.supxlabel(note, fontsize=6.5, color=style.GREY)
    return figure
