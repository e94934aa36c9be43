"""Plain text: aligned columns, and lines of who was read."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence


def text_table(lines: Sequence[Sequence[str]], right: Container[int] = ()) -> str:
    """Lines of cells, two spaces apart, every column as wide as its widest cell.

    Args:
        lines: of equally many cells; the first is the header.
        right: the columns that end at one place, as numbers do; the others begin at one.
    """
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def counted(counts: Mapping[str, int], skipped: Iterable[object] = (), of: str = "") -> list[str]:
    """Lines of whom a split has, and of what was left out of it.

    Args:
        counts: of a table of people; zeros are not shown.
        skipped: a line each.
        of: names the split, where two are told.
    """
    found = ", ".join(f"{key} {value}" for key, value in counts.items() if value)
    return [*_headed("counted", of, [found]), *left_out(skipped, of)]


def left_out(skipped: Iterable[object], of: str = "") -> list[str]:
    """The lines of :func:`counted` about what was left out alone."""
    return _headed("left out", of, skipped)


def _headed(head: str, of: str, items: Iterable[object]) -> list[str]:
    head = f"{head} of {of}:" if of else f"{head}:"
    return [f"{head:<10} {item}" for item in items]
