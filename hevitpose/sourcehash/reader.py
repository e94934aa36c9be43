"""Hashing a definition, narrowed to the alternatives that a run uses."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hevitpose.sourcehash.modules import Module, Part, imported, is_text

HASH_LENGTH = 16
_LEAVING = (ast.Return, ast.Raise, ast.Continue, ast.Break)
_NOT_HASHED = frozenset({"ctx", "kind", "type_comment"})


@dataclass(frozen=True)
class Axis:
    """Alternatives of which a run uses some."""

    selected: frozenset[str]
    alternatives: frozenset[str]

    @classmethod
    def of(cls, selected: Iterable[str] | str, alternatives: Iterable[str]) -> Axis:
        """From one or several selected names and all there are."""
        chosen = {selected} if isinstance(selected, str) else set(selected)
        return cls(frozenset(chosen), frozenset(alternatives) | chosen)


class Axes:
    """The axes of a run, with a key to remember results by."""

    def __init__(self, axes: Mapping[str, Axis]) -> None:
        self.axes = dict(axes)
        self.names = tuple(sorted(axes))
        self.key = tuple(sorted((k, tuple(sorted(v.selected))) for k, v in axes.items()))


_FIELDS: dict[type, tuple[str, ...]] = {}


def _fields(node: ast.AST) -> tuple[str, ...]:
    kind = type(node)
    if kind not in _FIELDS:
        _FIELDS[kind] = tuple(sorted(set(kind._fields) - _NOT_HASHED))
    return _FIELDS[kind]


def _dotted(node: ast.AST | None) -> tuple[str, ...] | None:
    """``a.b.c`` as its parts, or None where it is something else."""
    chain: list[str] = []
    while isinstance(node, ast.Attribute):
        chain.append(node.attr)
        node = node.value
    return (node.id, *reversed(chain)) if isinstance(node, ast.Name) else None


def _class_of(test: ast.expr) -> tuple[str, ...] | None:
    """The class that a test asks for: ``isinstance(x, C)``, ``type(x) is C``, ``... and ...``."""
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
        return next((key for value in test.values if (key := _class_of(value))), None)
    if isinstance(test, ast.Call) and isinstance(test.func, ast.Name) and len(test.args) == 2:
        return _dotted(test.args[1]) if test.func.id == "isinstance" else None
    if isinstance(test, ast.Compare) and isinstance(test.ops[0], ast.Is) and len(test.ops) == 1:
        left = test.left
        if (
            isinstance(left, ast.Call)
            and isinstance(left.func, ast.Name)
            and left.func.id == "type"
        ):
            return _dotted(test.comparators[0])
    return None


class Reader:
    """Hashes a definition and notes the names it reads, without what the axes rule out."""

    def __init__(self, axes: Mapping[str, Axis], package: str) -> None:
        self.axes, self.package = axes, package
        self.narrowed = False  # whether an axis decided anything
        self.base: ast.Name | None = None  # where the attribute chain being read starts
        self.text: list[str] = []
        self.names: set[tuple[str, ...]] = set()
        self.imports: set[tuple[str, str | None]] = set()
        self.entries: list[tuple[tuple[str, ...], Part]] = []

    def read(self, node: object) -> None:
        """Takes in a node, a list of nodes, or a plain value."""
        if isinstance(node, list):
            self.text.append("[")
            self._items(node)
            self.text.append("]")
        elif isinstance(node, ast.AST):
            self._node(node)
        else:
            self.text.append(f"{type(node).__name__}:{node!r}")

    def _items(self, items: Sequence[object]) -> bool:
        """Reads a list up to where an axis ends it: ``if AXIS == chosen: return``."""
        for item in items:
            truth = self._decide(item.test) if isinstance(item, ast.If) else None
            if truth is not None and isinstance(item, ast.If):
                branch = item.body if truth else item.orelse
                if self._items(branch) or (branch and isinstance(branch[-1], _LEAVING)):
                    return True
            elif isinstance(item, ast.If) and (key := _class_of(item.test)) is not None:
                self._set_apart(key, [item.test, *item.body])
                self.text.append(f"If(by class {'.'.join(key)})")
                self._items(item.orelse)
            elif not is_text(item):
                self.read(item)
                self.text.append(",")
        return False

    def _node(self, node: ast.AST) -> None:
        if isinstance(node, ast.IfExp):
            truth = self._decide(node.test)
            if truth is not None:
                return self.read(node.body if truth else node.orelse)
        if isinstance(node, ast.Dict):
            if self._by_name(node):
                return
            node = self._narrow(node)
        self._note(node)
        self.text.append(type(node).__name__ + "(")
        for name in _fields(node):
            value = getattr(node, name, None)
            if value is None or (isinstance(value, list) and not value):
                continue
            self.text.append(name + "=")
            self.read(value)
        self.text.append(")")

    def _by_name(self, node: ast.Dict) -> bool:
        """Sets entries of ``{MHSA: TrainMHSA}`` apart: whether one counts is its key's matter."""
        keys = [_dotted(key) for key in node.keys]
        if not keys or None in keys:
            return False
        for key, pair in zip(keys, zip(node.keys, node.values, strict=True), strict=True):
            assert key is not None
            self._set_apart(key, list(pair))
        self.text.append("Dict(by name)")
        return True

    def _set_apart(self, key: tuple[str, ...], nodes: list[ast.AST | None]) -> None:
        reader = Reader(self.axes, self.package)
        reader.read(nodes)
        self.narrowed |= reader.narrowed
        self.entries.append((key, reader.part()))

    def part(self) -> Part:
        """What was read."""
        digest = hashlib.sha256("".join(self.text).encode()).hexdigest()[:HASH_LENGTH]
        return Part(digest, frozenset(self.names), frozenset(self.imports), tuple(self.entries))

    def _note(self, node: ast.AST) -> None:
        if isinstance(node, ast.Name):
            if node is not self.base:
                self.names.add((node.id,))
        elif isinstance(node, ast.Attribute):
            dotted = _dotted(node)
            base = node.value
            while isinstance(base, ast.Attribute):
                base = base.value
            if dotted is not None and isinstance(base, ast.Name) and base is not self.base:
                self.base = base  # `tools.polish` reads tools.polish, not all of tools
                self.names.add(dotted)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            self.imports |= {target for _, target in imported(self.package, node)}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if "." in node.value and node.value.replace(".", "").isidentifier():
                self.imports.add((node.value, None))  # importlib.import_module("hevitpose.x")

    def _decide(self, test: ast.expr) -> bool | None:
        """The truth of a test that an axis settles, else None."""
        if isinstance(test, ast.BoolOp):
            known = [self._decide(value) for value in test.values]
            settled = isinstance(test.op, ast.Or)
            if settled in known:
                return settled
            return None if None in known else not settled
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            inner = self._decide(test.operand)
            return None if inner is None else not inner
        if not (isinstance(test, ast.Compare) and len(test.ops) == 1):
            return None
        left = test.left
        name = left.attr if isinstance(left, ast.Attribute) else getattr(left, "id", None)
        if not isinstance(name, str) or name not in self.axes:
            return None
        if len(self.axes[name].selected) != 1:
            return None
        try:
            right = ast.literal_eval(test.comparators[0])
        except ValueError:
            return None
        (value,) = self.axes[name].selected
        values = right if isinstance(right, (tuple, list, set)) else (right,)
        if not set(values) <= self.axes[name].alternatives:  # another thing of the same name
            return None
        self.narrowed = True
        if isinstance(test.ops[0], (ast.Eq, ast.In)):
            return value in values
        return value not in values if isinstance(test.ops[0], (ast.NotEq, ast.NotIn)) else None

    def _narrow(self, node: ast.Dict) -> ast.Dict:
        """A registry with only its selected entries."""
        keys = [key.value if isinstance(key, ast.Constant) else None for key in node.keys]
        for axis in self.axes.values():
            if len(keys) > 1 and set(keys) <= axis.alternatives and set(keys) & axis.selected:
                self.narrowed = True
                kept = [i for i, key in enumerate(keys) if key in axis.selected]
                return ast.Dict([node.keys[i] for i in kept], [node.values[i] for i in kept])
        return node


def read_part(module: Module, name: str, nodes: Sequence[ast.AST], axes: Axes) -> Part:
    """A definition hashed; kept for these axes, or for any choice of theirs if none decides.

    Which axes there are always matters: without an attention axis nothing is narrowed by it.
    """
    for key in ((name, axes.names), (name, axes.key)):
        if key in module.parts:
            return module.parts[key]
    reader = Reader(axes.axes, module.package)
    for node in nodes:
        reader.read(node)
    part = reader.part()
    module.parts[name, axes.key if reader.narrowed else axes.names] = part
    return part
