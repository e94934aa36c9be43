"""Numbers as people write them on a command line: height x width, counts, seconds."""

from __future__ import annotations

import math

from hevitpose.errors import UsageError

#: Sides of an input in pixels; a crop of this size has 50 MB.
LARGEST_SIDE = 4096
_DIGITS = 9  # of a number that is worth reading
#: Of anything that is counted.
LARGEST_COUNT = 10**_DIGITS - 1


def parse_count(text: str, flag: str, largest: int = LARGEST_COUNT) -> int:
    """``64`` to a positive number of at most ``largest``.

    Raises:
        UsageError: anything else; the message names the command's ``flag``.
    """
    if not is_number(text) or not text.strip("0"):
        raise UsageError(f"{flag} {text!r:.80}: expected a positive integer")
    if len(text) > _DIGITS or int(text) > largest:
        raise UsageError(f"{flag} {text!r:.80}: expected at most {largest}")
    return int(text)


def require_finite(value: float, flag: str, *, zero: bool = False) -> None:
    """Refuse what no clock or share can be: of NaN every comparison is false.

    Args:
        value: seconds, or another amount.
        flag: of the command, for the message.
        zero: may be given, too.

    Raises:
        UsageError: it is not finite, or not positive.
    """
    if not math.isfinite(value) or value < 0 or (value == 0 and not zero):
        least = "0 or more" if zero else "more than 0"
        raise UsageError(f"{flag} {value:g}: expected a finite number, {least}")


def is_number(text: str) -> bool:
    """Digits 0 to 9 alone: ``int`` does not read all that Python calls digits."""
    return text.isascii() and text.isdecimal()


def parse_size(text: str, flag: str) -> tuple[int, int]:
    """``256x192``, height x width as papers write it, to (W, H).

    Raises:
        UsageError: anything else, or a side above :data:`LARGEST_SIDE`; the message names the
            command's ``flag``.
    """
    height, _, width = text.partition("x")
    if not all(is_number(side) and side.strip("0") for side in (height, width)):
        raise UsageError(f"{flag} {text!r:.80}: expected HEIGHTxWIDTH like 256x192")
    if any(len(side) > _DIGITS or int(side) > LARGEST_SIDE for side in (height, width)):
        raise UsageError(f"{flag} {text!r:.80}: expected sides of at most {LARGEST_SIDE} pixels")
    return int(width), int(height)
