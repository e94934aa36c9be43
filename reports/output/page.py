"""The page of runs: one static ``index.html`` that opens from disk and needs no network.

Tables and runs are one JSON in the page (a browser lets no page opened from disk fetch a file), and
Tabulator, in ``vendor/``, sorts and filters them. Everything from records is untrusted: jinja2
escapes it in markup; in the JSON ``<`` is written as an escape, so that no text can end a script;
the script puts it into the page as text; and the content security policy lets no script run but the
two that it names by their digests.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from hevitpose import __version__
from hevitpose.files import write_atomically
from reports.build import Book
from reports.output.runs import runs_of
from reports.output.text import ARROWS, Table, TableCell

TEMPLATES = Path(__file__).parent / "templates"
VENDORED = Path(__file__).parent / "vendor" / "tabulator"


def environment() -> jinja2.Environment:
    """Templates with autoescape, and undefined names as errors."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["script_json"] = script_json
    made.filters["csp_hash"] = csp_hash
    return made


def script_json(value: Any) -> Markup:
    """JSON that can stand inside a script element, whatever text it holds."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 (escaped above)


def write_site(book: Book, out: Path, figures: Path, home: str = "") -> int:
    """Write the page; left alone where it is right already.

    Args:
        book: what is shown.
        out: folder of the page; made if absent.
        figures: where the book's pictures are.
        home: address of the documentation as seen from the page, where it is part of one.

    Returns:
        How many files changed.
    """
    gallery = book.plot("gallery")
    records = book.measured.everything
    text = (
        environment()
        .get_template("page.html.j2")
        .render(
            styles=[_asset("tabulator_simple.min.css"), _asset("page.css")],
            scripts=[_asset("tabulator.min.js"), _asset("page.js")],
            tables=book.tables,
            plots=[
                {"name": plot.name, "alt": plot.alt, "svg": inline_svg(figures, plot.name)}
                for plot in book.plots
                if plot is not gallery
            ],
            gallery=gallery
            and {
                "svg": inline_svg(figures, gallery.name),
                "alt": gallery.alt,
                "run": gallery.data["record"],
            },
            data={"tables": [_table(table) for table in book.tables]} | runs_of(book),
            problems=[str(problem) for problem in book.measured.problems],
            counts={
                "records": len(records),
                "failed": sum(1 for record in records if record.status != "ok"),
                "published": len(book.published.numbers),
            },
            version=__version__,
            home=home,
        )
    )  # fmt: skip
    path = out / "index.html"
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return 0
    write_atomically(path, text)
    return 1


def _asset(name: str) -> Markup:
    """A stylesheet or script of ours or of the library, without the address of its source map."""
    path = next(folder / name for folder in (TEMPLATES, VENDORED) if (folder / name).is_file())
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"(?m)^(//|/\*)# sourceMappingURL=.*$", "", text)
    return Markup(text.strip())  # noqa: S704 (our own files)


def csp_hash(script: str) -> str:
    """The name by which a content security policy lets one inline script run, and no other."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _table(table: Table) -> dict[str, Any]:
    """A table for the page: what is empty or false is left out of its cells."""
    numbers = {note: number for number, note in enumerate(table.footnotes, 1)}
    return {
        "name": table.name,
        "columns": [
            {"title": c.title, "arrow": ARROWS[c.direction].strip(), "way": c.direction,
             "numeric": c.numeric}
            for c in table.columns
        ],
        "rows": [[_cell(cell, numbers) for cell in row] for row in table.rows],
    }  # fmt: skip


def _cell(cell: TableCell, numbers: Mapping[str, int]) -> dict[str, Any]:
    shown = {
        "text": cell.text,
        "kind": "" if cell.kind in ("text", "measured") else cell.kind,
        "bold": cell.bold,
        "notes": ",".join(str(numbers[note]) for note in cell.notes),
        "run": cell.records[0] if cell.records else "",
        "count": len(cell.records),
    }
    value = {} if cell.value is None else {"value": float(cell.value)}
    return {key: value for key, value in shown.items() if value} | value


def inline_svg(folder: Path, name: str) -> Markup:
    """A picture of ours as markup, its ids made unique in the page."""
    text = (folder / f"{name}.svg").read_text(encoding="utf-8")
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    prefix = re.sub(r"[^A-Za-z0-9]", "", name) + "-"
    text = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}\1"', text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{prefix}\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}\1)", text)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    return Markup(text)  # noqa: S704 (drawn by this project; tips are escaped in style.py)
