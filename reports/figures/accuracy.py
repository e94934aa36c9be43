"""Accuracy against what it costs, and by joint: published hollow, measured solid."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from hevitpose.markdown import plain
from reports.ablation import SHOWN, GridView
from reports.captions import condition, describe_conditions, shared
from reports.figures import style
from reports.figures.plot import Plot, shown_name
from reports.load import PCKH_JOINTS, Measured, gflops, metric, p50, params_m
from reports.published import JOINTS, Published
from reports.tables.accuracy import beside_published, measured_groups
from reports.tables.cost import counted

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
    return Plot(
        "bubble",
        "MPII test PCKh@0.5 against GFLOPs; the area of a bubble is the number of parameters",
        {"points": points, "whole": gflops(counted(measured, UNDERCOUNTED))},
        draw_bubble,
    )


def _measured_point(measured: Measured, network: str, groups: Iterable[Any]) -> list[Any] | None:
    runs = beside_published(groups)
    counts = measured.counts_of(runs[0])
    values = [v for r in runs if (v := metric(r, "Mean")) is not None]
    cost = gflops(counts)
    if cost is None or not values:
        return None
    mean = sum(values) / len(values)
    return [shown_name(network), cost, mean, params_m(counts) or 0.0, "measured", False]


def draw_bubble(data: Any) -> Any:
    """Own networks in orange, others in blue; hollow is published, solid is measured here."""
    figure, axes = style.new_figure(6.8, 4.6)
    points = sorted(data["points"], key=lambda point: -point[3])
    for name, cost, accuracy, params, origin, _ in points:
        color = style.ORANGE if name.startswith("HEViTPose") else style.BLUE
        tip = f"{name} ({origin}): {accuracy:.1f} PCKh@0.5, {cost:g} GFLOPs, {params:g}M"
        solid = origin == "measured"
        # The marker of plot() is a diameter in points; the area is that of the legend's circles.
        style.point(
            axes, cost, accuracy, tip, marker="o", ms=(params * 14) ** 0.5, color=color,
            mfc=color if solid else "none", mew=1.4, zorder=2,
        )  # fmt: skip
    xs, ys = [p[1] for p in points], [p[2] for p in points]
    for _, cost, accuracy, _, _, undercounted in points:
        if undercounted and data["whole"]:
            axes.plot([cost, data["whole"]], [accuracy] * 2, ls=":", color=style.GREY, lw=1)
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
        # A grid may vary how it scores; what it starts from is its default.
        own = shared(grid.default.accuracy) if grid.default else facts
        key = (
            *(facts[k] for k in ("dataset", "split", "fingerprint", "model", "input", "steps")),
            *(own[k] for k in ("start", "boxes", "flip_test", "decoder", "recipe")),
            grid.primary,
            facts["tuned"],
        )
        entry = by_facts.setdefault(key, {"grid": grid, "timed": {}, "cells": {}})
        for row in grid.rows:
            if grid.primary not in row.scores or row.complexity is None:
                continue
            label = "default" if row.is_default else plain(row.name)
            score = row.scores[grid.primary]
            cell = row.accuracy[0].cell_id or row.name
            if row.latency is not None:
                entry["timed"].setdefault(cell, row.latency)
            costs = [gflops(row.complexity), p50(row.latency)]
            entry["cells"].setdefault(
                cell, [label, *costs, score.value, score.low, score.high, score.n]
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
        for name, cost, value, low, high, n in sorted(points, key=lambda p: p[0] == "default"):
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
        "filled and named: no cell is cheaper and scores higher (by the means)   ◆ default   "
        "bars: 95% interval over seeds"
    )
    lines = [note, *textwrap.wrap(data["note"], 150)]
    figure.supxlabel("\n".join(lines), fontsize=6.5, color=style.GREY)
    for axes, panel in zip(panels, data["panels"], strict=True):
        named = {p[0] for p in front(panel["points"])} | {"default"}
        # The others keep clear of the labels, and tell their names under the pointer.
        labels = [(p[1], p[2], p[0] if p[0] in named else "") for p in panel["points"]]
        style.place_labels(axes, labels, size=6.5)
    return figure


def joint_profile(measured: Measured, published: Published) -> Plot | None:
    """PCKh@0.5 on MPII val joint by joint, published and measured; only where it was measured.

    Other data stand in no picture with it: people rendered here are not MPII's.
    """
    series = []
    for network, groups in measured_groups(measured, "mpii", "val").items():
        runs = beside_published(groups)
        table = [[metric(r, joint) for joint in PCKH_JOINTS] for r in runs]
        if all(v is not None for line in table for v in line):
            means = [sum(column) / len(runs) for column in zip(*table, strict=True)]  # type: ignore[arg-type]
            series.append([f"{shown_name(network)}, measured (n = {len(runs)})", "measured", means])
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
