"""Everything that is rendered from a set of records, as data."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ablations.grid_file import MAIN_GRIDS
from hevitpose.data.registry import is_rendered
from hevitpose.models.spec import VARIANTS
from hevitpose.records import Record
from reports import ablation, comparisons, grid_files
from reports.cells import split
from reports.changes import Changes, changes
from reports.claims import claims_table, load_claims
from reports.evidence import Evidence, of_grid, of_robustness
from reports.figures import gallery, plots
from reports.figures.network import network_svg
from reports.figures.plot import Plot
from reports.figures.robustness import attention_against_none, changes_plot, heat_map
from reports.figures.transfer import transfer_plot
from reports.findings import check_findings
from reports.load import Measured, is_conditional, load
from reports.output.text import Table, stem, to_csv, to_latex, to_markdown
from reports.published import ROOT as PUBLISHED
from reports.published import Published
from reports.published import load as load_published
from reports.robustness import Robustness, robustness
from reports.tables.accuracy import accuracy_table, published_table
from reports.tables.accuracy import tables as accuracy_tables
from reports.tables.changes import changes_table
from reports.tables.cost import complexity_table, peers_table, summary_table
from reports.tables.grid import grid_table
from reports.tables.precision import points, precision_table
from reports.tables.robustness import robustness_table
from reports.tables.short import short_tables
from reports.tables.speed import published_speed_table, speed_table
from reports.tables.transfer import transfer_table
from reports.transfer import transfers
from reports.versions import mark, older_records

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Book:
    """Tables and plots of one set of records."""

    measured: Measured
    published: Published
    tables: tuple[Table, ...]
    plots: tuple[Plot, ...]
    grids: tuple[tuple[str, ablation.GridView], ...]
    older: frozenset[str] = frozenset()  # ids of records made by code that has changed since

    def table(self, name: str) -> Table | None:
        """A table by its name, or the short form that the README has of it."""
        return next((table for table in (*self.tables, *self.short) if table.name == name), None)

    @cached_property
    def short(self) -> list[Table]:
        """The README's tables."""
        return short_tables(self.tables, points(self.measured))

    def plot(self, name: str) -> Plot | None:
        """A plot by its name."""
        return next((plot for plot in self.plots if plot.name == name), None)

    def drawings(self) -> dict[str, str]:
        """File name to content, of every picture that is drawn from no record."""
        return {"network.svg": network_svg(VARIANTS["hevitpose_b"], "HEViTPose-B")}

    def texts(self) -> dict[str, str]:
        """File name to content, of every table in every format."""
        files = {}
        for table in self.tables:
            files[f"{table.name}.md"] = to_markdown(table)
            files[f"{table.name}.tex"] = to_latex(table)
            files[f"{table.name}.csv"] = to_csv(table)
        return files


def make(
    roots: Sequence[Path], published_root: Path = PUBLISHED, pictures: Sequence[Path] = ()
) -> Book:
    """Loads, checks and lays out everything.

    Args:
        roots: record stores; absent folders are empty stores.
        published_root: folder of published numbers.
        pictures: folders that may hold a gallery; the first that does is shown.

    Raises:
        DataError: the published numbers are damaged.
        HEViTPoseError: a store cannot be read.
    """
    measured = load(roots)
    published = load_published(published_root)
    claims = load_claims(published_root)
    views = grid_views(measured)
    robust = robustness(measured)
    tables = [summary_table(measured, published)]
    tables += [accuracy_table(spec, measured, published) for spec in accuracy_tables()]
    tables += [
        complexity_table(measured, published),
        peers_table(measured, published),
        precision_table(measured),
        speed_table(measured),
        published_speed_table(published),
    ]
    survivors = comparisons.together([grid for name, grid in views])
    tables += [
        grid_table(
            grid,
            name=name,
            question=grid_files.question_of(grid.name),
            together=survivors.get(comparisons.default_key(grid)),
        )
        for name, grid in views
    ]
    errors = [(name, grid, changes(grid, measured)) for name, grid in views]
    tables += _error_tables(errors)
    tables += [robustness_table(view, _primary(view)) for view in robust]
    pairs = transfers([grid for _, grid in views])
    tables += filter(None, [transfer_table(pairs)])
    tables.append(claims_table(measured, published, [grid for _, grid in views], claims))
    tables.append(published_table(published))
    drawn = plots.all_plots(measured, published, views)
    drawn += _robustness_plots(errors, robust)
    drawn += filter(None, [transfer_plot(pairs)])
    folder = next((each for each in pictures if each.is_dir()), None)
    people, problems = gallery.load(folder, measured) if folder else (None, [])
    if people:
        drawn.append(Plot("gallery", people["title"], people, gallery.draw_gallery))
    measured = dataclasses.replace(measured, problems=(*measured.problems, *problems))
    old = older_records(measured.everything)
    marked = tuple(mark(table, old) for table in tables)
    return Book(measured, published, marked, tuple(drawn), tuple(views), old)


