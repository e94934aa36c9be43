"""Pictures of robustness and of error types: a heat map, differences, and one comparison."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from functools import partial
from typing import Any

from hevitpose.evaluation.statistics import BETTER, WORSE, Comparison
from hevitpose.markdown import plain
from reports.ablation import SHOWN, GridView
from reports.captions import condition as words_of
from reports.changes import ERRORS, Changes
from reports.figures import style
from reports.figures.plot import Plot
from reports.output.text import shorten, stem
from reports.robustness import Robustness, Run
from reports.tables.grid import MARKS


def heat_map(view: Robustness, primary: str) -> Plot:
    """Cells x conditions: the score in percent of the clean one.

    Args:
        view: of :func:`reports.robustness.robustness`.
        primary: the metric.
    """
    columns = []
    for condition in view.conditions:
        family = view.shares(primary, condition)
        value = partial(Run.share, name=primary, condition=condition)
        column = []
        for name in view.cells:
            mean = view.mean(name, value)
            compared = family.comparisons.get(name)
            mark = MARKS.get(compared.verdict, "").strip() if compared else ""
            column.append([mean.value if mean else None, mark])
        columns.append([str(condition), condition in view.corruptions, column])
    heading = SHOWN.get(primary, primary)
    title = f"{heading} under each condition, % of clean"
    data = {
        "title": title,
        "condition": words_of(view.facts),
        "cells": [f"{plain(name)} (n = {len(runs)})" for name, runs in view.cells.items()],
        "columns": columns,
    }
    alt = f"Robustness {plain(view.grid)}: {title}, every cell and condition"
    return Plot(stem("robustness", view.grid), alt, data, draw_heat_map)


def draw_heat_map(data: Any) -> Any:
    """Numbers on colours; the mark says which cells differ from the default."""
    columns, cells = data["columns"], data["cells"]
    figure, axes = style.new_figure(max(6.8, 2.6 + 0.42 * len(columns)), 2.1 + 0.26 * len(cells))
    nothing = float("nan")
    values = [
        [nothing if column[2][row][0] is None else column[2][row][0] for column in columns]
        for row in range(len(cells))
    ]
    image = axes.imshow(values, cmap="viridis", vmin=0, vmax=100, aspect="auto")
    for x, (name, _, column) in enumerate(columns):
        for y, (value, mark) in enumerate(column):
            if value is None:
                continue
            color = "black" if value > 55 else "white"
            axes.text(
                x, y, f"{value:.0f}{mark}", ha="center", va="center", fontsize=6.5, color=color
            )
            tip = f"{cells[y]}, {name}: {value:.1f}% of clean {mark}"
            style.point(axes, x, y, tip, ms=14, marker="s", alpha=0)
    borders = [x for x in range(1, len(columns)) if columns[x][1] != columns[x - 1][1]]
    for x in borders:
        axes.axvline(x - 0.5, color="white", lw=2.5)
    axes.set_xticks(range(len(columns)), [c[0] for c in columns], rotation=50, ha="right")
    axes.set_yticks(range(len(cells)), cells)
    axes.tick_params(length=0, labelsize=7.5)
    axes.grid(visible=False)
    figure.colorbar(image, ax=axes, shrink=0.8, pad=0.01)
    figure.get_layout_engine().set(w_pad=0.15)  # the first tick label reaches out
    figure.suptitle(f"{data['title']}\n{data['condition']}", x=0.01, ha="left", fontsize=9.5)
    note = (
        "▲ keeps more, ▼ keeps less than the default:\nthe simultaneous 95% interval over the "
        "cells leaves 0 out (each column is a family of its own)"
    )
    figure.supxlabel(note, fontsize=7, color=style.GREY)
    return figure


def changes_plot(found: Changes, grid: GridView, name: str) -> Plot:
    """A panel an error type: every cell's difference to the default with its interval."""
    panels = []
    for error, family in found.families.items():
        dots = [
            [plain(row.name), *_bounds(family.comparisons[row.name])]
            for row in grid.rows
            if row.name in family.comparisons
        ]
        panels.append([error, ERRORS[error], dots])
    data = {"title": f"What changed: {plain(grid.name)}", "panels": panels}
    data |= {"condition": "\n".join(textwrap.wrap(words_of(grid.facts), 100))}
    alt = (
        f"Ablation {plain(grid.name)}: difference of each cell to the default in the share of "
        "joints with each error type, with simultaneous 95% intervals where there are five seeds"
    )
    return Plot(name, alt, data, draw_changes)


