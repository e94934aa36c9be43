"""Everything that is rendered from a set of records, as data."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from hevitpose.config import Config
from hevitpose.errors import DataError
from hevitpose.records import Record
from hevitpose.spec import PRIMARY_METRICS, VARIANTS
from reports import ablation
from reports.claims import claims_table, load_claims
from reports.figures import gallery, plots
from reports.findings import check_finding
from reports.load import Measured, flatten, load
from reports.output.text import Table, to_csv, to_latex, to_markdown
from reports.published import Published
from reports.published import load as load_published
from reports.tables.accuracy import TABLES, accuracy_table, published_table
from reports.tables.cost import (
    complexity_table,
    fastest_table,
    peers_table,
    published_speed_table,
    speed_table,
    summary_table,
)
from reports.tables.grid import grid_table
from reports.versions import mark, older_records

ROOT = Path(__file__).resolve().parent.parent
GRIDS = ROOT / "ablations"
#: Grids that have a table even before anything was run.
EMBEDDED = ("attention", "downsampling", "ffn")


@dataclass(frozen=True)
class Book:
    """Tables and plots of one set of records."""

    measured: Measured
    published: Published
    tables: tuple[Table, ...]
    plots: tuple[plots.Plot, ...]
    grids: tuple[tuple[str, ablation.Grid], ...]
    older: frozenset[str] = frozenset()  # ids of records made by code that has changed since

    def table(self, name: str) -> Table | None:
        """A table by its name."""
        return next((table for table in self.tables if table.name == name), None)

    def plot(self, name: str) -> plots.Plot | None:
        """A plot by its name."""
        return next((plot for plot in self.plots if plot.name == name), None)

    def texts(self) -> dict[str, str]:
        """File name to content, of every table in every format."""
        files = {}
        for table in self.tables:
            files[f"{table.name}.md"] = to_markdown(table)
            files[f"{table.name}.tex"] = to_latex(table)
            files[f"{table.name}.csv"] = to_csv(table)
        return files


def make(
    roots: Sequence[Path], published_root: Path | None = None, pictures: Sequence[Path] = ()
) -> Book:
    """Loads, checks and lays out everything.

    Args:
        roots: record stores; absent folders are empty stores.
        published_root: folder of published numbers; the project's own when None.
        pictures: folders that may hold a gallery; the first that does is shown.

    Raises:
        DataError: the published numbers are damaged.
        HEViTPoseError: a store cannot be read.
    """
    measured = load(roots)
    published = load_published(published_root) if published_root else load_published()
    claims = load_claims(published_root) if published_root else load_claims()
    views = grid_views(measured)
    tables = [summary_table(measured, published)]
    tables += [accuracy_table(spec, measured, published) for spec in TABLES]
    tables += [
        complexity_table(measured, published),
        peers_table(measured, published),
        fastest_table(measured),
        speed_table(measured),
        published_speed_table(published),
    ]
    survivors = ablation.together([grid for name, grid in views])
    tables += [
        grid_table(
            grid,
            name=name,
            title=f"Ablation: {grid.name.replace('_', ' ')}",
            question=_question(grid.name),
            together=survivors.get(ablation.default_key(grid)),
        )
        for name, grid in views
    ]
    tables.append(claims_table(measured, published, [grid for _, grid in views], claims))
    tables.append(published_table(published))
    drawn = plots.all_plots(measured, published, views)
    folder = next((each for each in pictures if each.is_dir()), None)
    people, problems = gallery.load(folder, measured) if folder else (None, [])
    if people:
        drawn.append(plots.Plot("gallery", people["title"], people, gallery.draw_gallery))
    measured = dataclasses.replace(measured, problems=(*measured.problems, *problems))
    old = older_records(measured.records)
    marked = tuple(mark(table, old) for table in tables)
    return Book(measured, published, marked, tuple(drawn), tuple(views), old)


def contradictions(book: Book) -> Iterator[str]:
    """Lines about findings of the project's grids that their tables do not bear out.

    Args:
        book: of the committed records; a grid's latest setting is what its finding is of.
    """
    latest: dict[str, ablation.Grid] = {}
    for _, grid in book.grids:
        latest.setdefault(grid.name, grid)
    for path in sorted(GRIDS.glob("*.yaml")):
        grid = latest.get(path.stem) or ablation.build([], path.stem)
        for line in check_finding(grid, finding_of(path.stem)):
            yield f"{path.name}: finding {line}"


def grid_views(measured: Measured) -> list[tuple[str, ablation.Grid]]:
    """Every grid that has records, one view per setting; the embedded ones in any case.

    The setting with the latest run has the plain name, others a suffix from their content.
    """
    names = {record.grid for record in measured.records if record.grid}
    views: list[tuple[str, ablation.Grid]] = []
    for name in sorted(names | set(EMBEDDED)):
        stem = "ablation-" + re.sub(r"[^A-Za-z0-9_.-]", "_", name)
        settings = ablation.split(measured.records, name)
        if not settings:
            made = ablation.build([], name, order=_listed_cells(name, []), primary=primary_of(name))
            views.append((stem, made))
        for number, (key, records) in enumerate(settings.items()):
            mark = hashlib.sha256(key.encode()).hexdigest()[:6]
            grid = ablation.build(
                records,
                name,
                order=_listed_cells(name, records),
                one_setting=True,
                primary=primary_of(name),
            )
            views.append((stem if number == 0 else f"{stem}-{mark}", grid))
    return views


def _grid_file(name: str) -> dict[str, object]:
    """The grid's own description, where the project has one."""
    path = GRIDS / f"{name}.yaml"
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name) or not path.is_file():
        return {}
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise DataError(f"{path}: cannot be read ({' '.join(str(error).split())})") from None
    return data if isinstance(data, dict) else {}


