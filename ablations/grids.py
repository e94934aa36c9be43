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
      no-flip-test: {evaluation.flip_test: false}              # of the default
      argmax: {of: [mhsa, default], codec.decoder: argmax}  # of these, or of: all

Every grid also has the shared default, the base configuration itself; a listed cell that resolves
to it *is* the default, under the name it has in the grid. Everything is validated before anything
trains, and all problems are told at once with their lines.
"""

from __future__ import annotations

import ast
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import BaseModel

from hevitpose.config.schema import Config, ids_of
from hevitpose.errors import UsageError, unknown_name
from hevitpose.records.identity import config_hash
from hevitpose.spec import ATTENTIONS, DATASETS, PEERS, PRIMARY_METRICS, STRIDE_MULTIPLE, full_name

FOLDER = Path(__file__).parent
#: What runs when no grid is named.
EMBEDDED = ("attention", "downsampling", "ffn")
DEFAULT = "default"
MODES = ("one-factor", "product", "zip")
_TEXTS = ("question", "command", "expected", "finding")
_KEYS = (*_TEXTS, "primary", "mode", "axes", "cells", "evaluate")
#: What a grid may be judged by: PCKh at two thresholds, AP and AR of the evaluators.
PRIMARIES = ("Mean", "Mean@0.1", "AP", "AR")
#: In ``primary:``, datasets that are not named.
OTHER = "other"
#: In ``evaluate:``, whose weights; every trained cell's.
_OF, _ALL = "of", "all"
#: Keys that are in ids by what they name, and of which a grid can vary the evaluation.
_AXES_BY_PROXY = frozenset(("data.box_source",))


class Problem(NamedTuple):
    """What is wrong with a grid, and where."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


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


@dataclass(frozen=True)
class Grid:
    """A question and its cells, the default first."""

    name: str
    question: str
    command: str
    expected: str
    finding: str
    cells: tuple[Cell, ...]
    primary: Mapping[str, str] = field(default_factory=dict)  # dataset, or "other" -> metric

    def select(self, names: Sequence[str]) -> Grid:
        """Only these cells, and the default.

        Raises:
            UsageError: a name that is no cell.
        """
        known = [cell.name for cell in self.cells]
        for name in names:
            if name not in (*known, DEFAULT):
                raise unknown_name(f"cell of grid {self.name}", name, {*known, DEFAULT})
        wanted = {*names, *(cell.of for cell in self.cells if cell.name in names)}
        kept = tuple(c for c in self.cells if c.is_default or c.name in wanted)
        return replace(self, cells=kept)


