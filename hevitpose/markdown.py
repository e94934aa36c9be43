"""Text of others in Markdown: shown as it is, whatever it holds."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_MARKDOWN = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def plain(text: object) -> str:
    """One printable line: no control characters, no bidirectional overrides, single spaces."""
    return _plain(str(text))


@lru_cache(maxsize=4096)
def _plain(text: str) -> str:
    if text.isprintable():  # all but a few are, and need no look at each character
        return " ".join(text.split())
    characters = (
        " " if character.isspace() else character
        for character in text
        if character.isspace() or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co")
    )
    return " ".join("".join(characters).split())


def escape_markdown(text: object) -> str:
    """Text that Markdown shows as it is: no markup, no html, no table border, no link."""
    return _escaped_markdown(plain(text))


@lru_cache(maxsize=4096)
def _escaped_markdown(line: str) -> str:
    line = "".join(_MARKDOWN.get(character, character) for character in line)
    line = re.sub(r"([\\`*|\[\]~$])", r"\\\1", line)
    line = re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", line)
    line = line.replace("://", r":\//")
    line = re.sub(r"(?i)\bwww\.", r"www\\.", line)
    line = re.sub(r"^([#+=!-])", r"\\\1", line)
    return re.sub(r"^(\d+)([.)] )", r"\1\\\2", line)


def code(text: object, in_table: bool = True) -> str:
    """Text as a code span: a backtick becomes an apostrophe."""
    line = plain(text).replace("`", "'") or "nothing"
    return f"`{line.replace('|', chr(92) + '|') if in_table else line}`"
