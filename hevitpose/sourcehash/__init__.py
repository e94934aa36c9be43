"""Source hash: which code a run depends on, without importing any of it.

From entry points, the definitions that a run reaches by name are followed through imports over the
modules of some packages; each is hashed over its syntax tree, without docstrings, positions and
empty fields (an own walk: ``ast.dump`` differs between Python versions). So a comment, a moved
function or a new alternative that nobody selected changes nothing; an edit of reached code does.

Alternatives that are chosen by name are narrowed to what the configuration selects. An
:class:`Axis` names them; four forms are understood, wherever they stand in reached code:

* a registry, ``{"standard": FFN, "gated": GatedFFN}``: keys all alternatives of one axis;
* a registration, ``@register_attention("mhsa")`` above a definition: ``register_`` + axis;
* a dict keyed by classes, ``{MHSA: TrainMHSA}``, and a test ``if isinstance(x, MHSA):`` or
  ``if type(x) is MHSA:``: entry and branch count if the class is reached by other ways;
* a test, ``if spec.downsampling == "ope":``: a name or attribute called like the axis, compared
  with ``==``, ``!=``, ``in`` or ``not in`` to constants.

What cannot be seen statically (a name put together at run time, a module of another package) is
not followed; code that takes a whole module as a value reaches all of that module.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hevitpose.errors import UsageError
from hevitpose.sourcehash.modules import WHOLE, Module, Part, load_module
from hevitpose.sourcehash.reader import HASH_LENGTH, Axes, Axis, read_part

__all__ = ["ROOT", "Axis", "Rules", "SourceHash", "source_hash"]

#: The folder that holds the package, in a checkout and where it is installed.
ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class SourceHash:
    """The hash, and what it is made of."""

    hash: str
    files: dict[str, str]  # path relative to the root (a user's file: its name) -> hash
    definitions: tuple[str, ...]  # "hevitpose.codec:encode", sorted

    def is_in(self, files: Mapping[str, str]) -> bool:
        """Whether a run with these files' hashes had all of this code as it is here.

        It may have counted more: a later version of the project may know better what a run does
        not depend on, and that changes no result.
        """
        return all(files.get(path) == digest for path, digest in self.files.items())


@dataclass(frozen=True)
class Rules:
    """How a run's code is followed.

    Attributes:
        packages: only modules of these are followed.
        skip: modules (with all below them) that do not matter, or that this run cannot reach.
        schemas: modules of typed configuration. Their values are part of an id themselves, so of
            their classes only the properties count, and of the rest nothing: a new field at its
            neutral value leaves every id as it was.
    """

    packages: tuple[str, ...] = ("hevitpose",)
    skip: tuple[str, ...] = ()
    schemas: tuple[str, ...] = ()


_Waiting = tuple[Module, str, tuple[str, ...], Part]  # of which module, label, class, entry


class Walk:
    """The definitions reached from some entry points."""

    def __init__(self, root: Path, rules: Rules, axes: Mapping[str, Axis]) -> None:
        self.root, self.rules, self.axes = root, rules, Axes(axes)
        self.modules: dict[str, Module | None] = {}
        self.reached: dict[tuple[str, str], str] = {}  # (module, definition) -> hash
        self.entered: set[str] = set()
        self.todo: list[tuple[Module, str, Sequence[ast.AST]]] = []

    def module(self, name: str) -> Module | None:
        """A followed module of this dotted name, or None."""
        if name not in self.modules:
            self.modules[name] = None
            followed = name.partition(".")[0] in self.rules.packages
            skipped = any(name == s or name.startswith(f"{s}.") for s in self.rules.skip)
            if followed and not skipped and all(p.isidentifier() for p in name.split(".")):
                path = self.root.joinpath(*name.split("."))
                for candidate in (path / "__init__.py", path.with_suffix(".py")):
                    if candidate.is_file():
                        self.modules[name] = load_module(name, candidate)
                        break
        return self.modules[name]

    def run(self) -> None:
        """Follows names until nothing new is reached."""
        waiting: list[_Waiting] = []
        while self.todo or waiting:
            while self.todo:
                module, name, nodes = self.todo.pop()
                part = read_part(module, name, nodes, self.axes)
                waiting += self.take(module, name, part)
            used = [item for item in waiting if self.uses(item[0], item[2])]
            waiting = [item for item in waiting if not self.uses(item[0], item[2])]
            for module, name, _, entry in used:
                waiting += self.take(module, name, entry)
            if not used:
                break

    def take(self, module: Module, name: str, part: Part) -> list[_Waiting]:
        """Counts a part, and reaches what it reads; what waits for a class is given back."""
        self.reached[module.name, name] = part.hash
        for dotted in part.names:
            self.resolve(module, dotted)
        for source, imported in part.imports:
            self.target(source, imported, ())
        return [
            (module, f"{name}[{number}:{'.'.join(key)}]", key, entry)
            for number, (key, entry) in enumerate(part.entries)
        ]

    def uses(self, module: Module, key: tuple[str, ...]) -> bool:
        """Whether a dict's entry counts: its key is no followed class, or a reached one."""
        found = self.locate(module, key)
        if found is None:
            return True
        owner, name = found
        is_class = all(isinstance(node, ast.ClassDef) for node in owner.definitions[name])
        return not is_class or (owner.name, name) in self.reached

    def locate(self, module: Module, dotted: tuple[str, ...]) -> tuple[Module, str] | None:
        """The definition that a dotted name is, without reaching it."""
        first, rest = dotted[0], dotted[1:]
        if first in module.definitions:
            return None if rest else (module, first)
        if first not in module.imports:
            return None
        source, imported = module.imports[first]
        target = self.module(source)
        names = rest if imported is None else (imported, *rest)
        return self.locate(target, names) if target is not None and names else None

    def resolve(self, module: Module, dotted: tuple[str, ...]) -> bool:
        """Reaches what a dotted name means in a module; False where it means nothing there."""
        first, rest = dotted[0], dotted[1:]
        if first in module.definitions:
            self.define(module, first)
        elif first in module.imports:
            self.target(*module.imports[first], rest)
        elif module.package == module.name and self.module(f"{module.name}.{first}"):
            self.target(f"{module.name}.{first}", None, rest)
        else:
            return any(
                self.resolve(star, dotted) for star in map(self.module, module.stars) if star
            )
        return True

    def target(self, source: str, imported: str | None, rest: tuple[str, ...]) -> None:
        """Reaches ``from source import imported`` (``import source``), with attributes ``rest``."""
        module = self.module(source)
        if module is None:
            return
        dotted = rest if imported is None else (imported, *rest)
        if not dotted or dotted[0] == WHOLE:
            self.whole(module)
        elif not self.resolve(module, dotted) and "__getattr__" in module.definitions:
            self.define(module, "__getattr__")
        self.enter(module)

    def define(self, module: Module, name: str) -> None:
        self.enter(module)
        if (module.name, name) in self.reached:
            return
        nodes: list[ast.AST] = list(module.definitions[name])
        if module.name in self.rules.schemas:
            nodes = [
                item
                for node in nodes
                if isinstance(node, ast.ClassDef)
                for item in node.body
                if isinstance(item, ast.FunctionDef)
                and any(isinstance(d, ast.Name) and d.id == "property" for d in item.decorator_list)
            ]
            if not nodes:
                return
        self.reached[module.name, name] = ""
        self.todo.append((module, name, nodes))

    def enter(self, module: Module) -> None:
        """Importing a module runs its loose statements and its registrations."""
        if module.name in self.entered or module.name in self.rules.schemas:
            return
        self.entered.add(module.name)
        if module.effects:
            self.todo.append((module, "<import>", module.effects))
        for axis, key, definition in module.registered:
            if self.selected(axis, key):
                self.define(module, definition)

    def whole(self, module: Module) -> None:
        """Reaches all of a module, without what an axis rules out."""
        for name in module.definitions:
            keys = [(axis, key) for axis, key, of in module.registered if of == name]
            if all(self.selected(axis, key) for axis, key in keys):
                self.define(module, name)
        self.enter(module)

    def users(self, module: Module) -> None:
        """Reaches a user's file: all of it, unless this run selects nothing that it registers."""
        if module.registered and not any(self.selected(a, k) for a, k, _ in module.registered):
            self.enter(module)
        else:
            self.whole(module)

    def selected(self, axis: str, key: str) -> bool:
        """Whether the run may use an alternative."""
        return axis not in self.axes.axes or key in self.axes.axes[axis].selected