def available() -> tuple[str, ...]:
    """Names of the grids that come with the project."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


def load_grids(names: Sequence[str], base: Config) -> list[Grid]:
    """Grids on a base configuration.

    Args:
        names: of shipped grids, or yaml files.
        base: what the default cell is.

    Raises:
        UsageError: an unknown grid; or everything that is wrong with the grids, a line each.
    """
    problems: list[Problem] = []
    refusal = refused(base)
    if refusal:
        raise UsageError(f"the default cell: {refusal}")
    grids = []
    for name in dict.fromkeys(names):
        path = Path(name)
        if path.suffix not in (".yaml", ".yml"):
            if name not in available():
                raise unknown_name("grid", name, (*available(), "FILE.yaml"))
            path = FOLDER / f"{name}.yaml"
        reader = _Reader(path, base)
        grid = reader.read()
        problems += reader.problems
        if grid is not None:
            grids.append(grid)
    if problems:
        raise UsageError("\n".join(str(p) for p in sorted(set(problems))))
    return grids


@dataclass
class _Reader:
    """One file to a grid, collecting problems."""

    path: Path
    base: Config
    problems: list[Problem] = field(default_factory=list)

    def note(self, line: int, message: str) -> None:
        self.problems.append(Problem(self.path.name, line, message))

    def read(self) -> Grid | None:
        root = self._compose()
        if root is None:
            return None
        entries = self._entries(root, "the grid")
        for key, (line, _) in entries.items():
            if key not in _KEYS:
                self.note(line, str(unknown_name("key of a grid", str(key), _KEYS)))
        texts = {key: str(self._value(entries[key][1])) for key in _TEXTS if key in entries}
        for key in _TEXTS:
            if not texts.get(key, "").strip():
                self.note(1, f"{key}: missing, expected a text")
        raw = [*self._axes(entries), *self._cells(entries)]
        if not raw and "evaluate" not in entries and not self.problems:
            self.note(1, "the grid has no cells")
        cells = self._resolve(raw)
        cells += self._conditions(entries, cells)
        return Grid(
            self.path.stem,
            **{k: texts.get(k, "") for k in _TEXTS},
            cells=tuple(cells),
            primary=self._primary(entries),
        )

    def _primary(self, entries: Mapping[Any, tuple[int, yaml.Node]]) -> dict[str, str]:
        """The metric that verdicts are about, by dataset: named before anything is run."""
        if "primary" not in entries:
            return dict(PRIMARY_METRICS)
        line, node = entries["primary"]
        found = {}
        for dataset, (at, value) in self._entries(node, "primary").items():
            found[dataset] = str(self._value(value))
            if dataset not in (*DATASETS, OTHER):
                self.note(at, str(unknown_name("dataset of primary", dataset, (*DATASETS, OTHER))))
            if found[dataset] not in PRIMARIES:
                self.note(at, str(unknown_name("primary metric", found[dataset], PRIMARIES)))
        if OTHER not in found and not self.problems:
            self.note(line, f"primary: expected {OTHER}: METRIC for datasets that are not named")
        return found

    # The file --------------------------------------------------------------------------------

    def _compose(self) -> yaml.MappingNode | None:
        try:
            node = yaml.compose(self.path.read_text(encoding="utf-8"), yaml.SafeLoader)
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{self.path}: cannot be read ({error})") from None
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            reason = getattr(error, "problem", None) or "damaged"
            self.note(mark.line + 1 if mark else 1, f"not yaml: {reason}")
            return None
        if not isinstance(node, yaml.MappingNode):
            self.note(1, "expected a mapping with question, axes, cells ...")
            return None
        return node

    def _entries(self, node: yaml.Node, what: str) -> dict[Any, tuple[int, yaml.Node]]:
        """Key -> (line, node of the value), duplicates named."""
        found: dict[Any, tuple[int, yaml.Node]] = {}
        if not isinstance(node, yaml.MappingNode):
            self.note(node.start_mark.line + 1, f"{what}: expected a mapping")
            return found
        for key_node, value_node in node.value:
            key, line = self._value(key_node), key_node.start_mark.line + 1
            if not isinstance(key, str):
                self.note(line, f"{what}: key {key!r}, expected a text")
            elif key in found:
                self.note(line, f"{what}: {key!r} is given twice (first in line {found[key][0]})")
            else:
                found[key] = (line, value_node)
        return found

    def _value(self, node: yaml.Node) -> Any:
        loader = yaml.SafeLoader("")
        try:
            return loader.construct_document(node)
        except (yaml.YAMLError, ValueError) as error:
            self.note(node.start_mark.line + 1, f"not a yaml value ({str(error).splitlines()[0]})")
            return None

    # Cells -----------------------------------------------------------------------------------

    def _axes(self, entries: Mapping[Any, tuple[int, yaml.Node]]) -> Iterator[_Raw]:
        mode = "one-factor"
        if "mode" in entries:
            line, node = entries["mode"]
            mode = self._value(node)
            if mode not in MODES:
                self.note(line, str(unknown_name("mode", str(mode), MODES)))
                return
        if "axes" not in entries:
            return
        axes: list[list[_Raw]] = []
        several = len(self._entries(entries["axes"][1], "axes")) > 1
        for key, (line, node) in self._entries(entries["axes"][1], "axes").items():
            if self._known_key(key, line):
                values = list(self._levels(key, line, node, several))
                if not values:
                    self.note(line, f"{key}: no values, so the {mode} of the axes is empty")
                axes.append(values)
        if mode == "one-factor":
            yield from itertools.chain(*axes)
        elif mode == "product":
            yield from (_Raw.join(levels) for levels in itertools.product(*axes) if levels)
        else:
            if len({len(values) for values in axes}) > 1:
                lengths = ", ".join(str(len(values)) for values in axes)
                self.note(entries["axes"][0], f"zip of axes of different lengths ({lengths})")
                return
            yield from (_Raw.join(levels) for levels in zip(*axes, strict=True))

    def _levels(self, key: str, line: int, node: yaml.Node, several: bool) -> Iterator[_Raw]:
        if isinstance(node, yaml.SequenceNode):
            for item in node.value:
                value = self._value(item)
                name = _text(value)
                if several:
                    name = f"{key.rpartition('.')[2]}-{name}"
                yield _Raw(name, {key: value}, item.start_mark.line + 1)
        elif isinstance(node, yaml.MappingNode):
            for name, (at, value) in self._entries(node, key).items():
                yield _Raw(name, {key: self._value(value)}, at)
        else:
            self.note(line, f"{key}: expected a list of values, or names with values")

    def _cells(self, entries: Mapping[Any, tuple[int, yaml.Node]]) -> Iterator[_Raw]:
        if "cells" not in entries:
            return
        for name, (line, node) in self._entries(entries["cells"][1], "cells").items():
            overrides = {}
            known = True
            for key, (at, value) in self._entries(node, name).items():
                known = self._known_key(key, at) and known
                overrides[key] = self._value(value)
            if known:
                yield _Raw(name, overrides, line)

    def _conditions(
        self, entries: Mapping[Any, tuple[int, yaml.Node]], trained: Sequence[Cell]
    ) -> list[Cell]:
        """Each condition of ``evaluate:`` on the cells that it names."""
        if "evaluate" not in entries:
            return []
        cells: list[Cell] = []
        names = {DEFAULT: trained[0], **{cell.name: cell for cell in trained}}
        seen = {config_hash(cell.config): cell.name for cell in trained}
        taken = set(names)
        for name, (line, node) in self._entries(entries["evaluate"][1], "evaluate").items():
            given = self._entries(node, name)
            of = self._of(name, given.pop(_OF, None), names)
            overrides = {}
            for key, (at, value) in given.items():
                reason = refused_key(key) or _trains(key)
                if reason:
                    self.note(at, reason)
                overrides[key] = self._value(value)
            if not overrides:
                self.note(line, f"condition {name!r}: no keys, so it is the plain evaluation")
            if self.problems:
                continue
            for cell in of:
                row = name if len(of) == 1 else f"{cell.name} @ {name}"
                found = self._condition(row, line, cell, overrides, name)
                if found is None:
                    continue
                key = config_hash(found.config)
                if row in taken or "," in row:
                    self.note(line, f"condition {row!r}: a cell has this name, or it has a comma")
                elif key in seen:
                    self.note(line, f"condition {row!r} is the same as {seen[key]!r}")
                taken.add(row)
                seen[key] = row
                cells.append(found)
        return cells

    def _of(
        self, name: str, given: tuple[int, yaml.Node] | None, names: Mapping[str, Cell]
    ) -> list[Cell]:
        """The cells that a condition names: the default where it names none."""
        if given is None:
            return [names[DEFAULT]]
        line, node = given
        value = self._value(node)
        wanted = [value] if isinstance(value, str) else value
        if wanted == [_ALL]:
            return list(dict.fromkeys(names.values()))
        if not isinstance(wanted, list) or not wanted:
            self.note(line, f"condition {name!r}: {_OF}: expected a cell, a list of them, or all")
            return []
        for cell in wanted:
            if cell not in names:
                self.note(line, str(unknown_name(f"cell of {name!r}", str(cell), names)))
        return [names[cell] for cell in wanted if cell in names]

    def _condition(
        self, row: str, line: int, cell: Cell, overrides: Mapping[str, Any], condition: str
    ) -> Cell | None:
        try:
            config = cell.config.with_overrides(overrides)
        except UsageError as error:
            reason = str(error).removeprefix("override: ")
            self.note(line, f"condition {condition!r} of {cell.name!r}: {reason}")
            return None
        both = {**cell.overrides, **overrides}
        return Cell(row, both, config, line, condition=condition, of=cell.name)

    def _known_key(self, key: str, line: int) -> bool:
        reason = refused_key(key)
        if reason:
            self.note(line, reason)
        return reason is None

    def _resolve(self, raw: Sequence[_Raw]) -> list[Cell]:
        default = Cell(DEFAULT, {}, self.base, 1, is_default=True)
        default_key = config_hash(self.base)
        cells: list[Cell] = []
        names: dict[str, int] = {DEFAULT: 0}
        resolved: dict[str, _Raw] = {}
        for item in raw:
            if names.get(item.name):
                message = f"cell {item.name!r} is there already (line {names[item.name]})"
                self.note(item.line, message)
                continue
            if item.name == DEFAULT or "," in item.name or not item.name:
                self.note(item.line, f"cell name {item.name!r}: reserved, empty or with a comma")
                continue
            names[item.name] = item.line
            try:
                config = self.base.with_overrides(item.overrides)
                reason = refused(config)
            except UsageError as error:
                reason = str(error).removeprefix("override: ")
            if reason:
                self.note(item.line, f"cell {item.name!r}: {reason}")
                continue
            key = config_hash(config)
            if key == default_key:
                if default.name == DEFAULT:
                    default = Cell(item.name, {}, config, item.line, is_default=True)
                continue
            if key in resolved:
                other = resolved[key]
                message = f"cell {item.name!r} is the same as {other.name!r} (line {other.line})"
                self.note(item.line, message)
                continue
            resolved[key] = item
            cells.append(Cell(item.name, item.overrides, config, item.line))
        return [default, *cells]


class _Raw(NamedTuple):
    """A cell before it is resolved."""

    name: str
    overrides: dict[str, Any]
    line: int

    @classmethod
    def join(cls, levels: Sequence[_Raw]) -> _Raw:
        overrides = {k: v for level in levels for k, v in level.overrides.items()}
        return cls("+".join(level.name for level in levels), overrides, levels[-1].line)


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return "-".join(map(_text, value))
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


# What a configuration is, and what the network refuses ------------------------------------------


def refused_key(key: str) -> str | None:
    """Why a config key cannot be an axis, or None."""
    section: Any = Config
    for part in key.split("."):
        fields = section.model_fields if _is_section(section) else {}
        if part not in fields:
            return str(unknown_name("axis", key, _axes_like(key)))
        if not ids_of(fields[part]) and key not in _AXES_BY_PROXY:
            return f"axis {key!r}: a path, display or worker setting, it changes no result"
        section = fields[part].annotation
    if key == "seed":
        return "axis 'seed': every cell runs all seeds, use --seeds"
    return f"axis {key!r}: a section, expected a key of it" if _is_section(section) else None


def _trains(key: str) -> str | None:
    """Why a key cannot stand under ``evaluate:``, or None."""
    section: Any = Config
    *parents, last = key.split(".")
    for part in parents:
        section = section.model_fields[part].annotation
    if key in _AXES_BY_PROXY or ids_of(section.model_fields[last]) == ("evaluation",):
        return None
    return f"condition key {key!r}: it changes the training, so it belongs under axes or cells"


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _axes_like(key: str) -> list[str]:
    """Keys that can be axes; of the key's own section, where there is one."""
    known = [name for name in _keys(Config) if refused_key(name) is None]
    section = f"{key.partition('.')[0]}."
    return [name for name in known if name.startswith(section)] or known


