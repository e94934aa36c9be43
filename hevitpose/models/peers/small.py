"""Peers at the cost of HEViTPose-nano: published networks, their widths times one factor.

Depths and input stay as published, so that what is compared is the design and not its size. The
factors are those that come nearest to nano's multiply-accumulates at 192x128 (H x W), in steps of
0.005; a test holds each network to 5% of them.
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
_RESNET, _HRNET, _RTMPOSE, _VITPOSE = 0.165, 0.175, 0.315, 0.23


def _scaled(width: int, factor: float, multiple: int = 1) -> int:
    return max(1, round(width * factor / multiple)) * multiple


def pose_resnet50_nano(num_keypoints: int, input_size: Size = None) -> Peer:
    """ResNet-50 with the SimpleBaselines head, all widths scaled."""
    channels = tuple(_scaled(width, _RESNET) for width in (64, 128, 256, 512))
    backbone = timm_backbone("resnet50", stem_width=_scaled(64, _RESNET), channels=channels)
    filters = (_scaled(256, _RESNET),) * 3
    head = HeatmapHead(4 * channels[-1], num_keypoints, filters)
    return Peer(backbone, head, input_size=input_size)


def pose_hrnet_nano(num_keypoints: int, input_size: Size = None) -> Peer:
    """HRNet-W32, all widths scaled."""
    config: dict[str, Any] = copy.deepcopy(hrnet.cfg_cls["hrnet_w32"])
    config["stem_width"] = _scaled(config["stem_width"], _HRNET)
    for stage in ("stage1", "stage2", "stage3", "stage4"):
        widths = config[stage]["num_channels"]
        config[stage]["num_channels"] = tuple(_scaled(width, _HRNET) for width in widths)
    head = HeatmapHead(_scaled(32, _HRNET), num_keypoints, upsampler_channels=())
    return Peer(HRNet(config), head, input_size=input_size)


def rtmpose_nano(num_keypoints: int, input_size: Size = None) -> Peer:
    """RTMPose-s with a narrower backbone; built for 256x192 unless told.

    The factor is of CSPNeXt-l's widths, of which CSPNeXt-s has half. The head works on one token a
    keypoint and stays as published.
    """
    backbone = timm_backbone("cspnext_s", widen_factor=_RTMPOSE)
    return RTMPose(backbone, backbone.num_features, num_keypoints, input_size or (192, 256))


def vitpose_nano(num_keypoints: int, input_size: Size = None) -> Peer:
    """ViTPose-S, all widths scaled, three attention heads; built for 256x192 unless told.

    Twelve would have 7 channels each, where ViT-S has 32.
    """
    width, filters = _scaled(384, _VITPOSE, multiple=3), _scaled(256, _VITPOSE)
    size = input_size or (192, 256)
    backbone = PlainViT("vit_small_patch16_224", size, embed_dim=width, num_heads=3)
    head = HeatmapHead(width, num_keypoints, upsampler_channels=(filters, filters))
    return ViTPose(backbone, head, multiple=16, input_size=input_size)
