"""From grids to jobs: what would run, in which order, why, and how long it would take.

A job is one measurement. Cells of several grids that resolve to the same configuration are one
cell (the default above all); complexity and latency are measured once per network, accuracy once
per seed. All cells of the first seed come before any of the second, so that a complete small
picture is there early.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from ablations.cell import conditions_of
from ablations.grids import DEFAULT, Cell, Grid
from hevitpose import identity, records
from hevitpose.config import Config
from hevitpose.records import Record, RecordStore
from hevitpose.spec import VARIANTS, full_name

WORK = "ablations.cell"


@dataclass(frozen=True)
class Job:
    """One measurement to make, unless it is recorded."""

    run: identity.Run
    config: Config
    grid: str | None  # that asked first; None for the shared default
    cell: str
    axes: Mapping[str, Any]
    seed: int | None

    @property
    def id(self) -> str:
        """Of the record that it will make."""
        return self.run.id

    @property
    def kind(self) -> str:
        """complexity, latency or accuracy."""
        return self.run.kind

    @property
    def label(self) -> str:
        """``attention/mhsa``, or ``default``."""
        return f"{self.grid}/{self.cell}" if self.grid else self.cell

    def about(self) -> dict[str, Any]:
        """The fields of a record that are known before the run."""
        config, model = self.config, self.config.model
        name = full_name(model.name)  # type: ignore[attr-defined]
        fields: dict[str, Any] = {
            "id": self.id,
            "kind": self.kind,
            "model": name,
            "variant": name.removeprefix("hevitpose_") if name in VARIANTS else None,
            "grid": self.grid,
            "cell": self.cell,
            "axes": plain(dict(self.axes)),
            "cell_id": self.run.cell_id,
            "config": identity.portable(config.dump()),
            "config_hash": self.run.config_hash,
            "inputs": self.run.inputs,
        }
        if self.kind == "accuracy":
            fields |= {
                "seed": self.seed,
                "flip_test": config.codec.flip_test,
                "decoder": config.codec.decode,
                "selection": config.training.selection,
                "precision": config.training.precision,
            }
        if self.kind != "complexity":
            fields["threads"] = config.training.threads
        return fields


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


def plan(grids: Sequence[Grid], seeds: Sequence[int], work: str = WORK) -> Plan:
    """All jobs of some grids.

    Args:
        grids: on the same base configuration.
        seeds: every cell runs all of them.
        work: the module whose functions do the work.

    Raises:
        DataError: the data are absent or damaged.
    """
    result = Plan(grids)
    jobs: dict[str, Job] = {}
    for grid in grids:
        members = result.members.setdefault(grid.name, {})
        for cell in grid.cells:
            made = list(_jobs(grid, cell, seeds, work))
            members[cell.name] = [job.id for job in made]
            for job in made:
                jobs.setdefault(job.id, job)
    order = {"complexity": 0, "latency": 1, "accuracy": 2}
    # sorted() is stable: within a kind and a seed, the order of the grids stays.
    result.jobs = sorted(jobs.values(), key=lambda job: (order[job.kind], job.seed or 0))
    if seeds:
        position = {seed: index for index, seed in enumerate(seeds)}
        result.jobs.sort(key=lambda job: (order[job.kind], position.get(job.seed or 0, 0)))
    return result


def _entries(work: str, kind: str) -> tuple[list[str], ...]:
    """Where the source hash starts: for the project's own work where identity says.

    So a grid's default and ``hevitpose train`` with the same config have the same record.
    """
    return () if work == WORK else ([f"{work}:{kind}"],)


def _jobs(grid: Grid, cell: Cell, seeds: Sequence[int], work: str) -> Iterable[Job]:
    about: tuple[str | None, str, Mapping[str, Any]] = (grid.name, cell.name, cell.overrides)
    if cell.is_default:
        about = (None, DEFAULT, {})
    config = cell.config
    yield Job(identity.complexity_run(config, *_entries(work, "complexity")), config, *about, None)
    conditions = conditions_of(config)
    run = identity.latency_run(config, conditions, *_entries(work, "latency"))
    yield Job(run, config, *about, None)
    for seed in seeds:
        seeded = config.model_copy(update={"seed": seed})
        run = identity.accuracy_run(seeded, *_entries(work, "accuracy"))
        yield Job(run, seeded, *about, seed)


# Why, and how long -----------------------------------------------------------------------------


class History:
    """What earlier records say about jobs.

    Args:
        store: all of it is read once.
    """

    def __init__(self, store: RecordStore) -> None:
        self.done: dict[str, Record] = {}
        self.failed: dict[str, list[Record]] = {}
        self._alike: dict[tuple[Any, ...], list[Record]] = {}
        self._took: dict[tuple[Any, ...], list[float]] = {}
        self._expected: dict[str, float | None] = {}
        for record in store.iter():
            if record.status == "ok":
                self._remember(record)
            else:
                self.failed.setdefault(record.id, []).append(record)

    def _remember(self, record: Record) -> None:
        self.done[record.id] = record
        names = (record.model, record.grid, record.cell)
        for key in _keys(record.kind, record.seed, record.config_hash, record.cell_id, names):
            self._alike.setdefault(key, []).append(record)
        self._took.setdefault((record.kind, *_size(record.config)), []).append(record.seconds)

    def why(self, job: Job) -> str:
        """Why a job would run: absent, failed before, or what changed since the nearest record."""
        if job.id in self.failed:
            attempts = self.failed[job.id]
            error = (attempts[-1].error or "").splitlines()[0]
            return f"failed before ({len(attempts)} x): {error}"
        nearest = self._nearest(job)
        if nearest is None:
            return "absent"
        return "changed: " + "; ".join(changes(nearest, job.run))

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
    if kind != "accuracy":
        yield kind, seed, "network", cell_id


def changes(record: Record, run: identity.Run) -> list[str]:
    """What differs between a record and what its run would be now: config fields, source files."""
    old, new = dict(record.inputs), dict(run.inputs)
    old.pop("source", None), new.pop("source", None)
    found = records.differences(old, new)
    before, after = record.code.sources, run.source.files
    files = sorted(f for f in before.keys() | after.keys() if before.get(f) != after.get(f))
    if files:
        found.append("code: " + ", ".join(files))
    elif record.code.source_hash != run.source.hash:
        found.append("code")
    return found


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
