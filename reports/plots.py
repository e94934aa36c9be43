"""Plots: each is plain data and a way to draw it, and is there only when its data are.

The data are gathered first, so that a stale picture can be told by its digest without drawing.
Colours are never the only difference: series differ in marker too, filled means measured here and
hollow means published.
"""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from reports import style
from reports.facts import describe_conditions
from reports.grids import PRIMARY, Grid
from reports.measured import PCKH_JOINTS, Measured, input_size, metric, newest
from reports.published import JOINTS, Published
from reports.tables_accuracy import DISPLAY, measured_groups
from reports.tables_cost import latest_timings
from reports.text import plain, shorten


class Plot(NamedTuple):
    """A picture that can be drawn."""

    name: str  # file stem
    alt: str  # what it shows, in words
    data: Any  # everything it shows, as plain data
    draw: Callable[[Any], Any]  # data to figure

    @property
    def digest(self) -> str:
        """Stands for the picture when asking whether a file is stale."""
        return style.digest([self.draw.__name__, self.alt, self.data])

    def save(self, folder: Path, formats: Sequence[str] = ("svg", "png")) -> list[Path]:
        """Draws it into files."""
        figure = self.draw(self.data)
        content = [self.draw.__name__, self.alt, self.data]
        paths = style.save(figure, folder, self.name, content, formats)
        style.close(figure)
        return paths


def _name(model: str) -> str:
    return DISPLAY.get(model, plain(model))


# One ablation grid -----------------------------------------------------------------------------


def effects(grid: Grid, name: str | None = None) -> Plot | None:
    """Each cell's difference to the default as a dot with its 95% interval.

    Without a default the scores themselves are drawn; nothing when nothing is measured.
    """
    rows = [row for row in grid.rows if PRIMARY in row.scores]
    relative = grid.default is not None and PRIMARY in grid.default.scores
    dots = []
    for row in rows:
        estimate = row.difference if relative else row.scores[PRIMARY]
        if row.is_default and relative:
            dots.append([plain(row.name), 0.0, None, None, row.seeds, "reference"])
        elif estimate is not None:
            value = [estimate.value, estimate.low, estimate.high, estimate.n]
            dots.append([plain(row.name), *value, row.verdict])
    if not dots:
        return None
    facts = grid.facts
    title = (
        f"{shorten(grid.name, 30)}: {shorten(facts['model'], 30)}, "
        f"{facts['dataset']} {facts['split']}, {facts['input']}"
    )
    data = {"title": title, "relative": relative, "dots": dots}
    return Plot(
        name or f"ablation-{grid.name}",
        f"Ablation {plain(grid.name)}: difference of each cell to the default in PCKh@0.5, "
        "with 95% intervals where there are several seeds",
        data,
        draw_effects,
    )


_VERDICTS = {
    "better": (style.GREEN, "^"),
    "worse": (style.RED, "v"),
    "reference": (style.BLACK, "D"),
}


def draw_effects(data: Any) -> Any:
    """Dots and intervals, the default on top, then by value."""
    first, *rest = data["dots"]
    dots = [first, *sorted(rest, key=lambda dot: -dot[1])]
    figure, axes = style.new_figure(6.4, 1.35 + 0.32 * len(dots))
    for y, (name, value, low, high, n, verdict) in enumerate(reversed(dots)):
        color, marker = _VERDICTS.get(verdict, (style.BLUE, "o"))
        if low is not None and high is not None:
            axes.plot([low, high], [y, y], color=color, lw=1.6, solid_capstyle="butt")
        spread = f", 95% interval {low:+.2f} to {high:+.2f}" if low is not None else ""
        face = color if verdict in _VERDICTS else "white"
        tip = f"{name}: {value:+.2f}{spread}, n = {n}, {verdict or 'one seed'}"
        style.point(axes, value, y, tip, marker=marker, ms=6, color=color, mfc=face, mew=1.4)
    if data["relative"]:
        axes.axvline(0, color=style.GREY, lw=0.9, zorder=0)
    labels = [f"{shorten(dot[0], 34)}  (n = {dot[4]})" for dot in reversed(dots)]
    axes.set_yticks(range(len(dots)), labels)
    axes.set_ylim(-0.6, len(dots) - 0.4)
    axes.grid(axis="y", visible=False)
    what = "Δ PCKh@0.5 to the default, points" if data["relative"] else "PCKh@0.5, %"
    bars = any(low is not None for _, _, low, *_ in dots)
    axes.set_xlabel(f"{what}, 95% interval" if bars else f"{what}; one seed, no interval")
    axes.set_title(data["title"])
    note = "▲ better  ▼ worse  ○ no verdict or not distinguishable  ◆ default"
    figure.supxlabel(note, fontsize=7.5, color=style.GREY)
    return figure


