"""Peers at the cost of HEViTPose-nano: the published networks with every width times one factor.

Depths, heads and input stay as published, so that what is compared is the design and not its size.
The factors are those that come nearest to nano's multiply-accumulates at 192x128 (H x W), and a
test holds each to 5% of them.
"""

from __future__ import annotations

import copy
from typing import Any

from timm.models import hrnet

from hevitpose.models.hevitpose import HeatmapHead
from hevitpose.models.peers.base import Peer, timm_backbone
from hevitpose.models.peers.convolutional import HRNet
from hevitpose.models.peers.rtmpose import RTMPose
from hevitpose.models.peers.transformers import PlainViT, ViTPose

Size = tuple[int, int] | None


def _scaled(width: int, factor: float, multiple: int = 1) -> int:
    return max(1, round(width * factor / multiple)) * multiple


def pose_resnet50_nano(num_keypoints: int, input_size: Size = None, factor: float = 0.165) -> Peer:
    """ResNet-50 with the SimpleBaselines head, widths times `factor`."""
    channels = tuple(_scaled(width, factor) for width in (64, 128, 256, 512))
    backbone = timm_backbone("resnet50", stem_width=_scaled(64, factor), channels=channels)
    filters = (_scaled(256, factor),) * 3
    head = HeatmapHead(4 * channels[-1], num_keypoints, filters)
    return Peer(backbone, head, input_size=input_size)


def pose_hrnet_nano(num_keypoints: int, input_size: Size = None, factor: float = 0.175) -> Peer:
    """HRNet-W32, widths times `factor`."""
    config: dict[str, Any] = copy.deepcopy(hrnet.cfg_cls["hrnet_w32"])
    config["stem_width"] = _scaled(config["stem_width"], factor)
    for stage in ("stage1", "stage2", "stage3", "stage4"):
        widths = config[stage]["num_channels"]
        config[stage]["num_channels"] = tuple(_scaled(width, factor) for width in widths)
    head = HeatmapHead(_scaled(32, factor), num_keypoints, upsampler_channels=())
    return Peer(HRNet(config), head, input_size=input_size)


def rtmpose_nano(num_keypoints: int, input_size: Size = None, factor: float = 0.315) -> Peer:
    """RTMPose with CSPNeXt-s, the backbone's widths times `factor` of CSPNeXt-l's.

    The head works on one token a keypoint and stays as published. Built for 256x192 unless told.
    """
    backbone = timm_backbone("cspnext_s", widen_factor=factor)
    return RTMPose(backbone, backbone.num_features, num_keypoints, input_size or (192, 256))


def vitpose_nano(num_keypoints: int, input_size: Size = None, factor: float = 0.23) -> Peer:
    """ViTPose-S, widths times `factor`, three heads; built for 256x192 unless told."""
    width, filters = _scaled(384, factor, multiple=3), _scaled(256, factor)
    size = input_size or (192, 256)
    backbone = PlainViT("vit_small_patch16_224", size, embed_dim=width, num_heads=3)
    head = HeatmapHead(width, num_keypoints, upsampler_channels=(filters, filters))
    return ViTPose(backbone, head, multiple=16, input_size=input_size)
