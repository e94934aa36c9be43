"""Layers on tokens (N, T, C) instead of maps (N, C, H, W): what the fast forms are made of."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def tokens(x_NCHW: Tensor) -> Tensor:
    """(N, C, H, W) to (N, H * W, C); no copy where the map is channels-last."""
    return x_NCHW.flatten(2).transpose(1, 2)


def linear(x_NTC: Tensor, conv: nn.Conv2d) -> Tensor:
    """A 1x1 convolution on tokens."""
    return F.linear(x_NTC, conv.weight.flatten(1), conv.bias)


def norm(x_NTC: Tensor, layer: nn.LayerNorm) -> Tensor:
    """A LayerNorm over channels (of maps: LayerNorm2d) on tokens."""
    return F.layer_norm(x_NTC, layer.normalized_shape, layer.weight, layer.bias, layer.eps)


def attend(
    q_NTC: Tensor, k_NSC: Tensor, v_NSC: Tensor, num_heads: int, scale: float = 1.0
) -> Tensor:
    """``softmax(scale q k^T) v`` of each head, (N, T, C) as the queries."""
    q_NMTD, k_NMSD, v_NMSD = (
        part.unflatten(-1, (num_heads, -1)).transpose(1, 2) for part in (q_NTC, k_NSC, v_NSC)
    )
    y_NMTD = F.scaled_dot_product_attention(q_NMTD, k_NMSD, v_NMSD, scale=scale)
    return y_NMTD.transpose(1, 2).flatten(2)
