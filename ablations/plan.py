"""From grids to jobs: what would run, in which order, why, and how long it would take.

A job is one measurement. Cells of several grids that resolve to the same configuration are one
cell (the default above all); complexity and latency are measured once per network, a training once
per seed, and its weights are evaluated once per condition. All cells of the first seed come before
any of the second, so that a complete small picture is there early.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from ablations.grid import Cell, Grid
from ablations.grid_file import DEFAULT_CELL
from ablations.measurements import conditions_of
from hevitpose import records, runs
from hevitpose.config import Config, start_config
from hevitpose.errors import HEViTPoseError, first_line
from hevitpose.models.spec import full_name
from hevitpose.records import Difference, Record, RecordStore, Run

#: Why a job runs that has a nearest record (:meth:`History.changed` tells how it differs).
CHANGED = "changed"
#: The key of what a run's data are.
FINGERPRINT = "data.fingerprint"


@dataclass(frozen=True)
class Job:
    """One measurement to make, unless it is recorded."""

    run: Run
    config: Config
    grid: str | None  # that asked first; None for the shared default
    cell: str
    axes: Mapping[str, Any]
    seed: int | None
    condition: str | None = None  # of an evaluation under another one than the cell's own
    tuned: Mapping[str, Any] = field(default_factory=dict)  # of an evaluation: key -> values tried

    @property
    def id(self) -> str:
        """Of the record that it will make."""
        return self.run.id

    @property
    def kind(self) -> str:
        """complexity, latency, training or evaluation."""
        return self.run.kind

    @property
    def needs(self) -> str | None:
        """The id of the training whose weights it scores, or starts from."""
        key = {"evaluation": "weights", "training": "start_from"}.get(self.kind)
        return self.run.inputs.get(key) if key else None

    @property
    def label(self) -> str:
        """``attention/mhsa``, or ``default``."""
        return f"{self.grid}/{self.cell}" if self.grid else self.cell

    def about(self) -> dict[str, Any]:
        """The fields of a record that are known before the run."""
        facts = runs.record_facts(self.config, self.run) | {
            "grid": self.grid,
            "cell": self.cell,
            "axes": plain(dict(self.axes)),
            "tuned": plain(dict(self.tuned)),
        }
        # Without a name in the grid it stays what the config says: an axis may be fog:3 too.
        return facts if self.condition is None else facts | {"condition": self.condition}


@dataclass
class Plan:
    """Jobs in the order in which they start, and which cell of which grid they belong to."""

    grids: Sequence[Grid]
    jobs: list[Job] = field(default_factory=list)
    members: dict[str, dict[str, list[str]]] = field(default_factory=dict)  # grid -> cell -> ids

    @property
    def label_width(self) -> int:
        """Characters of the longest label."""
        return max((len(job.label) for job in self.jobs), default=0)


def plan(grids: Sequence[Grid], seeds: Sequence[int]) -> Plan:
    """All jobs of some grids.

    Args:
        grids: on the same base configuration.
        seeds: every cell runs all of them.

    Raises:
        DataError: the data are absent or damaged.
    """
    result = Plan(grids)
    jobs: dict[str, Job] = {}
    with runs.looked_at_once():
        for grid in grids:
            members = result.members.setdefault(grid.name, {})
            for cell in grid.cells:
                try:
                    made = list(_jobs(grid, cell, seeds))
                except HEViTPoseError as error:
                    if not cell.is_default:  # whose values are the command's
                        place = f"grid {grid.name}, line {cell.line}: cell {cell.name!r}"
                        error.args = (f"{place}: {error}",)
                    raise
                members[cell.name] = [job.id for job in made]
                for job in made:
                    jobs.setdefault(job.id, job)
    costs = {"complexity": 0, "latency": 1}
    position = {seed: index for index, seed in enumerate(seeds)}
    starts = {job.needs for job in jobs.values() if job.kind == "training"}

    def order(job: Job) -> tuple[int, int]:
        if job.kind in costs or job.id in starts:
            return costs.get(job.kind, 2), 0
        return 3, position.get(job.seed or 0, 0)

    # sorted() is stable: within a kind and a seed, the order of the grids stays, and a training
    # comes before its evaluations.
    result.jobs = sorted(jobs.values(), key=order)
    return result


def _jobs(grid: Grid, cell: Cell, seeds: Sequence[int]) -> Iterable[Job]:
    about: tuple[str | None, str, Mapping[str, Any]] = (grid.name, cell.name, cell.overrides)
    if cell.is_default:
        about = (None, DEFAULT_CELL, {})
    config = cell.config
    yield Job(runs.complexity_run(config), config, *about, None)
    yield Job(runs.latency_run(config, conditions_of(config)), config, *about, None)
    for seed in seeds:
        seeded = config.model_copy(update={"seed": seed})
        # An equal one of an earlier cell stands in the plan already, under that cell's name.
        *before, training = training_jobs(seeded, *about)
        yield from before
        yield training
        evaluation = runs.evaluation_run(seeded, training.id, cell.tuned)
        yield Job(evaluation, seeded, *about, seed, cell.condition, cell.tuned)


def training_jobs(
    config: Config, grid: str | None, cell: str, axes: Mapping[str, Any]
) -> Iterable[Job]:
    """The training of a config, after those that it starts from."""
    start = start_config(config)
    if start is not None:
        yield from training_jobs(start, grid, f"start of {cell}", axes)
    yield Job(runs.training_run(config), config, grid, cell, axes, config.seed)


def trainings_to_run(
    plan: Plan, recorded: Callable[[Job], bool], weights: Callable[[str], Path | None]
) -> set[str]:
    """Recorded trainings whose weights are missing or replaced, and which something still needs.

    Args:
        plan: all jobs.
        recorded: whether a job has its record.
        weights: those that the training of an id left, if they are there and its own.
    """
    again: set[str] = set()
    for job in reversed(plan.jobs):  # what needs weights comes after what leaves them
        runs_now = not recorded(job) or job.id in again
        if job.needs is not None and runs_now and weights(job.needs) is None:
            again.add(job.needs)
    return again


# Why, and how long -----------------------------------------------------------------------------


class History:
    """What earlier records say about jobs.

    Args:
        stores: all of them are read once; the first is the run's own.
    """

    def __init__(self, *stores: RecordStore) -> None:
        self.done: dict[str, Record] = {}
        self.failed: dict[str, list[Record]] = {}
        self._alike: dict[tuple[Any, ...], list[Record]] = {}
        self._took: dict[tuple[Any, ...], list[float]] = {}
        self._expected: dict[str, float | None] = {}
        for record in itertools.chain.from_iterable(store.iter() for store in stores):
            if record.status == "ok":
                self._remember(record)
            else:
                self.failed.setdefault(record.id, []).append(record)

    def _remember(self, record: Record) -> None:
        self.done.setdefault(record.id, record)
        names = (record.model, record.grid, record.cell)
        for key in _keys(record.kind, record.seed, record.config_hash, record.cell_id, names):
            self._alike.setdefault(key, []).append(record)
        self._took.setdefault((record.kind, *_size(record.config)), []).append(record.seconds)

    def why(self, job: Job) -> str:
        """Why a job would run: absent, failed before, or what changed since the nearest record."""
        if job.id in self.done:
            return "trains again: its weights are missing or replaced, and an evaluation needs them"
        if job.id in self.failed:
            attempts = self.failed[job.id]
            error = first_line(attempts[-1].error)
            return f"failed before ({len(attempts)} x): {error}"
        nearest = self._nearest(job)
        if nearest is None:
            return "absent"
        return CHANGED

    def changed(self, job: Job) -> list[Difference]:
        """How a job differs from its nearest record, if there is one; in the data by their name."""
        nearest = self._nearest(job)
        if nearest is None:
            return []
        found = changes(nearest, job.run)
        names = nearest.config.get("data", {}).get("dataset"), job.config.data.dataset
        if all(names) and names[0] != names[1]:
            rest = [difference for difference in found if difference.key != FINGERPRINT]
            found = [Difference(FINGERPRINT, *names), *rest]
        return found

    def seconds(self, job: Job) -> float | None:
        """Estimated time: of the nearest record, else of the same kind of job with these steps."""
        if job.id not in self._expected:
            nearest = self._nearest(job)
            if nearest is not None and nearest.cell_id == job.run.cell_id:
                self._expected[job.id] = nearest.seconds
            else:
                similar = self._took.get((job.kind, *_size(job.config.dump())))
                self._expected[job.id] = median(similar) if similar else None
        return self._expected[job.id]

    def _nearest(self, job: Job) -> Record | None:
        """The record of this cell (or its namesake) and seed that differs in the fewest inputs."""
        names = (full_name(job.config.model.name), job.grid, job.cell)  # type: ignore[attr-defined]
        keys = _keys(job.kind, job.seed, job.run.config_hash, job.run.cell_id, names)
        candidates = [record for key in keys for record in self._alike.get(key, ())]
        return min(candidates, key=lambda record: len(changes(record, job.run)), default=None)


def _keys(
    kind: str,
    seed: int | None,
    config_hash: str | None,
    cell_id: str | None,
    names: tuple[str, str | None, str | None],
) -> Iterable[tuple[Any, ...]]:
    """Under which a record is found: a record that shares one with a job is of the same cell."""
    yield kind, seed, "config", config_hash
    yield kind, seed, "name", *names
    if kind in ("complexity", "latency"):
        yield kind, seed, "network", cell_id


def changes(record: Record, run: Run) -> list[Difference]:
    """Inputs in which a record differs from what its run would be now."""
    return records.differences(record.inputs, run.inputs)


def _size(config: Mapping[str, Any]) -> tuple[Any, ...]:
    data, training = config.get("data", {}), config.get("training", {})
    return (
        config.get("model", {}).get("name"),
        tuple(data.get("input_size") or ()),
        *(training.get(key) for key in ("steps", "epochs", "batch_size", "threads")),
    )


def plain(value: Any) -> Any:
    """Tuples as lists, so that a record equals what its file gives back."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value
