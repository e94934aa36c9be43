"""Sizes of images as people write them: height x width."""

from __future__ import annotations

from hevitpose.errors import UsageError


def parse_size(text: str, flag: str) -> tuple[int, int]:
    """``256x192``, height x width as papers write it, to (W, H).

    Raises:
        UsageError: anything else; the message names the command's ``flag``.
    """
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise UsageError(f"{flag} {text!r}: expected HEIGHTxWIDTH like 256x192")
    return int(width), int(height)
