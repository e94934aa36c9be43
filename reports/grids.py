"""One ablation grid as rows: what each cell costs, what it scores, and whether that differs.

A row joins a cell's complexity, latency and accuracy records. Verdicts follow the project's rule:
at least five seeds, paired by seed with the default, Holm-corrected over the cells of one grid.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from scipy import stats

from hevitpose.records import Record
from hevitpose.spec import VARIANTS
from reports.measured import (
    BASELINE_PREFIX,
    METRIC_ALIASES,
    flatten,
    h_by_w,
    input_size,
    metric,
    newest,
    setting,
)
from reports.text import join, plain

#: The cell that every grid compares with.
DEFAULT = "default"
#: Verdicts need at least this many seeds.
VERDICT_SEEDS = 5
PRIMARY = "Mean"


class Estimate(NamedTuple):
    """A number with its 95% interval and what that interval covers."""

    value: float
    low: float | None
    high: float | None
    n: int
    method: str  # "over seeds", "bootstrap over images", ""

    @property
    def half(self) -> float | None:
        """Half the interval's width."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2


@dataclass(frozen=True)
class Row:
    """One cell of a grid."""

    name: str
    is_default: bool
    complexity: Record | None
    latency: Record | None
    accuracy: tuple[Record, ...]  # one per seed, by seed
    failures: tuple[Record, ...]  # the last one of each run that never succeeded
    scores: dict[str, Estimate]  # by metric
    difference: Estimate | None = None  # of PRIMARY to the default, paired by seed, in points
    p: float | None = None  # Holm-corrected
    verdict: str = ""

    @property
    def seeds(self) -> int:
        """How many seeds succeeded."""
        return len(self.accuracy)

    @property
    def records(self) -> tuple[Record, ...]:
        """Every success that the row shows."""
        parts = (self.complexity, self.latency, *self.accuracy)
        return tuple(record for record in parts if record is not None)


@dataclass(frozen=True)
class Grid:
    """A grid's rows, the default first, and what they share."""

    name: str
    rows: tuple[Row, ...]
    facts: dict[str, str] = field(default_factory=dict)  # what the caption says
    conditions: str = ""  # of the times
    baseline: dict[str, float] = field(default_factory=dict)  # metrics of the mean pose
    older: tuple[str, ...] = ()  # ids that a newer run of the same cell and seed replaced

    @property
    def default(self) -> Row | None:
        """The row that the others are compared with."""
        return next((row for row in self.rows if row.is_default), None)


Cells = Mapping[str, Collection[str]]


def build(
    records: Iterable[Record],
    name: str,
    cells: Cells | None = None,
    default: str = DEFAULT,
) -> Grid:
    """The rows of one grid.

    Args:
        records: any; those of other grids are left out.
        name: of the grid.
        cells: per cell the ids that belong to it, in the order of the rows. None: what the
            records say themselves (``grid`` and ``cell``), the shared default included.
        default: the cell that the others are compared with.

    Without ``cells`` and with runs under several settings, the setting with the latest run is
    shown: different budgets or data never share a table.

    Returns:
        The grid. A cell without any record is a row too, where ``cells`` names it.
    """
    records = list(records)
    if cells is None:
        records = next(iter(split(records, name).values()), records)
    groups = _group(records, name, cells, default)
    conditions = _common_conditions(r for group in groups.values() for r in group)
    older: list[str] = []
    rows = [
        _row(cell, group, conditions, is_default=cell == default, older=older)
        for cell, group in groups.items()
    ]
    rows.sort(key=lambda row: not row.is_default)
    if rows and rows[0].is_default and rows[0].name == DEFAULT:
        rows[0] = replace(rows[0], name=_default_name(rows))
    everything = [r for row in rows for r in (*row.records, *row.failures)]
    return Grid(
        name,
        _compare(rows),
        facts(everything),
        describe_conditions([row.latency for row in rows if row.latency]),
        _baseline(everything),
        tuple(older),
    )


