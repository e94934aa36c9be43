"""Which records belong to which cell of a grid, and which settings a grid was run under."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime

from ablations.grid_file import DEFAULT_CELL
from hevitpose.records import Record
from reports.grid_files import Overrides, cell_of, configuration
from reports.settings import setting

#: Per cell the ids of its records.
Cells = Mapping[str, Collection[str]]


def split(
    records: Iterable[Record], name: str, listed: Overrides | None = None
) -> dict[str, list[Record]]:
    """A store's records of one grid, apart by setting (variant, data, recipe, default).

    Runs under different budgets or on different data never share a table, nor do defaults that
    differ on an axis.

    Args:
        records: any.
        name: of the grid.
        listed: the cells that its file describes; they differ in no setting.

    Returns:
        Per setting its records, costs included, the setting with the latest run first.
    """
    records = list(records)
    own = [r for r in records if r.grid == name]
    foreign = [r for r in records if r.grid not in (None, name)]
    axes = _axes(own, listed or {})
    defaults = [r for r in records if r.grid is None and r.cell in (DEFAULT_CELL, None)]
    by_setting: dict[str, list[Record]] = defaultdict(list)
    for record in own:
        if record.kind == "evaluation":
            by_setting[setting(record, axes)].append(record)
    for record in (*defaults, *foreign):
        if record.kind == "evaluation" and (key := setting(record, axes)) in by_setting:
            by_setting[key].append(record)
    costs = [r for r in records if r.kind in ("complexity", "latency")]
    scored = {r.cell_id for group in by_setting.values() for r in group if r.cell_id}
    for group in by_setting.values():
        networks = {r.cell_id for r in group if r.cell_id}
        models = {r.model for r in group}
        # A cell of the grid whose accuracy is missing under all settings still has its costs.
        group += [
            r
            for r in costs
            if r.cell_id in networks
            or (r.grid == name and r.model in models and r.cell_id not in scored)
        ]
    if not by_setting and own:
        models = {r.model for r in own}
        by_setting[""] = own + [
            r for r in defaults if r.kind in ("complexity", "latency") and r.model in models
        ]
    newest_first = sorted(
        by_setting.items(), key=lambda item: max(r.started_at for r in item[1]), reverse=True
    )
    return {
        key + base: of
        for key, group in newest_first
        for base, of in _by_default(group, name, axes).items()
    }


def _axes(own: Iterable[Record], listed: Overrides) -> set[str]:
    """Every config key that a grid varies, by its records and by its file."""
    return {key for varied in (*(r.axes for r in own), *listed.values()) for key in varied}


def _by_default(records: list[Record], name: str, axes: set[str]) -> dict[str, list[Record]]:
    """One setting's records, apart by what the default has on the axes.

    A base may override a key that the grid varies. A cell has the base's value on the axes that it
    does not set itself; one that sets them all belongs to either default.

    Returns:
        By the values, of which the first default's need no mention: that with the most runs.
    """
    runs = [r for r in records if r.kind == "evaluation"]
    bases: dict[str, list[Record]] = defaultdict(list)
    for record in runs:
        if record.grid is None:
            bases[configuration(record, axes)].append(record)
    if len(bases) < 2:
        return {"": records}
    found: dict[str, list[Record]] = {}
    left = [r for r in runs if r.grid == name]
    for base, defaults in sorted(bases.items(), key=lambda item: _weight(item[1]), reverse=True):
        own = [r for r in runs if r.grid == name and _is_based_on(r, defaults[0], axes)]
        foreign = [r for r in runs if r.grid not in (None, name)]
        if own:
            found[base if found else ""] = _with_costs([*own, *defaults, *foreign], records)
        left = [r for r in left if r not in own]
    if left:  # their default is missing
        found["without default"] = _with_costs(left, records)
    return found


def _with_costs(runs: list[Record], records: Iterable[Record]) -> list[Record]:
    """Some evaluations, with all costs but those of networks that only other evaluations scored."""
    records = list(records)
    elsewhere = {r.cell_id for r in records if r.kind == "evaluation"} - {r.cell_id for r in runs}
    return runs + [r for r in records if r.kind != "evaluation" and r.cell_id not in elsewhere]


def _is_based_on(record: Record, default: Record, axes: set[str]) -> bool:
    """Whether a cell has the default's values on the axes that it does not set itself."""
    inherited = axes - record.axes.keys()
    return configuration(record, inherited) == configuration(default, inherited)


def _weight(records: Sequence[Record]) -> tuple[int, datetime]:
    """What is shown first: the most runs that succeeded; of equals, the latest."""
    return sum(r.status == "ok" for r in records), max(r.started_at for r in records)


def group(
    records: Iterable[Record], name: str, cells: Cells | None, default: str
) -> dict[str, list[Record]]:
    """The records of each cell: of the ids that ``cells`` names, else as the records say it."""
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
            groups[record.cell or DEFAULT_CELL].append(record)
        elif record.grid is None and record.cell in (default, None) and record.cell_id:
            groups[default].append(record)
    return {cell: groups[cell] for cell in sorted(groups)}


def share(
    groups: dict[str, list[Record]],
    records: Sequence[Record],
    name: str,
    listed: Overrides,
    default: str,
) -> None:
    """Add the records by which other grids measured cells that this one describes too."""
    stock = next((r for r in groups[default] if r.kind == "evaluation" and r.config), None)
    if stock is None:
        return
    axes = {key for overrides in listed.values() for key in overrides}
    foreign = [r for r in records if r.grid not in (None, name)]
    for record in foreign:
        if record.kind == "evaluation" and (cell := cell_of(record, listed, axes, stock)):
            groups.setdefault(cell, []).append(record)
    costs = [r for r in records if r.grid != name and r.kind in ("complexity", "latency")]
    for group in groups.values():
        networks = {r.cell_id for r in group if r.kind == "evaluation"}
        there = {r.id for r in group}
        group += [r for r in costs if r.cell_id in networks and r.id not in there]


def one_configuration(
    groups: dict[str, list[Record]], name: str, listed: Overrides, default: str
) -> tuple[str, ...]:
    """Leave each cell the runs of one configuration: a mean over two would be no cell's.

    A cell whose entry was edited has runs of both. That which the file describes stays, else the
    newest as a whole.

    Returns:
        Ids of the successful evaluations that went.
    """
    axes = _axes((r for of in groups.values() for r in of if r.grid == name), listed)
    stock = next((r for r in groups[default] if r.kind == "evaluation" and r.config), None)
    gone: list[str] = []
    for cell, records in groups.items():
        by_values: dict[str, list[Record]] = defaultdict(list)
        for record in records:
            if record.kind == "evaluation":
                by_values[configuration(record, axes | record.tuned.keys())].append(record)
        if len(by_values) < 2:
            continue
        own = {cell: listed[cell]} if cell in listed else {}
        described = [of for of in by_values.values() if stock and cell_of(of[0], own, axes, stock)]
        kept = max(described or by_values.values(), key=_latest)
        others = [r for of in by_values.values() if of is not kept for r in of]
        gone += [r.id for r in others if r.status == "ok"]
        groups[cell] = _with_costs(kept, records)
    return tuple(gone)


def _latest(records: Sequence[Record]) -> tuple[bool, datetime]:
    """The later of two configurations is larger, and one that succeeded than one that did not."""
    done = [r for r in records if r.status == "ok"]
    return bool(done), max(r.started_at for r in done or records)
