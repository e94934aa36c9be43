"""Grids are data: a yaml file asks a question and lists the cells that answer it.

::

    question: Which attention ...?
    command: nox -s ablation -- --grid attention
    expected: ten minutes on two cores
    primary: {synthetic: Mean, mpii: Mean, other: AP}  # what verdicts are about, by dataset
    finding: not measured yet
    mode: one-factor            # or product, zip
    axes:                       # config key -> values, or name -> value
      model.attention: [cgsr, mhsa]
      model.peow: {peow-0: 0, peow-5: 5}
    cells:                      # more cells, each with any number of keys
      no-cascade: {model.cascade: false}
    evaluate:                   # weights of a cell, scored under another condition: trains nothing
      no-flip-test: {evaluation.flip_test: false}         # of the default
      argmax: {of: [mhsa, default], codec.decoder: argmax}  # of these, or of: all

Every grid also has the shared default, the base configuration itself; a listed cell that resolves
to it *is* the default, under the name it has in the grid (of several, all can be asked for and the
first is shown). Everything is validated before anything trains, and all problems are told at once
with their lines.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ablations.grid_file import (
    DEFAULT_CELL,
    GRIDS,
    OF,
    PRIMARIES,
    Entry,
    GridFile,
    Problem,
    judged_by,
    read_grid_file,
)
from ablations.refusals import refused, refused_condition, refused_key, without_effect
from hevitpose.config import Config
from hevitpose.data.files import declared
from hevitpose.errors import UsageError, unknown_name
from hevitpose.records.identity import config_hash, training_hash

#: In ``evaluate:``, the weights of every trained cell.
_ALL = "all"


@dataclass(frozen=True)
class Cell:
    """One configuration of a grid."""

    name: str
    overrides: Mapping[str, Any]  # dotted config key -> value; empty for the default
    config: Config
    line: int
    is_default: bool = False
    condition: str | None = None  # its name in ``evaluate:``
    of: str | None = None  # then the cell whose weights are scored
    tuned: Mapping[str, Sequence[Any]] = field(default_factory=dict)  # key -> values tried
    aliases: tuple[str, ...] = ()  # of the default: entries that resolve to it under other names


@dataclass(frozen=True)
class Grid:
    """A question and its cells, the default first."""

    name: str
    question: str
    command: str
    expected: str
    findings: tuple[str, ...]  # one per setting that was measured
    cells: tuple[Cell, ...]
    primary: Mapping[str, str] = field(default_factory=dict)  # dataset, or "other" -> metric

    @property
    def names(self) -> set[str]:
        """What cells can be called, the default by any of its names."""
        called = {name for cell in self.cells for name in (cell.name, *cell.aliases)}
        return {DEFAULT_CELL, *called}

    def select(self, names: Sequence[str]) -> Grid:
        """Only these cells, and the default.

        Raises:
            UsageError: a name that is no cell.
        """
        for name in names:
            if name not in self.names:
                raise unknown_name(f"cell of grid {self.name}", name, self.names)
        wanted = {*names, *(cell.of for cell in self.cells if cell.name in names)}
        kept = tuple(c for c in self.cells if c.is_default or c.name in wanted)
        return replace(self, cells=kept)


def available() -> tuple[str, ...]:
    """Names of the grids that come with the project."""
    return tuple(sorted(path.stem for path in GRIDS.glob("*.yaml")))


def load_grids(names: Sequence[str], base: Config) -> list[Grid]:
    """Grids on a base configuration.

    Args:
        names: of shipped grids, or yaml files.
        base: what the default cell is.

    Raises:
        UsageError: an unknown grid, or two of one name; or everything that is wrong with the
            grids, a line each.
    """
    problems: list[Problem] = []
    refusal = refused(base)
    if refusal:
        raise UsageError(f"the default cell: {refusal}")
    grids = []
    files: dict[str, Path] = {}  # by what their grid is called
    for name in dict.fromkeys(names):
        path = Path(name)
        if path.suffix not in (".yaml", ".yml"):
            if name not in available():
                raise unknown_name("grid", name, (*available(), "FILE.yaml"))
            path = GRIDS / f"{name}.yaml"
        other = files.setdefault(path.stem, path)
        if os.path.realpath(other) != os.path.realpath(path):  # of a loop of links, too
            raise UsageError(f"{other}, {path}: two grids called {path.stem!r}, rename a file")
        if other is not path:  # once is enough
            continue
        file = read_grid_file(path)
        grids.append(_grid(file, base))
        problems += file.problems
    if problems:
        raise UsageError(*(str(p) for p in sorted(set(problems))))
    return grids


def select_cells(grids: Sequence[Grid], names: Sequence[str]) -> list[Grid]:
    """Only these cells of some grids, each of which has its default too.

    Raises:
        UsageError: a name that is a cell of none.
    """
    known = {DEFAULT_CELL}.union(*(grid.names for grid in grids))
    for name in names:
        if name not in known:
            raise unknown_name("cell", name, known)
    return [grid.select([name for name in names if name in grid.names]) for grid in grids]


def _grid(file: GridFile, base: Config) -> Grid:
    """A file's entries as cells, what is wrong with them noted in the file."""
    cells = _trained(file, base)
    cells += _conditions(file, cells)
    _require_primary(file, cells, base.data.dataset)
    return Grid(
        file.path.stem,
        **file.texts,
        findings=file.findings,
        cells=tuple(cells),
        primary=file.primary,
    )


