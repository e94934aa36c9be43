"""Cells on rendered people against the same cells on photographs."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from hevitpose.markdown import plain
from reports.ablation import SHOWN
from reports.captions import condition
from reports.figures import style
from reports.figures.plot import Plot
from reports.transfer import Side, Transfer

#: Of the grids, by turns; the default has the orange and the diamond to itself.
_LOOKS = tuple(
    zip(
        (color for color in style.SERIES if color != style.ORANGE),
        (marker for marker in style.MARKERS if marker != "D"),
        strict=True,
    )
)


def transfer_plot(found: Sequence[Transfer]) -> Plot | None:
    """A panel for each set of cells that is correlated, by the primary metrics.

    Grids that are also taken together have no panel of their own.
    """
    parts = {id(part) for pair in found for part in pair.parts}
    panels = [
        _panel(pair)
        for pair in found
        if pair.rendered.metric == found[0].rendered.metric and id(pair) not in parts
    ]
    if not panels:
        return None
    return Plot(
        "transfer",
        "Each cell's score on rendered people against its score on photographs, with intervals",
        {"panels": panels},
        draw_transfer,
    )


def _panel(pair: Transfer) -> dict[str, Any]:
    sides = (pair.rendered, pair.photographs)
    points = [
        [grid, plain(name) if cell else "default", *(_estimate(side, cell) for side in sides)]
        for cell, (grid, name) in pair.names.items()
    ]
    return {
        "points": sorted(points, key=str),
        "title": _title(pair),
        "axes": [_axis(side) for side in sides],
    }


def _estimate(side: Side, cell: str) -> list[float | None]:
    found = side.means[cell]
    return [found.value, found.low, found.high]


def _title(pair: Transfer) -> str:
    found = pair.correlation
    bounds = f" [{found.low:.2f}, {found.high:.2f}]" if found.low is not None else ""
    top = f", ceiling {pair.ceiling:.2f}" if pair.ceiling is not None else ""
    start = f"started from {pair.start}" if pair.start else "from random weights"
    text = f"{start}: rank correlation {found.value:.2f}{bounds}{top}; {len(pair.names)} cells"
    return text.replace("-", "−")


def _axis(side: Side) -> str:
    return f"{SHOWN.get(side.metric, side.metric)}, %: {condition(dict(side.facts))}"


def draw_transfer(data: Any) -> Any:
    """Points with both intervals; a marker and a colour for each grid, a diamond the default."""
    panels = data["panels"]
    figure, axes = style.new_figure(1.0 + 5.4 * len(panels), 4.8, 1, len(panels))
    places = [axes] if len(panels) == 1 else list(axes)
    for place, panel in zip(places, panels, strict=True):
        grids = sorted({point[0] for point in panel["points"] if point[0]})
        for grid, name, (x, *xs), (y, *ys) in panel["points"]:
            color, marker = _look(grids, grid)
            for bounds, other, along in ((xs, y, place.hlines), (ys, x, place.vlines)):
                if bounds[0] is not None:
                    along(other, *bounds, color=color, lw=0.9, alpha=0.4)
            tip = f"{grid or 'default'} {name}: {x:.2f} rendered, {y:.2f} photographs"
            style.point(place, x, y, tip, marker=marker, ms=6, color=color)
        for grid in (*grids, ""):
            color, marker = _look(grids, grid)
            label = grid.replace("_", " ") or "default"
            place.plot([], [], marker=marker, color=color, ls="", label=label)
        place.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=4)
        place.margins(0.12)
        place.set_xlabel("\n".join(textwrap.wrap(panel["axes"][0], 70)))
        place.set_ylabel("\n".join(textwrap.wrap(panel["axes"][1], 60)))
        place.set_title("\n".join(textwrap.wrap(panel["title"], 70)))
    note = "bars: 95% t intervals over the common seeds, one spread pooled over the cells of a side"
    figure.supxlabel(note, fontsize=7.5, color=style.GREY)
    for place, panel in zip(places, panels, strict=True):
        style.place_labels(place, [(p[2][0], p[3][0], p[1]) for p in panel["points"]], size=6.5)
    return figure


def _look(grids: Sequence[str], grid: str) -> tuple[str, str]:
    return _LOOKS[grids.index(grid) % len(_LOOKS)] if grid else (style.ORANGE, "D")
