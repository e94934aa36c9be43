"""HEViTPose: an independent, reproducible reconstruction of the pose network.

Heavy names load on first use, so that ``import hevitpose`` loads no framework.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from hevitpose.config import Config, load_config
    from hevitpose.evaluation.diagnosis.diagnose import diagnose
    from hevitpose.inference.predictor import PosePredictor
    from hevitpose.inference.pretrained import from_published, save_pretrained
    from hevitpose.models import create_model, optimize
    from hevitpose.models.checkpoint import from_pretrained, save_checkpoint

_LAZY = {
    "Config": "hevitpose.config",
    "PosePredictor": "hevitpose.inference.predictor",
    "create_model": "hevitpose.models",
    "diagnose": "hevitpose.evaluation.diagnosis.diagnose",
    "from_pretrained": "hevitpose.models.checkpoint",
    "from_published": "hevitpose.inference.pretrained",
    "load_config": "hevitpose.config",
    "optimize": "hevitpose.models",
    "save_checkpoint": "hevitpose.models.checkpoint",
    "save_pretrained": "hevitpose.inference.pretrained",
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
