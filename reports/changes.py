"""What a cell changes: the error types of its predictions, against the default's."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from hevitpose.evaluation.statistics import Family, Interval, compare_grid, mean_interval
from hevitpose.records import Record
from reports.ablation import GridView
from reports.load import Measured, is_conditional, seed_number
from reports.settings import NEUTRAL, data_key, flatten

#: Error types in the order of the diagnosis, and what each means.
ERRORS = {
    "miss": "far from any such joint",
    "swap": "on somebody else",
    "inversion": "on the person's opposite side",
    "jitter": "near, not near enough",
}


@dataclass(frozen=True)
class Changes:
    """Error rates of a grid's cells, by seed, in percent of the joints that are counted."""

    grid: str
    default: str
    rates: Mapping[str, Mapping[str, Mapping[int, float]]]  # type -> cell -> seed
    records: tuple[Record, ...]
    unit: str  # of the breakdown
    ids: Mapping[str, tuple[str, ...]]  # of the records behind a cell's rates
    without: tuple[str, ...] = ()  # cells of the grid whose evaluations have no error types

    @cached_property
    def families(self) -> dict[str, Family]:
        """Per type every cell against the default; fewer errors are better."""
        return {
            error: compare_grid(cells, self.default, higher_is_better=False)
            for error, cells in self.rates.items()
        }

    def mean(self, error: str, cell: str) -> Interval | None:
        """A cell's rate over seeds with its t interval."""
        values = list(self.rates[error].get(cell, {}).values())
        return mean_interval(values) if values else None


def error_rates(record: Record) -> dict[str, float] | None:
    """Percent of an evaluation's counted joints that have each error type; None: not computed."""
    if record.breakdown is None:
        return None
    total: dict[str, int] = defaultdict(int)
    for joint in record.breakdown.joints.values():
        for error, count in joint.errors.items():
            total[error] += count
    counted = sum(total.values())
    return {error: 100 * total[error] / counted for error in ERRORS} if counted else None


def changes(grid: GridView, measured: Measured) -> Changes | None:
    """The error types of a grid's cells; None where most of its cells have none.

    A cell's own evaluations may be older than error types; then another plain evaluation of the
    same weights stands for them (one forward pass, say), the same kind for all cells.
    """
    if grid.default is None:
        return None
    wanted = {r.training for row in grid.rows for r in row.accuracy if r.training}
    by_kind: dict[str, dict[str, tuple[Record, dict[str, float]]]] = defaultdict(dict)
    for record in measured.of("evaluation"):
        if record.training in wanted and (found := error_rates(record)) is not None:
            by_kind[_kind(record)][str(record.training)] = record, found
    own = Counter(_kind(record) for record in grid.default.accuracy)
    kind = max(by_kind, key=lambda kind: (len(by_kind[kind]), own[kind], kind), default=None)
    if kind is None:
        return None
    rates: dict[str, dict[str, dict[int, float]]] = {error: {} for error in ERRORS}
    used: dict[str, list[Record]] = defaultdict(list)
    for row in grid.rows:
        for record in row.accuracy:
            if is_conditional(record):
                continue
            if of := by_kind[kind].get(str(record.training)):
                used[row.name].append(of[0])
                for error, rate in of[1].items():
                    rates[error].setdefault(row.name, {})[seed_number(record)] = rate
    first = next(iter(rates.values()))
    cells = [row.name for row in grid.rows if row.accuracy]
    without = tuple(cell for cell in cells if cell not in first)
    if grid.default.name not in first or len(first) < 2 or len(without) > len(cells) / 2:
        return None  # a table of gaps says nothing of the grid
    records = tuple(record for of in used.values() for record in of)
    assert records[0].breakdown is not None
    return Changes(
        grid.name,
        grid.default.name,
        rates,
        records,
        records[0].breakdown.unit,
        {name: tuple(record.id for record in of) for name, of in used.items()},
        without,
    )


def _kind(record: Record) -> str:
    """Equal for evaluations that differ in the weights alone: how they score, and what."""
    section = flatten({"evaluation": dict(record.config.get("evaluation") or {})})
    how = {k: v for k, v in section.items() if v is not None and NEUTRAL.get(k) != v}
    return json.dumps(
        [record.flip_test, record.decoder, data_key(record), how], sort_keys=True, default=str
    )
