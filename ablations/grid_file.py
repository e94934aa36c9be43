"""The yaml of a grid, read with its lines: every problem is told at once with the line it is in.

What keys and values mean is not known here; see :mod:`ablations.grid` for the format.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from hevitpose import yaml_file
from hevitpose.config.renamed import todays_name
from hevitpose.data.registry import ROWS
from hevitpose.errors import DataError, UsageError, first_line, unknown_name

#: The grids that come with the project.
GRIDS = Path(__file__).parent / "grids"
#: The grids of the main job, which have a table even before anything was run.
MAIN_GRIDS = ("attention", "downsampling", "ffn")
#: The cell that every grid compares with.
DEFAULT_CELL = "default"
#: What cells can be matched in, as their names say it.
MATCH_COSTS = {"flops": "FLOPs", "params": "params"}
#: A width whose cost differs from the default's by a larger share is not a match.
MATCH_TOLERANCE = 0.05
MODES = ("one-factor", "product", "zip")
#: What a grid may be judged by, as tables head it: PCKh at two thresholds, AP and AR, and what a
#: custom dataset's ``pck`` declares.
PRIMARIES = {
    **{"Mean": "PCKh@0.5", "Mean@0.1": "PCKh@0.1", "AP": "AP", "AR": "AR"},
    **{"PCK": "PCK", "PCKh": "PCKh"},
}
#: In ``primary:``, datasets that are not named.
OTHER = "other"
#: What verdicts are about where a grid's file names no primary metric, by dataset.
PRIMARY_METRICS = {name: row.primary_metric for name, row in ROWS.items()} | {OTHER: "AP"}
#: In ``evaluate:``, whose weights.
OF = "of"
#: The finding of a grid before its committed records hold a verdict.
NOTHING_MEASURED = "not measured yet"
_TEXTS = ("question", "command", "expected")
_KEYS = (*_TEXTS, "finding", "primary", "mode", "axes", "cells", "evaluate")
_Entries = dict[str, tuple[int, yaml.Node]]  # key -> (line, node of the value)


class Problem(NamedTuple):
    """What is wrong with a grid, and where."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


class Entry(NamedTuple):
    """A cell or a condition, as it is written."""

    name: str
    line: int
    values: Mapping[str, Any]  # dotted config key -> value
    lines: Mapping[str, int]  # of the keys
    of: Any = None  # of a condition, where lines has it: a cell, several, or "all"

    @classmethod
    def join(cls, levels: Sequence[Entry]) -> Entry:
        """One cell of a product or a zip."""
        values = {key: value for level in levels for key, value in level.values.items()}
        lines = {key: line for level in levels for key, line in level.lines.items()}
        return cls("+".join(level.name for level in levels), levels[-1].line, values, lines)


@dataclass
class GridFile:
    """What a file says.

    Attributes:
        problems: with it; more are added where the entries are made into cells.
    """

    path: Path
    texts: dict[str, str] = field(default_factory=lambda: dict.fromkeys(_TEXTS, ""))
    findings: tuple[str, ...] = ()  # one per setting under which the grid was measured
    primary: dict[str, str] = field(default_factory=lambda: dict(PRIMARY_METRICS))
    primary_line: int = 1
    cells: list[Entry] = field(default_factory=list)
    conditions: list[Entry] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def note(self, line: int, message: str) -> None:
        """One more problem."""
        self.problems.append(Problem(self.path.name, line, message))


def matched_name(cell: str, cost: str) -> str:
    """What ``--match`` calls the form of a cell that costs what the default does."""
    return f"{cell} ({MATCH_COSTS[cost]} matched)"


def judged_by(primary: Mapping[str, str], dataset: str, pck: str = "") -> str:
    """The metric of the verdicts on a dataset.

    Args:
        primary: dataset, or "other", to metric.
        dataset: its name.
        pck: the metric of a custom dataset that has no AP, where ``other: AP`` means it.
    """
    if dataset in primary:
        return primary[dataset]
    named = primary.get(OTHER, "Mean")
    return pck if pck and named == PRIMARY_METRICS[OTHER] else named


def read_grid_file(path: Path) -> GridFile:
    """Read a grid.

    Raises:
        UsageError: the file cannot be read.
    """
    file = GridFile(path)
    root = _compose(file)
    if root is None:
        return file
    entries = _entries(file, root, "the grid")
    for key, (line, _) in entries.items():
        if key not in _KEYS:
            file.note(line, str(unknown_name("key of a grid", key, _KEYS)))
    for key in _TEXTS:
        file.texts[key] = str(_value(file, entries[key][1])) if key in entries else ""
        if not file.texts[key].strip():
            file.note(1, f"{key}: missing, expected a text")
    file.findings = _findings(file, entries)
    file.cells = [*_axes(file, entries), *_named(file, entries, "cells")]
    file.conditions = list(_named(file, entries, "evaluate"))
    if "primary" in entries:
        file.primary_line = entries["primary"][0]
        file.primary = _primary(file, *entries["primary"])
    if not file.cells and "evaluate" not in entries and not file.problems:
        file.note(1, "the grid has no cells")
    return file


def _findings(file: GridFile, entries: _Entries) -> tuple[str, ...]:
    """``finding:`` is a text, or a list of texts, each of which opens with its setting."""
    line, node = entries.get("finding", (1, None))
    value = None if node is None else _value(file, node)
    texts = value if isinstance(value, list) else [value]
    found = [" ".join(text.split()) for text in texts if isinstance(text, str)]
    if not texts or len(found) < len(texts) or "" in found:
        file.note(line, "finding: missing, expected a text, or a list of texts")
        return ()
    return tuple(found)