# Accuracy against cost -------------------------------------------------------------------------


def bubble(measured: Measured, published: Published) -> Plot | None:
    """The paper's chart: MPII test PCKh@0.5 against GFLOPs, area = parameters."""
    points = [
        [row.model, row.gflops, row.mean, row.params_m, "published"]
        for row in published.of("mpii", "test")
        if row.gflops and row.mean and row.params_m
    ]
    for network, groups in measured_groups(measured, "mpii", "test").items():
        point = _measured_point(measured, network, groups)
        if point is not None:
            points.append(point)
    if not points:
        return None
    return Plot(
        "bubble",
        "MPII test PCKh@0.5 against GFLOPs; the area of a bubble is the number of parameters",
        {"points": points},
        draw_bubble,
    )


def _measured_point(measured: Measured, network: str, groups: Iterable[Any]) -> list[Any] | None:
    runs = max(groups, key=lambda group: max(r.started_at for r in group))
    counts = measured.counts_of(runs[0])
    values = [v for r in runs if (v := metric(r, PRIMARY)) is not None]
    if counts is None or counts.flops is None or counts.flops.mmcv is None or not values:
        return None
    mean = sum(values) / len(values)
    return [_name(network), counts.flops.mmcv, mean, (counts.params or 0) / 1e6, "measured"]


def draw_bubble(data: Any) -> Any:
    """Own networks in orange, others in blue; hollow is published, filled is measured."""
    figure, axes = style.new_figure(6.8, 4.6)
    points = sorted(data["points"], key=lambda point: -point[3])
    for name, gflops, accuracy, params, origin in points:
        color = style.ORANGE if name.startswith("HEViTPose") else style.BLUE
        tip = f"{name} ({origin}): {accuracy:.1f} PCKh@0.5, {gflops:g} GFLOPs, {params:g}M"
        axes.scatter(
            [gflops], [accuracy], s=params * 14, facecolor=color, edgecolor=color, lw=1.3,
            alpha=0.75 if origin == "measured" else 0.22, zorder=2,
        )  # fmt: skip
        style.point(axes, gflops, accuracy, tip, marker="o", ms=3.2, color=color, zorder=3)
    xs, ys = [p[1] for p in points], [p[2] for p in points]
    axes.set_xlim(0, max(xs) * 1.2)
    pad = max(0.6, 0.14 * (max(ys) - min(ys)))
    axes.set_ylim(min(ys) - pad, max(ys) + pad)
    axes.set_xlabel("GFLOPs at 256x256, mmcv convention")
    axes.set_ylabel("PCKh@0.5, %")
    axes.set_title("MPII test: accuracy against compute; area = parameters")
    for params, x in ((10, 0.62), (30, 0.74), (50, 0.89)):
        axes.scatter(
            [x], [0.13], s=params * 14, transform=axes.transAxes, facecolor="none",
            edgecolor=style.GREY, lw=0.9,
        )  # fmt: skip
        axes.text(
            x, 0.022, f"{params}M", transform=axes.transAxes, ha="center", fontsize=7.5,
            color=style.GREY,
        )  # fmt: skip
    labels = [(p[1], p[2], f"{p[0]}" + (" (here)" if p[4] == "measured" else "")) for p in points]
    note = "pale: published   solid: measured by this suite"
    figure.supxlabel(note, fontsize=7.5, color=style.GREY)
    # A scatter's size is the area of a square in points; the radius of its circle is half a side.
    style.place_labels(axes, labels, radii=[(p[3] * 14) ** 0.5 / 2 for p in points])
    return figure


