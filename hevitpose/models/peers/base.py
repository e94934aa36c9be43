"""Parts that all peers share: a backbone, MMPose's head, the check of the input, the same start."""

from __future__ import annotations

from typing import Any, Literal

import timm
from torch import Tensor, nn

from hevitpose.errors import HEViTPoseError, UsageError
from hevitpose.models.common import init_head_, init_weights
from hevitpose.models.hevitpose import HeatmapHead

#: The first timm that has every backbone used here (CSPNeXt came last).
TIMM = "1.0.31"


class Peer(nn.Module):
    """A backbone that gives one map, and a head that reads it.

    Weights start by HEViTPose's rules, the last 1x1 convolution at N(0, 0.001), so that networks
    differ by their structure and not by how they start.

    Args:
        backbone: images (N, 3, H, W) to a map (N, C, h, w).
        head: the map to heatmaps (N, K, H / 4, W / 4).
        multiple: every side of an input must be a multiple of this.
        input_size: (W, H) the network is built for; checked now where given. Any other size that
            `multiple` divides is taken as well.
    """

    codec: Literal["heatmap", "simcc"] = "heatmap"  # what decodes the output
    spec = None  # HEViTPose's options do not apply
    weights_depend_on_input = False  # whether another `input_size` makes other parameters
    name: str  # these two are set by create_peer
    num_keypoints: int

    def __init__(
        self,
        backbone: nn.Module,
        head: nn.Module,
        multiple: int = 32,
        input_size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.multiple = multiple
        if input_size is not None:
            self.check_input(*input_size)
        init_weights(self)
        if isinstance(head, HeatmapHead):
            init_head_(head.final)

    def check_input(self, width: int, height: int) -> None:
        """Refuse a size that the strides do not divide.

        Raises:
            UsageError: a side is not a multiple of `multiple`.
        """
        if width % self.multiple or height % self.multiple:
            raise UsageError(
                f"{getattr(self, 'name', type(self).__name__)}: input {height}x{width} (H x W), "
                f"expected sides that are multiples of {self.multiple}"
            )

    def forward(self, images_N3HW: Tensor, return_intermediates: bool = False) -> Any:
        """Heatmaps (N, K, H / 4, W / 4).

        With `return_intermediates`, ``(heatmaps, [map])``, the map being what the head reads.

        Raises:
            UsageError: the size of the images does not fit.
        """
        height, width = images_N3HW.shape[-2:]
        self.check_input(width, height)
        features = self.backbone(images_N3HW)
        output = self.head(features)
        return (output, [features]) if return_intermediates else output


def timm_backbone(name: str, **options: Any) -> Any:
    """A timm network without pooling and classifier, so that its forward gives the last map.

    Raises:
        HEViTPoseError: the installed timm is too old to have it.
    """
    if not timm.is_model(name):
        raise HEViTPoseError(f"timm {timm.__version__} has no {name!r}: expected timm >= {TIMM}")
    return timm.create_model(name, pretrained=False, num_classes=0, global_pool="", **options)


def simple_baseline(backbone: nn.Module, channels: int, num_keypoints: int, **options: Any) -> Peer:
    """A backbone with the head of SimpleBaselines (Xiao et al., ECCV 2018).

    Three transposed convolutions of 256 filters (k4 s2 p1, without bias), each BN ReLU, on the
    stride-32 map, then a 1x1 convolution. `options` are those of :class:`Peer`.
    """
    return Peer(backbone, HeatmapHead(channels, num_keypoints, (256, 256, 256)), **options)
