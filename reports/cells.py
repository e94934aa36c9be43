"""Which records belong to which cell of a grid, and which settings a grid was run under."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from ablations.grid_file import DEFAULT_CELL
from hevitpose.records import Record
from reports.grid_files import Overrides, cell_of
from reports.settings import setting

#: Per cell the ids of its records.
Cells = Mapping[str, Collection[str]]


def split(
    records: Iterable[Record], name: str, listed: Overrides | None = None
) -> dict[str, list[Record]]:
    """A store's records of one grid, apart by setting (variant, data, recipe).

    Runs under different budgets or on different data never share a table.

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
    axes = {key for r in own for key in r.axes}
    axes |= {key for overrides in (listed or {}).values() for key in overrides}
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
    return dict(newest_first)


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
