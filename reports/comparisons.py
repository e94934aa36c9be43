"""Finished grids, compared: the best cell, the finding as a title, marginal means, one family."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from ablations.grid_file import DEFAULT_CELL
from hevitpose.evaluation.additivity import FTest, interaction
from hevitpose.evaluation.statistics import (
    BETTER,
    NOT_SHOWN,
    VERDICTS,
    WORSE,
    Family,
    compare_grid,
    contrasts,
)
from hevitpose.markdown import plain
from reports.ablation import GridView, Row, by_seed
from reports.grid_files import value_of
from reports.load import is_conditional
from reports.output.text import shorten


def best(grid: GridView) -> Row | None:
    """The row that may stand in bold: every other is significantly worse than it.

    With fewer than five seeds, or where one of the others is not shown to be worse, nobody is the
    best.
    """
    scored = [row for row in grid.rows if grid.primary in row.scores]
    if len(scored) < 2:
        return None
    top = max(scored, key=lambda row: row.scores[grid.primary].value)
    found = compare_grid({row.name: by_seed(row, grid.primary) for row in scored}, top.name)
    return top if len(found.having(WORSE)) == len(scored) - 1 else None


#: Cells of one verdict that a title names; more are counted.
NAMED = 6


def headline(grid: GridView) -> str:
    """The verdicts in one sentence; empty where there are none."""
    if grid.family.spread is None or grid.default is None:
        return ""
    by: dict[str, list[str]] = {BETTER: [], WORSE: [], NOT_SHOWN: []}
    for name, comparison in grid.family.comparisons.items():
        if comparison.verdict in by:
            by[comparison.verdict].append(shorten(name, 40))
    default = "the default" if grid.default.name == DEFAULT_CELL else shorten(grid.default.name, 40)
    all_of_them = sum(map(len, by.values()))
    if all_of_them == len(by[NOT_SHOWN]):
        return f"No cell was shown to differ from {default}"
    parts = []
    for verdict, words in (
        (BETTER, f"better than {default}"), (WORSE, f"worse than {default}"),
        (NOT_SHOWN, "not shown to differ"),
    ):  # fmt: skip
        if len(by[verdict]) == all_of_them > 1:
            parts.append(f"all {all_of_them} {words}")
        elif len(by[verdict]) > NAMED:
            parts.append(f"{words}: {len(by[verdict])} of {all_of_them} cells")
        elif by[verdict]:
            parts.append(f"{words}: {', '.join(by[verdict])}")
    if not by[BETTER] and by[NOT_SHOWN]:
        parts.insert(0, f"nothing was shown to be better than {default}")
    text = "; ".join(parts)
    return text[0].upper() + text[1:]


# Over several cells, and several grids ----------------------------------------------------------


@dataclass(frozen=True)
class Levels:
    """The levels of one axis against one of them, over the cells that share all other axes."""

    axis: str
    reference: str
    cells: int  # of each level
    family: Family  # by level


def marginal_means(grid: GridView, axis: str, reference: str | None = None) -> Levels | None:
    """An axis's levels, each averaged over the combinations of the other axes that all levels have.

    Args:
        grid: a product, or one with this axis among others.
        axis: config key.
        reference: the level that the others are compared with, as :func:`level_of` says it; the
            default's own when None.

    Returns:
        None where the axis has no second level, or the reference is none of them.
    """
    rows = _plain(grid)
    if grid.default is None or not grid.default.accuracy:
        return None
    axes = {key for row in rows for key in row.accuracy[0].axes}
    reference = reference or level_of(grid.default, axis)
    table: dict[str, dict[str, Row]] = defaultdict(dict)  # other axes -> level -> row
    for row in rows:
        others = json.dumps({key: level_of(row, key) for key in sorted(axes - {axis})})
        table[others][level_of(row, axis)] = row
    levels = {level for of in table.values() if reference in of for level in of}
    complete = [of for of in table.values() if of.keys() >= levels]
    if len(levels) < 2 or not complete:
        return None
    share = 1 / len(complete)
    wanted = {
        level: {of[level].name: share for of in complete}
        | {of[reference].name: -share for of in complete}
        for level in sorted(levels - {reference})
    }
    cells = {row.name: by_seed(row, grid.primary) for row in rows}
    cells = {name: values for name, values in cells.items() if values}
    if any(of[level].name not in cells for of in complete for level in levels):
        return None
    return Levels(axis, reference, len(complete), contrasts(cells, wanted))


def simple_effects(grid: GridView, axis: str) -> Levels | None:
    """An axis's levels against the default's, at the default of every other axis."""
    rows = [row for row in _plain(grid) if grid.primary in row.scores]
    if grid.default is None or grid.default not in rows:
        return None
    axes = {key for row in rows for key in row.accuracy[0].axes}
    own = {key: level_of(grid.default, key) for key in axes}
    wanted = {
        level_of(row, axis): {row.name: 1.0, grid.default.name: -1.0}
        for row in rows
        if [key for key in axes if level_of(row, key) != own[key]] == [axis]
    }
    cells = {row.name: by_seed(row, grid.primary) for row in rows}
    return Levels(axis, own[axis], 1, contrasts(cells, dict(sorted(wanted.items()))))


def interactions(grid: GridView) -> FTest | None:
    """Whether the effects of a product's axes add up; None where that cannot be told."""
    rows = _plain(grid)
    axes = sorted({key for row in rows for key in row.accuracy[0].axes})
    return interaction(
        {row.name: by_seed(row, grid.primary) for row in rows},
        {row.name: [level_of(row, axis) for axis in axes] for row in rows},
    )


