"""What networks cost: parameters and GFLOPs under three conventions, and the peers'."""

from __future__ import annotations

from collections.abc import Sequence

from hevitpose.models.spec import PEERS, VARIANTS
from hevitpose.records import Record
from reports.load import (
    Measured,
    gflops,
    h_by_w,
    input_size,
    newest,
    num_keypoints,
    params_m,
)
from reports.output.text import Column, Table, TableCell, number
from reports.published import Number, Published
from reports.tables.accuracy import (
    DISPLAY,
    OWN_NETWORKS,
    beside_published,
    measured_groups,
    score_cell,
)

#: The published numbers' input and joints.
REFERENCE_INPUT = (256, 256)
REFERENCE_KEYPOINTS = 16
_CONVENTIONS = (
    "GFLOPs are MACs / 1e9 of one image. mmcv: modules only, attention products not counted (the "
    "authors' rule). fvcore: with attention products. torch: FlopCounterMode / 2, with attention "
    "products. Italic: published, as cited; upright: counted by this suite."
)


def counted(
    measured: Measured, model: str, size: tuple[int, int] = REFERENCE_INPUT
) -> Record | None:
    """The complexity record of a network as it is named, preferably with MPII's 16 joints."""
    found = [r for r in measured.plain_counts().get(model, []) if input_size(r) == size]
    exact = [r for r in found if num_keypoints(r) in (REFERENCE_KEYPOINTS, None)]
    return newest(exact or found)


def published_counts(published: Published, network: str) -> Number | None:
    """A row that states a network's parameters and GFLOPs at the reference input."""
    return published.counts(network, REFERENCE_INPUT, REFERENCE_KEYPOINTS)


def reference_runs(measured: Measured, network: str, dataset: str, split: str) -> Sequence[Record]:
    """A network's runs of one setting at the reference input, or none."""
    groups = measured_groups(measured, dataset, split).get(network, [])
    return beside_published(g for g in groups if input_size(g[0]) == REFERENCE_INPUT)


def complexity_table(measured: Measured, published: Published) -> Table:
    """Parameters and GFLOPs of every network, published and under three conventions."""
    rows = []
    sources: dict[str, None] = {}
    for model in (*VARIANTS, *PEERS):
        record = counted(measured, model)
        row = published_counts(published, model)
        if record is None and row is None and model in PEERS:
            continue
        if row is not None:
            sources[row.source] = None
        by = (record.id,) if record else ()
        rows.append(
            (
                TableCell(DISPLAY.get(model, row.model if row else model)),
                TableCell(model),
                _printed(published, row, "params_m", 2),
                number(params_m(record), 4, records=by),
                _printed(published, row, "gflops", 2),
                number(gflops(record), 4, records=by),
                number(gflops(record, "fvcore"), 2, records=by),
                number(gflops(record, "torch"), 2, records=by),
            )
        )
    return Table(
        "complexity",
        "Parameters and GFLOPs, three conventions",
        (
            Column("model", "Model", numeric=False),
            Column("network", "Name here", numeric=False),
            Column("params_published", "Params (M), published", "down"),
            Column("params_m", "Params (M)", "down"),
            Column("gflops_published", "GFLOPs, published", "down"),
            Column("gflops_mmcv", "GFLOPs (mmcv)", "down"),
            Column("gflops_fvcore", "GFLOPs (fvcore)", "down"),
            Column("gflops_torch", "GFLOPs (torch)", "down"),
        ),
        tuple(rows),
        caption="One image of 256x256 (H x W), 16 joints. HEViTPose is a reconstruction.",
        legend=(_CONVENTIONS,),
        sources=tuple(published.cite(key) for key in sources),
    )