def _default_name(rows: Sequence[Row]) -> str:
    """What the default's value is on the one axis that all other rows vary; else "default"."""
    axes = {key for row in rows for record in row.records for key in record.axes}
    if len(axes) != 1:
        return DEFAULT
    (axis,) = axes
    config = next((flatten(r.config) for r in rows[0].accuracy if r.config), {})
    value = config.get(axis)
    variant = VARIANTS.get(rows[0].records[0].model) if rows[0].records else None
    if value is None and variant is not None and axis.startswith("model."):
        value = getattr(variant, axis.removeprefix("model."), None)
    taken = {row.name for row in rows}
    name = plain(value) if isinstance(value, (str, int, float)) else DEFAULT
    return DEFAULT if name in taken else name


def _group(
    records: Iterable[Record], name: str, cells: Cells | None, default: str
) -> dict[str, list[Record]]:
    records = list(records)
    if cells is not None:
        by_id: dict[str, list[Record]] = defaultdict(list)
        for record in records:
            by_id[record.id].append(record)
        return {
            cell: [r for record_id in dict.fromkeys(ids) for r in by_id[record_id]]
            for cell, ids in cells.items()
        }
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record.grid == name:
            groups[record.cell or DEFAULT].append(record)
        elif record.grid is None and record.cell in (default, None) and record.cell_id:
            groups[default].append(record)
    return {cell: groups[cell] for cell in sorted(groups)}


def _row(
    name: str,
    group: Sequence[Record],
    conditions: str | None,
    *,
    is_default: bool,
    older: list[str],
) -> Row:
    done = [r for r in group if r.status == "ok"]
    by_seed: dict[int | None, list[Record]] = defaultdict(list)
    for record in done:
        if record.kind == "accuracy":
            by_seed[record.seed].append(record)
    accuracy = []
    for _, runs in sorted(by_seed.items(), key=lambda item: (item[0] is None, item[0] or 0)):
        latest = newest(runs)
        assert latest is not None
        accuracy.append(latest)
        older += [r.id for r in runs if r.id != latest.id]
    succeeded = {(r.kind, r.seed) for r in done}
    attempts: dict[str, list[Record]] = defaultdict(list)
    for record in group:
        if record.status != "ok" and (record.kind, record.seed) not in succeeded:
            attempts[record.id].append(record)
    return Row(
        name=name,
        is_default=is_default,
        complexity=newest(r for r in done if r.kind == "complexity"),
        latency=newest(r for r in done if r.kind == "latency" and _conditions(r) == conditions),
        accuracy=tuple(accuracy),
        failures=tuple(r for runs in attempts.values() if (r := newest(runs)) is not None),
        scores=_scores(accuracy),
    )


def _scores(accuracy: Sequence[Record]) -> dict[str, Estimate]:
    names = {
        METRIC_ALIASES.get(name, name)
        for record in accuracy
        for name, value in record.metrics.items()
        if value is not None and not name.startswith(BASELINE_PREFIX)
    }
    scores = {}
    for name in sorted(names):
        values = [value for r in accuracy if (value := metric(r, name)) is not None]
        # A mean over some of the seeds is another number: it is not shown as the cell's.
        if len(values) == len(accuracy):
            scores[name] = estimate(values, accuracy[0] if len(accuracy) == 1 else None, name)
    return scores


def estimate(values: Sequence[float], single: Record | None = None, name: str = "") -> Estimate:
    """Mean over seeds with its 95% t interval; of one run its own bootstrap interval, if any.

    Args:
        values: one per seed, in percent.
        single: the record, when there is one seed.
        name: the metric, to find the record's interval.
    """
    mean = float(np.mean(values))
    if len(values) > 1:
        half = float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
        return Estimate(mean, mean - half, mean + half, len(values), "over seeds")
    interval = None
    if single is not None:
        names = [name, *(a for a, canonical in METRIC_ALIASES.items() if canonical == name)]
        interval = next((single.intervals[n] for n in names if n in single.intervals), None)
    if interval is None:
        return Estimate(mean, None, None, 1, "")
    scale = 100 if name.startswith(("AP", "AR")) else 1
    return Estimate(mean, scale * interval.low, scale * interval.high, 1, interval.method)


