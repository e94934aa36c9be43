"""A source file as names: what each is bound to, and what runs when the file is imported."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hevitpose.errors import DataError

#: In an import or an entry: everything of a module.
WHOLE = "*"


@dataclass(frozen=True)
class Part:
    """One definition after narrowing."""

    hash: str
    names: frozenset[tuple[str, ...]]  # dotted names it reads
    imports: frozenset[tuple[str, str | None]]  # imported inside it, or named as a string
    entries: tuple[tuple[tuple[str, ...], Part], ...] = ()  # of dicts keyed by names: key, entry


@dataclass
class Module:
    """A parsed file: what its names are bound to, and what runs when it is imported."""

    name: str
    path: Path
    package: str  # what relative imports start from
    definitions: dict[str, list[ast.stmt]] = field(default_factory=dict)
    imports: dict[str, tuple[str, str | None]] = field(default_factory=dict)  # name -> module, name
    stars: list[str] = field(default_factory=list)
    effects: list[ast.stmt] = field(default_factory=list)
    registered: list[tuple[str, str, str]] = field(default_factory=list)  # axis, key, definition
    parts: dict[tuple[str, tuple | None], Part] = field(
        default_factory=dict
    )  # see reader.read_part


_parsed: dict[Path, tuple[tuple[int, int], Module]] = {}


def load_module(name: str, path: Path) -> Module:
    """The module of a file, parsed again only when its time or size changed."""
    try:
        stat = path.stat()
        stamp = (stat.st_mtime_ns, stat.st_size)
        if path not in _parsed or _parsed[path][0] != stamp or _parsed[path][1].name != name:
            tree = ast.parse(path.read_bytes(), filename=str(path))
            _parsed[path] = (stamp, _collect(name, path, tree))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        where = f"{path}:{line}" if line else str(path)
        raise DataError(f"{where}: not Python ({getattr(error, 'msg', error)})") from None
    return _parsed[path][1]


def _collect(name: str, path: Path, tree: ast.Module) -> Module:
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    module = Module(name, path, package)
    for statement in tree.body:
        _bind(module, statement, statement)
    return module


def _bind(module: Module, statement: ast.stmt, whole: ast.stmt) -> None:
    """Files a top-level statement under the names that it binds; ``whole`` is what is hashed."""
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        module.definitions.setdefault(statement.name, []).append(whole)
        for axis, key in _registrations(statement):
            module.registered.append((axis, key, statement.name))
    elif isinstance(statement, (ast.Import, ast.ImportFrom)):
        for bound, target in imported(module.package, statement):
            if bound == WHOLE:
                module.stars.append(target[0])
            else:
                module.imports[bound] = target
    elif isinstance(statement, (ast.Assign, ast.AnnAssign)):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        names = [node.id for t in targets for node in ast.walk(t) if isinstance(node, ast.Name)]
        if all(isinstance(t, (ast.Name, ast.Tuple, ast.List)) for t in targets):
            for name in names:
                module.definitions.setdefault(name, []).append(whole)
        else:
            module.effects.append(whole)
    elif isinstance(statement, (ast.If, ast.Try, ast.With, ast.For, ast.While)):
        if _is_guard(statement):
            return
        inner = [node for node in ast.walk(statement) if isinstance(node, ast.stmt)][1:]
        for node in inner:
            if isinstance(node, (ast.Import, ast.ImportFrom, ast.Assign, ast.FunctionDef)):
                _bind(module, node, whole)
        module.effects.append(whole)
    elif not is_text(statement):
        module.effects.append(whole)


def _is_guard(statement: ast.stmt) -> bool:
    """``if TYPE_CHECKING`` and ``if __name__ == "__main__"`` never run in an imported module."""
    if not isinstance(statement, ast.If):
        return False
    names = {n.id for n in ast.walk(statement.test) if isinstance(n, ast.Name)}
    names |= {n.attr for n in ast.walk(statement.test) if isinstance(n, ast.Attribute)}
    return bool(names & {"TYPE_CHECKING", "__name__"})


def is_text(statement: object) -> bool:
    """Whether a statement is only a string: a docstring, or text beside an attribute."""
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _registrations(
    statement: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef,
) -> Iterator[tuple[str, str]]:
    for decorator in statement.decorator_list:
        if isinstance(decorator, ast.Call) and decorator.args:
            function = decorator.func
            called = function.attr if isinstance(function, ast.Attribute) else None
            called = function.id if isinstance(function, ast.Name) else called
            key = decorator.args[0]
            if called and called.startswith("register_") and isinstance(key, ast.Constant):
                yield called.removeprefix("register_"), str(key.value)


def imported(
    package: str, statement: ast.Import | ast.ImportFrom
) -> Iterator[tuple[str, tuple[str, str | None]]]:
    """``(bound name, (module, name in it or None))`` of an import statement."""
    if isinstance(statement, ast.Import):
        for alias in statement.names:
            if alias.asname:
                yield alias.asname, (alias.name, None)
            else:
                top = alias.name.partition(".")[0]
                yield top, (top, None)
        return
    source = statement.module or ""
    if statement.level:
        parents = package.split(".")
        kept = parents[: len(parents) - statement.level + 1]
        source = ".".join([*kept, source] if source else kept)
    for alias in statement.names:
        yield alias.asname or alias.name, (source, alias.name)
