"""What halves the map between two stages, and fused forms of its squeeze-excite and LayerNorm.

The paper's Subsample & OPE is in ``hevitpose.models.hevitpose``; these are alternatives to it.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import cast

import torch.nn.functional as F
from timm.layers import LayerNorm2d, Sigmoid, SqueezeExcite
from torch import Tensor, nn

from hevitpose.models.forms import register_form
from hevitpose.models.hevitpose import OPE, ConvBN, Subsample
from hevitpose.models.registry import register

#: Subsample & OPE without its DWConv and FFN.
register("downsampling", "subsample-only")(Subsample)


@register("downsampling", "ope")
class HalvingOPE(OPE):
    """An overlapping embedding of PEOW 1: convolution k3 s2, LayerNorm."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, stride=2, peow=1)


@register("downsampling", "non-overlapping")
class NonOverlapping(OPE):
    """An embedding of PEOW 0: convolution k2 s2, LayerNorm."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, stride=2, peow=0)


@register("downsampling", "patch-merging")
class PatchMerging(nn.Module):
    """Swin's patch merging (Liu et al. 2021, section 3.1): 2x2 pixels concatenated, LN, linear."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.unshuffle = nn.PixelUnshuffle(2)
        self.norm = LayerNorm2d(4 * in_channels)
        self.reduction = nn.Conv2d(4 * in_channels, out_channels, 1, bias=False)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return self.reduction(self.norm(self.unshuffle(x_NCHW)))


@register("downsampling", "max-pool")
class MaxPool(nn.Sequential):
    """2x2 max-pool, then 1x1 convolution and BatchNorm: nothing spatial is learned."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            OrderedDict(pool=nn.MaxPool2d(2), project=ConvBN(in_channels, out_channels))
        )


@register_form("fused", SqueezeExcite)
def _fuse_squeeze_excite(se: SqueezeExcite) -> nn.Module:
    """The paper's kind; timm's has options, with which it stays as it is."""
    parts = (se.bn, nn.Identity), (se.act, nn.ReLU), (se.gate, nn.Sigmoid | Sigmoid)
    usual = all(isinstance(part, kind) for part, kind in parts) and not se.add_maxpool
    return FusedSqueezeExcite(se) if usual else se


class FusedSqueezeExcite(nn.Module):
    """Squeeze-excite on vectors (N, C) instead of maps of one pixel."""

    def __init__(self, se: SqueezeExcite) -> None:
        super().__init__()
        self.squeeze, self.excite = (_as_linear(conv) for conv in (se.fc1, se.fc2))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        scale_NC = self.excite(F.relu(self.squeeze(x_NCHW.mean((2, 3))))).sigmoid()
        return x_NCHW * scale_NC[:, :, None, None]


@register_form("fused", LayerNorm2d)
class FusedLayerNorm2d(nn.LayerNorm):
    """LayerNorm over the channels of a map, on tokens (N, T, C).

    OpenVINO reads a LayerNorm of three dimensions as one operation, of four as several with copies.
    """

    def __init__(self, norm: LayerNorm2d) -> None:
        super().__init__(norm.normalized_shape, eps=norm.eps)
        self.weight, self.bias = norm.weight, norm.bias

    def forward(self, x_NCHW: Tensor) -> Tensor:
        height, width = (int(side) for side in x_NCHW.shape[2:])
        y_NTC = super().forward(x_NCHW.permute(0, 2, 3, 1).flatten(1, 2))
        return y_NTC.unflatten(1, (height, width)).permute(0, 3, 1, 2)


def _as_linear(conv: nn.Module) -> nn.Linear:
    conv = cast(nn.Conv2d, conv)
    linear = nn.Linear(conv.in_channels, conv.out_channels, bias=conv.bias is not None)
    linear.weight = nn.Parameter(conv.weight.flatten(1))
    linear.bias = cast(nn.Parameter, conv.bias)
    return linear