def _keys(section: Any, prefix: str = "") -> Iterator[str]:
    for name, info in section.model_fields.items():
        if _is_section(info.annotation):
            yield from _keys(info.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name


def refused(config: Config) -> str | None:
    """Why the network of a valid configuration could not be built, without building it."""
    if full_name(config.model.name) in PEERS:
        return None
    spec = config.model.spec()
    known = {*ATTENTIONS, *registered(config.imports)}
    if spec.attention not in known:
        return str(unknown_name("model.attention", spec.attention, known))
    if spec.attention in ("cgsr", "sra"):
        steps = (s * r for s, r in zip((4, 8, 16), spec.reductions, strict=True))
        multiple = math.lcm(STRIDE_MULTIPLE, *steps)
        if any(side % multiple for side in config.data.input_size):
            return (
                f"data.input_size: {list(config.data.input_size)}, expected multiples of "
                f"{multiple} (model.reductions {list(spec.reductions)})"
            )
    if spec.attention == "cga":
        for stage, (width, groups) in enumerate(zip(spec.widths, spec.groups, strict=True), 1):
            if width % groups:
                return f"model: stage {stage}: groups {groups} does not divide {width} channels"
    return None


def registered(files: Sequence[Path]) -> set[str]:
    """Names that users' modules register with ``@register_attention``, read without importing.

    Raises:
        UsageError: a file that cannot be read or is not Python.
    """
    names: set[str] = set()
    for file in files:
        try:
            tree = ast.parse(file.read_bytes(), filename=str(file))
        except OSError as error:
            raise UsageError(f"--import {file}: cannot be read ({error.strerror})") from None
        except (SyntaxError, ValueError) as error:
            raise UsageError(f"--import {file}: not Python ({error})") from None
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                called = getattr(node.func, "attr", getattr(node.func, "id", None))
                if called == "register_attention":
                    names.add(str(node.args[0].value))
    return names
