"""Transformer peers on timm backbones: Swin, PVTv2, EfficientViT, plain ViT (ViTPose)."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from timm.models.swin_transformer import SwinTransformerBlock, window_partition, window_reverse
from torch import Tensor, nn
from torch.nn import functional as F

from hevitpose.models.hevitpose import ConvBN, HeatmapHead
from hevitpose.models.peers.base import Peer, simple_baseline, timm_backbone

Size = tuple[int, int] | None
PATCH = 16  # of the plain ViT
PATCH_PADDING = 2


class PaddedSwinBlock(SwinTransformerBlock):
    """timm's block on a map that is padded before it is rolled, as pose and detection code does.

    timm rolls first, and the padding then lies beside other pixels.
    """

    def _attn(self, x_NHWC: Tensor) -> Tensor:
        height, width = x_NHWC.shape[1:3]
        window = self.window_size
        below, right = -height % window[0], -width % window[1]
        x = F.pad(x_NHWC, (0, 0, 0, right, 0, below))
        shift = tuple(self.shift_size)
        if any(shift):
            x = torch.roll(x, (-shift[0], -shift[1]), dims=(1, 2))
        windows = window_partition(x, window).flatten(1, 2)
        windows = self.attn(windows, mask=self.attn_mask).unflatten(1, window)
        x = window_reverse(windows, window, height + below, width + right)
        if any(shift):
            x = torch.roll(x, shift, dims=(1, 2))
        return x[:, :height, :width].contiguous()


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
        for module in self.net.modules():
            if type(module) is SwinTransformerBlock:  # timm takes no other class of block
                module.__class__ = PaddedSwinBlock

    def forward(self, images_N3HW: Tensor) -> Tensor:
        size = (int(images_N3HW.shape[-2]), int(images_N3HW.shape[-1]))
        if size != self.size:
            self.net.set_input_size(size, window_size=self.window, always_partition=True)
            self.size = size
        return self.net(images_N3HW).permute(0, 3, 1, 2).contiguous()  # timm's Swin is NHWC


def _swin(
    size: str, channels: int, num_keypoints: int, input_size: Size, drop_path_rate: float
) -> Peer:
    name = f"swin_{size}_patch4_window7_224"
    backbone = Swin(name, input_size or (256, 256), drop_path_rate)
    return simple_baseline(backbone, channels, num_keypoints, input_size=input_size)


def pose_swin_t(num_keypoints: int, input_size: Size = None, drop_path_rate: float = 0.0) -> Peer:
    """Swin-T (Liu et al., ICCV 2021), window 7, with the SimpleBaselines head.

    MMPose trains it with a drop-path rate of 0.2.
    """
    return _swin("tiny", 768, num_keypoints, input_size, drop_path_rate)


def pose_swin_s(num_keypoints: int, input_size: Size = None, drop_path_rate: float = 0.0) -> Peer:
    """Swin-S (Liu et al., ICCV 2021), window 7, with the SimpleBaselines head.

    The authors train it with a drop-path rate of 0.3.
    """
    return _swin("small", 768, num_keypoints, input_size, drop_path_rate)


def pose_swin_b(num_keypoints: int, input_size: Size = None, drop_path_rate: float = 0.0) -> Peer:
    """Swin-B (Liu et al., ICCV 2021), window 7, with the SimpleBaselines head.

    MMPose trains it with a drop-path rate of 0.3.
    """
    return _swin("base", 1024, num_keypoints, input_size, drop_path_rate)


def pose_pvtv2_b2(num_keypoints: int, input_size: Size = None, drop_path_rate: float = 0.0) -> Peer:
    """PVTv2-B2 (Wang et al., CVMJ 2022) with the SimpleBaselines head.

    The authors train it with a drop-path rate of 0.1.
    """
    backbone = timm_backbone("pvt_v2_b2", drop_path_rate=drop_path_rate)
    for module in backbone.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-6  # timm's is 1e-5 in patch embeddings and spatial reductions
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
    head = HeatmapHead(backbone.num_features, num_keypoints, upsampler_channels=(192, 96))
    return Peer(backbone, head, multiple=16, input_size=input_size)


class PlainViT(nn.Module):
    """timm's Vision Transformer, patch 16, without class token; tokens back to a stride-16 map.

    The patch embedding is padded by 2, as in ViTPose and MMPose: the same grid, two pixels up and
    left. The learned positions belong to the size it is built for; others interpolate them.
    """

    def __init__(self, name: str, input_size: tuple[int, int], **options: Any) -> None:
        super().__init__()
        width, height = input_size
        self.grid = (height // PATCH, width // PATCH)
        self.net: Any = timm_backbone(
            name,
            img_size=(height, width),
            class_token=False,
            dynamic_img_size=True,
            **options,
        )
        patches = self.net.patch_embed.proj
        self.net.patch_embed.proj = nn.Conv2d(
            3, patches.out_channels, PATCH, PATCH, padding=PATCH_PADDING
        )

    def forward(self, images_N3HW: Tensor) -> Tensor:
        grid = (int(images_N3HW.shape[-2]) // PATCH, int(images_N3HW.shape[-1]) // PATCH)
        patches_NLC = self.net.patch_embed(images_N3HW).flatten(1, 2)
        tokens_NLC = patches_NLC + resize_positions(self.net.pos_embed, self.grid, grid)
        tokens_NLC = self.net.norm(self.net.blocks(tokens_NLC))
        return tokens_NLC.transpose(1, 2).unflatten(2, grid)


def resize_positions(
    positions_1LC: Tensor, grid: tuple[int, int], wanted: tuple[int, int]
) -> Tensor:
    """Learned positions of a grid (h, w), for another one.

    Plain bicubic as in mmpretrain; timm's own would smooth where the grid shrinks (antialiasing).
    """
    if grid == wanted:
        return positions_1LC
    maps_1ChW = positions_1LC.transpose(1, 2).unflatten(2, grid)
    maps_1ChW = F.interpolate(maps_1ChW, wanted, mode="bicubic", align_corners=False)
    return maps_1ChW.flatten(2).transpose(1, 2)


class ViTPose(Peer):
    """Plain ViT and two transposed convolutions of 256 filters (the paper's classic decoder)."""

    weights_depend_on_input = True  # one learned position per patch


def _vitpose(
    name: str, channels: int, num_keypoints: int, input_size: Size, **options: Any
) -> Peer:
    backbone = PlainViT(name, input_size or (192, 256), **options)
    head = HeatmapHead(channels, num_keypoints, upsampler_channels=(256, 256))
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
