"""Do rankings on rendered people predict those on photographs? Grids that ran on both, paired.

A pair of grids shares its cells and nothing else: data, input, recipe and length of training differ
and are named. Photographs' cells that started from their own training on rendered people are kept
apart, since they inherit what they are compared with.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from hevitpose.data.registry import is_rendered
from hevitpose.evaluation.ranking import ceiling, rank_correlation, reliability
from hevitpose.evaluation.statistics import Interval, common_seeds, pooled_means
from reports.ablation import GridView, Row, by_seed
from reports.comparisons import default_key

#: Fewest cells that a rank correlation is computed of.
CELLS = 3
#: Fewest seeds, on both sides, with which a grid is taken together with others: as many as grids on
#: photographs are planned with. All of them rest on the seeds that every cell has, so that a grid
#: that is still running would take the others' seeds away.
SEEDS_TOGETHER = 3
PREDICTS, REVERSES, NOT_SHOWN = "predicts", "reverses", "not shown to predict"

Scores = Mapping[str, Mapping[int, float]]  # cell -> seed -> percent


@dataclass(frozen=True)
class Side:
    """What a grid's cells scored on one kind of people."""

    metric: str
    facts: Mapping[str, str]  # of the grid: data, input, recipe
    scores: Scores

    @property
    def seeds(self) -> list[int]:
        """Those that every cell has."""
        return common_seeds(self.scores)

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
    trainings: Mapping[str, frozenset[str]]  # cell -> on rendered people: one under any name
    parts: tuple[Transfer, ...] = ()  # one for each of several grids

    @property
    def fewest_seeds(self) -> int:
        """Seeds that every cell has, on the side with fewer of them."""
        return min(len(self.rendered.seeds), len(self.photographs.seeds))

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
        sides, those of at least :data:`SEEDS_TOGETHER` seeds together come last of their start.
        Grids with fewer than :data:`CELLS` common cells are left out.
    """
    scored = [view for view in views if default_key(view) and not view.facts["tuned"]]
    rendered = [v for v in scored if is_rendered(v.facts["dataset"]) and not v.facts["start"]]
    photographs = [v for v in scored if not is_rendered(v.facts["dataset"])]
    by_defaults: dict[tuple[str, ...], list[Transfer]] = defaultdict(list)
    for there in photographs:
        for here in (view for view in rendered if view.name == there.name):
            for metric in dict.fromkeys((here.primary, "AP")):
                pair = _pair(here, there, metric, there.primary)
                if pair is not None:
                    by_defaults[default_key(here), default_key(there), metric].append(pair)
    pairs = [pair for group in by_defaults.values() for pair in group]
    for group in by_defaults.values():
        repeated = [pair for pair in group if pair.fewest_seeds >= SEEDS_TOGETHER]
        joined = _together(repeated) if len(repeated) > 1 else None
        if joined is not None and joined.fewest_seeds >= SEEDS_TOGETHER:  # of all cells at once
            pairs.append(joined)
    return sorted(pairs, key=lambda t: (t.start != "", t.start, len(t.grids) > 1))


def _pair(here: GridView, there: GridView, metric: str, metric_there: str) -> Transfer | None:
    rows, rows_there = _by_cell(here, metric), _by_cell(there, metric_there)
    cells = [cell for cell in rows if cell in rows_there]
    if len(cells) < CELLS:
        return None
    rendered, photographs = (
        Side(name, view.facts, {cell: by_seed(of[cell], name) for cell in cells})
        for view, of, name in ((here, rows, metric), (there, rows_there, metric_there))
    )
    if not rendered.seeds or not photographs.seeds:
        return None
    names = {cell: (here.name if cell else "", rows[cell].name) for cell in cells}
    trainings = {cell: _trainings(rows[cell]) for cell in cells}
    return Transfer((here.name,), names, rendered, photographs, trainings)


def _by_cell(view: GridView, metric: str) -> dict[str, Row]:
    """Rows with a score; the default under the empty name, whatever its value is called.

    Of rows that score the same weights under several conditions the first alone: more of them would
    be no more cells.
    """
    found: dict[str, Row] = {}
    seen: set[str] = set()
    for row in sorted(view.rows, key=lambda row: not row.is_default):
        if metric in row.scores and not seen & _trainings(row):
            found["" if row.is_default else f"{view.name}/{row.name}"] = row
            seen |= _trainings(row)
    return found


def _trainings(row: Row) -> frozenset[str]:
    return frozenset(record.training or record.id for record in row.accuracy)


def _together(pairs: Sequence[Transfer]) -> Transfer:
    """Several grids as one; a cell that two of them show under two names is one."""
    first, cells = pairs[0], dict[str, Transfer]()
    trainings: dict[str, frozenset[str]] = {}
    for pair in pairs:
        for cell, trained in pair.trainings.items():
            if all(trained.isdisjoint(other) for other in trainings.values()):
                cells[cell], trainings[cell] = pair, trained
    rendered, photographs = (
        replace(
            getattr(first, side),
            scores={cell: getattr(pair, side).scores[cell] for cell, pair in cells.items()},
        )
        for side in ("rendered", "photographs")
    )
    names = {cell: pair.names[cell] if cell else ("", "default") for cell, pair in cells.items()}
    grids = tuple(grid for pair in pairs for grid in pair.grids)
    return Transfer(grids, names, rendered, photographs, trainings, tuple(pairs))
