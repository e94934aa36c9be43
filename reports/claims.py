"""What the paper states, what this suite measured, and the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from hevitpose import yaml_file
from hevitpose.errors import DataError
from hevitpose.evaluation.statistics import BETTER, WORSE, Interval
from hevitpose.models.spec import model_names
from reports import ablation, captions, comparisons, ratios
from reports.invalid import one_line
from reports.load import Measured, gflops, h_by_w, params_m
from reports.output.text import (
    MISSING,
    NOT_MEASURABLE,
    NOT_MEASURED,
    Column,
    Table,
    TableCell,
    number,
    signed,
)
from reports.published import ROOT, Published
from reports.tables.accuracy import score_cell
from reports.tables.cost import REFERENCE_INPUT, counted, reference_runs
from reports.tables.grid import gap_text

Check = Literal[
    "params", "gflops", "params_reduction", "gflops_reduction", "speed_ratio", "accuracy",
    "is_best",
]  # fmt: skip


_COUNTED_AT = "256x256, 16 joints"


class Claim(BaseModel):
    """One statement and the rule that checks it.

    Raises:
        pydantic.ValidationError: an unknown key or network, or a rule without what it needs.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    statement: str
    source: str
    check: Check
    model: str | None = None
    against: str | None = None
    published: Annotated[float, Field(gt=0)] | None = None
    tolerance: Annotated[float, Field(gt=0)] | None = None
    unit: str = ""
    dataset: str | None = None
    split: str | None = None
    metric: str | None = None
    fitted: bool = False  # the reconstruction was fitted to HEViTPose's side of it
    device: str | None = None  # that a speed was measured on; None where the source names none
    axis: str | None = None  # config key that the statement is about
    level: str | None = None  # of the axis, that is said to be best; "most": the largest number
    note: str | None = None
    why_not: str | None = None  # why it cannot be measured here

    @model_validator(mode="after")
    def _complete(self) -> Claim:
        needed = ["axis", "level"]
        if self.check != "is_best":
            needed = ["model", "published", "tolerance"]
        if self.check.endswith(("_reduction", "_ratio")):
            needed.append("against")
        if self.check == "accuracy":
            needed += ["dataset", "split", "metric"]
        for key in needed:
            if getattr(self, key) is None:
                raise ValueError(f"check {self.check!r} needs {key}")
        for name in (self.model, self.against):
            if name is not None and name not in model_names():
                raise ValueError(f"network {name!r} is not one of this project's networks")
        return self


class Finding(NamedTuple):
    """What was measured about a claim."""

    value: float | None = None
    text: str | None = None  # where it is more than the value
    verdict: str = ""
    why: str = ""  # not measured because
    records: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    scale: str = ""  # what the verdict holds for


def load_claims(root: Path = ROOT) -> dict[str, Claim]:
    """Reads ``claims.yaml``.

    Raises:
        DataError: absent, or not what the schema says.
    """
    path = root / "claims.yaml"
    try:
        return TypeAdapter(dict[str, Claim]).validate_python(yaml_file.read(path))
    except ValidationError as error:
        raise DataError(f"{path}: {one_line(error)}") from None


def claims_table(
    measured: Measured,
    published: Published,
    grid_views: Sequence[ablation.GridView],
    claims: dict[str, Claim] | None = None,
) -> Table:
    """Every claim with its verdict: reproduced, fitted, differs by, not comparable ..."""
    rows = []
    sources: dict[str, None] = {}
    for claim in (claims or load_claims()).values():
        sources[claim.source] = None
        finding = _find(claim, measured, grid_views)
        notes = (claim.note,) if claim.note else ()
        stated = TableCell("–", kind="published")
        if claim.published is not None:
            shown = f"{claim.published:g}{' ' if claim.unit == 'G' else ''}{claim.unit}"
            stated = TableCell(shown, claim.published, "published", notes=notes)
        rows.append(
            (
                TableCell(f"{claim.statement} [{published.sources[claim.source].short}]"),
                stated,
                _measured_cell(claim, finding),
                TableCell(
                    _verdict(claim, finding),
                    kind="text" if finding.records else "missing",
                    notes=() if claim.published is not None else notes,
                ),
            )
        )
    return Table(
        "claims",
        "What the paper states, checked",
        (
            Column("claim", "Claim", numeric=False),
            Column("published", "Published"),
            Column("measured", "Measured here"),
            Column("verdict", "Verdict", numeric=False),
        ),
        tuple(rows),
        legend=(
            "Italic: published; upright: measured by this suite on its reconstruction of the "
            "network. Fitted: the reconstruction was chosen to have this count, so that it says "
            "nothing of the claim. A verdict holds for the data and scale that it names. A level "
            "is best where every other is significantly worse (Dunnett, on marginal means).",
        ),
        sources=tuple(published.cite(key) for key in sources),
    )


