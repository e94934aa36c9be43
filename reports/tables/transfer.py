"""Rank correlation between rendered people and photographs, beside what noise allows."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hevitpose.evaluation.statistics import Interval
from reports.ablation import SHOWN
from reports.captions import about_data, condition
from reports.output.text import Column, Table, TableCell, join, number, signed
from reports.transfer import Transfer

_COLUMNS = (
    Column("cells_of", "Cells of", numeric=False),
    Column("start", "Photographs start from", numeric=False),
    Column("metrics", "Rendered / photographs", numeric=False),
    Column("cells", "n cells"),
    Column("seeds", "n seeds"),
    Column("correlation", "Rank correlation"),
    Column("interval", "95% interval", numeric=False),
    Column("ceiling", "Ceiling"),
    Column("repeats_rendered", "Repeats, rendered"),
    Column("repeats_photographs", "Repeats, photographs"),
    Column("verdict", "Verdict", numeric=False),
)
_LEGEND = (
    "Rank correlation: Spearman's, of the cells' means over the seeds that all have; its interval "
    "takes the cells for a sample of what could be compared (Fisher's z with the standard error of "
    "Bonett and Wright 2000). Repeats: how well the order of the means would repeat with as many "
    "other seeds (split-half over seeds, Spearman-Brown). Ceiling: the square root of their "
    "product, what the correlation of orders as noisy as these could reach. predicts: the interval "
    "is above 0. Cells that start from their own training on rendered people inherit what they are "
    "compared with, and stand apart; grids of fewer than three seeds are not taken together with "
    "others."
)


def transfer_table(found: Sequence[Transfer]) -> Table | None:
    """Every grid that ran on both kinds of people; None where none did."""
    if not found:
        return None
    first = found[0]
    rendered, photographs = (
        join([condition(dict(side.facts)) for side in sides])
        for sides in ([p.rendered for p in found], [p.photographs for p in found])
    )
    on = (side.facts["dataset"] for p in found for side in (p.rendered, p.photographs))
    return Table(
        name="transfer",
        title="Do rankings on rendered people predict those on photographs?",
        columns=_COLUMNS,
        rows=tuple(_row(pair) for pair in found),
        caption=f"{about_data(first.rendered.facts['dataset'])}Rendered: {rendered}. "
        f"Photographs: {photographs}. {about_data(first.photographs.facts['dataset'])}".strip(),
        legend=(_LEGEND,),
        data=about_data(" / ".join(on)).strip(),
    )


def _row(pair: Transfer) -> tuple[TableCell, ...]:
    names = [SHOWN.get(side.metric, side.metric) for side in (pair.rendered, pair.photographs)]
    seeds = [str(len(side.seeds)) for side in (pair.rendered, pair.photographs)]
    repeats = pair.reliabilities
    return (
        TableCell(" + ".join(grid.replace("_", " ") for grid in pair.grids)),
        TableCell(pair.start or "random weights"),
        TableCell(" / ".join(names)),
        number(len(pair.names), 0),
        TableCell(" / ".join(seeds)),
        _defined(pair.correlation.value),
        _bounds(pair.correlation),
        _defined(pair.ceiling),
        *map(_defined, repeats),
        TableCell(pair.verdict),
    )


def _defined(value: float | None) -> TableCell:
    """A dash where it has no value: one seed, or scores that are all equal."""
    return TableCell("–") if value is None or math.isnan(value) else number(value, 2)


def _bounds(found: Interval) -> TableCell:
    if found.low is None or found.high is None:
        return TableCell("–")
    return TableCell(" to ".join(signed(bound, 2, plus=False) for bound in (found.low, found.high)))
