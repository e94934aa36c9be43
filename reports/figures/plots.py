"""Plots: each is plain data and a way to draw it, and is there only when its data are.

The data are gathered first, so that a stale picture can be told by its digest without drawing.
Colours are never the only difference: series differ in marker too, filled means measured here and
hollow means published.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from reports.ablation import SHOWN, GridView
from reports.captions import condition, describe_conditions, machine_key
from reports.comparisons import headline
from reports.figures import style
from reports.load import PCKH_JOINTS, Measured, input_size, metric
from reports.output.text import plain, shorten
from reports.published import JOINTS, Published
from reports.tables.accuracy import DISPLAY, measured_groups
from reports.tables.cost import counted, latest_timings


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


def effects(grid: GridView, name: str | None = None) -> Plot | None:
    """Each cell's difference to the default with its simultaneous interval, and its cost beside it.

    Without a default the scores themselves are drawn; nothing when nothing is measured.
    """
    rows = [row for row in grid.rows if grid.primary in row.scores]
    relative = grid.default is not None and grid.primary in grid.default.scores
    dots = []
    for row in rows:
        estimate = row.difference if relative else row.scores[grid.primary]
        flops = row.complexity.flops.mmcv if row.complexity and row.complexity.flops else None
        latency = row.latency.latency if row.latency else None
        costs = [flops, latency.p50 if latency else None, bool(latency and latency.noisy)]
        if row.is_default and relative:
            dots.append([plain(row.name), 0.0, None, None, row.seeds, "reference", *costs])
        elif estimate is not None:
            value = [estimate.value, estimate.low, estimate.high, estimate.n]
            dots.append([plain(row.name), *value, row.verdict, *costs])
    if not dots:
        return None
    heading = SHOWN.get(grid.primary, grid.primary)
    data = {
        "title": headline(grid) or f"{shorten(grid.name, 30)}: no verdict",
        "condition": condition(grid.facts),
        "metric": heading,
        "relative": relative,
        "dots": dots,
    }
    return Plot(
        name or f"ablation-{grid.name}",
        f"Ablation {plain(grid.name)}: difference of each cell to the default in {heading}, with "
        "simultaneous 95% intervals where there are five seeds, and what each cell costs",
        data,
        draw_effects,
    )


_VERDICTS = {
    "better": (style.GREEN, "^"),
    "worse": (style.RED, "v"),
    "reference": (style.BLACK, "D"),
}


def draw_effects(data: Any) -> Any:
    """Dots and intervals, the default on top, then by value; costs in panels at the right."""
    first, *rest = data["dots"]
    dots = [*sorted(rest, key=lambda dot: dot[1]), first]
    costs = [
        (column, title)
        for column, title in ((6, "GFLOPs (mmcv)"), (7, "p50, ms"))
        if any(dot[column] is not None for dot in dots)
    ]
    title = "\n".join(textwrap.wrap(data["title"], 92))
    figure, panels = style.new_figure(
        7.6, 1.45 + 0.3 * len(dots) + 0.16 * title.count("\n"), 1, 1 + len(costs),
        widths=[3.4, *([1.0] * len(costs))],
    )  # fmt: skip
    axes, *others = panels if costs else [panels]
    for y, (name, value, low, high, n, verdict, *_) in enumerate(dots):
        color, marker = _VERDICTS.get(verdict, (style.BLUE, "o"))
        if low is not None and high is not None:
            axes.plot([low, high], [y, y], color=color, lw=1.6, solid_capstyle="butt")
        spread = f", 95% interval {low:+.2f} to {high:+.2f}" if low is not None else ""
        face = color if verdict in _VERDICTS else "white"
        tip = f"{name}: {value:+.2f}{spread}, n = {n}, {verdict or 'one seed'}"
        style.point(axes, value, y, tip, marker=marker, ms=6, color=color, mfc=face, mew=1.4)
    if data["relative"]:
        axes.axvline(0, color=style.GREY, lw=0.9, zorder=0)
    axes.set_yticks(range(len(dots)), [f"{shorten(dot[0], 34)}  (n = {dot[4]})" for dot in dots])
    what = f"Δ {data['metric']}, points" if data["relative"] else data["metric"]
    bars = any(dot[2] is not None for dot in dots)
    axes.set_xlabel(f"{what}; simultaneous 95% interval" if bars else f"{what}; no interval")
    for panel, (column, heading) in zip(others, costs, strict=True):
        _cost_panel(panel, dots, column, heading)
    for panel in (axes, *others):
        panel.set_ylim(-0.6, len(dots) - 0.4)
        panel.grid(axis="y", visible=False)
    figure.suptitle(f"{title}\n{data['condition']}", x=0.01, ha="left", fontsize=9.5)
    note = "▲ better  ▼ worse  ○ not shown to differ, or no verdict  ◆ default"
    if any(dot[8] for dot in dots):
        note += "   hollow bar: noisy timing"
    figure.supxlabel(note, fontsize=7.5, color=style.GREY)
    return figure


def _cost_panel(axes: Any, dots: Sequence[Any], column: int, heading: str) -> None:
    """A bar a cell from zero, its number at the end, the default's as a line."""
    default = dots[-1][column]
    most = max(dot[column] for dot in dots if dot[column] is not None)
    for y, dot in enumerate(dots):
        if dot[column] is None:
            axes.text(0, y, " not measured", va="center", fontsize=7, color=style.GREY)
            continue
        hollow = column == 7 and dot[8]
        axes.barh(
            y, dot[column], height=0.5, lw=0.9, edgecolor=style.SKY,
            color="white" if hollow else style.SKY,
        )  # fmt: skip
        digits = 3 if column == 6 else 2
        axes.text(1.06 * most, y, f"{dot[column]:.{digits}f}", va="center", fontsize=7)
    if default is not None:
        axes.axvline(default, color=style.BLACK, lw=0.9, ls=":")
    axes.set_xlim(0, 1.5 * most)
    axes.set_yticks([])
    axes.set_xlabel(heading)