def _compose(file: GridFile) -> yaml.MappingNode | None:
    try:
        node = yaml_file.compose(yaml_file.text_of(file.path))
    except DataError as error:
        raise UsageError(f"{error} of a grid") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        reason = getattr(error, "problem", None) or "damaged"
        file.note(mark.line + 1 if mark else 1, f"not yaml: {reason}")
        return None
    except yaml_file.YamlError as error:
        file.note(1, f"not yaml: {error}")
        return None
    if not isinstance(node, yaml.MappingNode):
        file.note(1, "expected a mapping with question, axes, cells ...")
        return None
    return node


def _entries(file: GridFile, node: yaml.Node, what: str) -> _Entries:
    """A mapping's keys with their lines, duplicates noted."""
    found: _Entries = {}
    if not isinstance(node, yaml.MappingNode):
        file.note(node.start_mark.line + 1, f"{what}: expected a mapping")
        return found
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if key_node.tag == yaml_file.MERGE:
            file.note(line, f"{what}: merge keys (<<) are not read in a grid, write the keys out")
            continue
        key = _value(file, key_node)
        if not isinstance(key, str):
            file.note(line, f"{what}: key {key!r}, expected a text")
        elif key in found:
            file.note(line, f"{what}: {key!r} is given twice (first in line {found[key][0]})")
        else:
            found[key] = (line, value_node)
    return found


def _value(file: GridFile, node: yaml.Node) -> Any:
    try:
        return yaml.SafeLoader("").construct_document(node)
    except Exception as error:  # of what looks like a date, a number or bytes, and is none
        line = node.start_mark.line + 1
        file.note(line, f"not a yaml value ({first_line(str(error))})")
        return None


def _primary(file: GridFile, line: int, node: yaml.Node) -> dict[str, str]:
    """The metric that verdicts are about, by dataset: named before anything is run."""
    found = {}
    for dataset, (at, value) in _entries(file, node, "primary").items():
        found[dataset] = str(_value(file, value))
        if dataset not in (*ROWS, OTHER):
            file.note(at, str(unknown_name("dataset of primary", dataset, (*ROWS, OTHER))))
        if found[dataset] not in PRIMARIES:
            file.note(at, str(unknown_name("primary metric", found[dataset], PRIMARIES)))
    if OTHER not in found and not file.problems:
        file.note(line, f"primary: expected {OTHER}: METRIC for datasets that are not named")
    return found


def _axes(file: GridFile, entries: _Entries) -> Iterator[Entry]:
    """The cells of the axes, combined as ``mode`` says."""
    mode = "one-factor"
    if "mode" in entries:
        line, node = entries["mode"]
        mode = _value(file, node)
        if mode not in MODES:
            file.note(line, str(unknown_name("mode", str(mode), MODES)))
            return
    if "axes" not in entries:
        return
    keys = _entries(file, entries["axes"][1], "axes")
    axes: list[list[Entry]] = []
    for key, (line, node) in keys.items():
        axes.append(list(_levels(file, todays_name(key), line, node, several=len(keys) > 1)))
        if not axes[-1]:
            file.note(line, f"{key}: no values, so the {mode} of the axes is empty")
    if mode == "one-factor":
        yield from itertools.chain(*axes)
    elif mode == "product":
        yield from (Entry.join(levels) for levels in itertools.product(*axes) if levels)
    elif len({len(values) for values in axes}) > 1:
        lengths = ", ".join(str(len(values)) for values in axes)
        file.note(entries["axes"][0], f"zip of axes of different lengths ({lengths})")
    else:
        yield from (Entry.join(levels) for levels in zip(*axes, strict=True))


def _levels(
    file: GridFile, key: str, line: int, node: yaml.Node, *, several: bool
) -> Iterator[Entry]:
    """The values of one axis; of several axes, a value's name says of which."""
    if isinstance(node, yaml.SequenceNode):
        prefix = f"{key.rpartition('.')[2]}-" if several else ""
        for item in node.value:
            value = _value(file, item)
            at = item.start_mark.line + 1
            yield Entry(prefix + _text(value), at, {key: value}, {key: line})
    elif isinstance(node, yaml.MappingNode):
        for name, (at, value) in _entries(file, node, key).items():
            yield Entry(name, at, {key: _value(file, value)}, {key: line})
    else:
        file.note(line, f"{key}: expected a list of values, or names with values")


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return "-".join(map(_text, value))
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


def _named(file: GridFile, entries: _Entries, section: str) -> Iterator[Entry]:
    """The entries of ``cells:`` or ``evaluate:``."""
    if section not in entries:
        return
    for name, (line, node) in _entries(file, entries[section][1], section).items():
        given: _Entries = {}
        for key, (at, value) in _entries(file, node, name).items():
            today = todays_name(key)
            if today in given:
                file.note(at, f"{name}: {key!r} and {today!r} are one key")
            given[today] = at, value
        lines = {key: at for key, (at, _) in given.items()}
        values = {key: _value(file, value) for key, (_, value) in given.items()}
        of = values.pop(OF, None) if section == "evaluate" else None
        yield Entry(name, line, values, lines, of)
