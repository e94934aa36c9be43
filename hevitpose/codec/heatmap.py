"""Heatmaps: encode, decode, flip test, loss, and the codec that binds them.

The numbers are those of MMPose 0.29 (``TopDownGenerateTarget``, ``keypoints_from_heatmaps``), which
published results are compared under.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from hevitpose.codec.arrays import Array, as_tensor, fresh, like, swapped
from hevitpose.codec.refine import dark_step, quarter_step, udp_step
from hevitpose.errors import UsageError, unknown_name

#: How a target map is drawn.
ENCODERS = ("standard", "unbiased", "udp")
#: How a map is read; ``-1x`` as MMPose 1.x does it, the others as 0.29.
DECODERS = ("argmax", "default", "default-1x", "dark", "udp", "udp-1x")


def encode(
    keypoints_NK2: Array,
    visibility_NK: Array,
    input_size: tuple[int, int],
    heatmap_size: tuple[int, int],
    sigma: float = 2.0,
    method: str = "standard",
) -> tuple[Array, Array]:
    """Draw one Gaussian of peak 1 per joint.

    A Gaussian is the outer product of its profile along y with its profile along x, and so is its
    clipping to a square patch: two short profiles per joint, one multiplication into fresh memory.

    Args:
        keypoints_NK2: x, y in pixels of the network input. Values at unlabelled joints (NaN too)
            are never used.
        visibility_NK: labelled where > 0.
        input_size: network input (W, H).
        heatmap_size: map (W, H).
        sigma: in heatmap pixels.
        method: ``standard`` (centred on the nearest pixel, patch of 6 sigma + 1), ``unbiased``
            (real-valued centre, whole map; Zhang et al., DARK, CVPR 2020) or ``udp`` (patch around
            the nearest pixel, real-valued centre, stride (input - 1) / (map - 1); Huang et al.,
            UDP, CVPR 2020).

    Returns:
        heatmaps_NKHW float32 in [0, 1], and weights_NK float32: 1, or 0 where the joint is
        unlabelled or its Gaussian lies wholly outside the map (that map is all zero).

    Raises:
        UsageError: unknown method, shapes or sizes that do not fit.
    """
    if method not in ENCODERS:
        raise unknown_name("encoder", method, ENCODERS)
    keypoints, visible = as_tensor(keypoints_NK2).detach(), as_tensor(visibility_NK).detach()
    if keypoints.ndim != 3 or keypoints.shape[2] != 2 or visible.shape != keypoints.shape[:2]:
        raise UsageError(
            f"encode: keypoints {tuple(keypoints.shape)} and visible {tuple(visible.shape)}, "
            "expected (N, K, 2) and (N, K)"
        )
    if sigma <= 0:
        raise UsageError(f"encode: sigma {sigma!r}, expected > 0")
    strides = _stride(input_size, heatmap_size, udp=method == "udp")
    means: list[Tensor] = []
    drawn: Tensor = visible > 0
    for axis, (length, stride) in enumerate(zip(heatmap_size, strides, strict=True)):
        mean = keypoints[..., axis].double() / stride
        centre = mean if method == "unbiased" else torch.trunc(mean + 0.5)
        drawn = drawn & (centre - 3 * sigma < length) & (centre + 3 * sigma + 1 >= 0)
        means.append(mean)
    # A skipped joint may hold anything: infinitely far away, its Gaussian is 0 everywhere.
    along_x, along_y = (
        _profile(mean.masked_fill(~drawn, math.inf), length, sigma, method)
        for mean, length in zip(means, heatmap_size, strict=True)
    )
    heatmaps = fresh((*drawn.shape, heatmap_size[1], heatmap_size[0]), drawn.device)
    torch.mul(along_y[..., None], along_x[..., None, :], out=heatmaps)
    return like(keypoints_NK2, heatmaps), like(keypoints_NK2, drawn.float())


def decode(heatmaps_NKHW: Array, method: str = "default") -> tuple[Array, Array]:
    """Read one point per map.

    Args:
        heatmaps_NKHW: scores, any float type; a higher value is a likelier place.
        method: ``argmax``; ``default`` (a quarter pixel towards the larger neighbour); ``dark``
            (Newton step on the log of the blurred map; Zhang et al., CVPR 2020, eq. 10); ``udp``
            (Newton step with one-pixel differences; Huang et al., CVPR 2020). ``default-1x`` and
            ``udp-1x`` are MMPose 1.x's, which moves more points near the border, and blurs
            differently for UDP.

    Returns:
        xy_NK2 in heatmap pixels and scores_NK, the maxima (of equal ones the first in row-major
        order). Where the maximum is not above 0 (or is NaN), the point is (-1, -1).

    Raises:
        UsageError: unknown method, or not a batch of maps.
    """
    if method not in DECODERS:
        raise unknown_name("decoder", method, DECODERS)
    maps = as_tensor(heatmaps_NKHW).detach()
    if maps.ndim != 4 or maps.shape[2] < 1 or maps.shape[3] < 1:
        raise UsageError(f"decode: heatmaps {tuple(maps.shape)}, expected (N, K, H, W)")
    if maps.dtype not in (torch.float32, torch.float64):
        maps = maps.float()
    N, K, H, W = maps.shape
    # The only pass over the whole batch: the maximum of each row. The rest looks at single rows.
    peak, py = maps.amax(-1).max(-1)
    rows = torch.arange(0, N * K * H, H, device=maps.device) + py.flatten()
    px = maps.reshape(-1, W).index_select(0, rows).max(-1).indices.view(N, K)
    found = peak > 0
    x, y = (torch.where(found, pixel, -1).to(maps.dtype) for pixel in (px, py))
    if method in ("default", "default-1x"):
        step_x, step_y = quarter_step(maps, px, py, found, each_axis=method == "default-1x")
    elif method == "dark":
        step_x, step_y = dark_step(maps, px, py, found, peak)
    elif method in ("udp", "udp-1x"):
        step_x, step_y = udp_step(maps, px, py, found, peak if method == "udp-1x" else None)
    else:
        step_x = step_y = torch.zeros_like(x)
    xy = torch.stack((x + step_x.to(x.dtype), y + step_y.to(y.dtype)), -1)
    return like(heatmaps_NKHW, xy), like(heatmaps_NKHW, peak)


def flip_back(heatmaps: Array, flip_pairs: Sequence[tuple[int, int]], shift: bool = True) -> Array:
    """Maps of the mirrored image, as maps of the image itself.

    Args:
        heatmaps: (N, K, H, W) maps predicted on the mirrored image.
        flip_pairs: joints (left, right) that a mirror exchanges.
        shift: move one pixel to the right: column x takes x - 1, column 0 keeps its own. A mirror
            at stride 4 is off by 3/4 pixel, which this makes up for; UDP needs none.

    Returns:
        The maps unflipped and with left and right exchanged; not averaged with anything.

    Raises:
        UsageError: not maps, or pairs that are out of range or overlap.
    """
    maps = as_tensor(heatmaps)
    if maps.ndim != 4:
        raise UsageError(f"flip_back: heatmaps {tuple(maps.shape)}, expected (N, K, H, W)")
    order = swapped(maps.shape[1], flip_pairs, maps.device)
    flipped = maps.index_select(1, order).flip(-1)
    if shift:
        flipped = torch.cat((flipped[..., :1], flipped[..., :-1]), -1)
    return like(heatmaps, flipped)


def flip_test(
    model: Callable[[Tensor], Tensor],
    images: Tensor,
    flip_pairs: Sequence[tuple[int, int]],
    shift: bool = True,
) -> Tensor:
    """The average of a model's maps of an image and of its mirror image.

    Args:
        model: (N, 3, H, W) images to (N, K, H', W') maps.
        images: (N, 3, H, W).
        flip_pairs: joints (left, right) that a mirror exchanges.
        shift: see :func:`flip_back`; False for UDP.

    Returns:
        (N, K, H', W') maps.
    """
    return 0.5 * (model(images) + flip_back(model(images.flip(-1)), flip_pairs, shift))


def mse_loss(prediction: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Mean squared error of heatmaps, each joint's map multiplied by its weight first.

    Args:
        prediction: (N, K, H, W).
        target: (N, K, H, W).
        weights: (N, K), from :func:`encode`, times joint weights where those are in use. A weight
            scales prediction and target alike and so counts squared.

    Returns:
        The mean over everything, joints of weight 0 included.
    """
    return ((prediction.float() - target) * weights[..., None, None]).square().mean()


