"""Feed-forward networks of a block, from C channels to C channels."""

from __future__ import annotations

from torch import Tensor, nn

from hevitpose.errors import unknown_name
from hevitpose.models.layers import ConvBN, LayerNorm2d
from hevitpose.spec import FFNS


class FFN(nn.Module):
    """The paper's FFN: 1x1 C -> ratio * C, BN, ReLU, 1x1 back, BN."""

    def __init__(self, dim: int, ratio: int = 2) -> None:
        super().__init__()
        self.expand = ConvBN(dim, dim * ratio, relu=True)
        self.project = ConvBN(dim * ratio, dim)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return self.project(self.expand(x_NCHW))


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


_CLASSES = {"standard": FFN, "mix-ffn": MixFFN, "gated": GatedFFN}


def create_ffn(name: str, dim: int, ratio: int = 2) -> nn.Module:
    """The feed-forward network of this name.

    Raises:
        UsageError: no such name.
    """
    if name not in _CLASSES:
        raise unknown_name("model.ffn", name, FFNS)
    return _CLASSES[name](dim, ratio)
