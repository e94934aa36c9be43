"""One ablation grid as rows: what each cell costs, what it scores, and whether that differs.

A row joins a cell's complexity, latency and evaluation records. Verdicts are on the grid's primary
metric, by Dunnett's test on the seed-blocked model of all cells
(:mod:`hevitpose.evaluation.statistics`); secondary metrics have families of their own.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ablations.grid_file import DEFAULT_CELL, PRIMARIES, PRIMARY_METRICS
from hevitpose.evaluation.statistics import (
    NOT_SHOWN,
    VERDICTS,
    Comparison,
    Family,
    Interval,
    compare_grid,
    mean_interval,
    paired_difference,
)
from hevitpose.markdown import plain
from hevitpose.models.spec import VARIANTS
from hevitpose.records import Record
from hevitpose.records.schema import BASELINE_PREFIX, is_share
from reports.captions import conditions_key, describe_conditions, shared
from reports.cells import Cells, group, one_configuration, share, split
from reports.grid_files import Overrides
from reports.load import METRIC_ALIASES, metric, newest, seed_number
from reports.pck import primary_of
from reports.settings import flatten

#: Metrics that a grid's table shows, as their headings say them.
SHOWN = PRIMARIES
#: Shown only where a grid is judged by it: AR says the same again beside AP; the others are those
#: of custom datasets.
_ALONE = ("AR", "PCK", "PCKh")

#: How the name of a cell ends that ``--match`` gave a width of equal cost: an axis of its own.
MATCHED = " matched)"


@dataclass(frozen=True)
class Row:
    """One cell of a grid."""

    name: str
    is_default: bool
    complexity: Record | None
    latency: Record | None
    accuracy: tuple[Record, ...]  # one per seed, by seed
    failures: tuple[Record, ...]  # the last one of each run that never succeeded
    scores: dict[str, Interval]  # by metric, in percent
    comparison: Comparison | None = None  # with the default, by the primary metric
    others: dict[str, Comparison] = field(default_factory=dict)  # by the secondary metrics
    photographs: Interval | None = None  # difference in AP over draws of the val set's photographs

    @property
    def seeds(self) -> int:
        """How many seeds succeeded."""
        return len(self.accuracy)

    @property
    def difference(self) -> Interval | None:
        """To the default, in points."""
        return self.comparison.difference if self.comparison else None

    @property
    def verdict(self) -> str:
        """Better, worse, not shown to differ, or why there is none."""
        return self.comparison.verdict if self.comparison else ""

    @property
    def records(self) -> tuple[Record, ...]:
        """Every success that the row shows."""
        parts = (self.complexity, self.latency, *self.accuracy)
        return tuple(record for record in parts if record is not None)


@dataclass(frozen=True)
class GridView:
    """A grid's rows, the default first, and what they share."""

    name: str
    rows: tuple[Row, ...]
    facts: dict[str, str] = field(default_factory=dict)  # what the caption says
    conditions: str = ""  # of the times
    baseline: dict[str, float] = field(default_factory=dict)  # metrics of the mean pose
    older: tuple[str, ...] = ()  # ids that a newer run of the same cell and seed replaced
    namesakes: tuple[str, ...] = ()  # of runs of another configuration under a cell's name
    primary: str = "Mean"  # metric of the verdicts
    families: dict[str, Family] = field(default_factory=dict)  # by metric

    @property
    def default(self) -> Row | None:
        """The row that the others are compared with."""
        return next((row for row in self.rows if row.is_default), None)

    @property
    def family(self) -> Family:
        """The comparisons by the primary metric."""
        return self.families.get(self.primary, Family())

    def disagreements(self) -> dict[str, dict[str, str]]:
        """Per secondary metric, its verdict of each cell of which the primary says another."""
        return disagreements(self.families, self.primary)


def disagreements(families: Mapping[str, Family], primary: str) -> dict[str, dict[str, str]]:
    """Per secondary metric, its verdict of each cell of which the primary says another.

    A cell that the primary metric does not judge is none that it calls better or worse.
    """
    found: dict[str, dict[str, str]] = {}
    main = families.get(primary, Family())
    for name, family in families.items():
        for cell, comparison in family.comparisons.items():
            own = main.comparisons.get(cell)
            said = own.verdict if own is not None and own.verdict in VERDICTS else NOT_SHOWN
            if name != primary and comparison.verdict in VERDICTS and comparison.verdict != said:
                found.setdefault(name, {})[cell] = comparison.verdict
    return found