def _compare(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Adds difference to the default, Holm-corrected p, and the verdict."""
    default = next((row for row in rows if row.is_default), None)
    if default is None:
        return tuple(rows)
    base = {r.seed: metric(r, PRIMARY) for r in default.accuracy}
    differences: dict[str, Estimate] = {}
    raw: dict[str, float] = {}
    for row in rows:
        pairs = [
            value - base_value
            for r in row.accuracy
            if (value := metric(r, PRIMARY)) is not None
            and (base_value := base.get(r.seed)) is not None
        ]
        if row is default or not pairs:
            continue
        differences[row.name] = estimate(pairs)
        if len(pairs) >= VERDICT_SEEDS:
            spread = float(np.std(pairs, ddof=1))
            # Equal differences have no spread: the t statistic is 0/0 or infinite.
            raw[row.name] = (
                float(stats.ttest_1samp(pairs, 0).pvalue) if spread else float(not any(pairs))
            )
    corrected = _holm(raw)
    return tuple(_with_verdict(row, differences.get(row.name), corrected) for row in rows)


def _holm(p: Mapping[str, float]) -> dict[str, float]:
    corrected: dict[str, float] = {}
    highest = 0.0
    for rank, name in enumerate(sorted(p, key=lambda key: p[key])):
        highest = max(highest, min(1.0, (len(p) - rank) * p[name]))
        corrected[name] = highest
    return corrected


def _with_verdict(row: Row, difference: Estimate | None, p: Mapping[str, float]) -> Row:
    if difference is None:
        return row
    if row.name not in p:
        verdict = f"no verdict (n = {difference.n}, needs {VERDICT_SEEDS})"
    elif p[row.name] >= 0.05:
        verdict = f"not distinguishable at n = {difference.n}"
    else:
        verdict = "better" if difference.value > 0 else "worse"
    return replace(row, difference=difference, p=p.get(row.name), verdict=verdict)


def best(rows: Sequence[Row]) -> Row | None:
    """The row that may stand in bold: its verdict is "better", or every other's is "worse".

    With fewer than five seeds, or where the first two are not told apart, nobody is the best.
    """
    scored = [row for row in rows if PRIMARY in row.scores and row.seeds >= VERDICT_SEEDS]
    if len(scored) < 2 or len(scored) < len([row for row in rows if PRIMARY in row.scores]):
        return None
    top = max(scored, key=lambda row: row.scores[PRIMARY].value)
    if top.is_default:
        return top if all(row.verdict == "worse" for row in scored if row is not top) else None
    if top.verdict != "better":
        return None
    # Better than the default is not yet better than the second: their own pairs decide.
    rivals = [row for row in scored if row is not top and not row.is_default]
    raw = {row.name: _paired_p(top, row) for row in rivals}
    corrected = _holm({name: p for name, p in raw.items() if p is not None})
    return top if all(corrected.get(row.name, 1.0) < 0.05 for row in rivals) else None


def _paired_p(a: Row, b: Row) -> float | None:
    other = {r.seed: metric(r, PRIMARY) for r in b.accuracy}
    pairs = [
        value - rival
        for r in a.accuracy
        if (value := metric(r, PRIMARY)) is not None and (rival := other.get(r.seed)) is not None
    ]
    if len(pairs) < VERDICT_SEEDS:
        return None
    if not np.std(pairs, ddof=1):
        return float(not any(pairs))
    return float(stats.ttest_1samp(pairs, 0).pvalue)


# What the rows share ---------------------------------------------------------------------------


def _conditions(record: Record) -> str:
    assert record.latency is not None
    # The input is part of the cell: the grid of input sizes varies it.
    left_out = ("attempt", "model", "input")
    facts = {k: v for k, v in record.latency.conditions.items() if k not in left_out}
    machine = [record.machine.cpu, record.machine.gpu]
    return json.dumps([facts, machine], sort_keys=True, default=str)


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


def describe_conditions(records: Sequence[Record]) -> str:
    """The line that stands under a table with times, from the records themselves."""
    if not records:
        return ""
    first = records[0]
    keys = dict.fromkeys(k for r in records if r.latency for k in r.latency.conditions)
    conditions = {
        key: join([word(r.latency.conditions.get(key)) for r in records if r.latency], "")
        for key in keys
    }
    on_gpu = conditions.get("device", "").startswith("cuda")
    device = first.machine.gpu if on_gpu else first.machine.cpu
    counts = [r.latency.n for r in records if r.latency is not None]
    n = str(counts[0]) if len(set(counts)) == 1 else f"{min(counts)} to {max(counts)}"
    settings = ", ".join(
        f"{key.replace('_', ' ')} {value}" for key, value in conditions.items() if value
    )
    noisy = sum(1 for r in records if r.latency is not None and r.latency.noisy)
    return (
        f"Times: {device or 'machine not stated'}; {settings}; n = {n}; "
        f"torch {join([r.versions.get('torch') for r in records])}; "
        f"commit {commits(records)}; {dates(records)}"
        + (f"; {noisy} noisy (IQR above 10% of the median)" if noisy else "")
        + "."
    )


def word(value: object) -> object:
    """A condition's value as a table says it."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


def commits(records: Iterable[Record]) -> str:
    """Short commits, most frequent first; a dirty tree says so."""
    counted = Counter(
        (r.code.commit[:9] + (" (dirty)" if r.code.dirty else "")) if r.code.commit else "unknown"
        for r in records
    )
    names = [name for name, _ in sorted(counted.items(), key=lambda item: (-item[1], item[0]))]
    return join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def dates(records: Iterable[Record]) -> str:
    """One UTC day, or the first and the last."""
    days = sorted({r.started_at.strftime("%Y-%m-%d") for r in records})
    return days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}" if days else "no date"


