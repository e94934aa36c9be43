"""``--tune KEY=A,B,C``: each cell's own best value first, so that modules are ranked, not recipes.

Every cell is trained with every value under seeds of their own, which no reported run has, and the
value with the best mean on the held-out slice of the training people (``minival``) is taken. Val is
never looked at. What was tried is in the records of the reported seeds (``tuned``) and in their
ids, so that tuned results are another setting and share no table with untuned ones.

A value whose training diverged was tried and lost. One that is missing for another reason (memory,
a time-out) was not tried: nothing is chosen then, as the records would say that it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import mean
from typing import Any

from ablations.grid import Cell, Grid
from ablations.plan import Job, Plan, training_jobs
from ablations.refusals import refused_key, without_effect
from hevitpose import runs
from hevitpose.data.minival import MINIVAL, is_minival
from hevitpose.errors import HEViTPoseError, UsageError
from hevitpose.records import Record

#: Seeds of the trainings that choose; far from those that people report.
SEEDS = (1000, 1001)
_METRIC = "minival_pck"
_CHOSEN_BY = "training.selection"


@dataclass(frozen=True)
class Tuning:
    """A key of the recipe, and the values to choose from."""

    key: str
    values: tuple[Any, ...]

    @classmethod
    def parse(cls, text: str, reported: Sequence[int]) -> Tuning:
        """``training.lr=4e-3,8e-3``.

        Args:
            text: of ``--tune``.
            reported: seeds of the runs that tables show.

        Raises:
            UsageError: no such key of the recipe, fewer than two values, or a seed of both kinds.
        """
        key, _, given = text.partition("=")
        values = tuple(dict.fromkeys(_value(part) for part in given.split(",") if part))
        if not key.startswith("training."):
            raise UsageError(f"--tune {text!r}: expected training.KEY=A,B,C, a key of the recipe")
        if key == _CHOSEN_BY:
            raise UsageError(
                f"--tune {text!r}: --tune chooses on minival, so its trainings have "
                f"{_CHOSEN_BY}={MINIVAL}; expected another key"
            )
        reason = refused_key(key)
        if reason:
            raise UsageError(f"--tune: {reason}")
        if len(values) < 2:
            raise UsageError(f"--tune {text!r}: expected at least two values to choose from")
        both = sorted(set(SEEDS) & set(reported))
        if both:
            raise UsageError(f"--seeds: {both} choose the value of --tune, report others")
        return cls(key, values)

    @property
    def tried(self) -> dict[str, list[Any]]:
        """As a record says it."""
        return {self.key: list(self.values)}


def _value(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


Candidates = Mapping[tuple[str, str], Mapping[Any, Sequence[str]]]


def tuning_plan(grids: Sequence[Grid], tuning: Tuning) -> tuple[Plan, Candidates]:
    """The trainings that choose.

    Returns:
        Their plan, and by grid and cell the ids of each value's trainings.

    Raises:
        UsageError: a cell cannot have a value, or has its own.
    """
    jobs: dict[str, Job] = {}
    candidates: dict[tuple[str, str], dict[Any, list[str]]] = {}
    with runs.looked_at_once():
        for grid in grids:
            for cell in grid.cells:
                if cell.of is not None:  # the weights of another cell
                    continue
                if is_minival(cell.config.data, cell.config.data.val_split):
                    raise UsageError(
                        "--tune chooses on minival: expected data.val_split=val, other people than "
                        "those it chooses by"
                    )
                if tuning.key in cell.overrides:
                    raise UsageError(
                        f"--tune: grid {grid.name}, line {cell.line}: cell {cell.name!r} has its "
                        f"own {tuning.key}, expected another key, or --cells without it"
                    )
                why = without_effect(cell.config, tuning.key)
                if why:
                    raise UsageError(f"--tune: cell {cell.name!r}: {why}")
                for value in tuning.values:
                    overrides = {tuning.key: value, _CHOSEN_BY: MINIVAL}
                    try:
                        config = cell.config.with_overrides(overrides)
                    except UsageError as error:
                        reason = str(error).removeprefix("override: ")
                        raise UsageError(f"--tune {value}, cell {cell.name!r}: {reason}") from None
                    for seed in SEEDS:
                        seeded = config.model_copy(update={"seed": seed})
                        name = f"{cell.name} {tuning.key}={value}"
                        axes = {**cell.overrides, **overrides}
                        made = list(training_jobs(seeded, grid.name, name, axes))
                        for job in made:
                            jobs.setdefault(job.id, job)
                        tried = candidates.setdefault((grid.name, cell.name), {})
                        tried.setdefault(value, []).append(made[-1].id)
    return Plan(grids, list(jobs.values())), candidates


def tuned_grids(
    grids: Sequence[Grid],
    tuning: Tuning,
    candidates: Candidates,
    record: Callable[[str], Record | None],
) -> tuple[list[Grid], list[str]]:
    """The grids with each cell at its best value, and a line a cell.

    Args:
        grids: as they were planned.
        tuning: the key and its values.
        candidates: of :func:`tuning_plan`.
        record: of an id, the last failure where it never succeeded; None where there is neither.

    Raises:
        HEViTPoseError: none of a cell's values could be trained, or one was lost otherwise than by
            divergence.
    """
    lines, made, untried = [], [], []
    for grid in grids:
        best: dict[str, Any] = {}
        for cell in grid.cells:
            if cell.of is not None:
                continue
            where = f"{grid.name}/{cell.name}"
            scores, told = {}, []
            for value, ids in candidates[grid.name, cell.name].items():
                records = [record(i) for i in ids]
                found = [score for each in records if (score := _score(each)) is not None]
                if len(found) == len(ids):
                    scores[value] = mean(found)
                    told.append(f"{value}: {scores[value]:.2f}")
                elif any(each is not None and each.status == "diverged" for each in records):
                    told.append(f"{value}: diverged")
                else:
                    untried.append(f"{where} {tuning.key}={value}")
            if scores:
                best[cell.name] = max(scores, key=lambda value: scores[value])
                lines.append(f"{where}: {tuning.key} {best[cell.name]} ({', '.join(told)})")
            elif not untried:
                raise HEViTPoseError(f"{where}: no value of {tuning.key} trained")
        if not untried:
            made.append(replace(grid, cells=tuple(_at(cell, best, tuning) for cell in grid.cells)))
    if untried:
        raise HEViTPoseError(
            f"--tune: no result for {', '.join(untried)}, so nothing is chosen; the same command "
            "with --retry-failed goes on"
        )
    return made, lines


def _at(cell: Cell, best: Mapping[str, Any], tuning: Tuning) -> Cell:
    config = cell.config.with_overrides({tuning.key: best[cell.of or cell.name]})
    return replace(cell, config=config, tuned=tuning.tried)


def _score(record: Record | None) -> float | None:
    """The last value on the held-out slice; None of what failed."""
    rows = record.curve if record is not None and record.status == "ok" else []
    values = [row[_METRIC] for row in rows if isinstance(row.get(_METRIC), (int, float))]
    return float(values[-1]) if values else None  # type: ignore[arg-type]
