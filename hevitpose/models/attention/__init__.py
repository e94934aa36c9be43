"""Attention of a block: one file each, with its fast and its fused form beside it.

Every file here is imported, and registers what it holds (``hevitpose.models.registry``). CGSR-MHA,
the paper's, is in ``hevitpose.models.hevitpose``; its fast and its fused form are in ``cgsr``.

The alternatives are pre-norm as in their sources: LayerNorm, attention, output projection.
None has a positional term unless its source's attention has one: the block's depthwise convolutions
give position.
"""

import importlib
import pkgutil

for _file in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_file.name}")
