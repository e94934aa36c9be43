"""From the highest pixel of a map to a fraction of a pixel.

Each step looks at the surroundings of one pixel per joint only. What a step does not apply to (no
positive maximum, a border, a singular Hessian) moves by 0. MMPose 0.29 and 1.x differ in two of
them; both are here, because a published accuracy is that of one of them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_BLUR_SIGMA = 2.0  # what OpenCV derives for its 11-tap kernel: 0.3 * ((11 - 1) / 2 - 1) + 0.8
_BLUR_RADIUS = 5


def quarter_step(
    maps: Tensor, px: Tensor, py: Tensor, found: Tensor, each_axis: bool = False
) -> tuple[Tensor, Tensor]:
    """0.25 px towards the larger neighbour in x and in y; none at the border.

    MMPose 0.29 moves a point only where it is inside along both axes. With `each_axis`, as in 1.x:
    along an axis wherever it is inside along that one, and not in row or column 0.
    """
    H, W = maps.shape[2:]
    inside_x, inside_y = found & (px > 1) & (px < W - 1), found & (py > 1) & (py < H - 1)
    if each_axis:
        inside_x, inside_y = inside_x & (py > 0), inside_y & (px > 0)
    else:
        inside_x = inside_y = inside_x & inside_y
    # What does not move looks at the map's centre instead, whose answer is then dropped.
    at = torch.where(inside_x | inside_y, py * W + px, (H // 2) * W + W // 2)
    flat = maps.flatten(2)
    right, left, below, above = (
        flat.gather(2, (at + offset).clamp_(0, H * W - 1)[..., None])[..., 0]
        for offset in (1, -1, W, -W)
    )
    x, y = 0.25 * torch.sign(right - left), 0.25 * torch.sign(below - above)
    return torch.where(inside_x, x, 0.0), torch.where(inside_y, y, 0.0)


def dark_step(
    maps: Tensor, px: Tensor, py: Tensor, found: Tensor, peak: Tensor
) -> tuple[Tensor, Tensor]:
    """Newton step on the log of the blurred map, with two-pixel second differences."""
    H, W = maps.shape[2:]
    inside = found & (px > 1) & (px < W - 2) & (py > 1) & (py < H - 2)
    near = _blurred(maps, px, py, reach=2, reflect=False)
    rescale = peak / _blurred_maximum(maps)  # the blurred map gets its old maximum back
    h = _log(torch.clamp(near * rescale[..., None, None].float(), min=1e-10))
    dx = 0.5 * (h[..., 2, 3] - h[..., 2, 1])
    dy = 0.5 * (h[..., 3, 2] - h[..., 1, 2])
    dxx = 0.25 * (h[..., 2, 4] - 2 * h[..., 2, 2] + h[..., 2, 0])
    dyy = 0.25 * (h[..., 4, 2] - 2 * h[..., 2, 2] + h[..., 0, 2])
    dxy = 0.25 * (h[..., 3, 3] - h[..., 1, 3] - h[..., 3, 1] + h[..., 1, 1])
    return _newton(dx, dy, dxx, dyy, dxy, inside)


def udp_step(
    maps: Tensor, px: Tensor, py: Tensor, found: Tensor, peak: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Newton step on the log of the blurred, clipped map, at the border too.

    MMPose 0.29 blurs a map with its mirror image around it. With `peak`, the maxima, as in 1.x:
    with zeros around it, and the blurred map gets its old maximum back before it is clipped.
    """
    H, W = maps.shape[2:]
    near = _blurred(maps, px, py, reach=1, reflect=peak is None)
    if peak is not None:
        near = near * (peak / _blurred_maximum(maps))[..., None, None].float()
    # Outside the map the edge's value counts: neighbours that fall out take the one inside.
    around = torch.arange(-1, 2, device=maps.device)
    columns = (px[..., None] + around).clamp(0, W - 1) - px[..., None] + 1
    rows = (py[..., None] + around).clamp(0, H - 1) - py[..., None] + 1
    near = near.take_along_dim(rows[..., :, None], -2).take_along_dim(columns[..., None, :], -1)
    h = _log(near.clamp(0.001, 50))
    epsilon = torch.finfo(torch.float32).eps
    dx = 0.5 * (h[..., 1, 2] - h[..., 1, 0])
    dy = 0.5 * (h[..., 2, 1] - h[..., 0, 1])
    dxx = h[..., 1, 2] - 2 * h[..., 1, 1] + h[..., 1, 0] + epsilon
    dyy = h[..., 2, 1] - 2 * h[..., 1, 1] + h[..., 0, 1] + epsilon
    dxy = 0.5 * (
        (h[..., 2, 2] - h[..., 1, 2] - h[..., 2, 1] + h[..., 1, 1])
        + (h[..., 1, 1] - h[..., 1, 0] - h[..., 0, 1] + h[..., 0, 0])
    )
    return _newton(dx, dy, dxx, dyy, dxy, found)


