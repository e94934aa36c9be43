"""HEViTPose, the whole network in one file.

    HEViTPose: towards high-accuracy and efficient 2D human pose estimation with cascaded group
    spatial reduction attention. Chengpeng Wu, Zhidong Chen, Beihua Ying, Guangxing Tan, Bing Hu,
    Chunyu Li, Haifeng Chen. Scientific Reports, 2026.
    arXiv 2311.13615, doi 10.1038/s41598-026-35859-x

The paper draws the network and prints the parameters and GFLOPs of three sizes; its code was never
released. This file is a reconstruction.

**Drawn**: three stages at 1/4, 1/8 and 1/16 of the image's side; the block's five lines and their
shortcuts; CGSR-MHA with its groups, cascade, spatial reduction, per-head projections and norms;
the overlapping patch embedding; Subsample & OPE; a head of two transposed convolutions.

**Fitted** to the printed counts: widths, depths, groups, reductions, heads, the head's channels
(``hevitpose.models.spec.VARIANTS``; how, and how sure: ``docs/reconstruction.md``). **Chosen**, as
nothing is drawn: initialisation, drop-path, which layers have a bias.

All parts take and return maps (N, C, H, W). What the ablations exchange is looked up by name in
``registry``; this file registers the paper's own parts and imports no alternative. It is written to
be read: the same computation in fewer operations is in ``forms``.

Shape suffixes: N batch, C channels, H W map, M heads, T query tokens, S key tokens, D channels of
a head.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from timm.layers import DropPath, LayerNorm2d, SqueezeExcite
from torch import Tensor, nn

from hevitpose.models.common import (
    NORMS,
    ScaledDotProduct,
    check_input,
    init_head_,
    init_weights,
    merge_heads,
    split_heads,
)
from hevitpose.models.registry import create, register
from hevitpose.models.spec import HEViTPoseSpec

# Layers ------------------------------------------------------------------------------------------


class ConvBN(nn.Sequential):
    """Convolution without bias, BatchNorm and, optionally, ReLU: ``conv``, ``norm``, ``act``.

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
        act = OrderedDict(act=nn.ReLU(inplace=True)) if relu else {}
        super().__init__(OrderedDict(conv=conv, norm=nn.BatchNorm2d(out_channels), **act))


class DWConv(ConvBN):
    """Depthwise 3x3 convolution and BatchNorm."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, kernel=3, groups=channels)


@register("ffn", "standard")
class FFN(nn.Module):
    """1x1 convolution C -> ratio * C, BN, ReLU, 1x1 convolution back, BN."""

    def __init__(self, dim: int, ratio: int = 2) -> None:
        super().__init__()
        self.expand = ConvBN(dim, dim * ratio, relu=True)
        self.project = ConvBN(dim * ratio, dim)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return self.project(self.expand(x_NCHW))


class Residual(nn.Module):
    """``x + DropPath(branch(x))``."""

    def __init__(self, branch: nn.Module, drop_path: float = 0.0) -> None:
        super().__init__()
        self.branch = branch
        self.drop_path = DropPath(drop_path, scale_by_keep=True) if drop_path else nn.Identity()

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return x_NCHW + self.drop_path(self.branch(x_NCHW))


def line(branch: nn.Module | None, drop_path: float = 0.0) -> nn.Module:
    """One line of a block: the branch with its shortcut, or ``x`` itself where it is left out."""
    return nn.Identity() if branch is None else Residual(branch, drop_path)


# Smaller maps ------------------------------------------------------------------------------------


class OPE(nn.Sequential):
    """Overlapping patch embedding: convolution with bias, then LayerNorm over channels.

    PEOW, the patch-embedding overlap width, is kernel - stride: the pixels that neighbouring
    patches share. Padding is half the kernel as in PVTv2 (none at PEOW 0, the embedding of ViT).
    Stage 1 is ``OPE(3, C1, stride=4, peow=3)``: k7 s4 p3.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, peow: int) -> None:
        kernel = stride + peow
        conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2 if peow else 0)
        super().__init__(OrderedDict(conv=conv, norm=LayerNorm2d(out_channels)))


