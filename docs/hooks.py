"""What the site does beyond MkDocs: roles of docstrings, and the figures that records are drawn as.

Docstrings name objects as Sphinx does, ``:func:`count```; the site shows the name alone.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

_FIGURES = Path(__file__).parents[1] / "results" / "rendered" / "figures"
_ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):(?=<code>)")


def on_page_content(html: str, **_: Any) -> str:
    """Drop the roles from a rendered page."""
    return _ROLE.sub("", html)


def on_files(files: Files, config: Any) -> Files:
    """Add the rendered figures as ``figures/NAME.svg``."""
    for path in sorted(_FIGURES.glob("*.svg")):
        files.append(File.generated(config, f"figures/{path.name}", abs_src_path=str(path)))
    return files
