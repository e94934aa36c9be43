"""Aligned columns of plain text."""

from __future__ import annotations

from collections.abc import Container, Sequence


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
