"""Tables as data, from records and published numbers.

:func:`render_grid` is what an ablation run ends with; the rest is what ``python -m reports`` makes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from hevitpose.files import write_atomically
from hevitpose.records import Record
from hevitpose.statistics import ALPHA, VERDICT_SEEDS, Comparison
from reports import grids
from reports.measured import check
from reports.style import read_digest
from reports.text import (
    MISSING,
    Cell,
    Column,
    Table,
    number,
    shorten,
    show_estimate,
    to_csv,
    to_latex,
    to_markdown,
)


class Rendered(NamedTuple):
    """Files that were written, and what to print."""

    paths: list[Path]
    text: str


_SYNTHETIC_AP = (
    "AP on synthetic people: OKS AP over the 14 CrowdPose joints, with the CrowdPose sigmas."
)
_GRID_COLUMNS = (
    Column("cell", "Cell", numeric=False),
    Column("params_m", "Params (M)", "down"),
    Column("gflops_mmcv", "GFLOPs (mmcv)", "down"),
    Column("latency_p50_ms", "p50 (ms)", "down"),
    Column("pckh_05", "PCKh@0.5", "up"),
    Column("pckh_01", "PCKh@0.1", "up"),
    Column("ap", "AP", "up"),
    Column("seeds", "n seeds"),
    Column("difference", "Δ PCKh@0.5 to default"),
    Column("verdict", "Verdict", numeric=False),
)
#: Kinds whose failure leaves a cell without a score.
SCORED = ("training", "evaluation")


def render_grid(
    records: Iterable[Record],
    grid_name: str,
    out: Path,
    *,
    cells: grids.Cells | None = None,
    default: str = grids.DEFAULT,
    title: str | None = None,
    question: str = "",
    latex: bool = True,
) -> Rendered:
    """Writes one ablation grid's table (Markdown, CSV, LaTeX) and plot (SVG, PNG).

    Args:
        records: any, also failed ones; those of other grids are left out.
        grid_name: the grid's name; also the stem of the files.
        out: the folder; made if absent, files replaced as a whole.
        cells: per cell, in the order of the rows, the ids that belong to it (all kinds and seeds;
            also of runs that have no record yet). None: what the records say themselves.
        default: the cell that the others are compared with.
        title: of the table; by default the grid's name.
        question: what the grid asks, one line for the caption.
        latex: also write LaTeX.

    Returns:
        The files, and the Markdown table for the terminal.

    Raises:
        HEViTPoseError: a file cannot be written.
    """
    from reports import plots

    measured = check((f"{record.id}.json", record) for record in records)
    grid = grids.build(measured.records, grid_name, cells, default)
    table = grid_table(grid, title=title, question=question)
    stem = re.sub(r"[^A-Za-z0-9_.-]", "_", grid_name)
    text = to_markdown(table)
    if measured.problems:
        text += f"\n{len(measured.problems)} records left out:\n"
        text += "".join(f"- {shorten(problem, 200)}\n" for problem in measured.problems)
    paths = [out / f"{stem}.md", out / f"{stem}.csv"]
    write_atomically(paths[0], text)
    write_atomically(paths[1], to_csv(table))
    if latex:
        paths.append(out / f"{stem}.tex")
        write_atomically(paths[-1], to_latex(table))
    plot = plots.effects(grid, stem)
    if plot is not None:
        pictures = [out / f"{plot.name}.{suffix}" for suffix in ("svg", "png")]
        fresh = all(read_digest(path) == plot.digest for path in pictures)
        paths += pictures if fresh else plot.save(out)
    return Rendered(paths, text)


def grid_table(
    grid: grids.Grid, *, name: str | None = None, title: str | None = None, question: str = ""
) -> Table:
    """One ablation grid as a table."""
    top = grids.best(grid.rows)
    rows = [_grid_row(row, bold=row is top) for row in grid.rows]
    if not rows:
        rows.append((Cell("default"), *([MISSING] * (len(_GRID_COLUMNS) - 1))))
    if grid.baseline:
        rows.append(_baseline_row(grid.baseline))
    synthetic = grid.facts.get("dataset") == "synthetic"
    has_ap = any("AP" in row.scores for row in grid.rows)
    legend = [
        "± is half the 95% interval over seeds (t); Δ is paired by seed; verdicts are "
        f"Holm-corrected over the grid and need at least {VERDICT_SEEDS} seeds. "
        "GFLOPs: MACs / 1e9 by the mmcv rule, attention products not counted.",
    ]
    if synthetic and has_ap:
        legend.append(_SYNTHETIC_AP)
    if grid.older:
        legend.append(f"{len(grid.older)} older runs of the same cell and seed are not shown.")
    return Table(
        name=name or f"ablation-{grid.name}",
        title=title or f"Ablation: {grid.name}",
        columns=_GRID_COLUMNS,
        rows=tuple(rows),
        caption=" ".join(
            filter(
                None,
                (
                    question,
                    caption(grid.facts)
                    if any(r.records for r in grid.rows)
                    else "Nothing run yet.",
                ),
            )
        ),
        conditions=grid.conditions,
        legend=tuple(legend),
    )


def caption(facts: dict[str, str]) -> str:
    """What was measured on what, as a sentence."""
    data = facts["dataset"]
    scale = ", ".join(
        part
        for part in (
            f"{facts['model']} at {facts['input']} (H x W)",
            f"preset {facts['preset']}" if facts["preset"] else "",
            f"{facts['steps']} steps" if facts["steps"] else "",
        )
        if part
    )
    people = f" ({facts['people']} people)" if facts["people"] else ""
    honest = (
        "Synthetic people, not photographs: what holds here at this scale need not hold on real "
        "data. "
        if "synthetic" in data
        else ""
    )
    return (
        f"{honest}Data: {data} {facts['split']}{people}; {scale}; boxes: {facts['boxes']}; "
        f"flip test: {facts['flip_test']}; decoder: {facts['decoder']}; "
        f"checkpoint: {facts['selection']}; data fingerprint {facts['fingerprint']}; "
        f"commit {facts['commit']}; {facts['date']}."
    )


def _grid_row(row: grids.Row, *, bold: bool) -> tuple[Cell, ...]:
    name = f"{row.name} (default)" if row.is_default and row.name != grids.DEFAULT else row.name
    complexity, latency = row.complexity, row.latency
    ids = tuple(r.id for r in row.accuracy)
    notes = []
    if latency is not None and latency.latency is not None and latency.latency.noisy:
        notes.append("noisy timing: IQR above 10% of the median")
    return (
        Cell(shorten(name, 60)),
        number(
            None if complexity is None or complexity.params is None else complexity.params / 1e6,
            3, records=(complexity.id,) if complexity else (),
        ),
        number(
            complexity.flops.mmcv if complexity and complexity.flops else None,
            3, records=(complexity.id,) if complexity else (),
        ),
        number(
            latency.latency.p50 if latency and latency.latency else None,
            2, records=(latency.id,) if latency else (), notes=tuple(notes),
        ),
        _score(row, "Mean", 1, ids, bold=bold),
        _score(row, "Mean@0.1", 1, ids),
        _score(row, "AP", 1, ids),
        Cell(str(row.seeds), value=row.seeds, kind="measured"),
        _difference(row),
        _verdict(row),
    )  # fmt: skip


def _score(
    row: grids.Row, name: str, digits: int, ids: tuple[str, ...], *, bold: bool = False
) -> Cell:
    score = row.scores.get(name)
    if score is None:
        if row.failures and not row.accuracy and any(r.kind in SCORED for r in row.failures):
            return Cell(row.failures[-1].status, kind="failed")
        return MISSING
    return show_estimate(score, digits, ids, bold=bold)


def _difference(row: grids.Row) -> Cell:
    if row.is_default:
        return Cell("(reference)")
    if row.difference is None:
        return MISSING
    value, half = row.difference.value, row.difference.half
    text = f"{value:+.1f}".replace("-", "−")
    if half is not None:
        text += f" ± {half:.1f}"
    if row.difference.n != row.seeds:
        text += f" (n = {row.difference.n})"
    return Cell(text, value, "measured", records=tuple(r.id for r in row.accuracy))


def _verdict(row: grids.Row) -> Cell:
    parts = []
    if row.verdict:
        parts.append(row.verdict + _evidence(row.comparison))
    for failure in row.failures:
        seed = f" seed {failure.seed}" if failure.seed is not None else ""
        first = str(failure.error or "no reason given").strip().splitlines()[0]
        parts.append(f"{failure.kind}{seed} {failure.status}: {shorten(first, 120)}")
    if not parts:
        return Cell("–") if row.is_default and row.accuracy else MISSING
    failed = any(r.kind in SCORED for r in row.failures) and not row.accuracy
    return Cell("; ".join(parts), kind="failed" if failed else "text")


def _evidence(comparison: Comparison | None) -> str:
    """The corrected p; where nothing was told apart, what the design could have seen."""
    if comparison is None or comparison.p_holm is None:
        return ""
    small = (
        f"; {comparison.detectable:.1f} points would have been seen"
        if comparison.detectable is not None and comparison.p_holm >= ALPHA
        else ""
    )
    return f" (p = {comparison.p_holm:.2g}{small})"


def _baseline_row(baseline: dict[str, float]) -> tuple[Cell, ...]:
    empty = Cell("–")
    return (
        Cell("mean pose (no network)"),
        empty, empty, empty,
        number(baseline.get("Mean"), 1),
        number(baseline.get("Mean@0.1"), 1),
        number(baseline.get("AP"), 1),
        empty, empty, Cell("baseline"),
    )  # fmt: skip
