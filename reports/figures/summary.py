"""The main grids in one picture: each alternative's difference to the paper's part."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from ablations.grid_file import MAIN_GRIDS
from hevitpose.evaluation.statistics import BETTER
from hevitpose.markdown import plain
from reports.ablation import MATCHED, SHOWN, GridView
from reports.captions import condition
from reports.figures import style
from reports.figures.plot import Plot
from reports.output.text import shorten, signed

_HEADINGS = {"ffn": "Feed-forward network"}


def main_effects(grid_views: Sequence[tuple[str, GridView]]) -> Plot | None:
    """Differences of the main grids' cells with their simultaneous intervals.

    Cells at the default's cost (``--match``) stand in the grids' own figures. Nothing while a grid
    has no intervals, or while the three share no metric and condition.
    """
    by_name = dict(grid_views)
    grids = [by_name.get(f"ablation-{name}") for name in MAIN_GRIDS]
    panels, shared = [], set()
    for grid in grids:
        if grid is None or grid.default is None:
            return None
        rows: list[list[Any]] = [
            [plain(row.name), d.value, d.low, d.high, row.verdict]
            for row in grid.rows
            if (d := row.difference) is not None
            and d.low is not None
            and not row.name.endswith(MATCHED)
        ]
        if not rows:
            return None
        heading = _HEADINGS.get(grid.name, grid.name.capitalize())
        panels.append([heading, plain(grid.default.name), sorted(rows, key=lambda row: -row[1])])
        seeds = min(row.seeds for row in grid.rows if row.difference is not None)
        facts = condition(grid.facts), grid.facts["steps"]
        shared.add((SHOWN.get(grid.primary, grid.primary), *facts, seeds))
    if len(shared) != 1:
        return None
    metric, holds_for, steps, seeds = shared.pop()
    data = {
        "title": _finding(panels, steps),
        "condition": f"{holds_for}, {seeds} seeds",
        "metric": metric,
        "panels": panels,
    }
    alt = (
        f"Differences of {metric} to the paper's part, with simultaneous 95% intervals: attention, "
        "downsampling and feed-forward network"
    )
    return Plot("main-effects", alt, data, draw_main_effects)


def _finding(panels: Sequence[Any], steps: str) -> str:
    """How many alternatives are better, and which by most."""
    rows = [(row, heading) for heading, _, rows in panels for row in rows]
    better = [(row, heading) for row, heading in rows if row[4] == BETTER]
    after = f"After {steps} steps, " if steps else ""
    if not better:
        text = f"none of {len(rows)} alternatives was shown to beat the paper's part"
    else:
        (name, value, *_), heading = max(better, key=lambda found: found[0][1])
        text = (
            f"{len(better)} of {len(rows)} alternatives beat the paper's part, "
            f"{name} ({heading.lower()}) by most: {value:+.1f} points"
        )
    return after + text if after else text[0].upper() + text[1:]


def draw_main_effects(data: Any) -> Any:
    """Dots and intervals under one axis, a heading above each grid; narrow, for phones."""
    lines = sum(1 + len(rows) for _, _, rows in data["panels"])
    title = "\n".join(textwrap.wrap(data["title"], 54))
    figure, axes = style.new_figure(5.4, 1.75 + 0.235 * lines)

    def at_left(text: str, y: float, **look: Any) -> None:
        axes.annotate(
            text, (0.012, y), xycoords=("figure fraction", "data"), va="center",
            bbox={"fc": "white", "ec": "none", "pad": 1.5}, **look,
        ).set_in_layout(False)  # fmt: skip

    y, places, labels = 0.0, [], []
    ends = [0.0, *(end for _, _, rows in data["panels"] for row in rows for end in row[2:4])]
    right, span = max(ends), max(ends) - min(ends)
    for heading, default, rows in data["panels"]:
        at_left(f"{heading}, against {shorten(default, 24)}", y, fontweight="bold")
        y -= 1
        for name, value, low, high, verdict in rows:
            tip = f"{name}: {value:+.2f}, 95% interval {low:+.2f} to {high:+.2f}, {verdict}"
            style.verdict_bar(axes, y, (value, low, high), verdict, tip, lw=1.8)
            axes.text(right + 0.03 * span, y, signed(value, 2), va="center", fontsize=9)
            places.append(y)
            labels.append(shorten(name, 24))
            y -= 1
        y -= 0.4
    axes.axvline(0, color=style.GREY, lw=0.9, zorder=0)
    axes.set_yticks(places, labels)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(y + 0.9, 1.5)
    axes.spines["left"].set_visible(False)
    axes.set_xlim(min(ends) - 0.04 * span, right + 0.16 * span)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(f"Δ {data['metric']}, points, simultaneous 95% interval")
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    at_left(data["condition"], 1.1, color=style.GREY)
    figure.supxlabel("▲ better  ▼ worse  ○ not shown to differ", fontsize=8.5, color=style.GREY)
    return figure
