"""Shared by HEViTPose, its alternatives and its peers: attention's products, initialisation.

There is one initialisation, so that networks differ by their structure and not by how they start.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from timm.layers import LayerNorm2d, trunc_normal_
from torch import Tensor, nn

from hevitpose.errors import UsageError

#: Norms of maps over their channels, by the value of ``model.norm``.
NORMS: dict[str, Any] = {"layer": LayerNorm2d, "batch": nn.BatchNorm2d}


def split_heads(x_NCHW: Tensor, num_heads: int) -> Tensor:
    """(N, M * D, H, W) to (N, M, H * W, D)."""
    return x_NCHW.flatten(2).unflatten(1, (num_heads, -1)).transpose(-2, -1)


def merge_heads(x_NMTD: Tensor, height: int, width: int) -> Tensor:
    """(N, M, H * W, D) to (N, M * D, H, W)."""
    return x_NMTD.transpose(-2, -1).flatten(1, 2).unflatten(-1, (height, width))


class ScaledDotProduct(nn.Module):
    """``softmax(q k^T / sqrt(D) + bias) v`` (Vaswani et al. 2017, eq. 1)."""

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        self.scale = head_dim**-0.5
        self.softmax = nn.Softmax(dim=-1)

    def forward(
        self, q_NMTD: Tensor, k_NMSD: Tensor, v_NMSD: Tensor, bias: Tensor | None = None
    ) -> Tensor:
        scores_NMTS = (q_NMTD @ k_NMSD.transpose(-2, -1)) * self.scale
        if bias is not None:
            scores_NMTS = scores_NMTS + bias
        return self.softmax(scores_NMTS) @ v_NMSD


def init_weights(module: nn.Module, zero_last: Iterable[nn.Module] = ()) -> None:
    """Initialise every layer of a network in place, in the order of ``module.modules()``.

    Linear and 1x1 convolutions: truncated normal, standard deviation 0.02. Larger kernels: Kaiming
    normal, fan-out (of a depthwise kernel: its own, k * k). Biases 0; norms weight 1, bias 0.
    Draws from the global generator; :func:`init_head_` comes after it. What is below a module with
    a true ``own_init`` stays as its constructor left it.

    Args:
        module: the network.
        zero_last: branches of residual sums that start at zero, by their last BatchNorm's weight.
    """
    own = {
        layer
        for part in module.modules()
        if getattr(part, "own_init", False)
        for layer in part.modules()
    }
    for layer in module.modules():
        if layer in own:
            continue
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
    for branch in zero_last:
        norms = [layer for layer in branch.modules() if isinstance(layer, nn.BatchNorm2d)]
        if norms and norms[-1] not in own:
            nn.init.zeros_(norms[-1].weight)


def init_head_(conv: nn.Conv2d) -> None:
    """Initialise the last convolution of a heatmap head in place: N(0, 0.001), bias 0.

    Heatmaps are nearly zero nearly everywhere: a network that starts there learns at once, one
    that starts with the framework's default first has to unlearn its noise.
    """
    nn.init.normal_(conv.weight, std=0.001)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


def check_input(image_N3HW: Tensor, multiple: int) -> None:
    """Refuse what the network cannot take, in one line.

    Raises:
        UsageError: not (N, 3, H, W) of floats, or a side that is no multiple of ``multiple``.
    """
    shape = tuple(image_N3HW.shape)
    if len(shape) != 4 or shape[1] != 3:
        raise UsageError(f"model input: shape {shape}, expected (N, 3, H, W)")
    if not torch.is_floating_point(image_N3HW):
        raise UsageError(
            f"model input: {image_N3HW.dtype}, expected normalised floats (see data.normalise)"
        )
    height, width = shape[2:]
    if height % multiple or width % multiple or not height or not width:
        raise UsageError(f"model input: {height}x{width} (H x W), expected multiples of {multiple}")
