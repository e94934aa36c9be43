"""The HEViTPose network: three stages and a head."""

from __future__ import annotations

import math
from collections import OrderedDict

import torch
from torch import Tensor, nn

from hevitpose.errors import UsageError
from hevitpose.models.block import HEViTPoseBlock
from hevitpose.models.downsample import create_downsample
from hevitpose.models.head import HeatmapHead
from hevitpose.models.layers import init_weights
from hevitpose.spec import STRIDE_MULTIPLE, HEViTPoseSpec


class Stage(nn.Sequential):
    """One stage: ``downsample``, then ``blocks`` at the new size."""

    def __init__(
        self, spec: HEViTPoseSpec, stage: int, first_block: int, rates: list[float]
    ) -> None:
        blocks = [
            HEViTPoseBlock(spec, stage, first_block + index, rate)
            for index, rate in enumerate(rates)
        ]
        super().__init__(
            OrderedDict(downsample=create_downsample(spec, stage), blocks=nn.Sequential(*blocks))
        )


class Backbone(nn.Module):
    """Image (N, 3, H, W) to three maps: C1 x H/4 x W/4, C2 x H/8 x W/8, C3 x H/16 x W/16.

    Drop-path rises linearly over the blocks of all stages, 0 at the first, ``drop_path_rate`` at
    the last (Huang et al. 2016).
    """

    def __init__(self, spec: HEViTPoseSpec) -> None:
        super().__init__()
        total = sum(spec.depths)
        rates = [spec.drop_path_rate * block / max(1, total - 1) for block in range(total)]
        stages = []
        for stage, depth in enumerate(spec.depths):
            first = sum(spec.depths[:stage])
            stages.append(Stage(spec, stage, first, rates[first : first + depth]))
        self.stages = nn.ModuleList(stages)

    def forward(self, image_N3HW: Tensor) -> list[Tensor]:
        features = []
        x = image_N3HW
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


class HEViTPose(nn.Module):
    """HEViTPose (arXiv 2311.13615), reconstructed: top-down pose estimation by heatmaps.

    Args:
        spec: the network, complete.
        num_keypoints: K, the number of heatmaps.
        name: what the model calls itself, e.g. ``"hevitpose_b"``.

    Attributes:
        spec: as given.
        num_keypoints: as given.
        name: as given.
        side_multiple: each side of the input must be a multiple of this (32; more only where a
            spatial reduction asks for it).
    """

    def __init__(
        self, spec: HEViTPoseSpec, num_keypoints: int = 17, name: str = "hevitpose"
    ) -> None:
        super().__init__()
        self.spec = spec
        self.num_keypoints = num_keypoints
        self.name = name
        self.side_multiple = side_multiple(spec)
        self.backbone = Backbone(spec)
        self.head = HeatmapHead(spec.widths[-1], num_keypoints, spec.head_filters, spec.head)
        init_weights(self, spec.zero_init_residual)
        self.head.init_final()

    def forward(
        self, image_N3HW: Tensor, return_intermediates: bool = False
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """Heatmaps of a batch of normalised crops.

        Args:
            image_N3HW: float; sides multiples of ``side_multiple``.
            return_intermediates: also return the map of each stage.

        Returns:
            Heatmaps (N, K, H/4, W/4); with ``return_intermediates`` a pair of them and the list of
            the three stages' maps.

        Raises:
            UsageError: the input is not such a batch.
        """
        check_input(image_N3HW, self.side_multiple)
        features = self.backbone(image_N3HW)
        heatmaps = self.head(features[-1])
        return (heatmaps, features) if return_intermediates else heatmaps

    def fuse(self) -> nn.Module:
        """The same network for inference, its parameters folded; see ``hevitpose.optimize``."""
        from hevitpose.optimization import optimize

        return optimize(self, mode="fused")


def side_multiple(spec: HEViTPoseSpec) -> int:
    """What each side of an input must be a multiple of, so that every reduction divides its map."""
    if spec.attention not in ("cgsr", "sra"):
        return STRIDE_MULTIPLE
    steps = (stride * r for stride, r in zip((4, 8, 16), spec.reductions, strict=True))
    return math.lcm(STRIDE_MULTIPLE, *steps)


def check_input(image_N3HW: Tensor, multiple: int) -> None:
    """Refuse what the network cannot take, in one line.

    Raises:
        UsageError: not (N, 3, H, W) of floats, or a side that is no multiple of ``multiple``.
    """
    shape = tuple(image_N3HW.shape)
    if len(shape) != 4 or shape[1] != 3:
        raise UsageError(f"model input: shape {shape}, expected (N, 3, H, W)")
    if not torch.is_floating_point(image_N3HW):
        raise UsageError(
            f"model input: {image_N3HW.dtype}, expected normalised floats (see data.normalise)"
        )
    height, width = shape[2:]
    if height % multiple or width % multiple or not height or not width:
        raise UsageError(f"model input: {height}x{width} (H x W), expected multiples of {multiple}")
