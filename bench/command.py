"""What the commands of this folder share: one line for an error, names of models."""

from __future__ import annotations

import argparse
import fnmatch
from collections.abc import Callable, Hashable, Sequence
from typing import NoReturn

from hevitpose.errors import UsageError, unknown_name
from hevitpose.models.spec import full_name, model_names
from hevitpose.sizes import LARGEST_COUNT, is_number


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


def whole(least: int = 1, largest: int = LARGEST_COUNT) -> Callable[[str], int]:
    """The type of an option that takes a whole number within limits, for ``add_argument``."""

    def parse(text: str) -> int:
        given = text.strip()
        digits = len(str(largest))
        if is_number(given) and len(given) <= digits and least <= int(given) <= largest:
            return int(given)
        most = f"at least {least}" if largest == LARGEST_COUNT else f"{least} to {largest}"
        raise argparse.ArgumentTypeError(f"{text!r:.80}: expected a whole number, {most}")

    return parse


def require_distinct(values: Sequence[Hashable], flag: str, given: str) -> None:
    """Refuse a list in which one thing is twice, perhaps under two spellings (1 and 01).

    Args:
        values: as they were understood.
        flag: of the command, for the message.
        given: the list as it was written.

    Raises:
        UsageError: one is twice.
    """
    if len(set(values)) < len(values):
        raise UsageError(f"{flag} {given!r:.80}: one of them is given twice, expected each once")