def peers_table(measured: Measured, published: Published) -> Table:
    """The networks of the paper's comparison: cost and MPII accuracy, published and measured."""
    rows = []
    sources: dict[str, None] = {}
    for network in (*OWN_NETWORKS, *PEERS):
        counts = published_counts(published, network)
        val = next((r for r in published.of("mpii", "val") if r.network == network), None)
        test = next((r for r in published.of("mpii", "test") if r.network == network), None)
        record = counted(measured, network)
        runs = reference_runs(measured, network, "mpii", "val")
        if counts is None and record is None and val is None and test is None and not runs:
            continue
        for row in (counts, val, test):
            if row is not None:
                sources[row.source] = None
        name = next((r.model for r in (counts, test, val) if r), DISPLAY.get(network, network))
        rows.append(
            (
                TableCell(name),
                *_costs(published, counts, record),
                _printed(published, val, "mean", 1),
                _printed(published, test, "mean", 1),
                score_cell(runs, "Mean"),
            )
        )
    return Table(
        "peers",
        "HEViTPose and its peers at 256x256",
        (
            Column("model", "Model", numeric=False),
            Column("params_published", "Params (M), published", "down"),
            Column("params_m", "Params (M), counted", "down"),
            Column("gflops_published", "GFLOPs, published", "down"),
            Column("gflops_mmcv", "GFLOPs (mmcv), counted", "down"),
            Column("val_published", "MPII val PCKh@0.5, published", "up"),
            Column("test_published", "MPII test PCKh@0.5, published", "up"),
            Column("val_measured", "MPII val PCKh@0.5, measured", "up"),
        ),
        tuple(rows),
        caption="Every peer has the head that its published counts imply; see the measurement page "
        "of the documentation.",
        legend=("Italic: published, as cited; upright: counted or measured by this suite.",),
        sources=tuple(published.cite(key) for key in sources),
    )


def _printed(published: Published, row: Number | None, field: str, digits: int) -> TableCell:
    """What a source printed; a dash where there is none."""
    return published.cell(row, field, digits) if row else TableCell("–", kind="published")


def _costs(
    published: Published, counts: Number | None, record: Record | None
) -> tuple[TableCell, ...]:
    """Parameters and GFLOPs (mmcv), each as it is printed and as it is counted."""
    by = (record.id,) if record else ()
    return (
        _printed(published, counts, "params_m", 2),
        number(params_m(record), 2, records=by),
        _printed(published, counts, "gflops", 2),
        number(gflops(record), 2, records=by),
    )


def summary_table(measured: Measured, published: Published) -> Table:
    """The README's first table: each variant's cost and accuracy, published and here."""
    rows = []
    sources: dict[str, None] = {}
    wanted = (("mpii", "val", "mean", "Mean"), ("mpii", "test", "mean", "Mean"),
              ("coco", "val", "ap", "AP"))  # fmt: skip
    for network in OWN_NETWORKS:
        counts = published_counts(published, network)
        record = counted(measured, network)
        cells = [
            TableCell(DISPLAY[network]),
            *_costs(published, counts, record),
        ]
        for dataset, split, field, name in wanted:
            row = next((r for r in published.of(dataset, split) if r.network == network), None)
            if row is not None:
                sources[row.source] = None
            cells.append(_printed(published, row, field, 1))
            if split == "val":
                runs = reference_runs(measured, network, dataset, split)
                cells.append(score_cell(runs, name))
        rows.append(tuple(cells))
    return Table(
        "summary",
        "HEViTPose, published and measured here",
        (
            Column("model", "Model", numeric=False),
            Column("params_published", "Params (M)", "down"),
            Column("params_m", "counted", "down"),
            Column("gflops_published", "GFLOPs (mmcv)", "down"),
            Column("gflops_mmcv", "counted", "down"),
            Column("mpii_val_published", "MPII val PCKh@0.5", "up"),
            Column("mpii_val", "measured", "up"),
            Column("mpii_test_published", "MPII test PCKh@0.5", "up"),
            Column("coco_val_published", "COCO val AP", "up"),
            Column("coco_val", "measured", "up"),
        ),
        tuple(rows),
        caption=f"At {h_by_w(REFERENCE_INPUT)} (H x W). Italic: published; upright: this suite.",
        sources=tuple(published.cite(key) for key in sources),
    )
