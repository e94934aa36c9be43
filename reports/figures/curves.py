"""Learning curves, and latency against batch and resolution."""

from __future__ import annotations

from typing import Any

from reports.captions import machine_key
from reports.figures import style
from reports.figures.plot import Plot, shown_name
from reports.load import Measured, input_size
from reports.output.text import plain
from reports.tables.accuracy import measured_groups
from reports.tables.speed import latest_timings


def learning_curves(measured: Measured) -> Plot | None:
    """Loss and the held-out metric over steps, of every plain network's latest setting.

    Only of runs that were validated on the way: a loss alone says nothing of poses.
    """
    series = []
    for dataset, split in sorted(
        {(r.dataset.name, r.dataset.split) for r in measured.of("evaluation") if r.dataset}
    ):
        for network, groups in measured_groups(measured, dataset, split).items():
            runs = max(groups, key=lambda group: max(r.started_at for r in group))
            for record in runs[:8]:
                rows = [
                    [row.get("step", row.get("epoch")), row.get("loss"), _tracked(row)]
                    for row in record.curve
                    if isinstance(row.get("step", row.get("epoch")), (int, float))
                ]
                if sum(row[2] is not None for row in rows) > 1:
                    on = plain(dataset) + (f" {split}" if split == "minival" else "")
                    label = f"{shown_name(network)}, {on}"
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
            return 100 * value if name == "AP" else float(value)
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
        lines: dict[str, list[list[float]]] = {}
        for record in latest_timings(measured):
            assert record.latency is not None
            size = input_size(record)
            conditions = {k: v for k, v in record.latency.conditions.items() if k != key}
            x = record.latency.conditions.get("batch") if key == "batch" else None
            if key == "input" and size and size[0] == size[1]:
                x = size[0]
            if isinstance(x, (int, float)) and record.latency.p50:
                label = (
                    f"{shown_name(record.model)}, {conditions.get('device')} "
                    f"{conditions.get('mode')} {conditions.get('dtype')}"
                )
                if conditions.get("tf32"):
                    label += ", TF32"
                if key == "input":
                    label += f", batch {conditions.get('batch')}"
                else:
                    label += f", {conditions.get('input')}"
                whole = f"{label}|{sorted(map(str, conditions.items()))}|{machine_key(record)}"
                lines.setdefault(whole, []).append([x, record.latency.p50])
        kept = [[k.split("|")[0], sorted(v)] for k, v in sorted(lines.items()) if len(v) > 2][:14]
        if kept:
            data = {"lines": kept, "x": title}
            plots.append(Plot(name, f"Latency against {title}", data, draw_sweep))
    return plots


def draw_sweep(data: Any) -> Any:
    """One line a network and mode, both axes logarithmic."""
    figure, axes = style.new_figure(6.8, 4.4)
    for i, (label, points) in enumerate(data["lines"]):
        color, marker = style.SERIES[i % 7], style.MARKERS[(i + i // 7) % 7]
        axes.plot(*zip(*points, strict=True), ls=style.LINES[i % 7], color=color, lw=1.2)
        for x, value in points:
            tip = f"{label}: {value:.3g} ms at {x:g}"
            style.point(axes, x, value, tip, marker=marker, ms=5, color=color)
        axes.plot([], [], ls=style.LINES[i % 7], marker=marker, color=color, label=label)
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
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2, fontsize=7)
    return figure
