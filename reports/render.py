"""What an ablation run ends with: its grid's table and plot, as files and on the screen."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from ablations.grid_file import DEFAULT_CELL, PRIMARY_METRICS
from hevitpose.files import write_atomically
from hevitpose.markdown import escape_markdown
from hevitpose.records import Record
from reports import ablation
from reports.figures.effects import effects
from reports.figures.plot import Plot
from reports.figures.robustness import heat_map
from reports.load import Measured, check
from reports.output.terminal import WIDTH, to_terminal
from reports.output.text import Table, shorten, stem, to_csv, to_latex, to_markdown
from reports.robustness import view_of
from reports.tables.grid import grid_table
from reports.tables.robustness import robustness_table
from reports.tables.short import short_grid


class Rendered(NamedTuple):
    """Files that were written, and what to print."""

    paths: list[Path]
    text: str


def render_grid(
    records: Iterable[Record],
    grid_name: str,
    out: Path,
    *,
    cells: ablation.Cells | None = None,
    default: str = DEFAULT_CELL,
    question: str = "",
    primary: Mapping[str, str] = PRIMARY_METRICS,
) -> Rendered:
    """Writes one ablation grid's table (Markdown, CSV, LaTeX) and plot (SVG, PNG).

    Args:
        records: any, also failed ones; those of other grids are left out.
        grid_name: the grid's name; also the stem of the files.
        out: the folder; made if absent, files replaced as a whole.
        cells: per cell, in the order of the rows, the ids that belong to it (all kinds and seeds;
            also of runs that have no record yet). None: what the records say themselves.
        default: the cell that the others are compared with.
        question: what the grid asks, one line for the caption.
        primary: dataset, or "other", to the metric of the verdicts.

    Returns:
        The files, and a short table for the terminal.

    Raises:
        HEViTPoseError: a file cannot be written.
    """
    measured = check((f"{record.id}.json", record) for record in records)
    file = stem(grid_name)
    robust = _robustness(measured, grid_name, file, primary)
    if robust is None:
        grid = ablation.build(measured.records, grid_name, cells, default, primary=primary)
        table, plot = grid_table(grid, question=question), effects(grid, file)
    else:
        table, plot = robust
    lines = [shorten(problem, 200) for problem in measured.problems]
    texts = {
        "md": to_markdown(table) + _left_out(map(escape_markdown, lines)),
        "csv": to_csv(table),
        "tex": to_latex(table),
    }
    paths = []
    for suffix, text in texts.items():
        paths.append(out / f"{file}.{suffix}")
        write_atomically(paths[-1], text)
    if plot is not None:
        pictures = plot.paths(out)
        paths += pictures if plot.is_fresh(*pictures) else plot.save(out)
    screen = shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDTH
    text = to_terminal(short_grid(table, score=True), width=screen, colour=sys.stdout.isatty())
    return Rendered(paths, text + _left_out(lines))


def _left_out(problems: Iterable[str]) -> str:
    lines = [f"- {problem}\n" for problem in problems]
    return f"\n{len(lines)} records left out:\n{''.join(lines)}" if lines else ""


def _robustness(
    measured: Measured, name: str, file: str, primary: Mapping[str, str]
) -> tuple[Table, Plot] | None:
    """The table and the heat map of a grid under robustness conditions; None for other grids."""
    view = view_of(name, measured.under, measured)
    if view is None:
        return None
    metric = view.primary(primary)
    return robustness_table(view, metric), heat_map(view, metric)._replace(name=file)