def _require_primary(file: GridFile, cells: Sequence[Cell], dataset: str) -> None:
    """Note a primary metric that the dataset, or a cell's boxes, will not give."""
    said = declared(dataset)
    metric = judged_by(file.primary, said.name, said.primary_metric if not said.sigmas else "")
    for cell in cells if metric in PRIMARIES else ():  # else it is noted already
        boxes = cell.config.data.box_source
        if metric not in (given := said.judging_metrics(boxes)):
            whose = dataset if boxes == "gt" else f"{dataset} with data.box_source={boxes}"
            expected = ", ".join(given)
            message = f"primary: {metric!r} is no metric of {whose}, expected one of {expected}"
            file.note(file.primary_line, message)
            return


def _trained(file: GridFile, base: Config) -> list[Cell]:
    """The default, and every cell that is another configuration."""
    default = Cell(DEFAULT_CELL, {}, base, 1, is_default=True)
    default_key = cell_key(base)
    cells: list[Cell] = []
    lines: dict[str, int] = {}  # of names
    resolved: dict[tuple[str, str], Entry] = {}  # by configuration
    for entry in _with_known_keys(file):
        if entry.name in lines:
            file.note(
                entry.line, f"cell {entry.name!r} is there already (line {lines[entry.name]})"
            )
            continue
        if entry.name == DEFAULT_CELL or "," in entry.name or not entry.name:
            file.note(entry.line, f"cell name {entry.name!r}: reserved, empty or with a comma")
            continue
        lines[entry.name] = entry.line
        try:
            config = base.with_overrides(entry.values)
            reason = refused(config) or _idle(entry, config, base)
        except UsageError as error:
            reason = str(error).removeprefix("override: ")
        if reason:
            file.note(entry.line, f"cell {entry.name!r}: {reason}")
            continue
        key = cell_key(config)
        if key == default_key:
            if default.name == DEFAULT_CELL:
                default = Cell(entry.name, {}, config, entry.line, is_default=True)
            else:
                default = replace(default, aliases=(*default.aliases, entry.name))
        elif key in resolved:
            same = f"{resolved[key].name!r} (line {resolved[key].line})"
            file.note(entry.line, f"cell {entry.name!r} is the same as {same}")
        else:
            resolved[key] = entry
            cells.append(Cell(entry.name, entry.values, config, entry.line))
    return [default, *cells]


def _idle(entry: Entry, config: Config, base: Config) -> str | None:
    """Why a value that a cell changes is one that its other values leave without effect."""

    def value(key: str, of: Config) -> Any:
        return functools.reduce(getattr, key.split("."), of)

    changed = (key for key in entry.values if value(key, config) != value(key, base))
    return next((why for key in changed if (why := without_effect(config, key))), None)