def cost_curve(measured: Measured, published: Published) -> Plot | None:
    """GFLOPs against the side of a square input, counted and as the paper's figure shows them."""
    lines: dict[str, dict[str, list[list[float]]]] = {}
    for row in published.of("none", "complexity"):
        if row.gflops and row.input == f"{row.side}x{row.side}":
            entry = lines.setdefault(row.model, {"published": [], "counted": []})
            entry["published"].append([row.side, row.gflops])
    names = {row.network: row.model for row in published.numbers if row.network}
    best: dict[tuple[str, int], Any] = {}
    for record in itertools.chain.from_iterable(measured.plain_counts().values()):
        size = input_size(record)
        if size and size[0] == size[1]:
            key = (record.model, size[0])
            best[key] = newest(r for r in (best.get(key), record) if r is not None)
    for (model, side), record in sorted(best.items()):
        if record.flops is not None and record.flops.mmcv is not None:
            name = names.get(model, _name(model))
            entry = lines.setdefault(name, {"published": [], "counted": []})
            entry["counted"].append([side, record.flops.mmcv])
    lines = {k: v for k, v in lines.items() if max(len(v["published"]), len(v["counted"])) > 1}
    if not lines:
        return None
    return Plot(
        "cost-curve",
        "GFLOPs against the side of a square input: markers as published, lines as counted here",
        {"lines": {name: lines[name] for name in sorted(lines)}},
        draw_cost_curve,
    )


