"""Cascaded group attention of EfficientViT."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hevitpose.models.attention.window import RelativePositionBias, Windows
from hevitpose.models.common import ScaledDotProduct, merge_heads, split_heads
from hevitpose.models.hevitpose import ConvBN
from hevitpose.models.registry import register


class CGAHead(nn.Module):
    """One head of :class:`CGAttention`: its own q, k, v, a depthwise convolution on q."""

    def __init__(self, dim: int, key_dim: int, kernel: int) -> None:
        super().__init__()
        self.sizes = (key_dim, key_dim, dim)
        self.qkv = ConvBN(dim, 2 * key_dim + dim)
        self.dwconv = ConvBN(key_dim, key_dim, kernel, groups=key_dim)
        self.attend = ScaledDotProduct(key_dim)

    def forward(self, u_BCww: Tensor, bias: Tensor) -> Tensor:
        q, k, v = self.qkv(u_BCww).split(self.sizes, dim=1)
        q_B1TD, k_B1TD, v_B1TD = (split_heads(part, 1) for part in (self.dwconv(q), k, v))
        return merge_heads(self.attend(q_B1TD, k_B1TD, v_B1TD, bias), *u_BCww.shape[-2:])


@register("attention", "cga")
class CGAttention(nn.Module):
    """Cascaded group attention in windows (EfficientViT, Liu et al. 2023, eq. 2 and 3).

    Heads are the groups: head i attends over its share of the channels plus head i-1's output.
    Queries and keys of 16 channels, a depthwise 5x5 on q, a bias per absolute offset and head;
    ReLU before the projection. Unlike the source's, padding of a window is masked.
    """

    def __init__(
        self, dim: int, groups: int, window: int = 8, key_dim: int = 16, kernel: int = 5
    ) -> None:
        super().__init__()
        self.windows = Windows(window)
        self.heads = nn.ModuleList(CGAHead(dim // groups, key_dim, kernel) for _ in range(groups))
        self.position_bias = RelativePositionBias(window, groups, signed=False)
        self.act = nn.ReLU(inplace=True)
        self.projection = ConvBN(dim, dim)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        height, width = x_NCHW.shape[-2:]
        x_BCww = self.windows.split(x_NCHW)
        bias = self.windows.masked(self.position_bias(), height, width, batch=len(x_NCHW))
        outputs: list[Tensor] = []
        for index, (head, x_i) in enumerate(
            zip(self.heads, x_BCww.chunk(len(self.heads), dim=1), strict=True)
        ):
            u_i = x_i + outputs[-1] if outputs else x_i
            outputs.append(head(u_i, bias[:, index : index + 1]))
        y_BCww = self.projection(self.act(torch.cat(outputs, dim=1)))
        return self.windows.join(y_BCww, height, width)