def _with_known_keys(file: GridFile) -> list[Entry]:
    """The cells whose keys can be axes; the other keys are noted."""
    reasons = {key: refused_key(key) for entry in file.cells for key in entry.values}
    kept = []
    for entry in file.cells:
        bad = [key for key in entry.values if reasons[key]]
        for key in bad:
            file.note(entry.lines[key], str(reasons[key]))
        if not bad:
            kept.append(entry)
    return kept


def _conditions(file: GridFile, trained: Sequence[Cell]) -> list[Cell]:
    """Each condition of ``evaluate:`` on the cells that it names."""
    cells: list[Cell] = []
    names = dict.fromkeys((DEFAULT_CELL, *trained[0].aliases), trained[0])
    names |= {cell.name: cell for cell in trained}
    trainings = {cell.name: training_hash(cell.config) for cell in trained}
    seen = {_scored_as(trainings[cell.name], cell.config): cell.name for cell in trained}
    taken = set(names)
    for entry in file.conditions:
        of = _named_cells(file, entry, names)
        for key in entry.values:
            reason = refused_key(key) or refused_condition(key)
            if reason:
                file.note(entry.lines[key], reason)
        if not entry.values:
            message = f"condition {entry.name!r}: no keys, so it is the plain evaluation"
            file.note(entry.line, message)
        if file.problems:
            continue
        for cell in of:
            row = entry.name if len(of) == 1 else f"{cell.name} @ {entry.name}"
            found = _condition(file, entry, row, cell)
            if found is None:
                continue
            scored_as = _scored_as(trainings[cell.name], found.config)
            if row in taken or "," in row:
                message = f"condition {row!r}: a cell has this name, or it has a comma"
                file.note(entry.line, message)
            elif scored_as in seen:
                same = f"condition {row!r} is the same as {seen[scored_as]!r}"
                file.note(entry.line, same)
            taken.add(row)
            seen[scored_as] = row
            cells.append(found)
    return cells


def cell_key(config: Config) -> tuple[str, str]:
    """Equal for cells that are one: the boxes, too, which ids know by the sha256 of their file."""
    return config_hash(config), _boxes(config)


def _scored_as(training: str, config: Config) -> tuple[str, str, str]:
    """Equal for evaluations that are one; a condition changes nothing of its cell's training."""
    inputs = json.dumps(config.id_inputs("evaluation"), sort_keys=True)
    return training, _boxes(config), inputs


def _boxes(config: Config) -> str:
    """Whose boxes, one file by whatever path."""
    source = config.data.box_source
    return source if source == "gt" else os.path.realpath(source)


def _named_cells(file: GridFile, entry: Entry, names: Mapping[str, Cell]) -> list[Cell]:
    """The cells that a condition is about: the default where it names none."""
    if OF not in entry.lines:
        return [names[DEFAULT_CELL]]
    wanted = [entry.of] if isinstance(entry.of, str) else entry.of
    if wanted == [_ALL]:
        return list({cell.name: cell for cell in names.values()}.values())
    line = entry.lines[OF]
    if not isinstance(wanted, list) or not wanted or not all(isinstance(w, str) for w in wanted):
        message = f"condition {entry.name!r}: {OF}: expected a cell, a list of them, or all"
        file.note(line, message)
        return []
    for cell in wanted:
        if cell not in names:
            file.note(line, str(unknown_name(f"cell of {entry.name!r}", cell, names)))
    return [names[cell] for cell in wanted if cell in names]


def _condition(file: GridFile, entry: Entry, row: str, cell: Cell) -> Cell | None:
    try:
        config = cell.config.with_overrides(entry.values)
    except UsageError as error:
        reason = str(error).removeprefix("override: ")
        file.note(entry.line, f"condition {entry.name!r} of {cell.name!r}: {reason}")
        return None
    both = {**cell.overrides, **entry.values}
    return Cell(row, both, config, entry.line, condition=entry.name, of=cell.name)