def _measured_cell(claim: Claim, finding: Finding) -> TableCell:
    notes, ids = finding.notes, finding.records
    if finding.text is not None:
        return TableCell(finding.text, finding.value, "measured", notes=notes, records=ids)
    if finding.value is None:
        return MISSING
    digits = {"M": 4, "G": 4}.get(claim.unit, 1)
    cell = number(finding.value, digits, records=ids)
    space = " " if claim.unit == "G" else ""
    text = f"{cell.text}{space}{claim.unit}"
    return TableCell(text, cell.value, "measured", notes=notes, records=cell.records)


def _verdict(claim: Claim, finding: Finding) -> str:
    if finding.verdict:
        return finding.verdict
    if finding.value is None:
        if claim.why_not:
            return f"{NOT_MEASURABLE}: {claim.why_not}"
        return f"{NOT_MEASURED}: {finding.why}"
    assert claim.published is not None and claim.tolerance is not None
    gap = finding.value - claim.published
    digits = 4 if claim.unit in ("M", "G") else 1
    unit = {"%": " points"}.get(claim.unit, claim.unit)
    # A bound that the printed digits reach exactly counts as inside, whatever binary makes of it.
    inside = abs(gap) <= claim.tolerance + 1e-9
    off = f"{signed(gap, digits)}{unit}"
    if claim.fitted and claim.against is None:
        verdict = "fitted" if inside else f"fitted, off by {off}"
    else:
        verdict = "reproduced" if inside else f"differs by {off}"
        if claim.fitted:
            verdict = f"{'agrees' if inside else verdict}, {claim.model}'s side fitted"
    return f"{verdict} ({finding.scale})" if finding.scale else verdict


def _find(claim: Claim, measured: Measured, grid_views: Sequence[ablation.GridView]) -> Finding:
    if claim.check == "is_best":
        return _find_best(claim, grid_views)
    if claim.check == "accuracy":
        return _find_accuracy(claim, measured)
    if claim.check == "speed_ratio":
        return _find_speed(claim, measured)
    return _find_counts(claim, measured)


def _find_counts(claim: Claim, measured: Measured) -> Finding:
    def count(model: str | None) -> tuple[float, str] | None:
        record = counted(measured, model) if model else None
        value = params_m(record) if claim.check.startswith("params") else gflops(record)
        return None if record is None or value is None else (value, record.id)

    own = count(claim.model)
    if own is None:
        return Finding(why=f"no count of {claim.model} at 256x256 is recorded")
    if claim.against is None:
        return Finding(own[0], records=(own[1],), scale=_COUNTED_AT)
    other = count(claim.against)
    if other is None:
        return Finding(why=f"no count of {claim.against} at 256x256 is recorded")
    return Finding(100 * (1 - own[0] / other[0]), records=(own[1], other[1]), scale=_COUNTED_AT)


def _find_accuracy(claim: Claim, measured: Measured) -> Finding:
    assert claim.model and claim.dataset and claim.split and claim.metric
    runs = reference_runs(measured, claim.model, claim.dataset, claim.split)
    if not runs:
        where = f"{claim.dataset} {claim.split} at {h_by_w(REFERENCE_INPUT)}"
        return Finding(why=f"no run of {claim.model} on {where} is recorded")
    cell = score_cell(runs, claim.metric)
    if cell.value is None:
        return Finding(why=f"the runs on {claim.dataset} {claim.split} have no {claim.metric}")
    facts = captions.shared(runs)
    protocol = [f"n = {len(runs)}", facts["input"]]
    protocol += [f"{facts['steps']} steps"] if facts["steps"] else []
    protocol += [f"boxes: {facts['boxes']}", f"flip test: {facts['flip_test']}"]
    return Finding(cell.value, records=cell.records, scale=", ".join(protocol))


def _find_speed(claim: Claim, measured: Measured) -> Finding:
    """How many times faster, under each condition that both networks were timed under in turn."""
    assert claim.model and claim.against
    found = ratios.interleaved(measured, claim.model, claim.against)
    if not found:
        return Finding(why=f"{claim.model} and {claim.against} were not timed in turn in one mode")
    return Finding(
        found[0].times.value,
        text="; ".join(_speed_text(ratio.times) for ratio in found),
        verdict=_speed_verdict(claim, found),
        records=tuple(ratio.record.id for ratio in found),
        notes=tuple(ratio.note for ratio in found),
    )


