"""Datasets: readers, crops, loading. Only ``loader`` and ``sampler`` import torch.

What configs ask the registry must not cost them the image library: the rest loads on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hevitpose.data.files import declared
    from hevitpose.data.reading import load
    from hevitpose.data.registry import Declared
    from hevitpose.data.table import PoseTable, verify_images

__all__ = ["Declared", "PoseTable", "declared", "load", "verify_images"]

_LAZY = {
    "Declared": "registry",
    "PoseTable": "table",
    "declared": "files",
    "load": "reading",
    "verify_images": "table",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