Errors = Sequence[tuple[str, ablation.GridView, Changes | None]]


def _error_tables(errors: Errors) -> list[Table]:
    return [
        changes_table(found, grid, name.replace("ablation-", "changes-", 1))
        for name, grid, found in errors
        if found is not None
    ]


def _robustness_plots(errors: Errors, robust: Sequence[Robustness]) -> list[Plot]:
    drawn = [
        changes_plot(found, grid, name.replace("ablation-", "changes-", 1))
        for name, grid, found in errors
        if found is not None
    ]
    drawn += [heat_map(view, _primary(view)) for view in robust]
    attention = next((found for name, _, found in errors if name == "ablation-attention"), None)
    view = next((view for view in robust if "none" in view.cells), None)
    primary = _primary(view) if view else "Mean"
    comparison = attention_against_none(attention, view, primary)
    return drawn if comparison is None else [*drawn, comparison]


def _primary(view: Robustness) -> str:
    return view.primary(grid_files.primary_of(view.grid))


def contradictions(book: Book) -> Iterator[str]:
    """Lines about findings of the project's grids that their tables do not bear out.

    Args:
        book: of the committed records.
    """
    tables: dict[str, list[Evidence]] = defaultdict(list)
    for _, grid in book.grids:
        tables[grid.name].append(of_grid(grid))
    for view in robustness(book.measured):
        tables[view.grid].append(of_robustness(view, _primary(view)))
    for path in sorted(grid_files.GRIDS.glob("*.yaml")):
        for line in check_findings(tables[path.stem], grid_files.findings_of(path.stem)):
            yield f"{path.name}: finding {line}"


def grid_views(measured: Measured) -> list[tuple[str, ablation.GridView]]:
    """Every grid that has records, one view per setting; the embedded ones in any case.

    The first has the plain name: rendered people and one recipe for all cells, the latest run. The
    others are called by what is different, and by their content where that is the same.
    """
    # A grid that only evaluates under conditions has a table of its own.
    own = {r.grid for r in measured.records if r.grid and not is_conditional(r)}
    names = own | {r.grid for r in measured.records if r.grid} - {r.grid for r in measured.under}
    views: list[tuple[str, ablation.GridView]] = []
    taken: set[str] = set()
    for name in sorted(names | set(MAIN_GRIDS)):
        known_as = stem("ablation", name)
        primary = grid_files.primary_of(name)
        listed = grid_files.listed_cells(name, None)
        settings = split(measured.records, name, listed)
        if not settings:
            taken.add(known_as)
            views.append((known_as, ablation.build([], name, listed=listed, primary=primary)))
        in_order = sorted(settings.items(), key=lambda item: _different(item[1]))
        for place, (key, records) in enumerate(in_order):
            default = next((r for r in records if r.grid is None and r.config), None)
            cells = grid_files.listed_cells(name, default)
            if place:  # costs of cells that only the first setting has are no rows of this one
                records = _with_scores(records)
            grid = ablation.build(records, name, listed=cells, one_setting=True, primary=primary)
            called = "-".join((known_as, *_different(records))) if place else known_as
            if called in taken:  # by another setting, or a grid of that very name
                called += "-" + hashlib.sha256(key.encode()).hexdigest()[:6]
            taken.add(called)
            views.append((called, grid))
    return views


def _with_scores(records: Sequence[Record]) -> list[Record]:
    """Without the costs of networks that were not scored."""
    scored = {r.cell_id for r in records if r.kind == "evaluation"}
    return [r for r in records if r.kind == "evaluation" or r.cell_id in scored]


def _different(records: Sequence[Record]) -> tuple[str, ...]:
    """In what a setting differs from that by which a grid is known."""
    runs = [r for r in records if r.kind == "evaluation"]
    data = {r.dataset.name for r in runs if r.dataset and not is_rendered(r.dataset.name)}
    started = any((r.config.get("training") or {}).get("start_from") for r in runs)
    return (
        *sorted(data),
        *(["started"] if started else []),
        *(["tuned"] if any(r.tuned for r in runs) else []),
    )
