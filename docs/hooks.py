"""What the site does beyond MkDocs: roles of docstrings, figures of records, the page of all runs.

Docstrings name objects as Sphinx does, ``:func:`count```; the site shows the name alone.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

from reports.build import make
from reports.output.page import write_site

_RESULTS = Path(__file__).parents[1] / "results"
_FIGURES = _RESULTS / "rendered" / "figures"
_RUNS = tempfile.TemporaryDirectory()  # until the build has copied it
_ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):(?=<code>)")
#: To a figure as it lies in the repository, from a page at any depth below docs.
_FIGURE = re.compile(r"\]\(\.\./((?:\.\./)*)results/rendered/figures/")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Figures are linked where the repository has them, and lie beside the pages on the site."""
    return _FIGURE.sub(r"](\1figures/", markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Drop the roles from a rendered page."""
    return _ROLE.sub("", html)


def on_files(files: Files, config: Any) -> Files:
    """Add the rendered figures as ``figures/NAME.svg``, and the page of all runs as ``runs/``."""
    for path in sorted(_FIGURES.glob("*.svg")):
        files.append(File.generated(config, f"figures/{path.name}", abs_src_path=str(path)))
    folder = Path(_RUNS.name)
    book = make([_RESULTS / "measured"], pictures=[_RESULTS / "gallery"])
    write_site(book, folder, _FIGURES, home="../index.html")
    for path in sorted(folder.rglob("*.*")):
        target = f"runs/{path.relative_to(folder).as_posix()}"
        files.append(File.generated(config, target, abs_src_path=str(path)))
    return files
