"""RTMPose-s and -m: CSPNeXt and a SimCC head with a gated attention unit over the keypoints.

Source: Jiang et al., "RTMPose: Real-Time Multi-Person Pose Estimation based on MMPose", 2023
(arXiv 2303.07399); the gated attention unit: Hua et al., "Transformer Quality in Linear Time",
ICML 2022. Coordinates are two classifications, over the columns and over the rows of a grid twice
as fine as the input (SimCC: Li et al., ECCV 2022).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from hevitpose.errors import UsageError
from hevitpose.models.peers.base import Peer, timm_backbone

SPLIT = 2  # bins per pixel
HIDDEN = 256  # channels of a keypoint's token
EXPANSION = 2  # of the unit's values
SHARED = 128  # channels of the unit's queries and keys
STRIDE = 32  # of the backbone


class ScaleNorm(nn.Module):
    """Each vector divided by its root mean square, times one learned number."""

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.scale = channels**-0.5
        self.eps = eps
        self.gain = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        rms = torch.linalg.vector_norm(x, dim=-1, keepdim=True) * self.scale
        return x / rms.clamp(min=self.eps) * self.gain


class GatedAttentionUnit(nn.Module):
    """Squared-ReLU attention between keypoints, gated; tokens (N, K, C) in and out."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inner = EXPANSION * channels
        self.norm = ScaleNorm(channels)
        self.uv = nn.Linear(channels, 2 * self.inner + SHARED, bias=False)
        self.act = nn.SiLU()
        # Query and key are the shared channels under a scale and shift of their own.
        self.gamma = nn.Parameter(torch.rand(2, SHARED))
        self.beta = nn.Parameter(torch.rand(2, SHARED))
        self.out = nn.Linear(self.inner, channels, bias=False)
        self.shortcut_scale = nn.Parameter(torch.ones(channels))

    def forward(self, x_NKC: Tensor) -> Tensor:
        mixed = self.act(self.uv(self.norm(x_NKC)))
        gate, value, shared = mixed.split((self.inner, self.inner, SHARED), dim=-1)
        query, key = (shared.unsqueeze(2) * self.gamma + self.beta).unbind(dim=2)
        kernel_NKK = torch.relu(query @ key.transpose(1, 2) / math.sqrt(SHARED)).square()
        return x_NKC * self.shortcut_scale + self.out(gate * (kernel_NKK @ value))


class SimCCHead(nn.Module):
    """The stride-32 map (N, C, H / 32, W / 32) to logits (N, K, 2 W) and (N, K, 2 H).

    A 7x7 convolution gives one map per keypoint; flattened, it is that keypoint's token.
    """

    def __init__(self, channels: int, num_keypoints: int, input_size: tuple[int, int]) -> None:
        super().__init__()
        width, height = input_size
        cells = (width // STRIDE) * (height // STRIDE)
        self.final = nn.Conv2d(channels, num_keypoints, 7, padding=3)
        self.mlp = nn.Sequential(ScaleNorm(cells), nn.Linear(cells, HIDDEN, bias=False))
        self.gau = GatedAttentionUnit(HIDDEN)
        self.cls_x = nn.Linear(HIDDEN, SPLIT * width, bias=False)
        self.cls_y = nn.Linear(HIDDEN, SPLIT * height, bias=False)

    def forward(self, x_NChw: Tensor) -> tuple[Tensor, Tensor]:
        tokens_NKC = self.gau(self.mlp(self.final(x_NChw).flatten(2)))
        return self.cls_x(tokens_NKC), self.cls_y(tokens_NKC)


class RTMPose(Peer):
    """CSPNeXt and the SimCC head. The head's layers belong to one input size.

    ``forward`` gives ``(simcc_x, simcc_y)``: logits (N, K, 2 W) and (N, K, 2 H).
    """

    codec = "simcc"
    weights_depend_on_input = True
    simcc_split_ratio = SPLIT

    def __init__(
        self, backbone: nn.Module, channels: int, num_keypoints: int, input_size: tuple[int, int]
    ) -> None:
        width, height = input_size
        if width % STRIDE or height % STRIDE or min(width, height) < STRIDE:
            raise UsageError(
                f"rtmpose: input {height}x{width} (H x W), expected sides that are multiples "
                f"of {STRIDE}"
            )
        super().__init__(backbone, SimCCHead(channels, num_keypoints, input_size), multiple=STRIDE)
        self.input_size = input_size

    def forward(self, images_N3HW: Tensor, return_intermediates: bool = False) -> Any:
        height, width = images_N3HW.shape[-2:]
        if (width, height) != self.input_size:
            raise UsageError(
                f"{self.name}: input {height}x{width} (H x W), but it is built for "
                f"{self.input_size[1]}x{self.input_size[0]}: create it with input_size=(W, H)"
            )
        return super().forward(images_N3HW, return_intermediates)


def rtmpose_s(num_keypoints: int, input_size: tuple[int, int] | None = None) -> Peer:
    """RTMPose-s; built for 256x192 unless told."""
    return RTMPose(timm_backbone("cspnext_s"), 512, num_keypoints, input_size or (192, 256))


def rtmpose_m(num_keypoints: int, input_size: tuple[int, int] | None = None) -> Peer:
    """RTMPose-m; built for 256x192 unless told."""
    return RTMPose(timm_backbone("cspnext_m"), 768, num_keypoints, input_size or (192, 256))