def source_hash(
    entries: Sequence[str],
    *,
    rules: Rules = Rules(),
    axes: Mapping[str, Axis] | None = None,
    files: Sequence[Path | str] = (),
    root: Path = ROOT,
) -> SourceHash:
    """Hash of the code that a run reaches.

    Args:
        entries: where it starts: ``"hevitpose.training:train"``, or a module for all of it.
        rules: which modules are followed.
        axes: by name, alternatives of which the run uses some.
        files: modules of users (``--import``). One that registers something the run selects, or
            that registers nothing, counts as a whole; of others only what importing them does.
        root: the folder that holds the packages.

    Raises:
        UsageError: an entry that does not exist.
        DataError: a file that cannot be read or is not Python.
    """
    walk = Walk(root, rules, axes or {})
    for entry in entries:
        name, _, definition = entry.partition(":")
        module = walk.module(name)
        if module is None or (definition and not walk.resolve(module, (definition,))):
            raise UsageError(f"source hash: there is no {entry!r} under {root}")
        if not definition:
            walk.whole(module)
    names = {}
    for file in map(Path, files):
        module = walk.modules[f"<{file.name}>"] = load_module(f"<{file.name}>", file)
        names[module.name] = file.name
        walk.users(module)
    walk.run()
    by_file: dict[str, list[str]] = {}
    for (name, definition), digest in sorted(walk.reached.items()):
        reached = walk.modules[name]
        assert reached is not None
        path = names.get(name) or reached.path.relative_to(root).as_posix()
        by_file.setdefault(path, []).append(f"{definition}={digest}")
    hashes = {path: _digest(lines) for path, lines in sorted(by_file.items())}
    total = _digest([f"{path}={digest}" for path, digest in hashes.items()])
    return SourceHash(total, hashes, tuple(sorted(f"{m}:{d}" for m, d in walk.reached)))


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:HASH_LENGTH]