def _plain(grid: GridView) -> list[Row]:
    """The rows with scores that are no condition of another."""
    return [r for r in grid.rows if r.accuracy and not is_conditional(r.accuracy[0])]


def product_levels(grid: GridView) -> list[Levels]:
    """The marginal means of each axis that is crossed with another."""
    axes = {key for row in grid.rows for r in row.accuracy for key in r.axes}
    several = sorted(axes) if len(axes) > 1 else []
    found = [marginal_means(grid, axis) for axis in several]
    return [levels for levels in found if levels is not None and levels.cells > 1]


def level_of(row: Row, axis: str) -> str:
    """A row's value on an axis, as a text."""
    record = row.accuracy[0]
    value = record.axes.get(axis)
    if value is None:
        value = value_of(record, axis)
    return "-".join(map(str, value)) if isinstance(value, (list, tuple)) else plain(value)


@dataclass(frozen=True)
class Together:
    """The verdicts of several grids with one default, judged again as one family."""

    grids: tuple[str, ...]
    cells: int  # that are judged, each once
    alone: int  # of these, better or worse in a grid by itself
    survive: int  # of these, the same in the family of all


def together(views: Sequence[GridView]) -> dict[str, Together]:
    """For each default that several grids share, how many verdicts survive over all of them.

    A cell that two grids show under two names is one: it has the same runs.

    Returns:
        By the ids of the default's runs, joined by spaces (:func:`default_key`).
    """
    groups: dict[str, list[GridView]] = defaultdict(list)
    for view in views:
        if key := default_key(view):
            groups[key].append(view)
    found = {}
    for key, group in groups.items():
        if len(group) < 2:
            continue
        default = group[0].default
        assert default is not None
        primary = group[0].primary
        rows = {_runs(row): row for grid in group for row in grid.rows if row.verdict in VERDICTS}
        if not rows:
            continue
        cells = {runs: by_seed(row, primary) for runs, row in rows.items()}
        family = compare_grid({"": by_seed(default, primary), **cells}, "")
        alone = {
            (_runs(row), row.verdict)
            for grid in group
            for row in grid.rows
            if row.verdict in (BETTER, WORSE)
        }
        survive = {(runs, c.verdict) for runs, c in family.comparisons.items()} & alone
        found[key] = Together(
            grids=tuple(grid.name for grid in group),
            cells=len(cells),
            alone=len({runs for runs, _ in alone}),
            survive=len(survive),
        )
    return found


def _runs(row: Row) -> str:
    """Equal for rows that show the same evaluations."""
    return " ".join(record.id for record in row.accuracy)


def default_key(grid: GridView) -> str:
    """What grids with one default have in common; empty where it was not run."""
    if grid.default is None or not grid.default.accuracy:
        return ""
    return f"{grid.primary} {_runs(grid.default)}"


def with_weights_of_their_own(grid: GridView) -> Family | None:
    """The cells again, without those that score the weights of a row above otherwise.

    Returns:
        None where no row does.
    """
    seen: set[str] = set()
    cells = {}
    scored = [row for row in grid.rows if row.accuracy]
    for row in scored:
        weights = {record.training or record.id for record in row.accuracy}
        if not weights & seen:
            cells[row.name] = by_seed(row, grid.primary)
        seen |= weights
    if grid.default is None or len(cells) == len(scored):
        return None
    return compare_grid(cells, grid.default.name)