def to_image(
    xy: Array,
    center: Array,
    size: Array,
    heatmap_size: tuple[int, int],
    udp: bool = False,
) -> Array:
    """Map points back to the image they were cropped from (unrotated crops).

    Args:
        xy: (N, K, 2) in heatmap pixels.
        center: (N, 2) box centre in image pixels.
        size: (N, 2) box width and height in image pixels, padding included.
        heatmap_size: (W, H).
        udp: the crop maps the box to (W - 1, H - 1).

    Returns:
        (N, K, 2) in image pixels, 0-based.
    """
    points, centers, sizes = as_tensor(xy), as_tensor(center), as_tensor(size)
    last = 1 if udp else 0
    scale = sizes / sizes.new_tensor([heatmap_size[0] - last, heatmap_size[1] - last])
    return like(xy, points * scale[:, None] + (centers - sizes / 2)[:, None])


@dataclass(frozen=True)
class HeatmapCodec:
    """One Gaussian map per joint: the functions of this module, bound to sizes and methods.

    Raises:
        UsageError: unknown methods, or a UDP decoder on a map encoded otherwise.
    """

    input_size: tuple[int, int]  # (W, H) of the network input
    heatmap_size: tuple[int, int]  # (W, H)
    sigma: float = 2.0  # heatmap pixels
    method: str = "standard"  # of encoding
    decoder: str = "default"
    name: ClassVar[str] = "heatmap"

    def __post_init__(self) -> None:
        if self.method not in ENCODERS:
            raise unknown_name("encoder", self.method, ENCODERS)
        if self.decoder not in DECODERS:
            raise unknown_name("decoder", self.decoder, DECODERS)
        _stride(self.input_size, self.heatmap_size, self.udp)

    @property
    def udp(self) -> bool:
        """Whether crops and maps follow the UDP geometry."""
        return self.method == "udp"

    @property
    def map_size(self) -> tuple[int, int]:
        """The (W, H) grid that :meth:`decode` answers in."""
        return self.heatmap_size

    def encode(self, keypoints_NK2: Tensor, visibility_NK: Tensor) -> tuple[Tensor, Tensor]:
        """Targets and weights; see :func:`encode`."""
        return encode(
            keypoints_NK2,
            visibility_NK,
            self.input_size,
            self.heatmap_size,
            self.sigma,
            self.method,
        )

    def decode(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Points on :attr:`map_size`'s grid and their scores; see :func:`decode`."""
        return decode(outputs, self.decoder)

    def to_image(self, xy: Tensor, center: Tensor, size: Tensor) -> Tensor:
        """Points of :meth:`decode` in image pixels; see :func:`to_image`."""
        return to_image(xy, center, size, self.map_size, self.udp)

    def flip_back(
        self, outputs: Tensor, flip_pairs: Sequence[tuple[int, int]], shift: bool | None = None
    ) -> Tensor:
        """Outputs for the mirrored image as outputs for the image; shifted unless UDP."""
        return flip_back(outputs, flip_pairs, (not self.udp) if shift is None else shift)

    def flip_test(
        self,
        model: Callable[[Tensor], Tensor],
        images: Tensor,
        flip_pairs: Sequence[tuple[int, int]],
    ) -> Tensor:
        """Average of the outputs for the images and for their mirror images."""
        return flip_test(model, images, flip_pairs, shift=not self.udp)

    def loss(self, outputs: Tensor, target: Tensor, weights: Tensor) -> Tensor:
        """Mean squared error; see :func:`mse_loss`."""
        return mse_loss(outputs, target, weights)


def _profile(mean_NK: Tensor, length: int, sigma: float, method: str) -> Tensor:
    """One axis of every Gaussian, (N, K, length) float32; 0 where the mean is infinite."""
    pixels = torch.arange(length, device=mean_NK.device, dtype=torch.float32)
    if method == "unbiased":
        return _gaussian(pixels, mean_NK, sigma)
    # There are few pixels that a patch can be centred on: one row each, and a last one without any.
    reach = 3 * sigma
    beyond = math.ceil(reach) + 1
    centres = torch.arange(-beyond, length + beyond, device=mean_NK.device, dtype=torch.float32)
    first, end = torch.trunc(centres - reach), torch.trunc(centres + reach + 1)
    patches = ((pixels >= first[:, None]) & (pixels < end[:, None])).float()
    if method == "standard":
        patches *= _whole_offsets(pixels, centres, sigma)
    patches = F.pad(patches, (0, 0, 0, 1))
    nearest = torch.trunc(mean_NK + 0.5).clamp(max=length + beyond)
    row = (nearest + beyond).long()
    profile = patches.index_select(0, row.flatten()).view(*row.shape, length)
    return profile if method == "standard" else profile.mul_(_gaussian(pixels, mean_NK, sigma))


def _gaussian(pixels: Tensor, mean: Tensor, sigma: float) -> Tensor:
    """``exp(-(pixel - mean)^2 / (2 sigma^2))`` for every mean, float32."""
    scale = 1 / (math.sqrt(2) * sigma)
    offset = pixels * scale - (mean * scale).float()[..., None]
    return offset.square_().neg_().exp_()


def _whole_offsets(pixels: Tensor, centres: Tensor, sigma: float) -> Tensor:
    """:func:`_gaussian` around whole pixels, exactly symmetric: one value for each distance.

    The decoder looks which neighbour of the peak is larger; a last bit must not decide that.
    """
    distance = (pixels - centres[:, None]).abs().long()
    count = len(pixels) + len(centres)  # more than any distance; to ask for the largest would wait
    steps = torch.arange(count, device=pixels.device, dtype=torch.float64)
    return torch.exp(steps.square() * (-0.5 / sigma**2)).float()[distance]


def _stride(
    input_size: tuple[int, int], heatmap_size: tuple[int, int], udp: bool
) -> tuple[float, float]:
    """Input pixels per heatmap pixel, along x and y."""
    last = 1 if udp else 0
    if min(heatmap_size) <= last or min(input_size) <= last:
        raise UsageError(
            f"codec: input {input_size}, heatmap {heatmap_size} (W, H), expected sides > {last}"
        )
    return (
        (input_size[0] - last) / (heatmap_size[0] - last),
        (input_size[1] - last) / (heatmap_size[1] - last),
    )