# Accuracy against cost -------------------------------------------------------------------------


#: Published GFLOPs that are known to leave operations out; see docs/measurement.md.
UNDERCOUNTED = "pose_pvtv2_b2"


def bubble(measured: Measured, published: Published) -> Plot | None:
    """The paper's chart: MPII test PCKh@0.5 against GFLOPs, area = parameters."""
    points = [
        [row.model, row.gflops, row.mean, row.params_m, "published", row.network == UNDERCOUNTED]
        for row in published.of("mpii", "test")
        if row.gflops and row.mean and row.params_m
    ]
    for network, groups in measured_groups(measured, "mpii", "test").items():
        point = _measured_point(measured, network, groups)
        if point is not None:
            points.append(point)
    if not points:
        return None
    whole = counted(measured, UNDERCOUNTED)
    return Plot(
        "bubble",
        "MPII test PCKh@0.5 against GFLOPs; the area of a bubble is the number of parameters",
        {
            "points": points,
            "whole": whole.flops.mmcv if whole is not None and whole.flops else None,
        },
        draw_bubble,
    )


def _measured_point(measured: Measured, network: str, groups: Iterable[Any]) -> list[Any] | None:
    runs = max(groups, key=lambda group: max(r.started_at for r in group))
    counts = measured.counts_of(runs[0])
    values = [v for r in runs if (v := metric(r, "Mean")) is not None]
    if counts is None or counts.flops is None or counts.flops.mmcv is None or not values:
        return None
    mean = sum(values) / len(values)
    return [_name(network), counts.flops.mmcv, mean, (counts.params or 0) / 1e6, "measured", False]


