"""Users' own modules, which register parts of a network: imported, or read for the names alone."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from hevitpose.errors import HEViTPoseError, UsageError
from hevitpose.files import is_file


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
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}{_advice(error, file)}"
            raise HEViTPoseError(f"imports: {file}: {line}{reason}") from error


def _advice(error: Exception, file: Path) -> str:
    """What to do about a module that lies beside the file, which Python does not look for there."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return ""
    beside = file.parent / error.name.partition(".")[0]
    there = is_file(beside.with_name(f"{beside.name}.py")) or beside.is_dir()
    return f"; it is beside the file: set PYTHONPATH={file.parent}" if there else ""


def registered(files: Sequence[Path]) -> dict[str, set[str]]:
    """Names that users' modules register, by kind of part, read without importing.

    Args:
        files: Python files; seen are calls ``register("attention", "mine")`` with literals.

    Raises:
        UsageError: a file that cannot be read or is not Python.
    """
    found: dict[str, set[str]] = {}
    for file in files:
        try:
            tree = ast.parse(file.read_bytes(), filename=str(file))
        except OSError as error:
            raise UsageError(f"imports: {file}: cannot be read ({error.strerror})") from None
        except (SyntaxError, ValueError) as error:
            raise UsageError(f"imports: {file}: not Python ({error})") from None
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            called = getattr(node.func, "attr", getattr(node.func, "id", None))
            given = dict(zip(("kind", "name"), node.args, strict=False))
            given |= {str(keyword.arg): keyword.value for keyword in node.keywords}
            kind, name = (getattr(given.get(key), "value", None) for key in ("kind", "name"))
            if called == "register" and isinstance(kind, str) and isinstance(name, str):
                found.setdefault(kind, set()).add(name)
    return found