def build(
    records: Iterable[Record],
    name: str,
    cells: Cells | None = None,
    default: str = DEFAULT_CELL,
    *,
    listed: Overrides | None = None,
    one_setting: bool = False,
    primary: Mapping[str, str] = PRIMARY_METRICS,
) -> GridView:
    """The rows of one grid.

    Args:
        records: any; those of other grids are left out.
        name: of the grid.
        cells: per cell the ids that belong to it, in the order of the rows. None: what the
            records say themselves (``grid`` and ``cell``), the shared default included.
        default: the cell that the others are compared with.
        listed: the cells that the grid's file describes (:func:`reports.grid_files.listed_cells`),
            in the order of the rows; others come after, by name. A cell without a record is a row
            too, and one that another grid has measured already is shown from its records.
        one_setting: the records are those of one setting already (:func:`split`).
        primary: dataset, or "other", to the metric of the verdicts.

    Without ``cells`` and with runs under several settings, the setting with the latest run is
    shown: different budgets or data never share a table.

    Returns:
        The grid. A cell without any record is a row too, where ``cells`` names it.
    """
    known = list(records)
    if cells is None and not one_setting:
        known = next(iter(split(known, name, listed).values()), known)
    listed = listed or {}
    groups = group(known, name, cells, default)
    namesakes: tuple[str, ...] = ()
    if cells is None:
        groups.setdefault(default, [])
        share(groups, known, name, listed, default)
        namesakes = one_configuration(groups, name, listed, default)
    for cell in listed:
        groups.setdefault(cell, [])
    rows, older = _rows(groups, default, listed)
    everything = [r for row in rows for r in (*row.records, *row.failures)]
    facts = shared(everything)
    judged_by = primary_of(everything, primary, facts["dataset"])
    families = _families(rows, judged_by)
    return GridView(
        name,
        _judged(rows, families, judged_by),
        facts,
        describe_conditions([row.latency for row in rows if row.latency]),
        _baseline(everything),
        older,
        namesakes,
        judged_by,
        families,
    )


def _rows(
    groups: Mapping[str, Sequence[Record]], default: str, listed: Overrides
) -> tuple[list[Row], tuple[str, ...]]:
    """The default's row, those of the file in its order, the others; ids of superseded runs."""
    conditions = _common_conditions(r for group in groups.values() for r in group)
    older: list[str] = []
    rows = _with_shared_costs(
        [
            _row(cell, group, conditions, is_default=cell == default, older=older)
            for cell, group in groups.items()
        ]
    )
    places = {cell: place for place, cell in enumerate(listed)}
    rows.sort(key=lambda row: (not row.is_default, places.get(row.name, len(places))))
    if rows and rows[0].is_default and rows[0].name == DEFAULT_CELL:
        rows[0] = replace(rows[0], name=_default_name(rows))
    return rows, tuple(older)


def _default_name(rows: Sequence[Row]) -> str:
    """What the default's value is on the one axis that all other rows vary; else "default"."""
    named = [row for row in rows if not row.name.endswith(MATCHED)]
    axes = {key for row in named for record in row.records for key in record.axes}
    if len(axes) != 1:
        return DEFAULT_CELL
    (axis,) = axes
    config = next((flatten(r.config) for r in rows[0].accuracy if r.config), {})
    value = config.get(axis)
    variant = VARIANTS.get(rows[0].records[0].model) if rows[0].records else None
    if value is None and variant is not None and axis.startswith("model."):
        value = getattr(variant, axis.removeprefix("model."), None)
    others = {row.name for row in rows[1:]}
    name = plain(value) if isinstance(value, (str, int, float)) else DEFAULT_CELL
    # A bare number says something only among others: "3" beside "0" and "5", not beside "ratio-1".
    if not isinstance(value, str) and not all(re.fullmatch(r"[\d.]+", other) for other in others):
        return DEFAULT_CELL
    return DEFAULT_CELL if name in others else name


def _row(
    name: str,
    group: Sequence[Record],
    conditions: str | None,
    *,
    is_default: bool,
    older: list[str],
) -> Row:
    done = [r for r in group if r.status == "ok"]
    per_seed: dict[int | None, list[Record]] = defaultdict(list)
    for record in done:
        if record.kind == "evaluation":
            per_seed[record.seed].append(record)
    accuracy = []
    for _, runs in sorted(per_seed.items(), key=lambda item: (item[0] is None, item[0] or 0)):
        latest = newest(runs)
        assert latest is not None
        accuracy.append(latest)
        older += [r.id for r in runs if r.id != latest.id]
    # Costs belong to a network at an input: another setting's are other numbers.
    networks = {r.cell_id for r in accuracy if r.cell_id}
    costs = [r for r in done if not networks or r.cell_id in networks]
    succeeded = {(r.kind, r.seed) for r in done}
    attempts: dict[str, list[Record]] = defaultdict(list)
    for record in group:
        if record.status != "ok" and (record.kind, record.seed) not in succeeded:
            attempts[record.id].append(record)
    return Row(
        name=name,
        is_default=is_default,
        complexity=newest(r for r in costs if r.kind == "complexity"),
        latency=newest(r for r in costs if r.kind == "latency" and _conditions(r) == conditions),
        accuracy=tuple(accuracy),
        failures=tuple(r for runs in attempts.values() if (r := newest(runs)) is not None),
        scores=_scores(accuracy),
    )


