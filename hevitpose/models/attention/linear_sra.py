"""Linear spatial-reduction attention of PVTv2."""

from __future__ import annotations

from timm.layers import LayerNorm2d
from torch import nn

from hevitpose.models.attention.sra import SRA
from hevitpose.models.registry import register


@register("attention", "linear-sra")
class LinearSRA(SRA):
    """Linear spatial-reduction attention (PVTv2, Wang et al. 2022, section 3.1).

    Keys and values from the map average-pooled to 7x7, 1x1 convolution, LayerNorm, GELU: the cost
    grows linearly with the map.
    """

    POOLED_SIDE = 7

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__(dim, num_heads, reduction=1)
        self.reduce = nn.Sequential(
            nn.AdaptiveAvgPool2d(self.POOLED_SIDE),
            nn.Conv2d(dim, dim, 1),
            LayerNorm2d(dim, eps=1e-5),
            nn.GELU(),
        )
