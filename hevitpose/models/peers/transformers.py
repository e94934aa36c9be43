"""Transformer peers on timm backbones: Swin, PVTv2, EfficientViT, plain ViT (ViTPose)."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from torch import Tensor, nn

from hevitpose.models.head import HeatmapHead
from hevitpose.models.layers import ConvBN
from hevitpose.models.peers.base import Peer, simple_baseline, timm_backbone

Size = tuple[int, int] | None


class Swin(nn.Module):
    """timm's Swin with windows of a fixed side, padded where a map is no multiple of it.

    timm shrinks the windows of small maps and refuses other input sizes; pose code pads instead,
    and so the weights do not depend on the input. Masks of shifted windows are made once per size.
    """

    window = 7

    def __init__(self, name: str, input_size: tuple[int, int], drop_path_rate: float) -> None:
        super().__init__()
        width, height = input_size
        self.size = (height, width)
        self.net: Any = timm_backbone(
            name,
            img_size=self.size,
            window_size=self.window,
            always_partition=True,
            drop_path_rate=drop_path_rate,
        )

    def forward(self, images_N3HW: Tensor) -> Tensor:
        size = (int(images_N3HW.shape[-2]), int(images_N3HW.shape[-1]))
        if size != self.size:
            self.net.set_input_size(size, window_size=self.window, always_partition=True)
            self.size = size
        return self.net(images_N3HW).permute(0, 3, 1, 2).contiguous()  # timm's Swin is NHWC


def pose_swin_s(num_keypoints: int, input_size: Size = None, drop_path_rate: float = 0.0) -> Peer:
    """Swin-S (Liu et al., ICCV 2021), window 7, with the SimpleBaselines head.

    The authors train it with a drop-path rate of 0.3.
    """
    backbone = Swin("swin_small_patch4_window7_224", input_size or (256, 256), drop_path_rate)
    return simple_baseline(backbone, 768, num_keypoints, input_size=input_size)


def pose_pvtv2_b2(num_keypoints: int, input_size: Size = None, drop_path_rate: float = 0.0) -> Peer:
    """PVTv2-B2 (Wang et al., CVMJ 2022) with the SimpleBaselines head.

    The authors train it with a drop-path rate of 0.1.
    """
    backbone = timm_backbone("pvt_v2_b2", drop_path_rate=drop_path_rate)
    return simple_baseline(backbone, 512, num_keypoints, input_size=input_size)


class EfficientViT(nn.Module):
    """timm's EfficientViT-M4 with a stride-4 start, as the HEViTPose authors compare with.

    Two 3x3 stride-2 convolutions stand in for the original's four, so that the three stages have
    strides 4, 8 and 16 like HEViTPose's. Windows of 7, padded.
    """

    def __init__(self) -> None:
        super().__init__()
        # Large enough that timm does not shrink the windows for small maps: it pads them instead.
        net = timm_backbone("efficientvit_m4", img_size=1024)
        width = net.patch_embed.conv4.conv.out_channels
        self.patch_embed = nn.Sequential(
            OrderedDict(
                conv1=ConvBN(3, width // 2, kernel=3, stride=2, relu=True),
                conv2=ConvBN(width // 2, width, kernel=3, stride=2),
            )
        )
        self.stages = net.stages
        self.num_features = net.num_features

    def forward(self, images_N3HW: Tensor) -> Tensor:
        return self.stages(self.patch_embed(images_N3HW))


def pose_efficientvit_m4(num_keypoints: int, input_size: Size = None) -> Peer:
    """EfficientViT-M4 (Liu et al., CVPR 2023) in the HEViTPose authors' form, head 192-96."""
    backbone = EfficientViT()
    head = HeatmapHead(backbone.num_features, num_keypoints, filters=(192, 96))
    return Peer(backbone, head, multiple=16, input_size=input_size)


class PlainViT(nn.Module):
    """timm's Vision Transformer, patch 16, without class token; tokens back to a stride-16 map.

    The learned positions belong to the size it is built for and are interpolated for others.
    """

    def __init__(self, name: str, input_size: tuple[int, int], **options: Any) -> None:
        super().__init__()
        width, height = input_size
        self.net: Any = timm_backbone(
            name,
            img_size=(height, width),
            class_token=False,
            dynamic_img_size=True,
            **options,
        )

    def forward(self, images_N3HW: Tensor) -> Tensor:
        tokens_NLC = self.net.forward_features(images_N3HW)
        height, width = images_N3HW.shape[-2:]
        return tokens_NLC.transpose(1, 2).reshape(
            tokens_NLC.shape[0], -1, height // 16, width // 16
        )


class ViTPose(Peer):
    """Plain ViT and two transposed convolutions of 256 filters (the paper's classic decoder)."""

    weights_depend_on_input = True  # one learned position per patch


def _vitpose(
    name: str, channels: int, num_keypoints: int, input_size: Size, **options: Any
) -> Peer:
    backbone = PlainViT(name, input_size or (192, 256), **options)
    head = HeatmapHead(channels, num_keypoints, filters=(256, 256))
    return ViTPose(backbone, head, multiple=16, input_size=input_size)


def vitpose_s(num_keypoints: int, input_size: Size = None, drop_path_rate: float = 0.0) -> Peer:
    """ViTPose-S (Xu et al., NeurIPS 2022): ViT-S with 12 heads; built for 256x192 unless told.

    The authors train it with a drop-path rate of 0.1.
    """
    return _vitpose(
        "vit_small_patch16_224",
        384,
        num_keypoints,
        input_size,
        num_heads=12,
        drop_path_rate=drop_path_rate,
    )


def vitpose_b(num_keypoints: int, input_size: Size = None, drop_path_rate: float = 0.0) -> Peer:
    """ViTPose-B (Xu et al., NeurIPS 2022); built for 256x192 unless told.

    The authors train it with a drop-path rate of 0.3.
    """
    return _vitpose(
        "vit_base_patch16_224", 768, num_keypoints, input_size, drop_path_rate=drop_path_rate
    )
