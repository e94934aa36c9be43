"""Spatial-reduction attention of PVT."""

from __future__ import annotations

from timm.layers import LayerNorm2d
from torch import Tensor, nn

from hevitpose.models.attention.tokens import attend, linear, tokens
from hevitpose.models.common import ScaledDotProduct, merge_heads, split_heads
from hevitpose.models.forms import register_form
from hevitpose.models.registry import register


@register("attention", "sra")
class SRA(nn.Module):
    """Spatial-reduction attention (PVT, Wang et al. 2021, eq. 1 to 3).

    Keys and values come from the normalised map through a convolution of kernel and stride R and a
    LayerNorm (none where R = 1).
    """

    def __init__(self, dim: int, num_heads: int, reduction: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm = LayerNorm2d(dim)
        self.q = nn.Conv2d(dim, dim, 1)
        self.reduce: nn.Module = nn.Identity()
        if reduction > 1:
            self.reduce = nn.Sequential(
                nn.Conv2d(dim, dim, reduction, reduction), LayerNorm2d(dim, eps=1e-5)
            )
        self.kv = nn.Conv2d(dim, 2 * dim, 1)
        self.attend = ScaledDotProduct(dim // num_heads)
        self.projection = nn.Conv2d(dim, dim, 1)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        x = self.norm(x_NCHW)
        q_NMTD = split_heads(self.q(x), self.num_heads)
        k_NMSD, v_NMSD = (
            split_heads(part, self.num_heads) for part in self.kv(self.reduce(x)).chunk(2, dim=1)
        )
        y_NCHW = merge_heads(self.attend(q_NMTD, k_NMSD, v_NMSD), *x_NCHW.shape[-2:])
        return self.projection(y_NCHW)


@register_form("train", SRA)
class TrainSRA(SRA):
    """Spatial-reduction attention on tokens, without the matrix of scores."""

    def forward(self, x_NCHW: Tensor) -> Tensor:
        x = self.norm(x_NCHW)
        q_NTC = linear(tokens(x), self.q)
        k_NSC, v_NSC = linear(tokens(self.reduce(x)), self.kv).chunk(2, dim=-1)
        y_NTC = attend(q_NTC, k_NSC, v_NSC, self.num_heads, self.attend.scale)
        return linear(y_NTC, self.projection).transpose(1, 2).unflatten(-1, x.shape[-2:])
