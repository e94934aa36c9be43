"""No attention: what the block's other four lines do alone."""

from __future__ import annotations

from hevitpose.models.registry import register


@register("attention", "none")
def no_attention() -> None:
    """Nothing to build: the block goes without this line and its shortcut."""
