"""Feed-forward networks that are alternatives to the paper's, and the fused form of the paper's."""

from __future__ import annotations

from timm.layers import LayerNorm2d
from torch import Tensor, nn

from hevitpose.models.forms import register_form
from hevitpose.models.fused_conv import fused_conv_bn
from hevitpose.models.hevitpose import FFN, ConvBN
from hevitpose.models.registry import register


@register("ffn", "mix-ffn")
class MixFFN(nn.Module):
    """Mix-FFN of PVTv2 (Wang et al. 2022, section 3.3; SegFormer eq. 3): a 3x3 depthwise inside.

    ``W2 GELU(DW(W1 x))``. Normalised by BatchNorm after W1 and W2, as the default FFN is, so that
    the comparison is about what stands between them.
    """

    def __init__(self, dim: int, ratio: int = 2) -> None:
        super().__init__()
        hidden = dim * ratio
        self.expand = ConvBN(dim, hidden)
        self.dwconv = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.act = nn.GELU()
        self.project = ConvBN(hidden, dim)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return self.project(self.act(self.dwconv(self.expand(x_NCHW))))


@register("ffn", "gated")
class GatedFFN(nn.Module):
    """Convolutional GLU of TransNeXt (Shi 2024, section 3.3): ``W2 (GELU(DW(W1 x)) * (V x))``.

    x is normalised over channels first, as there: a product of two unbounded factors squares
    outliers from block to block, and without it evaluation overflowed after 300 steps.

    Hidden channels are two thirds of the default's, so that parameters stay about equal (Shazeer
    2020, "GLU variants improve transformer"). ``expand`` holds W1 and V; BatchNorm as in
    :class:`MixFFN`.
    """

    def __init__(self, dim: int, ratio: int = 2) -> None:
        super().__init__()
        hidden = max(1, 2 * dim * ratio // 3)
        self.norm = LayerNorm2d(dim)
        self.expand = ConvBN(dim, 2 * hidden)
        self.dwconv = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.act = nn.GELU()
        self.project = ConvBN(hidden, dim)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        gate_NHW, value_NHW = self.expand(self.norm(x_NCHW)).chunk(2, dim=1)
        return self.project(self.act(self.dwconv(gate_NHW)) * value_NHW)


@register_form("fused-residual", FFN)
class FusedFFN(nn.Module):
    """``x + FFN(x)``: the sum is part of the second convolution."""

    def __init__(self, ffn: FFN) -> None:
        super().__init__()
        self.expand, self.project = fused_conv_bn(ffn.expand), fused_conv_bn(ffn.project)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return self.project(self.expand(x_NCHW), x_NCHW)
