"""Evaluations under robustness conditions, joined with the plain ones of the same weights.

mPC, the mean performance under corruption, is the mean over corruptions of the mean over their
severities; rPC is mPC over the performance on clean pictures (Michaelis et al., *Benchmarking
Robustness in Object Detection*, 2019, equations 1 and 2). Where fewer than five severities were
evaluated, the name says which.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ablations.grid_file import DEFAULT_CELL
from hevitpose.config.conditions import CORRUPTIONS, LEVELS, SEVERITIES, Condition, parse_condition
from hevitpose.evaluation.statistics import Family, Interval, compare_grid, mean_interval
from hevitpose.records import Record, identity
from reports.captions import shared
from reports.grid_files import configuration
from reports.load import Measured, condition_of, metric, seed_number
from reports.pck import primary_of
from reports.settings import setting

#: Config keys in which the evaluations of one table differ.
_VARIED = frozenset(("evaluation.condition",))


@dataclass(frozen=True)
class Run:
    """One training's evaluations."""

    clean: Record
    under: Mapping[Condition, Record]

    def value(self, name: str, condition: Condition | None = None) -> float | None:
        """A metric in percent."""
        return metric(self.clean if condition is None else self.under[condition], name)

    def share(self, name: str, condition: Condition) -> float | None:
        """A metric under a condition, in percent of the clean one; None where that is nothing."""
        clean, worse = self.value(name), self.value(name, condition)
        return None if not clean or worse is None else 100 * worse / clean


@dataclass(frozen=True)
class Robustness:
    """The cells of a grid under the conditions that half of their runs have, or more."""

    grid: str
    conditions: tuple[Condition, ...]
    cells: Mapping[str, Mapping[int, Run]]  # the default first; name -> seed
    left_out: int = 0  # runs without a condition or the clean evaluation, or of another training
    rare: tuple[Condition, ...] = ()  # conditions that fewer than half of the runs have
    _kept: dict[tuple[str, Condition], Family] = field(
        default_factory=dict, compare=False, repr=False
    )

    @property
    def corruptions(self) -> tuple[Condition, ...]:
        """The conditions that mPC is the mean of."""
        return tuple(c for c in self.conditions if c.name in CORRUPTIONS)

    @property
    def scope(self) -> str:
        """What mPC is taken over, where that is not its definition: ``at severity 3``."""
        names = {c.name for c in self.corruptions}
        levels = sorted({c.level for c in self.corruptions})
        some = "" if len(names) == len(CORRUPTIONS) else f"of {len(names)} corruptions "
        if len(levels) < SEVERITIES:
            some += f"at severity {', '.join(map(str, levels))}"
        return some.strip()

    @property
    def facts(self) -> dict[str, str]:
        """What the evaluations share, as words for a caption."""
        return shared([run.clean for runs in self.cells.values() for run in runs.values()])

    def primary(self, named: Mapping[str, str]) -> str:
        """The metric that a grid names for this data set."""
        clean = [run.clean for runs in self.cells.values() for run in runs.values()]
        return primary_of(clean, named, self.facts["dataset"])

    def per_seed(self, value: Callable[[Run], float | None]) -> dict[str, dict[int, float]]:
        """Something of each run, by cell and seed; runs without it are left out."""
        return {
            name: {seed: found for seed, run in runs.items() if (found := value(run)) is not None}
            for name, runs in self.cells.items()
        }

    def compare(self, value: Callable[[Run], float | None]) -> Family:
        """Every cell against the default (Dunnett)."""
        return compare_grid(self.per_seed(value), DEFAULT_CELL)

    def shares(self, name: str, condition: Condition) -> Family:
        """Every cell against the default by what it keeps of a metric under a condition."""
        if (name, condition) not in self._kept:
            self._kept[name, condition] = self.compare(lambda run: run.share(name, condition))
        return self._kept[name, condition]

    def mean(self, name: str, value: Callable[[Run], float | None]) -> Interval | None:
        """A cell's mean over seeds with its t interval."""
        values = [found for run in self.cells[name].values() if (found := value(run)) is not None]
        return mean_interval(values) if values else None

    def mpc(self, name: str) -> Callable[[Run], float | None]:
        """The mean of a metric over corruptions, of a run."""

        def value(run: Run) -> float | None:
            return _mean_by_corruption({c: run.value(name, c) for c in self.corruptions})

        return value

    def rpc(self, name: str) -> Callable[[Run], float | None]:
        """The mean under corruption in percent of the clean metric, of a run."""

        def value(run: Run) -> float | None:
            clean, mean = run.value(name), self.mpc(name)(run)
            return None if not clean or mean is None else 100 * mean / clean

        return value


