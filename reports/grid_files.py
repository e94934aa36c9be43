"""What a grid's yaml file says, as reports need it: texts, primary metrics, and cells."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ablations.grid_file import DEFAULT_CELL, GRIDS, OF, PRIMARY_METRICS, GridFile, read_grid_file
from hevitpose.config import Config
from hevitpose.files import is_file
from hevitpose.models.spec import VARIANTS
from hevitpose.records import Record
from reports.settings import flatten

#: Cells by name, each as the config keys that it sets.
Overrides = Mapping[str, Mapping[str, Any]]


def _read(name: str) -> GridFile | None:
    """The grid's own description, where the project has one."""
    path = GRIDS / f"{name}.yaml"
    known = re.fullmatch(r"[A-Za-z0-9_-]+", name) and is_file(path)
    return _parsed(path, path.stat().st_mtime_ns) if known else None


@cache
def _parsed(path: Path, changed: int) -> GridFile:
    return read_grid_file(path)


def primary_of(name: str) -> dict[str, str]:
    """Dataset, or "other", to the metric that the grid's file names."""
    file = _read(name)
    return file.primary if file else dict(PRIMARY_METRICS)


def findings_of(name: str) -> tuple[str, ...]:
    """What the grid's file says was found, a text per setting that was measured."""
    file = _read(name)
    return file.findings if file else ()


def question_of(name: str) -> str:
    """What the grid asks."""
    file = _read(name)
    return " ".join(file.texts["question"].split()) if file else ""


def listed_cells(name: str, default: Record | None) -> dict[str, dict[str, Any]]:
    """The cells that a grid's file describes, but for those that are the default.

    A condition of one cell (``evaluate:``) is a row too; those of several are not listed.

    Args:
        name: of the grid.
        default: a record of the default cell, which says what needs no mention.

    Returns:
        Name -> config keys and values that differ from the default's, in the file's order.
    """
    file = _read(name)
    found: dict[str, dict[str, Any]] = {}
    for entry in file.cells if file else ():
        own = {k: v for k, v in entry.values.items() if not _is_default(k, v, default)}
        if own:
            found[entry.name] = own
    for entry in file.conditions if file else ():
        whose = entry.of if OF in entry.lines else DEFAULT_CELL
        if isinstance(whose, str) and (whose in found or whose == DEFAULT_CELL):
            found[entry.name] = {**found.get(whose, {}), **entry.values}
    return found


def value_of(record: Record, axis: str) -> Any:
    """What a record's cell has on an axis: said by its config, else its variant or the schema."""
    config = flatten(record.config)
    if axis in config:
        return config[axis]
    if axis.startswith("model."):
        return getattr(VARIANTS.get(record.model), axis.removeprefix("model."), None)
    return _defaults().get(axis)


def configuration(record: Record, axes: Iterable[str]) -> str:
    """Equal for records of one setting that have the same values on these axes."""
    values = {axis: _plain(value_of(record, axis)) for axis in axes}
    return json.dumps(values, sort_keys=True, default=str)


@cache
def _defaults() -> dict[str, Any]:
    """Dotted keys of the schema's own config."""
    return flatten(Config().dump())


def cell_of(record: Record, cells: Overrides, axes: set[str], default: Record) -> str | None:
    """The cell of a grid that a record of another grid measures too, or None.

    Args:
        record: of the same setting as the grid's (:func:`reports.settings.setting`).
        cells: of :func:`listed_cells`.
        axes: every config key that the grid varies.
        default: a record of the grid's default cell.
    """
    own = {axis: _plain(value_of(record, axis)) for axis in axes}
    stock = {axis: _plain(value_of(default, axis)) for axis in axes}
    for cell, overrides in cells.items():
        if own == stock | {key: _plain(value) for key, value in overrides.items()}:
            return cell
    return None


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _is_default(axis: str, level: object, default: Record | None) -> bool:
    """Whether the default has this value: its record says it, else its variant or the schema."""
    if default is not None:
        value = value_of(default, axis)
    elif axis.startswith("model."):
        value = getattr(VARIANTS["hevitpose_b"], axis.removeprefix("model."), None)
    else:
        value = _defaults().get(axis)
    return _plain(value) == level and isinstance(value, bool) == isinstance(level, bool)
