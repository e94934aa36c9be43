"""Small layers that every part of HEViTPose is made of, and the one initialisation.

``init_weights`` and ``init_head_`` serve the peers as well, so that networks differ by their
structure and not by how they start.
"""

from __future__ import annotations

import math
from collections import OrderedDict

from timm.layers import DropPath, LayerNorm2d, trunc_normal_
from torch import Tensor, nn

__all__ = ["ConvBN", "DWConv", "LayerNorm2d", "Residual", "init_head_", "init_weights"]


class ConvBN(nn.Sequential):
    """Convolution without bias, BatchNorm and, where asked for, ReLU: ``conv``, ``norm``, ``act``.

    Padding keeps the side at stride 1 (``kernel // 2``).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        relu: bool = False,
    ) -> None:
        conv = nn.Conv2d(
            in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False
        )
        parts: list[tuple[str, nn.Module]] = [
            ("conv", conv),
            ("norm", nn.BatchNorm2d(out_channels)),
        ]
        if relu:
            parts.append(("act", nn.ReLU(inplace=True)))
        super().__init__(OrderedDict(parts))


class DWConv(ConvBN):
    """Depthwise 3x3 convolution and BatchNorm (the block's DWConv)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, kernel=3, groups=channels)


class Residual(nn.Module):
    """``x + DropPath(branch(x))``: one line of a block with its identity shortcut."""

    def __init__(self, branch: nn.Module, drop_path: float = 0.0) -> None:
        super().__init__()
        self.branch = branch
        self.drop_path = DropPath(drop_path, scale_by_keep=True) if drop_path else nn.Identity()

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return x_NCHW + self.drop_path(self.branch(x_NCHW))


def init_weights(module: nn.Module, zero_init_residual: bool = False) -> None:
    """Initialise every layer of a network in place, in the order of ``module.modules()``.

    Linear and 1x1 convolutions: truncated normal, standard deviation 0.02. Larger kernels: Kaiming
    normal, fan-out (of a depthwise kernel: its own, k * k). Biases 0; norms weight 1, bias 0.
    Draws from the global generator; :func:`init_head_` comes after it.

    Args:
        module: the network or a part of it.
        zero_init_residual: the last BatchNorm of each :class:`Residual` branch starts at weight 0,
            so that each block starts as the identity.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            area = layer.kernel_size[0] * layer.kernel_size[1]
            if area == 1:
                trunc_normal_(layer.weight, std=0.02)
            else:
                fan_out = layer.out_channels * area // layer.groups
                nn.init.normal_(layer.weight, std=math.sqrt(2.0 / fan_out))
        elif isinstance(layer, nn.Linear):
            trunc_normal_(layer.weight, std=0.02)
        elif isinstance(layer, nn.LayerNorm | nn.GroupNorm | nn.modules.batchnorm._BatchNorm):
            if layer.weight is not None:
                nn.init.ones_(layer.weight)
        else:
            continue
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    if zero_init_residual:
        for residual in module.modules():
            if isinstance(residual, Residual):
                norms = [m for m in residual.branch.modules() if isinstance(m, nn.BatchNorm2d)]
                if norms:
                    nn.init.zeros_(norms[-1].weight)


def init_head_(conv: nn.Conv2d) -> None:
    """Initialise the last convolution of a heatmap head in place: N(0, 0.001), bias 0.

    Heatmaps are nearly zero nearly everywhere: a network that starts there learns at once, one
    that starts with the framework's default first has to unlearn its noise.
    """
    nn.init.normal_(conv.weight, std=0.001)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
