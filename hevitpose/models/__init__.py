"""HEViTPose, its alternatives and its peers. Knows nothing of data, codecs or metrics.

Names load on first use, so that ``hevitpose.models.spec`` can be read without a framework.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hevitpose.models.build import create_for_input, create_model
    from hevitpose.models.forms import optimize
    from hevitpose.models.hevitpose import HEViTPose
    from hevitpose.models.registry import register

_LAZY = {
    "HEViTPose": "hevitpose.models.hevitpose",
    "create_for_input": "hevitpose.models.build",
    "create_model": "hevitpose.models.build",
    "optimize": "hevitpose.models.forms",
    "register": "hevitpose.models.registry",
}

__all__ = ["HEViTPose", "create_for_input", "create_model", "optimize", "register"]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value