def draw_bubble(data: Any) -> Any:
    """Own networks in orange, others in blue; hollow is published, solid is measured here."""
    figure, axes = style.new_figure(6.8, 4.6)
    points = sorted(data["points"], key=lambda point: -point[3])
    for name, gflops, accuracy, params, origin, _ in points:
        color = style.ORANGE if name.startswith("HEViTPose") else style.BLUE
        tip = f"{name} ({origin}): {accuracy:.1f} PCKh@0.5, {gflops:g} GFLOPs, {params:g}M"
        solid = origin == "measured"
        # The marker of plot() is a diameter in points; the area is that of the legend's circles.
        style.point(
            axes, gflops, accuracy, tip, marker="o", ms=(params * 14) ** 0.5, color=color,
            mfc=color if solid else "none", mew=1.4, zorder=2,
        )  # fmt: skip
    xs, ys = [p[1] for p in points], [p[2] for p in points]
    for _, gflops, accuracy, _, _, undercounted in points:
        if undercounted and data["whole"]:
            axes.plot([gflops, data["whole"]], [accuracy] * 2, ls=":", color=style.GREY, lw=1)
            tip = f"with its attention projections: {data['whole']:.2f} GFLOPs, counted here"
            style.point(axes, data["whole"], accuracy, tip, marker="x", ms=6, color=style.GREY)
    axes.set_xlim(0, max(xs) * 1.2)
    pad = max(0.6, 0.14 * (max(ys) - min(ys)))
    axes.set_ylim(min(ys) - pad, max(ys) + pad)
    axes.set_xlabel("GFLOPs at 256x256, mmcv convention")
    axes.set_ylabel("PCKh@0.5, %")
    only = all(point[4] == "published" for point in points)
    axes.set_title(
        "MPII test, as published: accuracy against compute; area = parameters"
        if only
        else "MPII test: accuracy against compute; area = parameters"
    )
    for params, x in ((10, 0.62), (30, 0.74), (50, 0.89)):
        axes.scatter(
            [x], [0.13], s=params * 14, transform=axes.transAxes, facecolor="none",
            edgecolor=style.GREY, lw=0.9,
        )  # fmt: skip
        axes.text(
            x, 0.022, f"{params}M", transform=axes.transAxes, ha="center", fontsize=7.5,
            color=style.GREY,
        )  # fmt: skip
    labels = [(p[1], p[2], f"{p[0]}{' (here)' if p[4] == 'measured' else ''}") for p in points]
    note = "hollow: published" if only else "hollow: published   solid: measured by this suite"
    if data["whole"] and any(point[5] for point in points):
        note += "   ×: PVTv2-B2 with its attention projections, which the published count lacks"
    figure.supxlabel(note, fontsize=7.5, color=style.GREY)
    radii = [(p[3] * 14) ** 0.5 / 2 for p in points]
    for point in points:
        if point[5] and data["whole"]:
            labels.append((data["whole"], point[2], ""))
            radii.append(4.0)
    style.place_labels(axes, labels, radii=radii)
    return figure


def tradeoff(grid_views: Sequence[GridView]) -> Plot | None:
    """Accuracy against GFLOPs and against milliseconds, of every measured cell, in two panels.

    All cells that share data, model and input with the best-filled grid; others would not be
    comparable.
    """
    by_facts: dict[tuple[str, ...], dict[str, Any]] = {}
    for grid in grid_views:
        facts = grid.facts
        key = (
            *(facts[k] for k in ("dataset", "split", "fingerprint", "model", "input", "steps")),
            grid.primary,
            facts["tuned"],
        )
        entry = by_facts.setdefault(key, {"grid": grid, "timed": {}, "cells": {}})
        for row in grid.rows:
            if grid.primary not in row.scores or row.complexity is None:
                continue
            label = "default" if row.is_default else plain(row.name)
            score = row.scores[grid.primary]
            latency = row.latency.latency.p50 if row.latency and row.latency.latency else None
            flops = row.complexity.flops.mmcv if row.complexity.flops else None
            cell = row.accuracy[0].cell_id or row.name
            if row.latency is not None:
                entry["timed"].setdefault(cell, row.latency)
            entry["cells"].setdefault(
                cell, [label, flops, latency, score.value, score.low, score.high, score.n]
            )
    if not by_facts:
        return None
    entry = max(by_facts.values(), key=lambda e: len(e["cells"]))
    cells = sorted(entry["cells"].values(), key=str)
    panels = []
    for index, unit in ((1, "GFLOPs (mmcv)"), (2, "p50, ms per call")):
        points = [[c[0], c[index], *c[3:]] for c in cells if c[index] is not None]
        if len(points) > 1:
            panels.append({"points": points, "unit": unit})
    if not panels:
        return None
    timed = [*entry["timed"].values()] if len(panels) > 1 else []
    heading = SHOWN.get(entry["grid"].primary, entry["grid"].primary)
    return Plot(
        "pareto",
        f"{heading} of the ablations' cells against compute and against measured milliseconds",
        {
            "panels": panels,
            "metric": heading,
            "title": f"Accuracy against cost: {condition(entry['grid'].facts)}",
            "note": describe_conditions(timed) if timed else "",
        },
        draw_tradeoff,
    )


