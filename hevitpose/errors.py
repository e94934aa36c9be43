"""The project's errors: one line each, naming file, key, value and what was expected."""

from __future__ import annotations

import difflib
import functools
import re
import warnings
from collections.abc import Iterable

#: What ends a line or moves a terminal's cursor, and halves of surrogate pairs.
_UNPRINTED = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


_LONGEST = 2000  # letters of a line


def on_one_line(text: str) -> str:
    """A text with escapes for what breaks lines or cannot be printed: messages quote files.

    Of a very long one, the beginning and the end.
    """
    text = _UNPRINTED.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 500]} ... {text[-400:]}"


def printable_json(text: str) -> str:
    """JSON with escapes for what a terminal would obey; its own lines stay."""
    return _UNPRINTED.sub(
        lambda found: found[0] if found[0] == "\n" else f"\\u{ord(found[0]):04x}", text
    )


class HEViTPoseError(Exception):
    """Anything the project refuses or fails at. The command line prints it and exits with 1.

    Args:
        lines: of the message; each is printed on a line of its own.
    """

    exit_code = 1

    def __init__(self, *lines: str) -> None:
        super().__init__(*lines)

    def __str__(self) -> str:
        return "\n".join(on_one_line(str(line)) for line in self.args)


class UsageError(HEViTPoseError):
    """The request itself is wrong: an unknown name, key or value. Exits with 2."""

    exit_code = 2


class DataError(HEViTPoseError):
    """A file is missing, damaged, or not what it was said to be. Exits with 1."""


class DivergedError(HEViTPoseError):
    """The loss or the weights of a training run are no longer finite."""


class UnavailableError(HEViTPoseError):
    """This machine cannot do it (no GPU, compiler or runtime); the message says why."""


class BusyError(HEViTPoseError):
    """Another process works in the folder: later it may go well."""


def first_line(text: str | None, otherwise: str = "no reason given") -> str:
    """The first line of a text that is not blank, without spaces around it."""
    return next((line.strip() for line in (text or "").splitlines() if line.strip()), otherwise)


def described(error: Exception) -> str:
    """``ValueError: what it says``, on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def unknown_name(kind: str, value: str, known: Iterable[str]) -> UsageError:
    """An error for a name outside a closed set, with the nearest known name.

    Args:
        kind: what the name stands for, e.g. ``"model"``.
        value: the name as it was given.
        known: every accepted name.

    Returns:
        The error, for the caller to raise.
    """
    known = sorted(known)
    near = difflib.get_close_matches(value, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return UsageError(f"unknown {kind} {value!r}{hint} (known: {', '.join(known)})")


class Notice(UserWarning):
    """Something to know of what was asked for; the command line shows it as one line."""


@functools.cache
def notice_once(line: str) -> None:
    """Say a line once in a process, however often its file is read.

    Warns:
        Notice: the line.
    """
    warnings.warn(on_one_line(line), Notice, stacklevel=3)
