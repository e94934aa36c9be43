"""Users' own modules, which register parts of a network: imported, or read for the names alone."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
import traceback
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from hevitpose.errors import HEViTPoseError, UsageError, described
from hevitpose.files import is_file
from hevitpose.models.spec import PARTS
from hevitpose.records.imported import own_modules


def import_files(files: Sequence[Path]) -> None:
    """Run modules that register parts of a network, each once.

    Args:
        files: Python files that the user names; a checkpoint or a record never names any.

    Raises:
        UsageError: a file is absent or not a ``.py`` file, or registers a name that is taken.
        HEViTPoseError: it fails; the message says where.
    """
    for file in files:
        path = file.resolve()
        digest = hashlib.sha256(str(path).encode()).hexdigest()[:8]
        name = f"hevitpose_import_{path.stem}_{digest}"
        if name in sys.modules:
            continue
        if not is_file(path):
            raise UsageError(f"imports: {file}: no such file")
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise UsageError(f"imports: {file}: expected a .py file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException as error:
            del sys.modules[name]
            if isinstance(error, HEViTPoseError) or not isinstance(error, Exception):
                raise
            own = [f.lineno for f in traceback.extract_tb(error.__traceback__)
                   if f.filename == str(path)]  # fmt: skip
            line = f"line {own[-1]}: " if own else ""
            reason = f"{described(error)}{_advice(error, file)}"
            raise HEViTPoseError(f"imports: {file}: {line}{reason}") from error


def _advice(error: Exception, file: Path) -> str:
    """What to do about a module that lies beside the file, which Python does not look for there."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return ""
    beside = file.parent / error.name.partition(".")[0]
    there = is_file(beside.with_name(f"{beside.name}.py")) or beside.is_dir()
    return f"; it is beside the file: set PYTHONPATH={file.parent}" if there else ""


#: In :func:`registered`, for a name that only running the file tells.
ANY_NAME = "*"


def registered(files: Sequence[Path]) -> dict[str, set[str]]:
    """Names that users' modules register, by kind of part, read without importing.

    Args:
        files: Python files; seen are calls of ``register``, by whatever name it was imported, in
            them and in what they import of the user's.

    Returns:
        Kind -> names; among them :data:`ANY_NAME` where a call's name is no text and no constant
        of its module, and under each kind where its kind is none.

    Raises:
        UsageError: a file that cannot be read or is not Python.
    """
    found: dict[str, set[str]] = {}
    for file in files:
        _read_names(_tree(file), found)
    for file in own_modules(files):  # whether these are Python, importing them will say
        with suppress(UsageError):
            _read_names(_tree(file), found)
    return found


def _tree(file: Path) -> ast.Module:
    try:
        return ast.parse(file.read_bytes(), filename=str(file))
    except OSError as error:
        raise UsageError(f"imports: {file}: cannot be read ({error.strerror})") from None
    except (SyntaxError, ValueError) as error:
        raise UsageError(f"imports: {file}: not Python ({error})") from None


def _read_names(tree: ast.Module, found: dict[str, set[str]]) -> None:
    """Add the names that one module registers."""
    nodes = list(ast.walk(tree))
    called = {"register"}
    stored: Counter[str] = Counter()
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            called |= {n.asname for n in node.names if n.name == "register" and n.asname}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            stored[node.id] += 1
        elif isinstance(node, ast.arg):
            stored[node.arg] += 1
    constants: dict[str, ast.expr] = {}
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else None
        if isinstance(node, ast.Assign) and isinstance(target, ast.Name) and stored[target.id] == 1:
            constants[target.id] = node.value
            if isinstance(node.value, ast.Name | ast.Attribute) and _last(node.value) in called:
                called.add(target.id)

    def text(node: ast.expr | None) -> str | None:
        given = constants.get(node.id) if isinstance(node, ast.Name) else node
        value = getattr(given, "value", None)
        return value if isinstance(value, str) else None

    for node in nodes:
        if not isinstance(node, ast.Call) or _last(node.func) not in called:
            continue
        given = dict(zip(("kind", "name"), node.args, strict=False))
        given |= {str(keyword.arg): keyword.value for keyword in node.keywords}
        if not {"kind", "name"} <= given.keys():  # another library's
            continue
        kind, name = text(given["kind"]), text(given["name"])
        for of in PARTS if kind is None else (kind,):
            found.setdefault(of, set()).add(ANY_NAME if name is None else name)


def _last(function: ast.expr) -> str | None:
    """``register`` of ``models.register``."""
    return getattr(function, "attr", getattr(function, "id", None))
