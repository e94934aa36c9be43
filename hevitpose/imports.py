"""Users' own modules: run once in a process, so that what they register is known by its name."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from hevitpose.errors import HEViTPoseError, UsageError


def import_files(files: Sequence[Path]) -> None:
    """Run modules that register an attention, each once.

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
        if not path.is_file():
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
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise HEViTPoseError(f"imports: {file}: {line}{reason}") from error