def _newton(
    dx: Tensor, dy: Tensor, dxx: Tensor, dyy: Tensor, dxy: Tensor, where: Tensor
) -> tuple[Tensor, Tensor]:
    """``-H^-1 g`` of every joint, and 0 where it is not wanted or H is singular."""
    determinant = dxx * dyy - dxy * dxy
    x = (dxy * dy - dyy * dx) / determinant
    y = (dxy * dx - dxx * dy) / determinant
    valid = where & (determinant != 0) & x.isfinite() & y.isfinite()
    return torch.where(valid, x, 0.0), torch.where(valid, y, 0.0)


def _log(h: Tensor) -> Tensor:
    """Logarithm, rounded to float32, in float64.

    Equal values must have equal logarithms, or flat ground gets a slope: vectorised float32
    logarithms differ in the last bit between a vector's body and its tail.
    """
    return torch.log(h.double()).float().double()


def _kernel(device: torch.device) -> Tensor:
    taps = torch.arange(-_BLUR_RADIUS, _BLUR_RADIUS + 1, device=device, dtype=torch.float64)
    weights = torch.exp(-(taps**2) / (2 * _BLUR_SIGMA**2))
    return weights / weights.sum()


def _blurred(maps: Tensor, px: Tensor, py: Tensor, reach: int, reflect: bool) -> Tensor:
    """The 11x11-blurred map around one pixel per joint, float32 (N, K, 2 reach + 1, ...).

    Computed in float64 and rounded, so that a constant map blurs to an exactly constant one.
    Outside the map are zeros, or, with ``reflect``, its mirror image without the edge repeated.
    """
    H, W = maps.shape[2:]
    span = reach + _BLUR_RADIUS
    around = torch.arange(-span, span + 1, device=maps.device)
    x, y = px[..., None] + around, py[..., None] + around
    if reflect:
        x, y = _reflect(x, W), _reflect(y, H)
    valid_x, valid_y = (x >= 0) & (x < W), (y >= 0) & (y < H)
    index = y.clamp(0, H - 1)[..., :, None] * W + x.clamp(0, W - 1)[..., None, :]
    window = maps.flatten(2).gather(2, index.flatten(2)).view(index.shape).double()
    window = torch.where(valid_y[..., :, None] & valid_x[..., None, :], window, 0.0)
    kernel = _kernel(maps.device)
    band = torch.stack([F.pad(kernel, (i, 2 * reach - i)) for i in range(2 * reach + 1)])
    return (band @ window @ band.T).float()


def _blurred_maximum(maps: Tensor) -> Tensor:
    """The maximum of every map after the 11x11 blur with zeros outside, (N, K)."""
    kernel = _kernel(maps.device)

    def band(length: int) -> Tensor:
        offset = torch.arange(length, device=maps.device)
        offset = offset[None] - offset[:, None] + _BLUR_RADIUS
        inside = (offset >= 0) & (offset < len(kernel))
        taps = torch.where(inside, kernel[offset.clamp(0, len(kernel) - 1)], 0.0)
        return taps.to(maps.dtype)

    return (band(maps.shape[2]) @ maps @ band(maps.shape[3])).amax((-2, -1))


def _reflect(index: Tensor, length: int) -> Tensor:
    """Indices mirrored into [0, length) as often as it takes, the edge not repeated."""
    if length == 1:
        return torch.zeros_like(index)
    period = 2 * (length - 1)
    index = index.remainder(period)
    return torch.minimum(index, period - index)
