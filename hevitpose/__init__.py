"""HEViTPose: an independent reconstruction of the pose network, runnable and measurable.

Heavy names load on first use, so that ``import hevitpose`` loads no framework.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from hevitpose.checkpoint import from_pretrained, save_checkpoint
    from hevitpose.config import Config, load_config
    from hevitpose.evaluation.diagnosis.diagnose import diagnose
    from hevitpose.inference.predictor import PosePredictor
    from hevitpose.models import create_model
    from hevitpose.optimization import optimize
    from hevitpose.pretrained import from_published, save_pretrained

_LAZY = {
    "Config": "hevitpose.config",
    "PosePredictor": "hevitpose.inference.predictor",
    "create_model": "hevitpose.models",
    "diagnose": "hevitpose.evaluation.diagnosis.diagnose",
    "from_pretrained": "hevitpose.checkpoint",
    "from_published": "hevitpose.pretrained",
    "load_config": "hevitpose.config",
    "optimize": "hevitpose.optimization",
    "save_checkpoint": "hevitpose.checkpoint",
    "save_pretrained": "hevitpose.pretrained",
}

__all__ = [
    "Config",
    "PosePredictor",
    "__version__",
    "create_model",
    "diagnose",
    "from_pretrained",
    "from_published",
    "load_config",
    "optimize",
    "save_checkpoint",
    "save_pretrained",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(_LAZY[name])
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
