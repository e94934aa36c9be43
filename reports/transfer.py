"""Do rankings on rendered people predict those on photographs? Grids that ran on both, paired.

A pair of grids shares its cells and nothing else: data, input, recipe and length of training differ
and are named. Photographs' cells that started from their own training on rendered people are kept
apart, since they inherit what they are compared with.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from hevitpose.data.registry import is_rendered
from hevitpose.evaluation.ranking import ceiling, rank_correlation, reliability
from hevitpose.evaluation.statistics import Interval, pooled_means
from reports.ablation import GridView, Row, by_seed
from reports.comparisons import default_key

#: Fewest cells that a rank correlation is computed of.
CELLS = 3
PREDICTS, REVERSES, NOT_SHOWN = "predicts", "reverses", "not shown to predict"

Scores = Mapping[str, Mapping[int, float]]  # cell -> seed -> percent


@dataclass(frozen=True)
class Side:
    """What a grid's cells scored on one kind of people."""

    metric: str
    facts: Mapping[str, str]  # of the grid: data, input, recipe
    scores: Scores

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds that every cell has."""
        return tuple(sorted(set.intersection(*(set(v) for v in self.scores.values()))))

    @cached_property
    def means(self) -> dict[str, Interval]:
        """Each cell's mean over the common seeds."""
        return pooled_means(self.scores)


@dataclass(frozen=True)
class Transfer:
    """One grid, or several together, on rendered people and on photographs."""

    grids: tuple[str, ...]
    names: Mapping[str, tuple[str, str]]  # cell -> grid, name; the default's grid is ""
    rendered: Side
    photographs: Side

    @property
    def start(self) -> str:
        """What the photographs' trainings started from; empty for random weights."""
        return self.photographs.facts["start"]

    @cached_property
    def correlation(self) -> Interval:
        """Spearman's, of the cells' means."""
        one, other = (
            [side.means[cell].value for cell in self.names]
            for side in (self.rendered, self.photographs)
        )
        return rank_correlation(one, other)

    @cached_property
    def reliabilities(self) -> tuple[float | None, float | None]:
        """How well each side's order would repeat with other seeds."""
        return reliability(self.rendered.scores), reliability(self.photographs.scores)

    @property
    def ceiling(self) -> float | None:
        """The correlation that orders as noisy as these could reach."""
        return ceiling(*self.reliabilities)

    @property
    def verdict(self) -> str:
        """What the interval says."""
        found = self.correlation
        if found.low is None or found.high is None:
            return f"no verdict ({found.n} cells)"
        return PREDICTS if found.low > 0 else REVERSES if found.high < 0 else NOT_SHOWN


def transfers(views: Iterable[GridView]) -> list[Transfer]:
    """Every grid that ran on both, by the primary metrics and by AP on both sides.

    Args:
        views: of all grids and settings (:func:`reports.build.grid_views`).

    Returns:
        Random weights first, then by grid; where several grids share their defaults on both
        sides, all of them together come last of their start. Grids with fewer than
        :data:`CELLS` common cells are left out.
    """
    views = [view for view in views if view.default is not None and not view.facts["tuned"]]
    found: list[tuple[tuple[str, ...], Transfer]] = []
    for there in views:
        if is_rendered(there.facts["dataset"]) or not there.default or not there.default.accuracy:
            continue
        for here in views:
            rendered = is_rendered(here.facts["dataset"]) and not here.facts["start"]
            if here.name != there.name or not rendered:
                continue
            for metric in dict.fromkeys((here.primary, "AP")):
                pair = _pair(here, there, metric, there.primary)
                if pair is not None:
                    shared = default_key(here), default_key(there), metric
                    found.append((shared, pair))
    together = [_together(pairs) for pairs in _by_key(found).values() if len(pairs) > 1]
    pairs = [*(pair for _, pair in found), *together]
    return sorted(pairs, key=lambda t: (t.start != "", t.start, len(t.grids) > 1))


def _pair(here: GridView, there: GridView, metric: str, metric_there: str) -> Transfer | None:
    rows, rows_there = _by_cell(here, metric), _by_cell(there, metric_there)
    cells = [cell for cell in rows if cell in rows_there]
    if len(cells) < CELLS:
        return None
    sides = [
        Side(name, view.facts, {cell: by_seed(of[cell], name) for cell in cells})
        for view, of, name in ((here, rows, metric), (there, rows_there, metric_there))
    ]
    if not all(side.seeds for side in sides):
        return None
    names = {cell: (here.name if cell else "", rows[cell].name) for cell in cells}
    return Transfer((here.name,), names, *sides)


def _by_cell(view: GridView, metric: str) -> dict[str, Row]:
    """Rows with a score; the default under the empty name, whatever its value is called."""
    return {
        "" if row.is_default else f"{view.name}/{row.name}": row
        for row in view.rows
        if metric in row.scores
    }


def _by_key(found: Sequence[tuple[tuple[str, ...], Transfer]]) -> dict[tuple[str, ...], list]:
    groups: dict[tuple[str, ...], list[Transfer]] = {}
    for key, pair in found:
        groups.setdefault(key, []).append(pair)
    return groups


def _together(pairs: Sequence[Transfer]) -> Transfer:
    first = pairs[0]
    rendered, photographs = (
        replace(
            getattr(first, side),
            scores={cell: v for pair in pairs for cell, v in getattr(pair, side).scores.items()},
        )
        for side in ("rendered", "photographs")
    )
    names = {cell: name for pair in pairs for cell, name in pair.names.items()}
    if "" in names:
        names[""] = ("", "default")
    return Transfer(tuple(g for pair in pairs for g in pair.grids), names, rendered, photographs)
