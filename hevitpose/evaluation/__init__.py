"""Scores of a split or of a prediction file, what is wrong with it, and statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hevitpose.evaluation.diagnosis.diagnose import diagnose

__all__ = ["diagnose"]


def __getattr__(name: str) -> Any:
    if name != "diagnose":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from hevitpose.evaluation.diagnosis.diagnose import diagnose

    return diagnose