def _speed_text(times: Interval) -> str:
    assert times.low is not None and times.high is not None
    return f"{_times(times.value)}x [{_times(times.low)}, {_times(times.high)}]"


def _times(value: float) -> str:
    return f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def _speed_verdict(claim: Claim, found: Sequence[ratios.Ratio]) -> str:
    """Compared only on the device that the source names; else ours stand beside it."""
    assert claim.published and claim.tolerance
    if claim.device is None:
        shown = "; ".join(_speed_words(claim, ratio) for ratio in found)
        return f"not comparable: no device named; {shown}"
    same = [r for r in found if claim.device.casefold() in r.where.casefold()]
    shown = "; ".join(_speed_words(claim, ratio) for ratio in same or found)
    if not same:
        return f"not comparable: published for {claim.device}; {shown}"
    inside = [abs(r.times.value - claim.published) <= claim.tolerance + 1e-9 for r in same]
    verdict = (
        "reproduced" if all(inside) else "depends on the condition" if any(inside) else "differs"
    )
    return f"{verdict}: {shown}, published for {claim.device}"


def _speed_words(claim: Claim, ratio: ratios.Ratio) -> str:
    """A ratio, what it says of "as fast as", and where it was measured."""
    assert claim.tolerance and ratio.times.low is not None and ratio.times.high is not None
    similar = ""
    if claim.published == 1:
        low, high = 1 - claim.tolerance, 1 + claim.tolerance
        words = (
            "within"
            if low <= ratio.times.low and ratio.times.high <= high
            else "not within"
            if ratio.times.high < low or ratio.times.low > high
            else "undecided whether within"
        )
        similar = f", {words} {claim.tolerance:.0%},"
    return f"{_times(ratio.times.value)}x{similar} on {ratio.where}"


# Statements about one axis of an ablation -------------------------------------------------------


def _find_best(claim: Claim, grid_views: Sequence[ablation.GridView]) -> Finding:
    """Whether a level of an axis is best: every other significantly worse, by marginal means.

    Of several grids with the axis, one whose seeds are enough for a verdict; of these, the one with
    most levels, then the one that averages over most cells, then the first.
    """
    assert claim.axis is not None and claim.level is not None
    found: list[tuple[tuple[bool, int, int], ablation.GridView, comparisons.Levels]] = []
    for grid in grid_views:
        levels = _levels(grid, claim.axis, claim.level)
        if levels is not None:
            family = levels.family
            rank = (family.spread is not None, len(family.comparisons), levels.cells)
            found.append((rank, grid, levels))
    if not found:
        return Finding(why=f"no ablation of {claim.axis} with the level {claim.level} is recorded")
    _, grid, levels = max(found, key=lambda item: item[0])
    compared = levels.family.comparisons
    heading = ablation.SHOWN.get(grid.primary, grid.primary)
    seeds = min(c.difference.n for c in compared.values())
    scale = f"{captions.condition(grid.facts)}; grid {grid.name}, n = {seeds} seeds, {heading}"
    test = comparisons.interactions(grid)
    if test is not None and test.shown:
        scale += "; on average: the effects of its axes do not add up, see the grid"
    text = "; ".join(f"{level} {gap_text(comparison)}" for level, comparison in compared.items())
    better = levels.family.having(BETTER)
    if levels.family.spread is None:
        verdict = next(iter(compared.values())).verdict
    elif better:
        verdict = f"contradicted: {', '.join(better)} better than {levels.reference}"
    elif len(levels.family.having(WORSE)) == len(compared):
        verdict = f"supported: every other level is worse than {levels.reference}"
    else:
        left = [level for level, c in compared.items() if c.verdict != WORSE]
        verdict = f"undecided: {', '.join(left)} not shown to be worse than {levels.reference}"
    ids = tuple(r.id for row in grid.rows for r in row.accuracy if claim.axis in r.axes)
    return Finding(text=text, verdict=f"{verdict} ({scale})", records=ids)


def _levels(grid: ablation.GridView, axis: str, level: str) -> comparisons.Levels | None:
    """The axis's levels against the one that is said to be best."""
    rows = [row for row in grid.rows if row.accuracy]
    if not any(axis in record.axes for row in rows for record in row.accuracy):
        return None
    known = {comparisons.level_of(row, axis) for row in rows}
    if level == "most":
        numbers = [value for value in known if value.isdigit()]
        if len(numbers) < len(known):
            return None
        level = max(numbers, key=int)
    return comparisons.marginal_means(grid, axis, level) if level in known else None
