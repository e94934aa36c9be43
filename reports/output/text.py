"""A table as data, and its three texts: Markdown, LaTeX (booktabs) and CSV.

Everything that comes from a record (names, errors) is plain text until the last moment and is
escaped for the language it is written into.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from hevitpose.evaluation.statistics import Interval
from hevitpose.markdown import escape_markdown, plain

NOT_MEASURED = "not measured"
NOT_MEASURABLE = "not measurable here"

Kind = Literal["text", "measured", "published", "missing", "failed"]
Direction = Literal["", "up", "down"]
ARROWS = {"": "", "up": " ↑", "down": " ↓"}

_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "%": r"\%", "_": r"\_", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
    "±": r"$\pm$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "×": r"$\times$", "−": r"$-$",
    "→": r"$\rightarrow$", "Δ": r"$\Delta$", "≥": r"$\geq$", "≤": r"$\leq$", "²": r"$^2$",
    "σ": r"$\sigma$",
    "▲": r"$\bigtriangleup$", "▼": r"$\bigtriangledown$",
    "≈": r"$\approx$", "–": "--", "—": "---", "·": r"$\cdot$", "…": r"\dots{}",
}  # fmt: skip


class Reference(NamedTuple):
    """A citation under a table."""

    short: str
    title: str
    link: str  # https only


@dataclass(frozen=True)
class Column:
    """A column: what it holds, in which unit, and which direction is better."""

    key: str
    title: str
    direction: Direction = ""
    numeric: bool = True

    @property
    def heading(self) -> str:
        """Title with its arrow."""
        return self.title + ARROWS[self.direction]


@dataclass(frozen=True)
class TableCell:
    """What a table says in one place, and where it comes from."""

    text: str = ""
    value: float | None = None  # what sorting and CSV use
    kind: Kind = "text"
    bold: bool = False
    notes: tuple[str, ...] = ()  # footnotes, which the table numbers
    records: tuple[str, ...] = ()  # ids that the number was made of


MISSING = TableCell(NOT_MEASURED, kind="missing")


@dataclass(frozen=True)
class Table:
    """Rows of cells under columns, with what a reader must know to read them."""

    name: str  # file stem, README block name
    title: str  # see heading
    columns: tuple[Column, ...]
    rows: tuple[tuple[TableCell, ...], ...]
    caption: str = ""
    conditions: str = ""  # the line under a table with times
    legend: tuple[str, ...] = ()
    sources: tuple[Reference, ...] = ()
    scope: str = ""  # what its verdicts hold for
    data: str = ""  # what has to be said of the data wherever its numbers stand; captions say it

    @property
    def heading(self) -> str:
        """The title, and what the verdicts hold for."""
        return f"{self.title} ({self.scope})" if self.scope else self.title

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(
                    f"table {self.name}: {len(row)} cells, {len(self.columns)} columns"
                )

    @property
    def footnotes(self) -> tuple[str, ...]:
        """Every distinct note, in the order of first mention."""
        seen: dict[str, None] = {}
        for row in self.rows:
            for cell in row:
                seen.update(dict.fromkeys(cell.notes))
        return tuple(seen)

    @property
    def tail(self) -> tuple[str, ...]:
        """The lines under the table, in order, without footnotes."""
        return tuple(line for line in (self.caption, self.conditions, *self.legend) if line)


def shorten(text: object, width: int) -> str:
    """At most ``width`` characters, the last an ellipsis where something was cut."""
    line = plain(text)
    return line if len(line) <= width else line[: width - 1].rstrip() + "…"


def stem(*words: str) -> str:
    """Words as one file name without a suffix; two different names are never one.

    Args:
        words: a kind and a grid's name, say; joined by hyphens.
    """
    name = "-".join(words)
    safe = re.sub(r"[^A-Za-z0-9_.-]", "_", name)
    return safe if safe == name else f"{safe}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def escape_latex(text: object) -> str:
    """Text that LaTeX sets as it is."""
    return "".join(_LATEX.get(character, character) for character in plain(text))


def escape_csv(text: object) -> str:
    """Text that a spreadsheet shows instead of computing.

    Some also compute behind a full-width or small equals sign, or behind what is not seen.
    """
    line = plain(text)
    seen = (
        c for c in unicodedata.normalize("NFKC", line) if unicodedata.category(c)[0] not in "CZ"
    )
    return f"'{line}" if next(seen, "") in ("=", "+", "-", "@") else line


def show_estimate(
    score: Interval, digits: int, ids: tuple[str, ...] = (), *, bold: bool = False
) -> TableCell:
    """A score with its interval: ± over seeds; the bounds themselves where it is a bootstrap."""
    text = f"{score.value:.{digits}f}"
    notes: tuple[str, ...] = ()
    if score.n > 1 and score.half is not None:
        text += f" ± {score.half:.{digits}f}"
    elif score.low is not None and score.high is not None:
        text += f" [{score.low:.{digits}f}, {score.high:.{digits}f}]"
        notes = (f"one seed; 95% interval: {score.method}, which says nothing about other seeds",)
    return TableCell(text, score.value, "measured", bold, notes, ids)


def to_markdown(table: Table, *, heading: bool = True) -> str:
    """GitHub Markdown; columns padded, so that it reads in a terminal too."""
    numbers = {note: number for number, note in enumerate(table.footnotes, 1)}

    def show(cell: TableCell) -> str:
        text = escape_markdown(cell.text)
        if cell.kind == "published" and text:
            text = f"*{text}*"
        if cell.bold:
            text = f"**{text}**"
        if cell.notes:
            text += f"<sup>{','.join(str(numbers[note]) for note in cell.notes)}</sup>"
        return text

    grid = [[escape_markdown(column.heading) for column in table.columns]]
    grid += [[show(cell) for cell in row] for row in table.rows]
    widths = [max(3, *(len(row[i]) for row in grid)) for i in range(len(table.columns))]
    rule = [
        "-" * (width - 1) + ":" if column.numeric else "-" * width
        for width, column in zip(widths, table.columns, strict=True)
    ]
    lines = [f"### {escape_markdown(table.heading)}", ""] if heading else []
    for row in (grid[0], rule, *grid[1:]):
        padded = (
            text.rjust(width) if column.numeric else text.ljust(width)
            for text, width, column in zip(row, widths, table.columns, strict=True)
        )
        lines.append("| " + " | ".join(padded) + " |")
    for line in table.tail:
        lines += ["", escape_markdown(line)]
    lines += [
        f"{'' if number > 1 else chr(10)}<sup>{number}</sup> {escape_markdown(note)}  "
        for note, number in numbers.items()
    ]
    if table.sources:
        cited = (
            f"[{escape_markdown(s.short)}]({s.link}) {escape_markdown(s.title)}"
            for s in table.sources
        )
        lines += ["", "Sources: " + "; ".join(cited) + "."]
    return "\n".join(lines) + "\n"


def to_latex(table: Table) -> str:
    """A booktabs table inside threeparttable-free LaTeX: needs only ``booktabs``."""
    numbers = {note: number for number, note in enumerate(table.footnotes, 1)}

    def show(cell: TableCell) -> str:
        text = escape_latex(cell.text)
        if text.startswith(("[", "*")):  # else an argument of the line break before it
            text = "{}" + text
        if cell.kind == "published" and text:
            text = rf"\textit{{{text}}}"
        if cell.bold:
            text = rf"\textbf{{{text}}}"
        if cell.notes:
            text += f"$^{{{','.join(str(numbers[note]) for note in cell.notes)}}}$"
        return text

    letters = "".join("r" if column.numeric else "l" for column in table.columns)
    lines = [
        "% needs \\usepackage{booktabs}; \\usepackage[T1]{fontenc} for quotes in text",
        r"\begin{table}",
        r"\centering\small",
        rf"\caption{{{escape_latex(table.heading)}}}",
        rf"\label{{tab:{re.sub('[^A-Za-z0-9-]', '-', table.name)}}}",
        rf"\begin{{tabular}}{{{letters}}}",
        r"\toprule",
        " & ".join(escape_latex(column.heading) for column in table.columns) + r" \\",
        r"\midrule",
    ]
    lines += [" & ".join(show(cell) for cell in row) + r" \\" for row in table.rows]
    lines += [r"\bottomrule", r"\end{tabular}"]
    for line in table.tail:
        lines += ["", rf"\par\smallskip{{\footnotesize {escape_latex(line)}}}"]
    for note, number in numbers.items():
        lines += ["", rf"\par{{\footnotesize $^{{{number}}}$ {escape_latex(note)}}}"]
    if table.sources:
        text = "; ".join(escape_latex(f"{s.short}: {s.title}, {s.link}") for s in table.sources)
        lines += ["", rf"\par{{\footnotesize Sources: {text}.}}"]
    lines.append(r"\end{table}")
    return "\n".join(lines) + "\n"


def to_csv(table: Table) -> str:
    """Comma-separated values: what is shown, then for numbers the value itself.

    To ten digits: the last ones of a double differ between processors' linear algebra.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    exact = [any(row[i].value is not None for row in table.rows) for i in range(len(table.columns))]
    heading: list[str] = []
    for column, with_value in zip(table.columns, exact, strict=True):
        heading += [column.title, f"{column.key} (value)"] if with_value else [column.title]
    about = {"data": escape_csv(table.data)} if table.data else {}  # the caption is not in a csv
    writer.writerow([*heading, "records", "notes", *about])
    for row in table.rows:
        cells: list[str] = []
        for cell, with_value in zip(row, exact, strict=True):
            # Ours may begin with a sign; what a record says may not.
            cells.append(cell.text if cell.kind == "measured" else escape_csv(cell.text))
            if with_value:
                cells.append("" if cell.value is None else f"{round(float(cell.value), 12):.10g}")
        ids = dict.fromkeys(i for cell in row for i in cell.records)
        notes = dict.fromkeys(escape_csv(note) for cell in row for note in cell.notes)
        writer.writerow([*cells, " ".join(ids), " / ".join(notes), *about.values()])
    return out.getvalue()


def number(value: float | None, digits: int, **kwargs: object) -> TableCell:
    """A measured number, or "not measured"."""
    if value is None:
        return MISSING
    return TableCell(signed(value, digits, plus=False), value=value, kind="measured", **kwargs)  # type: ignore[arg-type]


def signed(value: float, digits: int, *, plus: bool = True) -> str:
    """A number with a typographic minus; what rounds to zero has no sign."""
    text = f"{value:+.{digits}f}"
    if not float(text):
        return text[1:]
    return text.replace("-", "−") if plus or value < 0 else text[1:]


def join(words: Sequence[object], empty: str = "not stated") -> str:
    """Distinct values as one phrase, in order of first mention."""
    seen = list(dict.fromkeys(plain(word) for word in words if word not in (None, "")))
    return " / ".join(seen) if seen else empty