def _bounds(compared: Comparison, sign: int = 1) -> list[Any]:
    """Value, low, high, verdict; with sign -1 of the default against the cell."""
    gap = compared.difference
    ends = [None if end is None else sign * end for end in (gap.low, gap.high)][::sign]
    verdict = compared.verdict
    if sign < 0:
        verdict = {BETTER: WORSE, WORSE: BETTER}.get(verdict, verdict)
    return [sign * gap.value, *ends, verdict]


def draw_changes(data: Any) -> Any:
    """Dots and intervals around 0, cells in the grid's order from the top."""
    panels = data["panels"]
    count = len(panels[0][2])
    height = 1.5 + 0.28 * count + 0.16 * data["condition"].count("\n")
    figure, axes = style.new_figure(9.2, height, 1, len(panels))
    for place, (panel, (error, what, dots)) in enumerate(zip(axes, panels, strict=True)):
        _dots(panel, dots, "points")
        panel.set_title(f"{error}\n{what}", fontsize=8)
        if place:
            panel.set_yticklabels([])
    figure.suptitle(f"{data['title']} ({data['condition']})", x=0.01, ha="left", fontsize=9.5)
    figure.supxlabel(
        "Δ to the default in percent of counted joints; bars: simultaneous 95% intervals, from "
        "5 seeds on   ▲ fewer errors  ▼ more  ○ not shown to differ, or no verdict",
        fontsize=7.5, color=style.GREY,
    )  # fmt: skip
    return figure


def _dots(axes: Any, dots: Sequence[Any], unit: str) -> None:
    for y, (name, value, low, high, verdict) in enumerate(reversed(dots)):
        spread = f", {low:+.2f} to {high:+.2f}" if low is not None else ""
        tip = f"{name}: {value:+.2f} {unit}{spread}, {verdict}"
        style.verdict_bar(axes, y, (value, low, high), verdict, tip, mew=1.3)
    axes.axvline(0, color=style.GREY, lw=0.9, zorder=0)
    axes.set_yticks(range(len(dots)), [shorten(dot[0], 30) for dot in reversed(dots)])
    axes.set_ylim(-0.6, len(dots) - 0.4)
    axes.grid(axis="y", visible=False)


def attention_against_none(
    found: Changes | None, view: Robustness | None, primary: str
) -> Plot | None:
    """What CGSR-MHA changes against no attention: error types, and what is left under conditions.

    Args:
        found: of the grid whose default is CGSR-MHA and which has a cell ``none``.
        view: of a grid with that cell.
        primary: the metric.
    """
    families = {} if found is None else found.families
    # Absent, or trained with seeds that the default has not.
    if not families or any("none" not in family.comparisons for family in families.values()):
        return None
    errors = [
        [error, *_bounds(family.comparisons["none"], -1)] for error, family in families.items()
    ]
    kept = []
    if view is not None and "none" in view.cells:
        for condition in view.conditions:
            compared = view.shares(primary, condition).comparisons.get("none")
            if compared is not None:
                kept.append([str(condition), *_bounds(compared, -1)])
    heading = SHOWN.get(primary, primary)
    data = {"errors": errors, "kept": kept, "metric": heading}
    if view is not None:
        data["condition"] = words_of(view.facts)
    alt = "CGSR-MHA against no attention: share of joints with each error type, and the share of "
    alt += f"{heading} that is left under each condition, with simultaneous 95% intervals"
    return Plot("cgsr-against-none", alt, data, draw_against_none)


def draw_against_none(data: Any) -> Any:
    """Error types at the left; at the right, where it was measured, the conditions."""
    kept = data["kept"]
    height = 1.7 + 0.24 * max(len(data["errors"]), len(kept))
    figure, panels = style.new_figure(9.2 if kept else 5.6, height, 1, 2 if kept else 1)
    left, *right = panels if kept else [panels]
    _dots(left, data["errors"], "points")
    left.set_xlabel("Δ share of joints with the error, points")
    left.set_title("Errors (left of 0: fewer with CGSR-MHA)", fontsize=9)
    for axes in right:
        _dots(axes, kept, "points of % of clean")
        axes.set_xlabel(f"Δ {data['metric']} kept, % of clean, points")
        axes.locator_params(axis="x", nbins=6)
        axes.set_title("Robustness (right of 0: CGSR-MHA keeps more)", fontsize=9)
    where = f" ({data['condition']})" if "condition" in data else ""
    figure.suptitle(f"CGSR-MHA minus no attention{where}", x=0.01, ha="left", fontsize=10)
    figure.supxlabel(
        "bars: simultaneous 95% intervals over all cells of the grid, from 5 seeds on\n"
        "▲ better  ▼ worse  ○ not shown to differ, or no verdict",
        fontsize=7.5, color=style.GREY,
    )  # fmt: skip
    return figure