def facts(records: Sequence[Record]) -> dict[str, str]:
    """What accuracy records share, as words for a caption; several values stand side by side."""
    runs = [r for r in records if r.kind == "accuracy"]
    data = [r.dataset for r in runs if r.dataset is not None]
    configs = [flatten(r.config) for r in runs]
    people = [d.counts["people"] for d in data if "people" in d.counts]
    flips = [{True: "yes", False: "no", None: None}[r.flip_test] for r in runs]
    return {
        "dataset": join([d.name for d in data]),
        "split": join([d.split for d in data]),
        "people": join(people, "") if people else "",
        "fingerprint": join([d.fingerprint for d in data]),
        "boxes": join([{"gt": "ground truth"}.get(d.boxes, d.boxes) for d in data]),
        "flip_test": join(flips),
        "decoder": join([r.decoder for r in runs]),
        "selection": join([r.selection for r in runs]),
        "input": join([h_by_w(input_size(r)) for r in runs]),
        "model": join([r.model for r in records]),
        "preset": join([c.get("preset") for c in configs], ""),
        "steps": join([r.train.steps for r in runs if r.train and r.train.steps], ""),
        "commit": commits(runs or records),
        "date": dates(runs or records),
    }


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


def split(records: Iterable[Record], name: str) -> dict[str, list[Record]]:
    """A store's records of one grid, apart by setting (variant, data, recipe).

    Runs under different budgets or on different data never share a table.

    Returns:
        Per setting its records, costs included, the setting with the latest run first.
    """
    records = list(records)
    own = [r for r in records if r.grid == name]
    axes = {key for r in own for key in r.axes}
    defaults = [r for r in records if r.grid is None and r.cell in (DEFAULT, None)]
    by_setting: dict[str, list[Record]] = defaultdict(list)
    for record in own:
        if record.kind == "accuracy":
            by_setting[setting(record, axes)].append(record)
    for record in defaults:
        if record.kind == "accuracy" and (key := setting(record, axes)) in by_setting:
            by_setting[key].append(record)
    costs = [r for r in (*own, *defaults) if r.kind != "accuracy"]
    for group in by_setting.values():
        networks = {r.cell_id for r in group if r.cell_id}
        group += [r for r in costs if r.cell_id in networks]
    if not by_setting and own:
        by_setting[""] = own
    newest_first = sorted(
        by_setting.items(), key=lambda item: max(r.started_at for r in item[1]), reverse=True
    )
    return dict(newest_first)
