"""A grid in one picture: differences to the default with their intervals, and costs."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from hevitpose.markdown import plain
from reports.ablation import SHOWN, GridView
from reports.captions import condition
from reports.comparisons import headline
from reports.figures import style
from reports.figures.plot import Plot
from reports.load import gflops, p50
from reports.output.text import shorten


def effects(grid: GridView, name: str | None = None) -> Plot | None:
    """Each cell's difference to the default with its simultaneous interval, and its cost beside it.

    Without a default the scores themselves are drawn; nothing when nothing is measured.
    """
    rows = [row for row in grid.rows if grid.primary in row.scores]
    relative = grid.default is not None and grid.primary in grid.default.scores
    dots = []
    for row in rows:
        estimate = row.difference if relative else row.scores[grid.primary]
        timing = row.latency.latency if row.latency else None
        costs = [gflops(row.complexity), p50(row.latency), bool(timing and timing.noisy)]
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
        "condition": "\n".join(textwrap.wrap(condition(grid.facts), 100)),
        "metric": heading,
        "relative": relative,
        "dots": dots,
    }
    return Plot(
        name or f"ablation-{grid.name}",
        f"Ablation {plain(grid.name)}: {_shown(heading, relative)}, and what each cell costs",
        data,
        draw_effects,
    )


def _shown(heading: str, relative: bool) -> str:
    if relative:
        return (
            f"difference of each cell to the default in {heading}, with simultaneous 95% intervals "
            "where there are five seeds"
        )
    return f"{heading} of each cell, with a 95% interval of its own"


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
    more = title.count("\n") + data["condition"].count("\n")
    figure, panels = style.new_figure(
        7.6, 1.45 + 0.3 * len(dots) + 0.16 * more, 1, 1 + len(costs),
        widths=[3.4, *([1.0] * len(costs))],
    )  # fmt: skip
    axes, *others = panels if costs else [panels]
    for y, (name, value, low, high, n, verdict, *_) in enumerate(dots):
        spread = f", 95% interval {low:+.2f} to {high:+.2f}" if low is not None else ""
        tip = f"{name}: {value:+.2f}{spread}, n = {n}, {verdict or 'one seed'}"
        style.verdict_bar(axes, y, (value, low, high), verdict, tip)
    if data["relative"]:
        axes.axvline(0, color=style.GREY, lw=0.9, zorder=0)
    axes.set_yticks(range(len(dots)), [f"{shorten(dot[0], 34)}  (n = {dot[4]})" for dot in dots])
    what = f"Δ {data['metric']}, points" if data["relative"] else data["metric"]
    bars = any(dot[2] is not None for dot in dots)
    kind = "simultaneous 95% interval" if data["relative"] else "95% interval of each cell"
    axes.set_xlabel(f"{what}\n{kind if bars else 'no interval'}")
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