def _mean_by_corruption(values: Mapping[Condition, float | None]) -> float | None:
    """The mean over corruptions of the mean over severities."""
    levels: dict[str, list[float]] = defaultdict(list)
    for condition, value in values.items():
        if value is None:
            return None
        levels[condition.name].append(value)
    means = [sum(found) / len(found) for found in levels.values()]
    return sum(means) / len(means) if means else None


def robustness(measured: Measured) -> list[Robustness]:
    """One view for every grid that was evaluated under conditions, of its latest setting."""
    names = sorted({record.grid for record in measured.under if record.grid})
    found = (
        view_of(name, [r for r in measured.under if r.grid == name], measured) for name in names
    )
    return [view for view in found if view is not None]


def view_of(grid: str, under: Sequence[Record], measured: Measured) -> Robustness | None:
    """A grid's evaluations under conditions, of its latest setting; None where there are none.

    Args:
        grid: its name.
        under: its evaluations under conditions.
        measured: has the clean ones.
    """
    if not under:
        return None
    clean = measured.kept(
        "clean evaluations",
        lambda: {_key(record): record for record in measured.of("evaluation")},
    )
    trained = {
        str(record.training): record.cell or DEFAULT_CELL
        for record in measured.of("evaluation")
        if record.condition is None and record.grid in (None, grid)
    }
    return _view(grid, _latest_setting(under), clean, trained)


def _latest_setting(records: Sequence[Record]) -> list[Record]:
    axes = _VARIED.union(*(record.axes for record in records))
    # An axis of the network is in the axes of that cell's training, not of its evaluations.
    axes |= {f"model.{key}" for r in records for key in (r.config.get("model") or {})}
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        groups[setting(record, axes)].append(record)
    return max(groups.values(), key=lambda group: max(r.started_at for r in group))


def _key(record: Record) -> str:
    """Equal for the evaluations of one training that differ in the condition alone."""
    inputs = {key: value for key, value in record.inputs.items() if key != "conditions"}
    config = dict(inputs.get("config") or {})
    config["evaluation"] = {
        key: value for key, value in (config.get("evaluation") or {}).items() if key != "condition"
    }
    return identity.digest_of_json({**inputs, "config": config})


def _view(
    grid: str, records: Iterable[Record], clean: Mapping[str, Record], trained: Mapping[str, str]
) -> Robustness | None:
    # Of one training each: what it keeps is of its own clean score.
    runs: dict[tuple[str, int, str], dict[Condition, Record]] = defaultdict(dict)
    for record in records:
        condition = parse_condition(condition_of(record) or "")
        if condition is not None:
            where = _cell_of(record, trained), seed_number(record), _key(record)
            runs[where][condition] = record
    order = list(LEVELS)
    counts = Counter(condition for under in runs.values() for condition in under)
    conditions = sorted(counts, key=lambda each: (order.index(each.name), each.level))
    common = [each for each in conditions if counts[each] >= len(runs) / 2]
    if not common:
        return None
    whole: dict[str, list[Run]] = {DEFAULT_CELL: []}
    for (cell, _, key), under in sorted(runs.items(), key=lambda item: item[0]):
        reference = clean.get(key)
        if reference is not None and under.keys() >= set(common):
            run = Run(reference, {each: under[each] for each in common})
            whole.setdefault(cell, []).append(run)
    cells = {cell: _one_a_seed(of) for cell, of in whole.items()}
    left_out = len(runs) - sum(map(len, cells.values()))
    if not any(cells.values()):
        return None
    rare = tuple(each for each in conditions if each not in common)
    return Robustness(grid, tuple(common), cells, left_out, rare)


def _one_a_seed(runs: Sequence[Run]) -> dict[int, Run]:
    """A cell's runs by seed, all of one configuration, the newest; of two trainings the newer."""
    found: dict[int, Run] = {}
    in_order = sorted(runs, key=lambda run: max(r.started_at for r in run.under.values()))
    for run in in_order:
        if _configuration(run) == _configuration(in_order[-1]):
            found[seed_number(run.clean)] = run
    return dict(sorted(found.items()))


def _configuration(run: Run) -> tuple[str, str]:
    return setting(run.clean), configuration(run.clean, run.clean.tuned)


def _cell_of(record: Record, trained: Mapping[str, str]) -> str:
    """The trained cell that a record scores.

    A row of ``evaluate:`` is called ``cell @ condition``, or by the condition alone where that is
    about one cell; then the training tells which.
    """
    name, at, _ = (record.cell or DEFAULT_CELL).partition(" @ ")
    if at or record.condition is None:
        return name
    return trained.get(str(record.training), name)