def _with_shared_costs(rows: Sequence[Row]) -> list[Row]:
    """Rows of one network share its costs: a cell that only evaluates otherwise has none itself."""
    counts = {r.complexity.cell_id: r.complexity for r in rows if r.complexity}
    times = {r.latency.cell_id: r.latency for r in rows if r.latency}
    networks = [next((r.cell_id for r in row.accuracy), None) for row in rows]
    return [
        replace(
            row,
            complexity=row.complexity or counts.get(network),
            latency=row.latency or times.get(network),
        )
        for row, network in zip(rows, networks, strict=True)
    ]


def _scores(accuracy: Sequence[Record]) -> dict[str, Interval]:
    scores = {}
    for name in SHOWN:
        values = [value for r in accuracy if (value := metric(r, name)) is not None]
        # A mean over some of the seeds is another number: it is not shown as the cell's.
        if values and len(values) == len(accuracy):
            scores[name] = estimate(values, accuracy[0] if len(accuracy) == 1 else None, name)
    return scores


def estimate(values: Sequence[float], single: Record | None = None, name: str = "") -> Interval:
    """Mean over seeds with its 95% t interval; of one run its own bootstrap interval, if any.

    Args:
        values: one per seed, in percent.
        single: the record, when there is one seed.
        name: the metric, to find the record's interval.

    Returns:
        The interval; ``n`` counts seeds.
    """
    result = mean_interval(values)
    if single is None or len(values) > 1:
        return result
    names = [name, *(a for a, canonical in METRIC_ALIASES.items() if canonical == name)]
    own = next((single.intervals[n] for n in names if n in single.intervals), None)
    if own is None:
        return result
    scale = 100 if is_share(name) else 1
    return Interval(result.value, scale * own.low, scale * own.high, 1, own.method)


def by_seed(row: Row, name: str) -> dict[int, float]:
    """A row's metric per seed."""
    return {seed_number(r): value for r in row.accuracy if (value := metric(r, name)) is not None}


def metrics_beside(primary: str) -> tuple[str, ...]:
    """What the table of a grid with this primary metric shows too, in the order of the columns."""
    return tuple(name for name in SHOWN if name != primary and name not in _ALONE)


def _families(rows: Sequence[Row], primary: str) -> dict[str, Family]:
    """Per metric, every row against the default."""
    default = next((row for row in rows if row.is_default), None)
    if default is None:
        return {}
    return {
        name: compare_grid({row.name: by_seed(row, name) for row in rows}, default.name)
        for name in SHOWN
        if name in (primary, *metrics_beside(primary))
    }


def _judged(rows: Sequence[Row], families: Mapping[str, Family], primary: str) -> tuple[Row, ...]:
    """The rows with what the statistics say about each."""
    draws = next((_draws(row) for row in rows if row.is_default), {})
    return tuple(
        replace(
            row,
            comparison=families[primary].comparisons.get(row.name) if families else None,
            others={
                name: family.comparisons[row.name]
                for name, family in families.items()
                if name != primary and row.name in family.comparisons
            },
            photographs=None if row.is_default else paired_difference(_draws(row), draws),
        )
        for row in rows
    )


def _draws(row: Row) -> dict[int, list[float]]:
    """A row's AP in each draw of the photographs, in percent, per seed."""
    return {
        seed_number(r): [100 * value for value in r.resampled.values]
        for r in row.accuracy
        if r.resampled is not None
    }


def _conditions(record: Record) -> str:
    # The input is part of the cell: the grid of input sizes varies it.
    return conditions_key(record, "attempt", "model", "input")


def _common_conditions(records: Iterable[Record]) -> str | None:
    """The timing conditions that most cells share; of equals, the latest."""
    cells: dict[str, set[str | None]] = defaultdict(set)
    latest: dict[str, str] = {}
    for record in records:
        if record.kind == "latency" and record.status == "ok":
            key = _conditions(record)
            cells[key].add(record.cell_id or record.id)
            latest[key] = max(latest.get(key, ""), record.started_at.isoformat())
    return max(cells, key=lambda key: (len(cells[key]), latest[key]), default=None)


def _baseline(records: Iterable[Record]) -> dict[str, float]:
    """Metrics of the mean pose, where every run that states them agrees."""
    found: dict[str, set[float]] = defaultdict(set)
    for record in records:
        for name in record.metrics:
            if name.startswith(BASELINE_PREFIX):
                value = metric(record, name)
                if value is not None:
                    found[name.removeprefix(BASELINE_PREFIX)].add(round(value, 6))
    return {
        METRIC_ALIASES.get(name, name): values.pop()
        for name, values in found.items()
        if len(values) == 1
    }