class Subsample(nn.Module):
    """An inverted residual of stride 2 without shortcut (as EfficientViT's).

    1x1 C -> 4C, BN, ReLU; depthwise 3x3 stride 2 (PEOW 1), BN, ReLU; squeeze-excite to a quarter
    and back; 1x1 4C -> C', BN.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        hidden = 4 * in_channels
        self.expand = ConvBN(in_channels, hidden, relu=True)
        self.dwconv = ConvBN(hidden, hidden, kernel=3, stride=2, groups=hidden, relu=True)
        self.se = SqueezeExcite(hidden, rd_channels=hidden // 4)
        self.project = ConvBN(hidden, out_channels)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return self.project(self.se(self.dwconv(self.expand(x_NCHW))))


@register("downsampling", "subsample-ope")
class SubsampleOPE(nn.Module):
    """Subsample & OPE: DWConv, FFN, :class:`Subsample`, DWConv, FFN."""

    def __init__(
        self, in_channels: int, out_channels: int, ffn: str = "standard", ffn_ratio: int = 2
    ) -> None:
        super().__init__()
        self.dwconv1 = Residual(DWConv(in_channels))
        self.ffn1 = Residual(create("ffn", ffn, dim=in_channels, ratio=ffn_ratio))
        self.subsample = Subsample(in_channels, out_channels)
        self.dwconv2 = Residual(DWConv(out_channels))
        self.ffn2 = Residual(create("ffn", ffn, dim=out_channels, ratio=ffn_ratio))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        x = self.dwconv1(x_NCHW)
        x = self.ffn1(x)
        x = self.subsample(x)
        x = self.dwconv2(x)
        return self.ffn2(x)


# Attention ---------------------------------------------------------------------------------------


class GroupAttention(nn.Module):
    """One group of CGSR-MHA, from its input u (N, c, H, W) to its output Y (N, c, H, W).

    ``r = SpatialReduction(u)``; ``q = LN(u)``, ``k = LN(K r)``, ``v = LN(V r)``; each head's own
    1x1 convolution on its share of q, k and v, scaled dot-product attention;
    ``Y = LN(Linear(concat over heads))``.

    The bias of k's LayerNorm adds the same to all scores of a query, which softmax ignores.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        reduction: int,
        reduction_mode: str = "conv",
        per_head_conv: bool = True,
        group_linear: bool = True,
        norm: str = "layer",
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.reduce: nn.Module = nn.Identity()
        if reduction > 1 and reduction_mode == "conv":
            self.reduce = nn.Conv2d(dim, dim, reduction, reduction)
        elif reduction > 1:
            self.reduce = nn.AvgPool2d(reduction)
        self.k = nn.Conv2d(dim, dim, 1, bias=False)
        self.v = nn.Conv2d(dim, dim, 1, bias=False)
        self.norm_q, self.norm_k, self.norm_v = (NORMS[norm](dim) for _ in range(3))
        self.head_q, self.head_k, self.head_v = (
            nn.Conv2d(dim, dim, 1, groups=num_heads, bias=False) if per_head_conv else nn.Identity()
            for _ in range(3)
        )
        self.attend = ScaledDotProduct(dim // num_heads)
        biased = norm == "layer"  # BatchNorm has no use for a bias before it
        self.linear = nn.Conv2d(dim, dim, 1, bias=biased) if group_linear else nn.Identity()
        self.norm = NORMS[norm](dim)

    def forward(self, u_NCHW: Tensor) -> Tensor:
        r_NCHW = self.reduce(u_NCHW)
        q_NMTD = split_heads(self.head_q(self.norm_q(u_NCHW)), self.num_heads)
        k_NMSD = split_heads(self.head_k(self.norm_k(self.k(r_NCHW))), self.num_heads)
        v_NMSD = split_heads(self.head_v(self.norm_v(self.v(r_NCHW))), self.num_heads)
        y_NCHW = merge_heads(self.attend(q_NMTD, k_NMSD, v_NMSD), *u_NCHW.shape[-2:])
        return self.norm(self.linear(y_NCHW))


@register("attention", "cgsr")
class CGSRMHA(nn.Module):
    """CGSR-MHA, cascaded group spatial-reduction multi-head attention.

    Channels are split into groups X_1..X_G; ``u_1 = X_1`` and, the cascade,
    ``u_i = X_i + Y_{i-1}``; ``output = Projection(concat(Y_1..Y_G))``.
    """

    def __init__(
        self,
        dim: int,  # channels, divisible by groups * num_heads
        groups: int,  # G
        num_heads: int,  # of each group
        reduction: int,  # R; keys and values have H W / R^2 tokens
        *,
        cascade: bool = True,  # off, every group sees only its own channels
        reduction_mode: str = "conv",  # kernel R, stride R; or "avg-pool"
        per_head_conv: bool = True,  # each head's own 1x1 convolution on q, k and v
        group_linear: bool = True,  # the Linear after the heads of a group
        norm: str = "layer",  # of a group; "batch" is folded away for inference
    ) -> None:
        super().__init__()
        self.cascade = cascade
        options = reduction_mode, per_head_conv, group_linear, norm
        self.groups = nn.ModuleList(
            GroupAttention(dim // groups, num_heads, reduction, *options) for _ in range(groups)
        )
        self.projection = ConvBN(dim, dim)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        outputs: list[Tensor] = []
        for group, x_i in zip(self.groups, x_NCHW.chunk(len(self.groups), dim=1), strict=True):
            u_i = x_i + outputs[-1] if self.cascade and outputs else x_i
            outputs.append(group(u_i))
        return self.projection(torch.cat(outputs, dim=1))


# Network -----------------------------------------------------------------------------------------


class Block(nn.Module):
    """DWConv, FFN, attention, DWConv, FFN, each with its own shortcut."""

    def __init__(
        self,
        dim: int,  # channels
        attention: str = "cgsr",  # a registered one
        ffn: str = "standard",  # a registered one, of hidden width ffn_ratio * dim
        ffn_ratio: int = 2,
        num_ffns: int = 2,  # 1 leaves out the second one
        dwconv: bool = True,  # off, both depthwise convolutions are left out
        drop_path: float = 0.0,  # probability of dropping a branch for a sample
        **numbers: Any,  # what the attention may ask for
    ) -> None:
        super().__init__()
        self.dwconv1 = line(DWConv(dim) if dwconv else None, drop_path)
        self.ffn1 = line(create("ffn", ffn, dim=dim, ratio=ffn_ratio), drop_path)
        self.attention = line(create("attention", attention, dim=dim, **numbers), drop_path)
        self.dwconv2 = line(DWConv(dim) if dwconv else None, drop_path)
        second = create("ffn", ffn, dim=dim, ratio=ffn_ratio) if num_ffns == 2 else None
        self.ffn2 = line(second, drop_path)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        x = self.dwconv1(x_NCHW)  # x + DWConv(x), and so on
        x = self.ffn1(x)
        x = self.attention(x)
        x = self.dwconv2(x)
        return self.ffn2(x)


class Backbone(nn.Module):
    """Image (N, 3, H, W) to three maps: C1 x H/4 x W/4, C2 x H/8 x W/8, C3 x H/16 x W/16."""

    def __init__(self, stages: list[nn.Module]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)

    def forward(self, image_N3HW: Tensor) -> list[Tensor]:
        features = [image_N3HW]
        for stage in self.stages:
            features.append(stage(features[-1]))
        return features[1:]


@register("upsampler", "deconv")
class Deconv(nn.Sequential):
    """Transposed convolution k4 s2 p1, BN, ReLU (SimpleBaselines, Xiao et al. 2018)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        deconv = nn.ConvTranspose2d(in_channels, out_channels, 4, stride=2, padding=1, bias=False)
        norm = nn.BatchNorm2d(out_channels)
        super().__init__(OrderedDict(deconv=deconv, norm=norm, act=nn.ReLU(inplace=True)))


class HeatmapHead(nn.Sequential):
    """Upsampling layers, each doubling the side, then a 1x1 convolution with bias to K maps."""

    final: nn.Conv2d

    def __init__(
        self,
        in_channels: int,
        num_keypoints: int,  # K
        upsampler_channels: tuple[int, ...] = (192, 96),  # after each upsampling layer
        upsampler: str = "deconv",  # a registered one
    ) -> None:
        parts: dict[str, nn.Module] = {}
        for index, channels in enumerate(upsampler_channels, 1):
            parts[f"up{index}"] = create(
                "upsampler", upsampler, in_channels=in_channels, out_channels=channels
            )
            in_channels = channels
        parts["final"] = nn.Conv2d(in_channels, num_keypoints, 1)
        super().__init__(OrderedDict(parts))


class HEViTPose(nn.Module):
    """HEViTPose: top-down pose estimation by heatmaps.

    Args:
        spec: the numbers of the network; here they become modules.
        num_keypoints: K, the number of heatmaps.
        name: of the network, e.g. ``"hevitpose_b"``.
    """

    def __init__(
        self, spec: HEViTPoseSpec, num_keypoints: int = 17, name: str = "hevitpose"
    ) -> None:
        super().__init__()
        self.spec, self.num_keypoints, self.name = spec, num_keypoints, name
        self.side_multiple = spec.side_multiple  # of each side of an input
        self.backbone = Backbone([_stage(spec, stage) for stage in range(3)])
        self.head = HeatmapHead(
            spec.widths[-1], num_keypoints, spec.upsampler_channels, spec.upsampler
        )
        branches = [module.branch for module in self.modules() if isinstance(module, Residual)]
        init_weights(self, zero_last=branches if spec.zero_init_residual else ())
        init_head_(self.head.final)

    def forward(
        self, image_N3HW: Tensor, return_intermediates: bool = False
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """Heatmaps of a batch of normalised crops.

        Returns:
            Heatmaps (N, K, H/4, W/4); with ``return_intermediates`` a pair of them and the list of
            the three stages' maps.

        Raises:
            UsageError: not (N, 3, H, W) of floats, sides multiples of ``side_multiple``.
        """
        check_input(image_N3HW, self.side_multiple)
        features = self.backbone(image_N3HW)
        heatmaps = self.head(features[-1])
        return (heatmaps, features) if return_intermediates else heatmaps


def _stage(spec: HEViTPoseSpec, stage: int) -> nn.Module:
    """Stage 0, 1 or 2. Drop-path rises linearly over all blocks from 0 (Huang et al. 2016)."""
    width, first, last = spec.widths[stage], sum(spec.depths[:stage]), sum(spec.depths) - 1
    # Before what leads to them: records were made with random numbers drawn in this order.
    blocks = [
        Block(
            width,
            spec.attention,
            spec.ffn,
            spec.ffn_ratio,
            spec.ffns_per_block,
            spec.dwconv,
            drop_path=spec.drop_path_rate * block / max(1, last),
            **spec.attention_numbers(stage, block),
        )
        for block in range(first, first + spec.depths[stage])
    ]
    if stage == 0:
        downsample: nn.Module = OPE(3, width, stride=4, peow=spec.peow)
    else:
        channels = {"in_channels": spec.widths[stage - 1], "out_channels": width}
        ffn = {"ffn": spec.ffn, "ffn_ratio": spec.ffn_ratio}
        downsample = create("downsampling", spec.downsampling, **channels, **ffn)
    return nn.Sequential(OrderedDict(downsample=downsample, blocks=nn.Sequential(*blocks)))
