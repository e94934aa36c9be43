"""Plots, each a function of plain data: drawn only when the data exist."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from reports import style
from reports.text import shorten

if TYPE_CHECKING:
    from reports.grids import Grid


def effects(grid: Grid, out: Path, stem: str) -> list[Path]:
    """Each cell's difference to the default as a dot with its 95% interval.

    Without a default the scores themselves are drawn; nothing when nothing is measured.
    """
    rows = [row for row in grid.rows if "Mean" in row.scores]
    if not rows:
        return []
    relative = grid.default is not None and "Mean" in grid.default.scores
    data = []
    for row in rows:
        estimate = row.difference if relative else row.scores["Mean"]
        if row.is_default and relative:
            data.append((f"{row.name}", 0.0, None, None, row.seeds, "reference"))
        elif estimate is not None:
            data.append(
                (row.name, estimate.value, estimate.low, estimate.high, estimate.n, row.verdict)
            )
    if not data:
        return []
    data = [data[0], *sorted(data[1:], key=lambda d: -d[1])]
    figure, axes = style.new_figure(6.4, 1.35 + 0.32 * len(data))
    for y, (_, value, low, high, _, verdict) in enumerate(reversed(data)):
        solid = verdict in ("better", "worse", "reference")
        color = {"better": style.GREEN, "worse": style.RED, "reference": style.BLACK}.get(
            verdict, style.BLUE
        )
        marker = {"better": "^", "worse": "v", "reference": "D"}.get(verdict, "o")
        if low is not None and high is not None:
            axes.plot([low, high], [y, y], color=color, lw=1.6, solid_capstyle="butt")
        axes.plot([value], [y], marker, ms=6, color=color, mfc=color if solid else "white", mew=1.4)
    if relative:
        axes.axvline(0, color=style.GREY, lw=0.9, zorder=0)
    labels = [f"{shorten(name, 34)}  (n = {n})" for name, _, _, _, n, _ in reversed(data)]
    axes.set_yticks(range(len(data)), labels)
    axes.set_ylim(-0.6, len(data) - 0.4)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(
        "Δ PCKh@0.5 to the default, points, 95% interval"
        if relative
        else "PCKh@0.5 (%), 95% interval"
    )
    facts = grid.facts
    axes.set_title(
        f"{shorten(grid.name, 40)}: {shorten(facts['model'], 40)}, "
        f"{facts['dataset']} {facts['split']}, {facts['input']}"
    )
    figure.supxlabel(
        "▲ better  ▼ worse  ○ no verdict or not distinguishable  ◆ default",
        fontsize=7.5, color=style.GREY,
    )  # fmt: skip
    paths = style.save(figure, out, stem, ["effects", grid.name, data, relative, dict(facts)])
    style.close(figure)
    return paths
