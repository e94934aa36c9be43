"""Every plot that a set of records has the data for."""

from __future__ import annotations

from collections.abc import Sequence

from reports.ablation import GridView
from reports.figures.accuracy import bubble, joint_profile, tradeoff
from reports.figures.curves import latency_sweeps, learning_curves
from reports.figures.effects import effects
from reports.figures.plot import Plot
from reports.figures.summary import main_effects
from reports.load import Measured
from reports.published import Published


def all_plots(
    measured: Measured, published: Published, grid_views: Sequence[tuple[str, GridView]]
) -> list[Plot]:
    """Every plot whose data exist."""
    found: list[Plot | None] = [main_effects(grid_views), bubble(measured, published)]
    found.append(tradeoff([grid for _, grid in grid_views]))
    found += [effects(grid, name) for name, grid in grid_views]
    found += [joint_profile(measured, published), learning_curves(measured)]
    found += latency_sweeps(measured)
    return [plot for plot in found if plot is not None]
