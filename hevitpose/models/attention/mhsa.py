"""Multi-head self-attention over the whole map."""

from __future__ import annotations

from timm.layers import LayerNorm2d
from torch import Tensor, nn

from hevitpose.models.attention.tokens import attend, linear, norm, tokens
from hevitpose.models.common import ScaledDotProduct, merge_heads, split_heads
from hevitpose.models.forms import register_form
from hevitpose.models.registry import register


@register("attention", "mhsa")
class MHSA(nn.Module):
    """Multi-head self-attention over the whole map (ViT, Dosovitskiy et al. 2021, eq. 2).

    LayerNorm, one projection with bias to q, k, v, attention of all tokens with all, projection.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm = LayerNorm2d(dim)
        self.qkv = nn.Conv2d(dim, 3 * dim, 1)
        self.attend = ScaledDotProduct(dim // num_heads)
        self.projection = nn.Conv2d(dim, dim, 1)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        qkv = self.qkv(self.norm(x_NCHW)).chunk(3, dim=1)
        q_NMTD, k_NMTD, v_NMTD = (split_heads(part, self.num_heads) for part in qkv)
        y_NCHW = merge_heads(self.attend(q_NMTD, k_NMTD, v_NMTD), *x_NCHW.shape[-2:])
        return self.projection(y_NCHW)


@register_form("train", MHSA)
class TrainMHSA(MHSA):
    """Global attention on tokens, without the matrix of scores."""

    def forward(self, x_NCHW: Tensor) -> Tensor:
        q_NTC, k_NTC, v_NTC = linear(norm(tokens(x_NCHW), self.norm), self.qkv).chunk(3, dim=-1)
        y_NTC = attend(q_NTC, k_NTC, v_NTC, self.num_heads, self.attend.scale)
        return linear(y_NTC, self.projection).transpose(1, 2).unflatten(-1, x_NCHW.shape[-2:])
