"""Heads: the last stage's map (stride 16) to one heatmap per keypoint (stride 4)."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from hevitpose.errors import unknown_name
from hevitpose.models.layers import init_head_
from hevitpose.spec import HEADS


def _deconv(in_channels: int, out_channels: int) -> nn.Sequential:
    """Transposed convolution k4 s2 p1, BN, ReLU (SimpleBaselines, Xiao et al. 2018)."""
    deconv = nn.ConvTranspose2d(in_channels, out_channels, 4, stride=2, padding=1, bias=False)
    norm = nn.BatchNorm2d(out_channels)
    return nn.Sequential(OrderedDict(deconv=deconv, norm=norm, act=nn.ReLU(inplace=True)))


def _pixel_shuffle(in_channels: int, out_channels: int) -> nn.Sequential:
    """Sub-pixel convolution (ESPCN, Shi et al. 2016): 3x3 to four times the channels, shuffled."""
    conv = nn.Conv2d(in_channels, 4 * out_channels, 3, padding=1, bias=False)
    return nn.Sequential(
        OrderedDict(
            conv=conv,
            shuffle=nn.PixelShuffle(2),
            norm=nn.BatchNorm2d(out_channels),
            act=nn.ReLU(inplace=True),
        )
    )


def _bilinear(in_channels: int, out_channels: int) -> nn.Sequential:
    """Bilinear upsampling, then 3x3 convolution, BN, ReLU (Odena et al. 2016: no checkerboard)."""
    upsample = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
    conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
    norm = nn.BatchNorm2d(out_channels)
    return nn.Sequential(
        OrderedDict(upsample=upsample, conv=conv, norm=norm, act=nn.ReLU(inplace=True))
    )


_LAYERS = {"deconv": _deconv, "pixel-shuffle": _pixel_shuffle, "bilinear": _bilinear}


class HeatmapHead(nn.Sequential):
    """Upsampling layers, each doubling the side, then a 1x1 convolution with bias to K maps.

    Args:
        in_channels: channels of the map that comes in.
        num_keypoints: K.
        filters: channels after each upsampling layer.
        kind: a name of ``hevitpose.spec.HEADS``.

    Raises:
        UsageError: no such kind.
    """

    final: nn.Conv2d

    def __init__(
        self,
        in_channels: int,
        num_keypoints: int,
        filters: tuple[int, ...] = (192, 96),
        kind: str = "deconv",
    ) -> None:
        if kind not in _LAYERS:
            raise unknown_name("model.head", kind, HEADS)
        parts: dict[str, nn.Module] = {}
        for index, out_channels in enumerate(filters, 1):
            parts[f"up{index}"] = _LAYERS[kind](in_channels, out_channels)
            in_channels = out_channels
        parts["final"] = nn.Conv2d(in_channels, num_keypoints, 1)
        super().__init__(OrderedDict(parts))

    def init_final(self) -> None:
        """Start the last convolution at N(0, 0.001); call it after ``init_weights``."""
        init_head_(self.final)
