"""Attention within windows of a map, plain or shifted, with the mask between windows."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from timm.layers import LayerNorm2d, trunc_normal_
from torch import Tensor, nn

from hevitpose.models.common import ScaledDotProduct, merge_heads, split_heads
from hevitpose.models.registry import register


class RelativePositionBias(nn.Module):
    """A learned bias per head and offset between two tokens of a window.

    Args:
        window: side of the window in tokens.
        num_heads: M.
        signed: offsets by sign and size (Swin), or by size alone (EfficientViT, LeViT).
    """

    index: Tensor

    def __init__(self, window: int, num_heads: int, signed: bool) -> None:
        super().__init__()
        rows, columns = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
        dy = rows.flatten()[:, None] - rows.flatten()[None, :]
        dx = columns.flatten()[:, None] - columns.flatten()[None, :]
        if signed:
            span = 2 * window - 1
            index = (dy + window - 1) * span + dx + window - 1
        else:
            span = window
            index = dy.abs() * span + dx.abs()
        self.table = nn.Parameter(torch.empty(num_heads, span * span))
        trunc_normal_(self.table, std=0.02)
        self.register_buffer("index", index, persistent=False)

    def forward(self) -> Tensor:
        """The bias (M, T, T), T = window^2; ``[m, query, key]``."""
        return self.table[:, self.index]


class Windows:
    """Cuts maps into windows of ``side`` x ``side`` tokens and puts them together again.

    The map is padded at the bottom and the right to whole windows and, for shifted windows,
    rolled up and left by ``shift`` along each axis that has more than one window (Swin, Liu et al.
    2021, figure 4).

    Args:
        side: of a window, in tokens.
        shift: 0 for plain windows, less than ``side``.
    """

    def __init__(self, side: int, shift: int = 0) -> None:
        self.side = side
        self.shift = shift

    def _layout(self, length: int) -> tuple[int, int]:
        """Windows along an axis of this length, and by how much they are shifted there."""
        count = -(-length // self.side)
        return count, self.shift if count > 1 else 0

    def split(self, x_NCHW: Tensor) -> Tensor:
        """(N, C, H, W) to (N * windows, C, side, side)."""
        batch, channels, height, width = x_NCHW.shape
        (rows, down), (columns, right) = self._layout(height), self._layout(width)
        pad_h, pad_w = rows * self.side - height, columns * self.side - width
        x = F.pad(x_NCHW, (0, pad_w, 0, pad_h)) if pad_h or pad_w else x_NCHW
        if down or right:
            x = x.roll((-down, -right), (2, 3))
        x = x.reshape(batch, channels, rows, self.side, columns, self.side)
        return x.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)

    def join(self, x_BCww: Tensor, height: int, width: int) -> Tensor:
        """(N * windows, C, side, side) to (N, C, height, width): undoes :meth:`split`."""
        (rows, down), (columns, right) = self._layout(height), self._layout(width)
        x = x_BCww.unflatten(0, (-1, rows, columns)).permute(0, 3, 1, 4, 2, 5)
        x = x.flatten(4, 5).flatten(2, 3)
        if down or right:
            x = x.roll((down, right), (2, 3))
        return x[:, :, :height, :width]

    def mask(self, height: int, width: int, device: torch.device | None = None) -> Tensor | None:
        """Which key a query may see, (windows, T, T) boolean; ``None`` where it is every one.

        Tokens see each other when they lie together in the unrolled map; padding sees padding, so
        that no row is without a key.
        """
        (rows, down), (columns, right) = self._layout(height), self._layout(width)
        padded = rows * self.side, columns * self.side
        if not (down or right) and padded == (height, width):
            return None

        # After the roll, place p holds what was at (p + shift) mod length; it wrapped around when
        # that sum passed the end.
        y = torch.arange(padded[0], device=device) + down
        x = torch.arange(padded[1], device=device) + right
        wrapped = 2 * (y >= padded[0]).int()[:, None] + (x >= padded[1]).int()[None, :]
        real = (y % padded[0] < height)[:, None] & (x % padded[1] < width)[None, :]
        region = torch.where(real, wrapped, -1)
        region_BT = region.reshape(rows, self.side, columns, self.side).transpose(1, 2)
        region_BT = region_BT.reshape(rows * columns, -1)
        return region_BT[:, :, None] == region_BT[:, None, :]

    def masked(self, bias_MTT: Tensor, height: int, width: int, batch: int) -> Tensor:
        """A bias for windows of a batch, minus infinity where a query may not see a key.

        Returns:
            (1 or N * windows, M, T, T), for the windows as :meth:`split` orders them.
        """
        visible_BTT = self.mask(height, width, bias_MTT.device)
        if visible_BTT is None:
            return bias_MTT[None]
        bias_BMTT = bias_MTT[None].masked_fill(~visible_BTT[:, None], float("-inf"))
        return bias_BMTT.repeat(batch, 1, 1, 1)


@register("attention", "window")
class WindowAttention(nn.Module):
    """Attention within windows of 8x8 tokens (Swin, Liu et al. 2021, eq. 4), shifted in every
    other block of the network.

    Shifted windows are moved by half their side along each axis that has more than one window.
    Relative position bias; what a map lacks to whole windows is padding that nobody attends to.
    """

    def __init__(self, dim: int, num_heads: int, window: int = 8, block: int = 0) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.windows = Windows(window, window // 2 if block % 2 else 0)
        self.norm = LayerNorm2d(dim)
        self.qkv = nn.Conv2d(dim, 3 * dim, 1)
        self.position_bias = RelativePositionBias(window, num_heads, signed=True)
        self.attend = ScaledDotProduct(dim // num_heads)
        self.projection = nn.Conv2d(dim, dim, 1)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        height, width = x_NCHW.shape[-2:]
        qkv_BCww = self.windows.split(self.qkv(self.norm(x_NCHW)))
        q_BMTD, k_BMTD, v_BMTD = (split_heads(p, self.num_heads) for p in qkv_BCww.chunk(3, dim=1))
        bias = self.windows.masked(self.position_bias(), height, width, batch=len(x_NCHW))
        y_BMTD = self.attend(q_BMTD, k_BMTD, v_BMTD, bias)
        side = self.windows.side
        y_NCHW = self.windows.join(merge_heads(y_BMTD, side, side), height, width)
        return self.projection(y_NCHW)
