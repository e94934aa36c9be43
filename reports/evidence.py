"""What a finding may say: the verdicts and numbers of a table, whichever kind of table it is."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import partial

from hevitpose.evaluation.statistics import Comparison, Family, Interval
from hevitpose.markdown import plain
from reports import ablation
from reports.captions import condition as words_of
from reports.comparisons import product_levels
from reports.load import gflops, p50, params_m
from reports.robustness import Robustness, Run
from reports.tables.grid import gap_text


@dataclass(frozen=True)
class Evidence:
    """A table as its finding is checked against it; metrics by the names that people read."""

    opening: str  # the condition, with which the finding opens
    cells: Collection[str]
    primary: str
    families: Mapping[str, Family]
    numbers: Mapping[str, Mapping[str, frozenset[str]]]  # metric -> cell -> what is printed
    levels: Mapping[str, Comparison] = field(default_factory=dict)  # marginal means, by the primary
    parts: Collection[str] = ()  # metrics that a finding may leave out, but tells whole if at all

    @property
    def family(self) -> Family:
        """The comparisons by the primary metric."""
        return self.families.get(self.primary, Family())

    def disagreements(self) -> dict[str, dict[str, str]]:
        """Per secondary metric, its verdict of each cell of which the primary says another."""
        families = {name: of for name, of in self.families.items() if name not in self.parts}
        return ablation.disagreements(families, self.primary)


def of_grid(grid: ablation.GridView) -> Evidence:
    """Of an ablation's table."""
    seeds = max((row.seeds for row in grid.rows), default=0)
    shown = ablation.SHOWN
    numbers = {
        shown[name]: {
            row.name: _numbers(row.scores.get(name), row.seeds, family, row.name)
            | _costs(grid, row)
            for row in grid.rows
        }
        for name, family in grid.families.items()
    }
    levels = {
        f"{of.axis.removeprefix('model.')} {level}": comparison
        for of in product_levels(grid)
        for level, comparison in of.family.comparisons.items()
    }
    if levels:
        numbers[shown[grid.primary]] |= {
            name: _differences(comparison) for name, comparison in levels.items()
        }
    return Evidence(
        opening=f"{words_of(grid.facts)}, {seeds} seeds" if grid.facts else "",
        cells=[row.name for row in grid.rows],
        primary=shown[grid.primary],
        families={shown[name]: family for name, family in grid.families.items()},
        numbers=numbers,
        levels=levels,
    )


def of_robustness(view: Robustness, primary: str) -> Evidence:
    """Of a table of conditions: mPC, the mean under corruption, and rPC, its share of the clean.

    Each condition is a metric too, as ``box-jitter:2``: the share of the clean score under it.

    Args:
        view: the cells.
        primary: the metric that mPC is the mean of.
    """
    seeds = max(len(runs) for runs in view.cells.values())
    values = {"mPC": view.mpc(primary), "rPC": view.rpc(primary)}
    families = {name: view.compare(value) for name, value in values.items()}
    for condition in view.conditions:
        values[str(condition)] = partial(Run.share, name=primary, condition=condition)
        families[str(condition)] = view.shares(primary, condition)
    numbers = {
        name: {
            cell: _numbers(view.mean(cell, value), len(runs), families[name], cell)
            for cell, runs in view.cells.items()
        }
        for name, value in values.items()
    }
    return Evidence(
        opening=f"{words_of(view.facts)}, {seeds} seeds",
        cells=list(view.cells),
        primary="mPC",
        families=families,
        numbers=numbers,
        parts=[str(condition) for condition in view.conditions],
    )


def _numbers(score: Interval | None, seeds: int, family: Family, cell: str) -> frozenset[str]:
    """What a table prints of a cell by one metric."""
    found: set[str] = {str(seeds)}
    if score is not None:
        found |= {f"{score.value:.1f}", *([f"{score.half:.1f}"] if score.half is not None else [])}
    comparison = family.comparisons.get(cell)
    return frozenset(plain(text) for text in found) | (
        _differences(comparison) if comparison is not None else frozenset()
    )


def _differences(comparison: Comparison) -> frozenset[str]:
    """What a table prints of a comparison."""
    found = set(gap_text(comparison).replace("−", "-").split(" ± "))
    if comparison.p is not None:
        found |= {f"{comparison.p:.2g}"}
    return frozenset(plain(text) for text in found)


def _costs(grid: ablation.GridView, row: ablation.Row) -> frozenset[str]:
    """Parameters, GFLOPs and milliseconds of a row, and its GFLOPs against the default's."""
    found: set[str] = set()
    for value, digits in (
        (params_m(row.complexity), 3),
        (gflops(row.complexity), 3),
        (p50(row.latency), 2),
    ):
        if value is not None:
            found.add(f"{value:.{digits}f}")
    return frozenset(plain(text) for text in found | _percent_of_default(grid, row))


def _percent_of_default(grid: ablation.GridView, row: ablation.Row) -> set[str]:
    """How many percent more or fewer GFLOPs than the default's."""
    if grid.default is None:
        return set()
    own, default = gflops(row.complexity), gflops(grid.default.complexity)
    return {f"{abs(100 * (own / default - 1)):.0f}"} if own and default else set()
