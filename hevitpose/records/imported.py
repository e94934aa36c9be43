"""Users' files with what they import of the user's own: all of it decides a result. Torch-free.

Nothing is executed. A module that is found while running only (``importlib.import_module(name)``,
a changed ``sys.path``) is not seen.
"""

from __future__ import annotations

import ast
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from importlib.machinery import ModuleSpec
from pathlib import Path

#: Folders that libraries are installed in, wherever they lie.
_INSTALLED = frozenset(("site-packages", "dist-packages"))
_PROJECT = ("hevitpose", "ablations", "bench", "reports")
_DYNAMIC = ("import_module", "__import__")


def own_modules(files: Sequence[Path]) -> list[Path]:
    """Files that some files import, and these in turn: of the user, neither installed nor ours.

    Args:
        files: Python files; what cannot be read or parsed imports nothing here.

    Returns:
        The others, in no order that means anything.
    """
    seen = {file.resolve() for file in files}
    found: list[Path] = []
    waiting = [(file.resolve(), "") for file in files]  # with the package that it is in
    while waiting:
        path, package = waiting.pop()
        for module in _imported(path, package):
            for name, file, is_package in _files(module):
                if file not in seen:
                    seen.add(file)
                    found.append(file)
                    waiting.append((file, name if is_package else name.rpartition(".")[0]))
    return found


def _imported(path: Path, package: str) -> Iterator[str]:
    """Dotted names of what a file imports, anywhere in it; some may be no modules."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: -(node.level - 1) or None] if node.level else []
            base = ".".join((*above, *([node.module] if node.module else [])))
            if base and (package or not node.level):
                yield base
                yield from (f"{base}.{name.name}" for name in node.names)
        elif isinstance(node, ast.Call) and node.args:
            called = getattr(node.func, "attr", getattr(node.func, "id", None))
            name = getattr(node.args[0], "value", None)
            if called in _DYNAMIC and isinstance(name, str) and not name.startswith("."):
                yield name


def _files(module: str) -> Iterator[tuple[str, Path, bool]]:
    """The user's files that importing a module runs: its packages' and its own, found not run."""
    folders: Sequence[str] | None = None
    parts = module.split(".")
    for count in range(1, len(parts) + 1):
        name = ".".join(parts[:count])
        spec = _find(name, folders)
        if spec is None:
            return
        inside = spec.submodule_search_locations
        if spec.origin is not None and spec.has_location:
            file = Path(spec.origin).resolve()
            if _is_installed(Path(spec.origin)) or not _is_users(file):
                return
            yield name, file, inside is not None
        if inside is None:
            return
        folders = list(inside)


def _find(name: str, folders: Sequence[str] | None) -> ModuleSpec | None:
    """As ``importlib.util.find_spec``, which would run the packages that a module is in."""
    for finder in sys.meta_path:
        with suppress(Exception):  # a stranger's finder, or a folder that cannot be listed
            spec = finder.find_spec(name, folders)
            if spec is not None:
                return spec
    return None


def _is_users(file: Path) -> bool:
    ours = any(file.is_relative_to(folder) for folder in _known_folders())
    return not (ours or _is_installed(file))


def _is_installed(file: Path) -> bool:
    return not _INSTALLED.isdisjoint(file.parts)  # as it is named: some installers link


@cache
def _known_folders() -> tuple[Path, ...]:
    """Of the standard library and of this project."""
    root = Path(__file__).resolve().parents[2]
    standard = (Path(sysconfig.get_path(key)).resolve() for key in ("stdlib", "platstdlib"))
    return (*standard, *(root / name for name in _PROJECT))
