"""Docstrings name objects as Sphinx does, ``:func:`count```; the site shows the name alone."""

from __future__ import annotations

import re
from typing import Any

_ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):(?=<code>)")


def on_page_content(html: str, **_: Any) -> str:
    """Drop the roles from a rendered page."""
    return _ROLE.sub("", html)
