"""What the fork server loads once, so that a child starts with all of it.

A module that cannot be imported is left to the child, whose error is recorded.
"""

from contextlib import suppress
from importlib import import_module

NAMES = (
    "torch",
    "timm",
    "pytorch_lightning",
    "ablations.isolation",
    "ablations.cell",
    "hevitpose.cost.complexity",
    "hevitpose.cost.latency",
    "hevitpose.models",
    "hevitpose.training.fit",
    "hevitpose.runs",
)
for name in NAMES:
    with suppress(Exception):
        import_module(name)
