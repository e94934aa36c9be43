"""HRFormer-S: HRNet's parallel resolutions with transformer blocks in place of convolutions.

Source: Yuan et al., "HRFormer: High-Resolution Transformer for Dense Prediction", NeurIPS 2021
(arXiv 2110.09408). Written from the paper's text, figures and configuration:

- stem: two 3x3 stride-2 convolutions of 64 channels; stage 1: two bottleneck blocks, 256 channels;
- stages 2, 3, 4: 1, 4, 2 modules of 2, 3, 4 branches; a branch has two transformer blocks; branch
  i (stride 4 * 2^i) has 32 * 2^i channels and 2^i heads;
- block: self-attention in 7x7 windows (zero-padded around the centre, relative position bias,
  no mask, no shift), then an FFN of ratio 4 with a 3x3 depthwise convolution, which is what lets
  windows talk to each other;
- after each module every branch receives all others: 1x1 convolution and bilinear upsampling from
  lower resolutions, depthwise 3x3 stride 2 and 1x1 convolutions from higher ones;
- a 1x1 convolution on the highest resolution gives the heatmaps.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import count
from typing import Any

from timm.models.resnet import Bottleneck
from timm.models.swin_transformer import WindowAttention, window_partition, window_reverse
from torch import Tensor, nn
from torch.nn import functional as F

from hevitpose.models.hevitpose import ConvBN, HeatmapHead, Residual
from hevitpose.models.peers.base import Peer

WIDTH = 32  # channels of the highest resolution
MODULES = (1, 4, 2)  # of stages 2, 3, 4
BLOCKS = 2  # per branch and module
WINDOW = 7
FFN_RATIO = 4
EPS = 1e-6  # of LayerNorm


class LocalAttention(nn.Module):
    """LayerNorm, then multi-head self-attention inside 7x7 windows; (N, C, H, W) in and out."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=EPS)
        self.attn = WindowAttention(channels, heads, window_size=WINDOW)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        height, width = x_NCHW.shape[-2:]
        x = self.norm(x_NCHW.permute(0, 2, 3, 1))
        below, right = -height % WINDOW, -width % WINDOW
        top, left = below // 2, right // 2
        x = F.pad(x, (0, 0, left, right - left, top, below - top))
        padded_height, padded_width = height + below, width + right
        windows = window_partition(x, (WINDOW, WINDOW)).flatten(1, 2)
        windows = self.attn(windows).unflatten(1, (WINDOW, WINDOW))
        x = window_reverse(windows, (WINDOW, WINDOW), padded_height, padded_width)
        x = x[:, top : top + height, left : left + width]
        return x.permute(0, 3, 1, 2)


class ConvFFN(nn.Module):
    """LayerNorm, then 1x1, depthwise 3x3 and 1x1 convolutions, each with BN and GELU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = FFN_RATIO * channels
        self.norm = nn.LayerNorm(channels, eps=EPS)
        self.expand = self._layer(nn.Conv2d(channels, hidden, 1))
        self.mix = self._layer(nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden))
        self.project = self._layer(nn.Conv2d(hidden, channels, 1))

    @staticmethod
    def _layer(conv: nn.Conv2d) -> nn.Sequential:
        norm = nn.BatchNorm2d(conv.out_channels)
        return nn.Sequential(OrderedDict(conv=conv, norm=norm, act=nn.GELU()))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        x = self.norm(x_NCHW.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.project(self.mix(self.expand(x)))


class HRFormerBlock(nn.Sequential):
    """Local-window attention and the convolutional FFN, each with a shortcut."""

    def __init__(self, channels: int, heads: int, drop_path: float) -> None:
        parts: OrderedDict[str, nn.Module] = OrderedDict(
            attention=Residual(LocalAttention(channels, heads), drop_path),
            ffn=Residual(ConvFFN(channels), drop_path),
        )
        super().__init__(parts)


def _exchange(source: int, target: int) -> nn.Module:
    """From branch `source` to branch `target` (0 is the highest resolution)."""
    here, there = WIDTH << source, WIDTH << target
    if source == target:
        return nn.Identity()
    if source > target:
        scale = 2 ** (source - target)
        upsample = nn.Upsample(scale_factor=scale, mode="bilinear", align_corners=False)
        return nn.Sequential(ConvBN(here, there), upsample)
    steps: list[nn.Module] = []
    for step in range(source + 1, target + 1):
        last = step == target
        halve = ConvBN(here, here, kernel=3, stride=2, groups=here)
        steps.append(nn.Sequential(halve, ConvBN(here, there if last else here, relu=not last)))
    return nn.Sequential(*steps)


class HRFormerModule(nn.Module):
    """Blocks on every branch, then the exchange; `outputs` branches come out."""

    def __init__(self, branches: int, outputs: int, drop_paths: list[float]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(*(HRFormerBlock(WIDTH << i, 1 << i, rate) for rate in drop_paths))
            for i in range(branches)
        )
        self.exchange: Any = nn.ModuleList(
            nn.ModuleList(_exchange(source, target) for source in range(branches))
            for target in range(outputs)
        )
        self.act = nn.ReLU(inplace=True)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        maps = [branch(x) for branch, x in zip(self.branches, maps, strict=True)]
        return [
            self.act(sum(path(x) for path, x in zip(paths, maps, strict=True)))
            for paths in self.exchange
        ]


class HRFormer(nn.Module):
    """Images (N, 3, H, W) to the highest resolution (N, 32, H / 4, W / 4)."""

    def __init__(self, drop_path_rate: float = 0.0) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            ConvBN(3, 64, kernel=3, stride=2, relu=True),
            ConvBN(64, 64, kernel=3, stride=2, relu=True),
        )
        self.stage1 = nn.Sequential(
            Bottleneck(64, 64, downsample=ConvBN(64, 256)), Bottleneck(256, 64)
        )
        self.transitions: Any = nn.ModuleList()
        self.stages = nn.ModuleList()
        total = BLOCKS * sum(MODULES)
        rates = (drop_path_rate * index / (total - 1) for index in count())  # rises linearly
        for stage, modules in enumerate(MODULES):
            branches = stage + 2
            # Existing branches go on; the lowest resolution also starts a new one.
            last = 256 if stage == 0 else WIDTH << (branches - 2)
            new = ConvBN(last, WIDTH << (branches - 1), kernel=3, stride=2, relu=True)
            first = ConvBN(256, WIDTH, kernel=3, relu=True) if stage == 0 else nn.Identity()
            self.transitions.append(nn.ModuleList([first, new]))
            final = stage == len(MODULES) - 1
            self.stages.append(
                nn.Sequential(
                    *(
                        HRFormerModule(
                            branches,
                            1 if final and module == modules - 1 else branches,
                            [next(rates) for _ in range(BLOCKS)],
                        )
                        for module in range(modules)
                    )
                )
            )

    def forward(self, images_N3HW: Tensor) -> Tensor:
        maps = [self.stage1(self.stem(images_N3HW))]
        for (first, new), stage in zip(self.transitions, self.stages, strict=True):
            maps = [first(maps[0]), *maps[1:], new(maps[-1])]
            maps = stage(maps)
        return maps[0]


def hrformer_s(
    num_keypoints: int,
    input_size: tuple[int, int] | None = None,
    drop_path_rate: float = 0.0,
) -> Peer:
    """HRFormer-S (Yuan et al., NeurIPS 2021); the authors train with a drop-path rate of 0.1."""
    head = HeatmapHead(WIDTH, num_keypoints, upsampler_channels=())
    return Peer(HRFormer(drop_path_rate), head, input_size=input_size)
