"""Blocks of the README and of the results pages that a script writes, and a check on the numbers
that people write around them.

A block lies between ``<!-- BEGIN table:NAME -->`` and ``<!-- END table:NAME -->``. Outside of
blocks, a number that looks like a result must be one: it is published, or stands in a rendered
table, or its paragraph cites a source or a record in a comment, ``<!-- cite: KEY -->``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from hevitpose.errors import DataError
from reports.build import Book
from reports.output.text import to_markdown
from reports.published import NUMBERS

_MARKER = re.compile(r"^[ \t]*<!--\s*(BEGIN|END)\s+table:([A-Za-z0-9_.-]+)\s*-->[ \t]*$", re.M)
_CITE = re.compile(r"<!--\s*cite:\s*([A-Za-z0-9_., -]+?)\s*-->")
_COMMENT = re.compile(r"<!--.*?-->", re.S)
#: Not prose: fenced and inline code, link targets, html tags, comments, headings' anchors.
_NOT_PROSE = (
    re.compile(r"^(?P<fence>```|~~~).*?^(?P=fence)[ \t]*$", re.M | re.S),
    re.compile(r"`[^`\n]*`"),
    _COMMENT,
    re.compile(r"(?<=\])\([^)\s]*\)"),
    re.compile(r"https?://\S+"),
    re.compile(r"<[^>\n]+>"),
    re.compile(r"(?i)\b(arxiv|doi)[: ]*[0-9][0-9./a-z-]*"),
)
#: What follows a number that makes it a result even without a decimal point.
_UNIT = (
    r"(?:\s?(?:%|percent\b|PCKh?\b|AP\b|AR\b|GFLOPs?\b|ms\b|milliseconds?\b|images/s\b|fps\b|FPS\b"
    r"|points?\b|x faster|times faster|M params|M parameters|million parameters)|(?:M|G)\b)"
)
_NUMBER = re.compile(rf"(?<![\w.@/-])(?P<value>\d+(?:\.\d+)?)(?P<unit>{_UNIT})?(?![\w.]*\w)")
#: Before a number: then it is a version, a setting or a threshold, not a result.
_NOT_A_RESULT = re.compile(
    r"(?i)(?:\b(?:python|torch|pytorch|cuda|numpy|version|release|schema|debian|ubuntu|v|lr|sigma|"
    r"decay|seeds?|ratio|issue|section|figure|table|equation|pckh?@|peow|within|over|of)"
    r"|>=|<=|==|≥|≤|[<>=@]|[0-9]\s*(?:to|-|–|x|against))\s*$"
)


class Uncited(NamedTuple):
    """A number in prose that nothing backs."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text!r} has no record and no citation"


class Block(NamedTuple):
    """A generated part of the README."""

    name: str
    start: int  # first character after the BEGIN line
    end: int  # first character of the END line


def blocks(text: str, where: str = "README.md") -> list[Block]:
    """The generated parts, in order.

    Raises:
        DataError: a marker without its partner, nested, or repeated.
    """
    found: list[Block] = []
    opened: re.Match[str] | None = None
    for match in _MARKER.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        kind, name = match.groups()
        if kind == "BEGIN":
            if opened:
                raise DataError(f"{where}:{line}: BEGIN table:{name} inside table:{opened[2]}")
            if any(block.name == name for block in found):
                raise DataError(f"{where}:{line}: table:{name} is there twice")
            opened = match
        elif not opened or opened[2] != name:
            raise DataError(f"{where}:{line}: END table:{name} without its BEGIN")
        else:
            found.append(Block(name, min(opened.end() + 1, len(text)), match.start()))
            opened = None
    if opened:
        line = text.count("\n", 0, opened.start()) + 1
        raise DataError(f"{where}:{line}: BEGIN table:{opened[2]} without its END")
    return found


def render(text: str, book: Book, where: str = "README.md") -> str:
    """The README with every block as the records say; all else untouched.

    Raises:
        DataError: damaged markers, or a block whose name is no table.
    """
    parts = []
    position = 0
    for block in blocks(text, where):
        table = book.table(block.name)
        if table is None:
            known = ", ".join(table.name for table in book.tables)
            raise DataError(f"{where}: no table {block.name!r} (known: {known})")
        parts += [text[position : block.start], to_markdown(table, heading=False)]
        position = block.end
    parts.append(text[position:])
    return "".join(parts)


def uncited(text: str, book: Book, where: str = "README.md") -> list[Uncited]:
    """Numbers outside of blocks that look like results and are none."""
    known = known_numbers(book)
    keys = set(book.published.sources) | {r.id for r in book.measured.everything}
    prose = list(text)
    for block in blocks(text):
        _blank(prose, block.start, block.end)
    visible = "".join(prose)
    cited = [
        _paragraph(visible, match.start())
        for match in _CITE.finditer(visible)
        if all(key.strip() in keys for key in match[1].split(","))
    ]
    for pattern in _NOT_PROSE:
        for match in pattern.finditer(visible):
            _blank(prose, match.start(), match.end())
        visible = "".join(prose)
    found = []
    for match in _NUMBER.finditer(visible):
        value, unit = match["value"], match["unit"]
        # Bare, only a decimal looks like a result; below 1 it is a threshold or a rate.
        if not unit and ("." not in value or float(value) < 1):
            continue
        before = visible[max(0, match.start() - 24) : match.start()]
        if _NOT_A_RESULT.search(before) and not unit:
            continue
        if value in known or any(a <= match.start() < b for a, b in cited):
            continue
        line = visible.count("\n", 0, match.start()) + 1
        found.append(Uncited(where, line, match[0].strip()))
    return found


def known_numbers(book: Book) -> set[str]:
    """Every number that a table shows or a paper printed, as written."""
    known: set[str] = set()
    for table in book.tables:
        for row in table.rows:
            for cell in row:
                if cell.kind in ("measured", "published"):
                    known.update(re.findall(r"\d+(?:\.\d+)?", cell.text))
    for number in book.published.numbers:
        for name in NUMBERS:
            value = getattr(number, name)
            if value is not None:
                known.update((f"{value:g}", f"{value:.1f}", f"{value:.2f}"))
    return known


def _blank(characters: list[str], start: int, end: int) -> None:
    for i in range(start, end):
        if characters[i] != "\n":
            characters[i] = " "


def _paragraph(text: str, position: int) -> tuple[int, int]:
    start = text.rfind("\n\n", 0, position)
    end = text.find("\n\n", position)
    return (0 if start < 0 else start, len(text) if end < 0 else end)


def difference(name: str, old: str, new: str, limit: int = 40) -> Iterator[str]:
    """A unified diff of at most ``limit`` lines."""
    names = f"{name} (as it is)", f"{name} (as it should be)"
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), *names, n=0, lineterm="")
    for number, line in enumerate(lines):
        if number == limit:
            yield f"... ({name}: more differences)"
            return
        yield line if len(line) <= 240 else line[:240] + "…"


def stale(files: Mapping[str, str], current: Mapping[str, str | None]) -> Iterable[str]:
    """Diff lines of every text that is absent or differs."""
    for name, text in files.items():
        old = current.get(name)
        if old is None:
            yield f"{name}: absent"
        elif old != text:
            yield from difference(name, old, text)