def primary_of(name: str) -> dict[str, str]:
    """Dataset, or "other", to the metric that the grid's file names."""
    found = _grid_file(name).get("primary")
    if not isinstance(found, dict):
        return dict(PRIMARY_METRICS)
    return {str(dataset): str(metric) for dataset, metric in found.items()}


def finding_of(name: str) -> str:
    """What the grid's file says was found."""
    return " ".join(str(_grid_file(name).get("finding", "")).split())


def _question(name: str) -> str:
    return " ".join(str(_grid_file(name).get("question", "")).split())


def _listed_cells(name: str, records: Sequence[Record]) -> list[str]:
    """The cells that the grid's file lists by name, but for those that are the default.

    Products and zips combine names and are known by their records only.
    """
    data = _grid_file(name)
    default = next((r for r in records if r.grid is None and r.config), None)
    found: list[str] = []
    axes, cells = data.get("axes"), data.get("cells")
    if isinstance(axes, dict) and len(axes) == 1 and data.get("mode", "one-factor") != "zip":
        ((axis, levels),) = axes.items()
        named = levels if isinstance(levels, dict) else {str(level): level for level in levels}
        found += [str(key) for key, level in named.items() if not _is_default(axis, level, default)]
    for cell, overrides in cells.items() if isinstance(cells, dict) else ():
        given = overrides if isinstance(overrides, dict) else {"": overrides}
        if not all(_is_default(axis, level, default) for axis, level in given.items()):
            found.append(str(cell))
    return found


def _is_default(axis: str, level: object, default: Record | None) -> bool:
    """Whether the default has this value: its record says it, else its variant or the schema."""
    config = flatten((default and default.config) or {})
    value = config.get(axis, flatten(Config().dump()).get(axis))
    if axis not in config and axis.startswith("model."):
        stock = VARIANTS.get(default.model if default else "hevitpose_b")
        value = getattr(stock, axis.removeprefix("model."), None)
    value = list(value) if isinstance(value, tuple) else value
    return value == level and isinstance(value, bool) == isinstance(level, bool)