def draw_cost_curve(data: Any) -> Any:
    """Lines are counted here; hollow markers are read off the paper's figure."""

    def extent(line: Any, axis: int) -> list[float]:
        return [point[axis] for points in line.values() for point in points]

    lines = sorted(data["lines"].items(), key=lambda item: -max(extent(item[1], 1)))
    figure, axes = style.new_figure(6.8, 5.6)
    ends = []
    for i, (name, line) in enumerate(lines):
        color, marker = style.SERIES[i % 7], style.MARKERS[(i + i // 7) % 7]
        counted = sorted(line["counted"])
        width = 2.4 if name.startswith("HEViTPose") else 1.0
        if len(counted) > 1:
            axes.plot(*zip(*counted, strict=True), ls=style.LINES[i % 7], color=color, lw=width)
        drawn = sorted(line["published"])
        for side, gflops in counted:
            tip = f"{name}: {gflops:.2f} GFLOPs at {side}x{side}, counted"
            style.point(axes, side, gflops, tip, marker=marker, ms=3.5, color=color)
        if drawn and len(counted) < 2:
            axes.plot(*zip(*drawn, strict=True), ls=":", color=color, lw=0.9)
        for side, gflops in drawn:
            tip = f"{name}: {gflops:g} GFLOPs at {side}x{side}, published figure"
            style.point(axes, side, gflops, tip, marker=marker, ms=5.5, color=color, mfc="none")
        ends.append((*max([*counted, *drawn]), name, color))
    sides = sorted({side for _, line in lines for side in extent(line, 0)})
    # Of all sides only those that the axis has room for.
    ticks = [side for i, side in enumerate(sides) if not i or side > 1.15 * sides[i - 1]]
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.xaxis.minorticks_off()
    style.plain_log_ticks(axes.yaxis)
    # A quarter of the width is the names' column.
    axes.set_xlim(sides[0] / 1.06, sides[-1] * (sides[-1] / sides[0]) ** 0.36)
    axes.set_xlabel("side of the input, pixels")
    axes.set_ylabel("GFLOPs, mmcv convention")
    axes.set_title("Compute against input side")
    note = (
        "hollow, dotted: read off the paper's figure   filled, line: counted by this suite   "
        "thick: HEViTPose"
    )
    figure.supxlabel(note, fontsize=7.5, color=style.GREY)
    style.label_ends(axes, ends)
    return figure


def tradeoffs(grid_views: Sequence[Grid]) -> list[Plot]:
    """Accuracy against milliseconds, and the Pareto front over GFLOPs, of every measured cell.

    All cells that share data, model and input with the best-filled grid; others would not be
    comparable.
    """
    by_facts: dict[tuple[str, ...], dict[str, Any]] = {}
    for grid in grid_views:
        facts = grid.facts
        key = tuple(
            facts[k] for k in ("dataset", "split", "fingerprint", "model", "input", "steps")
        )
        entry = by_facts.setdefault(key, {"facts": facts, "timed": {}, "cells": {}})
        for row in grid.rows:
            if PRIMARY not in row.scores or row.complexity is None:
                continue
            label = "default" if row.is_default else plain(row.name)
            score = row.scores[PRIMARY]
            latency = row.latency.latency.p50 if row.latency and row.latency.latency else None
            flops = row.complexity.flops.mmcv if row.complexity.flops else None
            cell = row.accuracy[0].cell_id or row.name
            if row.latency is not None:
                entry["timed"].setdefault(cell, row.latency)
            entry["cells"].setdefault(
                cell,
                [label, flops, latency, score.value, score.low, score.high, score.n],
            )
    if not by_facts:
        return []
    entry = max(by_facts.values(), key=lambda e: len(e["cells"]))
    cells = sorted(entry["cells"].values(), key=str)
    facts = entry["facts"]
    where = f"{shorten(facts['model'], 30)}, {facts['dataset']} {facts['split']}, {facts['input']}"
    plots = []
    for name, index, unit, what in (
        ("accuracy-latency", 2, "p50, ms per call", "measured milliseconds"),
        ("pareto", 1, "GFLOPs, mmcv convention", "compute, with the Pareto front"),
    ):
        points = [[c[0], c[index], *c[3:]] for c in cells if c[index] is not None]
        if len(points) > 1:
            data = {
                "points": points,
                "unit": unit,
                "title": f"Accuracy against {what}\n{where}",
                "note": describe_conditions([*entry["timed"].values()]) if index == 2 else "",
            }
            alt = f"PCKh@0.5 of the ablations' cells against {what}"
            plots.append(Plot(name, alt, data, draw_tradeoff))
    return plots


def front(points: Sequence[Sequence[Any]]) -> list[Sequence[Any]]:
    """Points (name, cost, accuracy, ...) that no other beats in cost and accuracy."""
    best: list[Sequence[Any]] = []
    for point in sorted(points, key=lambda p: (p[1], -p[2])):
        if not best or point[2] > best[-1][2]:
            best.append(point)
    return best


def draw_tradeoff(data: Any) -> Any:
    """Points with intervals; the front as a step line; its points in bold colour."""
    figure, axes = style.new_figure(6.8, 4.4)
    points = data["points"]
    ahead = front(points)
    names = {point[0] for point in ahead}
    for name, cost, value, low, high, n in points:
        color = style.ORANGE if name == "default" else style.BLUE
        if low is not None:
            axes.plot([cost, cost], [low, high], color=color, lw=1, alpha=0.6)
        tip = f"{name}: {value:.2f} PCKh@0.5 at {cost:.4g} ({data['unit']}), n = {n}"
        face = color if name in names else "white"
        marker = "D" if name == "default" else "o"
        style.point(axes, cost, value, tip, marker=marker, ms=5.5, color=color, mfc=face, mew=1.3)
    xs, ys = [p[1] for p in ahead], [p[2] for p in ahead]
    axes.step([*xs, max(p[1] for p in points) * 1.02], [*ys, ys[-1]], where="post",
              color=style.GREY, lw=1, ls="--", zorder=1)  # fmt: skip
    axes.margins(x=0.12, y=0.14)
    axes.set_xlabel(data["unit"])
    axes.set_ylabel("PCKh@0.5, %")
    axes.set_title(data["title"])
    note = "filled: on the front (no cell is cheaper and better)   ◆ default   bars: 95% interval"
    lines = [note, *textwrap.wrap(data["note"], 130)]
    figure.supxlabel("\n".join(lines), fontsize=6.5, color=style.GREY)
    style.place_labels(axes, [(p[1], p[2], shorten(p[0], 28)) for p in points])
    return figure


# Per joint, over training, over conditions -----------------------------------------------------


def joint_profile(measured: Measured, published: Published) -> Plot | None:
    """PCKh@0.5 joint by joint: published on MPII val, and each measured dataset."""
    series = []
    for row in published.of("mpii", "val"):
        values = [getattr(row, joint) for joint in JOINTS]
        if row.model.startswith("HEViTPose") and all(v is not None for v in values):
            series.append([f"{row.model}, MPII val, published", "published", values])
    for dataset in ("mpii", "synthetic"):
        for network, groups in measured_groups(measured, dataset, "val").items():
            runs = max(groups, key=lambda group: max(r.started_at for r in group))
            table = [[metric(r, joint) for joint in PCKH_JOINTS] for r in runs]
            if all(v is not None for line in table for v in line):
                means = [sum(column) / len(runs) for column in zip(*table, strict=True)]  # type: ignore[arg-type]
                label = f"{_name(network)}, {dataset} val, measured (n = {len(runs)})"
                series.append([label, "measured", means])
    if not series:
        return None
    return Plot(
        "joint-profile", "PCKh@0.5 by joint, published and measured", {"series": series},
        draw_joint_profile,
    )  # fmt: skip


def draw_joint_profile(data: Any) -> Any:
    """One line a model over the joints, from head to ankle."""
    figure, axes = style.new_figure(6.8, 4.2)
    for i, (label, origin, values) in enumerate(data["series"]):
        color, marker = style.SERIES[i % 7], style.MARKERS[i % 7]
        line = "-" if origin == "measured" else ":"
        axes.plot(range(len(values)), values, ls=line, color=color, lw=1.2)
        for x, value in enumerate(values):
            tip = f"{label}: {PCKH_JOINTS[x]} {value:.1f}"
            face = color if origin == "measured" else "white"
            style.point(axes, x, value, tip, marker=marker, ms=5.5, color=color, mfc=face)
        axes.plot([], [], ls=line, marker=marker, color=color, label=label,
                  mfc=color if origin == "measured" else "white")  # fmt: skip
    axes.set_xticks(range(len(PCKH_JOINTS)), PCKH_JOINTS)
    axes.set_ylabel("PCKh@0.5, %")
    axes.set_title("Accuracy by joint")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=2)
    return figure


def learning_curves(measured: Measured) -> Plot | None:
    """Loss and the held-out metric over steps, of every plain network's latest setting."""
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
                if len(rows) > 1 and any(row[1:] != [None, None] for row in rows):
                    label = f"{_name(network)}, {plain(dataset)}"
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
    """p50 against batch, and against the side of the input, where at least two were timed."""
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
                machine = record.machine.gpu or record.machine.cpu
                label = (
                    f"{_name(record.model)}, {conditions.get('device')} "
                    f"{conditions.get('mode')} {conditions.get('dtype')}"
                )
                if key == "input":
                    label += f", batch {conditions.get('batch')}"
                else:
                    label += f", {conditions.get('input')}"
                whole = f"{label}|{sorted(map(str, conditions.items()))}|{machine}"
                lines.setdefault(whole, []).append([x, record.latency.p50])
        kept = [[k.split("|")[0], sorted(v)] for k, v in sorted(lines.items()) if len(v) > 1][:14]
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


def all_plots(
    measured: Measured, published: Published, grid_views: Sequence[tuple[str, Grid]]
) -> list[Plot]:
    """Every plot whose data exist."""
    found: list[Plot | None] = [bubble(measured, published), cost_curve(measured, published)]
    found += tradeoffs([grid for _, grid in grid_views])
    found += [effects(grid, name) for name, grid in grid_views]
    found += [joint_profile(measured, published), learning_curves(measured)]
    found += latency_sweeps(measured)
    return [plot for plot in found if plot is not None]
