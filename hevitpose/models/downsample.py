"""What shrinks the map: the patch embedding of stage 1 and the step between two stages.

PEOW, the patch-embedding overlap width, is kernel - stride: the pixels that neighbouring patches
share. PEOW 0 is the embedding of ViT and Swin.
"""

from __future__ import annotations

from collections import OrderedDict

from timm.layers import SqueezeExcite
from torch import Tensor, nn

from hevitpose.errors import unknown_name
from hevitpose.models.ffn import create_ffn
from hevitpose.models.layers import ConvBN, DWConv, LayerNorm2d, Residual
from hevitpose.spec import DOWNSAMPLINGS, HEViTPoseSpec


class OPE(nn.Sequential):
    """Overlapping patch embedding: convolution with bias, then LayerNorm over channels.

    Kernel ``stride + peow``, padding half of it as in PVTv2 (none at PEOW 0). The paper's stage 1
    is ``OPE(3, C1, stride=4, peow=3)``: k7 s4 p3.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, peow: int) -> None:
        kernel = stride + peow
        conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2 if peow else 0)
        super().__init__(OrderedDict(conv=conv, norm=LayerNorm2d(out_channels)))


class Subsample(nn.Module):
    """The paper's subsampling, an inverted residual without shortcut (as EfficientViT's).

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


class SubsampleOPE(nn.Sequential):
    """The paper's Subsample & OPE: [DWConv, FFN], :class:`Subsample`, [DWConv, FFN].

    Each DWConv and FFN has its own shortcut.
    """

    def __init__(
        self, in_channels: int, out_channels: int, ffn: str = "standard", ffn_ratio: int = 2
    ) -> None:
        def pair(suffix: str, dim: int) -> dict[str, nn.Module]:
            return {
                f"dwconv{suffix}": Residual(DWConv(dim)),
                f"ffn{suffix}": Residual(create_ffn(ffn, dim, ffn_ratio)),
            }

        parts = pair("1", in_channels)
        parts["subsample"] = Subsample(in_channels, out_channels)
        parts.update(pair("2", out_channels))
        super().__init__(OrderedDict(parts))


class PatchMerging(nn.Module):
    """Swin's patch merging (Liu et al. 2021, section 3.1): 2x2 pixels concatenated, LN, linear."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.unshuffle = nn.PixelUnshuffle(2)
        self.norm = LayerNorm2d(4 * in_channels)
        self.reduction = nn.Conv2d(4 * in_channels, out_channels, 1, bias=False)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return self.reduction(self.norm(self.unshuffle(x_NCHW)))


class MaxPool(nn.Sequential):
    """2x2 max-pool, then 1x1 convolution and BatchNorm: nothing spatial is learned."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            OrderedDict(pool=nn.MaxPool2d(2), project=ConvBN(in_channels, out_channels))
        )


def create_downsample(spec: HEViTPoseSpec, stage: int) -> nn.Module:
    """The module that leads into a stage.

    Args:
        spec: the network.
        stage: 0 (from the image, 1/4 of its side), 1 or 2 (half the previous side).

    Raises:
        UsageError: ``spec.downsampling`` is no known name.
    """
    if stage == 0:
        return OPE(3, spec.widths[0], stride=4, peow=spec.peow)
    dims = spec.widths[stage - 1], spec.widths[stage]
    if spec.downsampling == "subsample-ope":
        return SubsampleOPE(*dims, spec.ffn, spec.ffn_ratio)
    if spec.downsampling == "subsample-only":
        return Subsample(*dims)
    if spec.downsampling == "ope":
        return OPE(*dims, stride=2, peow=1)
    if spec.downsampling == "non-overlapping":
        return OPE(*dims, stride=2, peow=0)
    if spec.downsampling == "patch-merging":
        return PatchMerging(*dims)
    if spec.downsampling == "max-pool":
        return MaxPool(*dims)
    raise unknown_name("model.downsampling", spec.downsampling, DOWNSAMPLINGS)
