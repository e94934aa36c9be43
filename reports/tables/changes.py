"""Which error types each cell of a grid has more or less of than the default."""

from __future__ import annotations

from reports.ablation import GridView
from reports.captions import about_data, condition, shared
from reports.changes import ERRORS, Changes
from reports.output.text import MISSING, Column, Table, TableCell, shorten, show_estimate
from reports.tables.grid import caption, model_lines
from reports.tables.robustness import difference_cell


def changes_table(found: Changes, grid: GridView, name: str) -> Table:
    """The error rates of a grid's cells and their differences to the default.

    Args:
        found: of :func:`reports.changes.changes`.
        grid: gives the order of the rows.
        name: file stem.
    """
    families, scope, facts = found.families, condition(grid.facts), shared(found.records)
    columns = [Column("cell", "Cell", numeric=False)]
    for error in ERRORS:
        columns += [Column(error, f"{error}, %", "down"), Column(f"difference_{error}", "Δ")]
    rows = []
    for row in grid.rows:
        if row.name not in found.rates["miss"]:
            continue
        cells = [TableCell(shorten(row.name, 60))]
        ids = found.ids[row.name]
        for error, family in families.items():
            mean = found.mean(error, row.name)
            cells.append(MISSING if mean is None else show_estimate(mean, 2, ids))
            comparison = family.comparisons.get(row.name)
            if row.is_default:
                cells.append(TableCell("(reference)"))
            else:
                cells.append(MISSING if comparison is None else difference_cell(comparison))
        rows.append(tuple(cells))
    return Table(
        name=name,
        title=f"What changed: {grid.name.replace('_', ' ')}",
        scope=scope,
        columns=tuple(columns),
        rows=tuple(rows),
        caption="Error types of Ruggero Ronchi & Perona (2017), in percent of counted joints. "
        f"Condition: {scope}. {caption(facts)}",
        legend=(legend(found), *model_lines(families)),
        data=about_data(facts["dataset"]).strip(),
    )


def legend(found: Changes) -> str:
    """What the types are, and what the intervals hold for."""
    types = "; ".join(f"{error}: {what}" for error, what in ERRORS.items())
    rule = (
        "distances in head sizes, 0.5 parts good from jitter and 1 jitter from miss"
        if found.unit == "head size"
        else "similarities of OKS, 0.85 parts good from jitter and 0.5 jitter from miss"
    )
    single = {record.flip_test for record in found.records} == {False}
    forward = " Predictions of one forward pass, without flip test." if single else ""
    if found.without:
        forward += f" Not computed for {', '.join(found.without)}."
    return (
        f"{types} ({rule}). ± is half the 95% t interval over seeds; Δ is to the default, with the "
        "simultaneous 95% interval of Dunnett's test over the cells, each type a family of its "
        f"own; ▲ fewer, ▼ more errors: it leaves 0 out.{forward}"
    )
