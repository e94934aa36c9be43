"""Attention of a block: CGSR-MHA of the paper, and the alternatives that the ablation compares.

All take and return maps (N, C, H, W). The alternatives are pre-norm blocks as in their sources
(LayerNorm, attention, output projection); CGSR-MHA carries its norms inside. None has a positional
term unless its source's attention has one: the block's depthwise convolutions give position.

Shape suffixes: N batch, C channels, H W map, M heads, T query tokens, S key tokens, D channels of
a head.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from hevitpose.errors import UsageError, unknown_name
from hevitpose.models.layers import ConvBN, LayerNorm2d
from hevitpose.models.windows import RelativePositionBias, Windows
from hevitpose.spec import ATTENTIONS, HEViTPoseSpec

AttentionFactory = Callable[[HEViTPoseSpec, int, int], nn.Module]
_FACTORIES: dict[str, AttentionFactory] = {}


def register_attention(name: str) -> Callable[[AttentionFactory], AttentionFactory]:
    """Make an attention available as ``create_model(..., attention=name)``.

    Use it as a decorator on a class (or function) that is called as ``factory(spec, stage, block)``
    and gives a module from (N, C, H, W) to the same, C being ``spec.widths[stage]``; ``block``
    numbers the blocks of the whole network from 0. The block adds the shortcut.

    Raises:
        UsageError: the name is taken.
    """
    if name in _FACTORIES or name == "none":
        raise UsageError(f"attention {name!r}: already registered, choose another name")

    def register(factory: AttentionFactory) -> AttentionFactory:
        _FACTORIES[name] = factory
        return factory

    return register


def create_attention(spec: HEViTPoseSpec, stage: int, block: int) -> nn.Module:
    """The attention that ``spec.attention`` names.

    Args:
        spec: the network.
        stage: 0, 1 or 2.
        block: the block's number over all blocks of the network.

    Raises:
        UsageError: no such name, or channels that it cannot split.
    """
    if spec.attention not in _FACTORIES:
        raise unknown_name("model.attention", spec.attention, {*ATTENTIONS, *_FACTORIES})
    return _FACTORIES[spec.attention](spec, stage, block)


def split_heads(x_NCHW: Tensor, heads: int) -> Tensor:
    """(N, M * D, H, W) to (N, M, H * W, D)."""
    return x_NCHW.flatten(2).unflatten(1, (heads, -1)).transpose(-2, -1)


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


class GroupAttention(nn.Module):
    """One group of CGSR-MHA, from its input u (N, c, H, W) to its output Y (N, c, H, W).

    ``r = SpatialReduction(u)``; ``q = LN(u)``, ``k = LN(K r)``, ``v = LN(V r)``; per head: each
    through the head's own 1x1 convolution, scaled dot-product attention;
    ``Y = LN(Linear(concat over heads))``.

    The bias of k's LayerNorm adds the same to all scores of a query, which softmax ignores.
    """

    norm_q: LayerNorm2d
    norm_k: LayerNorm2d
    norm_v: LayerNorm2d

    def __init__(
        self,
        dim: int,
        heads: int,
        reduction: int,
        reduction_mode: str = "conv",
        head_conv: bool = True,
        group_linear: bool = True,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.reduce: nn.Module = nn.Identity()
        if reduction > 1 and reduction_mode == "conv":
            self.reduce = nn.Conv2d(dim, dim, reduction, reduction)
        elif reduction > 1:
            self.reduce = nn.AvgPool2d(reduction)
        self.k = nn.Conv2d(dim, dim, 1, bias=False)
        self.v = nn.Conv2d(dim, dim, 1, bias=False)
        self.norm_q, self.norm_k, self.norm_v = (LayerNorm2d(dim) for _ in range(3))
        self.head_q, self.head_k, self.head_v = (
            nn.Conv2d(dim, dim, 1, groups=heads, bias=False) if head_conv else nn.Identity()
            for _ in range(3)
        )
        self.attend = ScaledDotProduct(dim // heads)
        self.linear = nn.Conv2d(dim, dim, 1) if group_linear else nn.Identity()
        self.norm = LayerNorm2d(dim)

    def forward(self, u_NCHW: Tensor) -> Tensor:
        r_NCHW = self.reduce(u_NCHW)
        q_NMTD = split_heads(self.head_q(self.norm_q(u_NCHW)), self.heads)
        k_NMSD = split_heads(self.head_k(self.norm_k(self.k(r_NCHW))), self.heads)
        v_NMSD = split_heads(self.head_v(self.norm_v(self.v(r_NCHW))), self.heads)
        y_NCHW = merge_heads(self.attend(q_NMTD, k_NMSD, v_NMSD), *u_NCHW.shape[-2:])
        return self.norm(self.linear(y_NCHW))


class CGSRAttention(nn.Module):
    """CGSR-MHA, cascaded group spatial-reduction multi-head attention (HEViTPose, figure).

    Channels are split into groups X_1..X_G; ``u_1 = X_1`` and, the cascade,
    ``u_i = X_i + Y_{i-1}``; ``output = Projection(concat(Y_1..Y_G))``.

    Args:
        dim: channels, divisible by ``groups * heads``.
        groups: G.
        heads: heads of each group.
        reduction: R; keys and values have ``H W / R^2`` tokens.
        cascade: off, every group sees only its own channels.
        reduction_mode: ``"conv"`` (kernel R, stride R) or ``"avg-pool"``.
        head_conv: each head's own 1x1 convolution on q, k and v.
        group_linear: the Linear after the heads of a group.
    """

    def __init__(
        self,
        dim: int,
        groups: int,
        heads: int,
        reduction: int,
        *,
        cascade: bool = True,
        reduction_mode: str = "conv",
        head_conv: bool = True,
        group_linear: bool = True,
    ) -> None:
        super().__init__()
        self.cascade = cascade
        self.groups = nn.ModuleList(
            GroupAttention(dim // groups, heads, reduction, reduction_mode, head_conv, group_linear)
            for _ in range(groups)
        )
        self.projection = ConvBN(dim, dim)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        outputs: list[Tensor] = []
        for group, x_i in zip(self.groups, x_NCHW.chunk(len(self.groups), dim=1), strict=True):
            u_i = x_i + outputs[-1] if self.cascade and outputs else x_i
            outputs.append(group(u_i))
        return self.projection(torch.cat(outputs, dim=1))


class MHSA(nn.Module):
    """Multi-head self-attention over the whole map (ViT, Dosovitskiy et al. 2021, eq. 2).

    LayerNorm, one projection with bias to q, k, v, attention of all tokens with all, projection.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = LayerNorm2d(dim)
        self.qkv = nn.Conv2d(dim, 3 * dim, 1)
        self.attend = ScaledDotProduct(dim // heads)
        self.projection = nn.Conv2d(dim, dim, 1)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        qkv = self.qkv(self.norm(x_NCHW)).chunk(3, dim=1)
        q_NMTD, k_NMTD, v_NMTD = (split_heads(part, self.heads) for part in qkv)
        y_NCHW = merge_heads(self.attend(q_NMTD, k_NMTD, v_NMTD), *x_NCHW.shape[-2:])
        return self.projection(y_NCHW)


class SRA(nn.Module):
    """Spatial-reduction attention (PVT, Wang et al. 2021, eq. 1 to 3).

    Keys and values come from the normalised map through a convolution of kernel and stride R and a
    LayerNorm (none where R = 1).
    """

    def __init__(self, dim: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = LayerNorm2d(dim)
        self.q = nn.Conv2d(dim, dim, 1)
        self.reduce: nn.Module = nn.Identity()
        if reduction > 1:
            self.reduce = nn.Sequential(
                nn.Conv2d(dim, dim, reduction, reduction), LayerNorm2d(dim, eps=1e-5)
            )
        self.kv = nn.Conv2d(dim, 2 * dim, 1)
        self.attend = ScaledDotProduct(dim // heads)
        self.projection = nn.Conv2d(dim, dim, 1)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        x = self.norm(x_NCHW)
        q_NMTD = split_heads(self.q(x), self.heads)
        k_NMSD, v_NMSD = (
            split_heads(part, self.heads) for part in self.kv(self.reduce(x)).chunk(2, dim=1)
        )
        y_NCHW = merge_heads(self.attend(q_NMTD, k_NMSD, v_NMSD), *x_NCHW.shape[-2:])
        return self.projection(y_NCHW)


class LinearSRA(SRA):
    """Linear spatial-reduction attention (PVTv2, Wang et al. 2022, section 3.1).

    Keys and values from the map average-pooled to 7x7, 1x1 convolution, LayerNorm, GELU: the cost
    grows linearly with the map.
    """

    POOLED_SIDE = 7

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__(dim, heads, reduction=1)
        self.reduce = nn.Sequential(
            nn.AdaptiveAvgPool2d(self.POOLED_SIDE),
            nn.Conv2d(dim, dim, 1),
            LayerNorm2d(dim, eps=1e-5),
            nn.GELU(),
        )


class WindowAttention(nn.Module):
    """Attention within windows of 8x8 tokens (Swin, Liu et al. 2021, eq. 4), plain or shifted.

    Shifted windows are moved by half their side along each axis that has more than one window.
    Relative position bias; what a map lacks to whole windows is padding that nobody attends to.
    """

    def __init__(self, dim: int, heads: int, window: int = 8, shifted: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.windows = Windows(window, window // 2 if shifted else 0)
        self.norm = LayerNorm2d(dim)
        self.qkv = nn.Conv2d(dim, 3 * dim, 1)
        self.position_bias = RelativePositionBias(window, heads, signed=True)
        self.attend = ScaledDotProduct(dim // heads)
        self.projection = nn.Conv2d(dim, dim, 1)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        height, width = x_NCHW.shape[-2:]
        qkv_BCww = self.windows.split(self.qkv(self.norm(x_NCHW)))
        q_BMTD, k_BMTD, v_BMTD = (split_heads(p, self.heads) for p in qkv_BCww.chunk(3, dim=1))
        bias = self.windows.masked(self.position_bias(), height, width, batch=len(x_NCHW))
        y_BMTD = self.attend(q_BMTD, k_BMTD, v_BMTD, bias)
        side = self.windows.side
        y_NCHW = self.windows.join(merge_heads(y_BMTD, side, side), height, width)
        return self.projection(y_NCHW)


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


@register_attention("cgsr")
def _cgsr(spec: HEViTPoseSpec, stage: int, block: int) -> nn.Module:
    return CGSRAttention(
        spec.widths[stage],
        spec.groups[stage],
        spec.heads,
        spec.reductions[stage],
        cascade=spec.cascade,
        reduction_mode=spec.reduction_mode,
        head_conv=spec.head_conv,
        group_linear=spec.group_linear,
    )


@register_attention("mhsa")
def _mhsa(spec: HEViTPoseSpec, stage: int, block: int) -> nn.Module:
    return MHSA(spec.widths[stage], spec.heads)


@register_attention("sra")
def _sra(spec: HEViTPoseSpec, stage: int, block: int) -> nn.Module:
    return SRA(spec.widths[stage], spec.heads, spec.reductions[stage])


@register_attention("linear-sra")
def _linear_sra(spec: HEViTPoseSpec, stage: int, block: int) -> nn.Module:
    return LinearSRA(spec.widths[stage], spec.heads)


@register_attention("cga")
def _cga(spec: HEViTPoseSpec, stage: int, block: int) -> nn.Module:
    width, groups = spec.widths[stage], spec.groups[stage]
    if width % groups:
        raise UsageError(
            f"model: stage {stage + 1} has {width} channels, which groups {groups} does not divide"
        )
    return CGAttention(width, groups, spec.window)


@register_attention("window")
def _window(spec: HEViTPoseSpec, stage: int, block: int) -> nn.Module:
    return WindowAttention(spec.widths[stage], spec.heads, spec.window, shifted=block % 2 == 1)
