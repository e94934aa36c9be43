"""What a grid's yaml file says: its question, finding, primary metrics, and cells."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from hevitpose.config import Config
from hevitpose.config.renamed import todays_name
from hevitpose.errors import DataError
from hevitpose.models.spec import PRIMARY_METRICS, VARIANTS
from hevitpose.records import Record
from reports.load import flatten

GRIDS = Path(__file__).resolve().parents[1] / "ablations" / "grids"

#: Cells by name, each as the config keys that it sets.
Overrides = Mapping[str, Mapping[str, Any]]


def grid_file(name: str) -> dict[str, object]:
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
    found = grid_file(name).get("primary")
    if not isinstance(found, dict):
        return dict(PRIMARY_METRICS)
    return {str(dataset): str(metric) for dataset, metric in found.items()}


def finding_of(name: str) -> str:
    """What the grid's file says was found."""
    return " ".join(str(grid_file(name).get("finding", "")).split())


def question_of(name: str) -> str:
    """What the grid asks."""
    return " ".join(str(grid_file(name).get("question", "")).split())


def listed_cells(name: str, default: Record | None) -> dict[str, dict[str, Any]]:
    """The cells that a grid's file describes, but for those that are the default.

    Args:
        name: of the grid.
        default: a record of the default cell, which says what needs no mention.

    Returns:
        Name -> config keys and values that differ from the default's, in the file's order.
    """
    data = grid_file(name)
    axes, cells = data.get("axes"), data.get("cells")
    raw = list(_combinations(axes, data.get("mode"))) if isinstance(axes, Mapping) else []
    for cell, overrides in cells.items() if isinstance(cells, Mapping) else ():
        raw.append((str(cell), overrides if isinstance(overrides, Mapping) else {"": overrides}))
    found: dict[str, dict[str, Any]] = {}
    for cell, overrides in raw:
        given = {todays_name(str(key)): value for key, value in overrides.items()}
        own = {k: v for k, v in given.items() if not _is_default(k, v, default)}
        if own:
            found[cell] = own
    return found


def _combinations(axes: Mapping[str, Any], mode: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """The cells of ``axes:``, named as ``ablations`` names them (a test compares the two)."""
    levels = [
        [(name, {axis: value}) for name, value in _named(axis, values, len(axes) > 1)]
        for axis, values in axes.items()
    ]
    combined: Iterable[Sequence[tuple[str, dict[str, Any]]]]
    if mode == "product":
        combined = itertools.product(*levels)
    elif mode == "zip":
        combined = zip(*levels, strict=False)
    else:
        combined = ([level] for level in itertools.chain(*levels))
    for parts in combined:
        overrides = {key: value for _, given in parts for key, value in given.items()}
        yield "+".join(name for name, _ in parts), overrides


def _named(axis: str, values: Any, several: bool) -> list[tuple[str, Any]]:
    if isinstance(values, Mapping):
        return [(str(name), value) for name, value in values.items()]
    before = f"{axis.rpartition('.')[2]}-" if several else ""
    many = values if isinstance(values, list) else []
    return [(before + _text(value), value) for value in many]


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "-".join(map(_text, value))
    return ("on" if value else "off") if isinstance(value, bool) else str(value)


def value_of(record: Record, axis: str) -> Any:
    """What a record's cell has on an axis: said by its config, else its variant or the schema."""
    config = flatten(record.config)
    if axis in config:
        return config[axis]
    if axis.startswith("model."):
        return getattr(VARIANTS.get(record.model), axis.removeprefix("model."), None)
    return flatten(Config().dump()).get(axis)


def cell_of(record: Record, cells: Overrides, axes: set[str], default: Record) -> str | None:
    """The cell of a grid that a record of another grid measures too, or None.

    Args:
        record: of the same setting as the grid's (:func:`reports.load.setting`).
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
        value = flatten(Config().dump()).get(axis)
    return _plain(value) == level and isinstance(value, bool) == isinstance(level, bool)
