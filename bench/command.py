"""What the commands of this folder share: one line for an error, names of models, exit codes."""

from __future__ import annotations

import argparse
import fnmatch
import sys
from collections.abc import Callable
from typing import NoReturn

from hevitpose.errors import HEViTPoseError, UsageError, unknown_name
from hevitpose.models.spec import full_name, model_names
from hevitpose.program import ending


class Parser(argparse.ArgumentParser):
    """A command line whose errors are :class:`~hevitpose.errors.UsageError`, one line each.

    Args:
        file: the command as it is called, e.g. ``bench/latency.py``.
        doc: its docstring; the first line is the help's.
    """

    def __init__(self, file: str, doc: str | None) -> None:
        super().__init__(prog=file, description=(doc or "").partition("\n")[0], allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self.prog}: {message}")


def select_models(text: str) -> list[str]:
    """Names, short names and wildcards to full names, each once, in the order of the suite.

    Raises:
        UsageError: no model has this name or matches this wildcard.
    """
    if text == "all":
        return list(model_names())
    chosen: set[str] = set()
    for part in text.split(","):
        found = fnmatch.filter(model_names(), part) if set(part) & set("*?[") else [full_name(part)]
        if not found:
            raise unknown_name("model", part, model_names())
        chosen.update(found)
    return [name for name in model_names() if name in chosen]


def exit_code(command: Callable[[], int], interrupted: str = "interrupted") -> int:
    """What a command returns; of an error its code, after its line.

    Args:
        command: the work; its result is the exit code.
        interrupted: said on Ctrl-C, unless the command says it better; the code is 130 then.
    """
    try:
        with ending():
            return command()
    except HEViTPoseError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # who reads, ``head`` for one, has had enough
        return 1
    except KeyboardInterrupt as interrupt:
        print(interrupt.args[0] if interrupt.args else interrupted, file=sys.stderr)
        return 130
