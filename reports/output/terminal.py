"""A table on the screen: rich's, at most 100 columns wide."""

from __future__ import annotations

import io

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from reports.output.text import Table

WIDTH = 100
_STYLES = {"better": "green", "worse": "red"}


def to_terminal(table: Table, *, width: int = WIDTH, colour: bool = False) -> str:
    """Title, table and caption as text.

    Args:
        table: a few columns; a cell that does not fit is broken into lines.
        width: of the screen; no more than :data:`WIDTH` is used.
        colour: with escape codes, for a screen that shows them.
    """
    shown = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in table.columns:
        shown.add_column(column.heading, justify="right" if column.numeric else "left")
    numbers = {note: number for number, note in enumerate(table.footnotes, 1)}
    for row in table.rows:
        cells = [Text(cell.text, style=_STYLES.get(cell.text.split(" (")[0], "")) for cell in row]
        for text, cell in zip(cells, row, strict=True):
            text.append("".join(f" [{numbers[note]}]" for note in cell.notes))
        shown.add_row(*cells)
    out = io.StringIO()
    console = Console(file=out, width=min(width, WIDTH), force_terminal=colour, no_color=not colour)
    console.print(Text(table.title, style="bold" if colour else ""))
    console.print(shown)
    if table.caption:
        console.print(Text(table.caption))
    for note, number in numbers.items():
        console.print(Text(f"[{number}] {note}"))
    lines = (line.rstrip() for line in out.getvalue().splitlines())
    return "\n".join(lines) + "\n"
