"""Plots: each is plain data and a way to draw it, and is there only when its data are.

The data are gathered first, so that a stale picture can be told by its digest without drawing.
Colours are never the only difference: series differ in marker too, filled means measured here and
hollow means published.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from hevitpose.markdown import plain
from reports.figures import style
from reports.tables.accuracy import DISPLAY


class Plot(NamedTuple):
    """A picture that can be drawn."""

    name: str  # file stem
    alt: str  # what it shows, in words
    data: Any  # everything it shows, as plain data
    draw: Callable[[Any], Any]  # data to figure

    @property
    def digest(self) -> str:
        """Stands for the picture when asking whether a file is stale."""
        return style.digest([self.draw.__name__, self.alt, self.data])

    def paths(self, folder: Path) -> list[Path]:
        """Its files in a folder."""
        return [folder / f"{self.name}.{suffix}" for suffix in ("svg", "png")]

    def is_fresh(self, *paths: Path) -> bool:
        """Whether these files show what it shows now."""
        return all(style.read_digest(path) == self.digest for path in paths)

    def save(self, folder: Path) -> list[Path]:
        """Draws it into files."""
        figure, paths = self.draw(self.data), self.paths(folder)
        style.save(figure, paths, self.digest)
        style.close(figure)
        return paths


def shown_name(model: str) -> str:
    """A network's name as plots show it."""
    return DISPLAY.get(model, plain(model))
