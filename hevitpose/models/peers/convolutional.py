"""Convolutional peers: ResNet family, HRNet, MobileNetV2, ShuffleNetV2.

Each builder takes the number of keypoints and, optionally, the (W, H) it is built for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torchvision
from timm.models import hrnet
from torch import Tensor, nn

from hevitpose.models.hevitpose import HeatmapHead
from hevitpose.models.peers.base import Peer, simple_baseline, timm_backbone

Size = tuple[int, int] | None


def pose_resnet50(num_keypoints: int, input_size: Size = None) -> Peer:
    """ResNet-50 (He et al., CVPR 2016) with the SimpleBaselines head (Xiao et al., ECCV 2018)."""
    return simple_baseline(timm_backbone("resnet50"), 2048, num_keypoints, input_size=input_size)


def pose_resnext50(num_keypoints: int, input_size: Size = None) -> Peer:
    """ResNeXt-50 32x4d (Xie et al., CVPR 2017) with the SimpleBaselines head."""
    backbone = timm_backbone("resnext50_32x4d")
    return simple_baseline(backbone, 2048, num_keypoints, input_size=input_size)


def pose_resnest50(num_keypoints: int, input_size: Size = None) -> Peer:
    """ResNeSt-50 (Zhang et al., 2020; radix 2, deep stem) with the SimpleBaselines head."""
    return simple_baseline(timm_backbone("resnest50d"), 2048, num_keypoints, input_size=input_size)


def pose_mobilenetv2(num_keypoints: int, input_size: Size = None) -> Peer:
    """MobileNetV2 (Sandler et al., CVPR 2018), its 1280-channel convolution kept."""
    backbone = timm_backbone("mobilenetv2_100")
    return simple_baseline(backbone, 1280, num_keypoints, input_size=input_size)


class ShuffleNetV2(nn.Module):
    """torchvision's ShuffleNetV2 x1.0 up to its last, 1024-channel convolution (stride 32)."""

    def __init__(self) -> None:
        super().__init__()
        net = torchvision.models.shufflenet_v2_x1_0(weights=None)
        self.stem = nn.Sequential(net.conv1, net.maxpool)
        self.stages = nn.Sequential(net.stage2, net.stage3, net.stage4)
        self.last = net.conv5

    def forward(self, images_N3HW: Tensor) -> Tensor:
        return self.last(self.stages(self.stem(images_N3HW)))


def pose_shufflenetv2(num_keypoints: int, input_size: Size = None) -> Peer:
    """ShuffleNetV2 x1.0 (Ma et al., ECCV 2018) with the SimpleBaselines head."""
    return simple_baseline(ShuffleNetV2(), 1024, num_keypoints, input_size=input_size)


class HRNet(nn.Module):
    """timm's HRNet for poses: the highest-resolution branch alone (32 channels, stride 4).

    timm's ends in all four resolutions for classification. The last exchange keeps only what
    flows into the first branch; the rest would be weights that never receive a gradient.
    """

    def __init__(self, config: Mapping[str, Any] = hrnet.cfg_cls["hrnet_w32"]) -> None:
        super().__init__()
        self.net = hrnet.HighResolutionNetFeatures(config, feature_location="", out_indices=(1,))
        stage4: Any = self.net.get_submodule("stage4")
        last = stage4[-1]
        last.fuse_layers = last.fuse_layers[:1]

    def forward(self, images_N3HW: Tensor) -> Tensor:
        return self.net(images_N3HW)[0]


def pose_hrnet_w32(num_keypoints: int, input_size: Size = None) -> Peer:
    """HRNet-W32 (Sun et al., CVPR 2019): a 1x1 convolution on the highest-resolution branch."""
    head = HeatmapHead(32, num_keypoints, upsampler_channels=())
    return Peer(HRNet(), head, input_size=input_size)