def front(points: Sequence[Sequence[Any]]) -> list[Sequence[Any]]:
    """Points (name, cost, accuracy, ...) that no other beats in cost and accuracy."""
    best: list[Sequence[Any]] = []
    for point in sorted(points, key=lambda p: (p[1], -p[2])):
        if not best or point[2] > best[-1][2]:
            best.append(point)
    return best


def draw_tradeoff(data: Any) -> Any:
    """Points with their intervals over seeds, in one panel a cost; filled where on the front."""
    figure, panels = style.new_figure(1.6 + 4.1 * len(data["panels"]), 5.0, 1, len(data["panels"]))
    panels = [panels] if len(data["panels"]) == 1 else list(panels)
    for axes, panel in zip(panels, data["panels"], strict=True):
        points = panel["points"]
        names = {point[0] for point in front(points)}
        for name, cost, value, low, high, n in points:
            color = style.ORANGE if name == "default" else style.BLUE
            if low is not None:
                axes.plot([cost, cost], [low, high], color=color, lw=0.9, alpha=0.35)
            tip = f"{name}: {value:.2f} {data['metric']} at {cost:.4g} ({panel['unit']}), n = {n}"
            face = color if name in names else "white"
            marker = "D" if name == "default" else "o"
            style.point(
                axes, cost, value, tip, marker=marker, ms=5.5, color=color, mfc=face, mew=1.3
            )
        axes.margins(x=0.14, y=0.08)
        axes.set_xlabel(panel["unit"])
        axes.set_ylabel(f"{data['metric']}, %")
    figure.suptitle(data["title"], x=0.01, ha="left", fontsize=10)
    note = (
        "filled: no cell is cheaper and scores higher (by the means)   ◆ default   "
        "bars: 95% interval over seeds"
    )
    lines = [note, *textwrap.wrap(data["note"], 150)]
    figure.supxlabel("\n".join(lines), fontsize=6.5, color=style.GREY)
    for axes, panel in zip(panels, data["panels"], strict=True):
        labels = [(p[1], p[2], shorten(p[0], 24)) for p in panel["points"]]
        style.place_labels(axes, labels, size=6.5)
    return figure


# Per joint, over training, over conditions -----------------------------------------------------


def joint_profile(measured: Measured, published: Published) -> Plot | None:
    """PCKh@0.5 on MPII val joint by joint, published and measured; only where it was measured.

    Other data stand in no picture with it: people rendered here are not MPII's.
    """
    series = []
    for network, groups in measured_groups(measured, "mpii", "val").items():
        runs = max(groups, key=lambda group: max(r.started_at for r in group))
        table = [[metric(r, joint) for joint in PCKH_JOINTS] for r in runs]
        if all(v is not None for line in table for v in line):
            means = [sum(column) / len(runs) for column in zip(*table, strict=True)]  # type: ignore[arg-type]
            series.append([f"{_name(network)}, measured (n = {len(runs)})", "measured", means])
    if not series:
        return None
    for row in published.of("mpii", "val"):
        values = [getattr(row, joint) for joint in JOINTS]
        if row.model.startswith("HEViTPose") and all(v is not None for v in values):
            series.append([f"{row.model}, published", "published", values])
    return Plot(
        "joint-profile", "MPII val PCKh@0.5 by joint, published and measured", {"series": series},
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
    axes.set_title("MPII val: accuracy by joint")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=2)
    return figure


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
                    f"{_name(record.model)}, {conditions.get('device')} "
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


def all_plots(
    measured: Measured, published: Published, grid_views: Sequence[tuple[str, GridView]]
) -> list[Plot]:
    """Every plot whose data exist."""
    found: list[Plot | None] = [bubble(measured, published)]
    found.append(tradeoff([grid for _, grid in grid_views]))
    found += [effects(grid, name) for name, grid in grid_views]
    found += [joint_profile(measured, published), learning_curves(measured)]
    found += latency_sweeps(measured)
    return [plot for plot in found if plot is not None]
