"""Entry points for ``torch.hub.load(FOLDER_OR_REPOSITORY, NAME, source=...)``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

dependencies = [
    "torch",
    "torchvision",
    "timm",
    "safetensors",
    "numpy",
    "msgspec",
    "pydantic",
    "yaml",
]


def create_model(name: str, num_keypoints: int = 17, **overrides: Any) -> nn.Module:
    """A network with fresh weights; see :func:`hevitpose.create_model`."""
    from hevitpose import create_model as create

    return create(name, num_keypoints=num_keypoints, **overrides)


def from_pretrained(path: Path | str, **options: Any) -> nn.Module:
    """The network of a checkpoint; see :func:`hevitpose.from_pretrained`."""
    from hevitpose import from_pretrained as load

    return load(path, **options)
