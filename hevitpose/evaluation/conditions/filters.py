"""Filters whose result is the same on every platform: integers, or sums that double holds exactly.

A float filter's last bits depend on the processor's vector and fused instructions, and a rounding
tie turns such a bit into another pixel.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

_SCALE = 1 << 16  # a kernel's weights add up to it


def convolve(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Correlate an integer image with a kernel, reflected at the border.

    Args:
        image: (h, w) or (h, w, 3), integers of at most 24 bits.
        kernel: (kh, kw), non-negative, of any sum.

    Returns:
        float64 of the image's shape: exact integers over 65536.
    """
    weights = np.rint(kernel * (_SCALE / kernel.sum()))
    at = np.unravel_index(weights.argmax(), weights.shape)
    weights[at] += _SCALE - weights.sum()
    wide = image.astype(np.float64)
    found = cv2.filter2D(wide, cv2.CV_64F, weights, borderType=cv2.BORDER_REFLECT_101)
    return np.rint(found) / _SCALE  # large kernels are applied by an FFT, which rounds


def gaussian(image: np.ndarray, sigma: float) -> np.ndarray:
    """Blur an integer image, truncated at 4 sigma as SciPy's; as :func:`convolve`."""
    radius = int(4 * sigma + 0.5)
    line = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)[None]
    return convolve(np.rint(convolve(image, line) * 256), line.T) / 256


def smooth_field(noise: np.ndarray, sigma: float) -> np.ndarray:
    """Blur a field of 16-bit integers by any sigma, truncated at 3 sigma, reflected at the border.

    A product of matrices of integers, whose sums double holds whatever their order.
    """
    across = np.rint(noise.astype(np.float64) @ _blurring(noise.shape[1], sigma) / 256)
    return _blurring(noise.shape[0], sigma).T @ across * (256 / _SCALE**2)


@cache
def _blurring(size: int, sigma: float) -> np.ndarray:
    radius = int(3 * sigma + 0.5)
    offsets = np.arange(-radius, radius + 1)
    line = np.exp(-0.5 * (offsets / sigma) ** 2)
    matrix = np.zeros((size, size))
    rows = _reflect(np.arange(size)[None] + offsets[:, None], size)
    columns = np.broadcast_to(np.arange(size), rows.shape)
    np.add.at(matrix, (rows, columns), np.broadcast_to(line[:, None], rows.shape))
    return np.rint(matrix * (_SCALE / line.sum()))


def disk(radius: int, alias_blur: float) -> np.ndarray:
    """A disk, its edge softened by a Gaussian of ``alias_blur`` pixels."""
    reach = max(radius, 8)
    axis = np.arange(-reach, reach + 1)
    inside = (axis[None] ** 2 + axis[:, None] ** 2 <= radius**2).astype(np.float64)
    side = 1 if radius <= 8 else 2
    line = np.exp(-0.5 * (np.arange(-side, side + 1) / alias_blur) ** 2)
    return cv2.sepFilter2D(inside, cv2.CV_64F, line / line.sum(), line / line.sum())


def streak(radius: int, sigma: float, degrees: float) -> np.ndarray:
    """A one-sided Gaussian along a line from the centre: ImageMagick's motion blur."""
    kernel = np.zeros((2 * radius + 1, 2 * radius + 1))
    steps = np.arange(radius + 1)
    weights = np.exp(-0.5 * (steps / sigma) ** 2)
    angle = np.deg2rad(degrees)
    rows = np.rint(steps * np.sin(angle)).astype(int) + radius
    columns = np.rint(steps * np.cos(angle)).astype(int) + radius
    np.add.at(kernel, (rows, columns), weights)
    return kernel


def zoom(image: np.ndarray, percent: int) -> np.ndarray:
    """Enlarge the middle of an 8-bit image, by OpenCV's bit-exact bilinear interpolation."""
    height, width = image.shape[:2]
    inner_h, inner_w = -(-height * 100 // percent), -(-width * 100 // percent)
    top, left = (height - inner_h) // 2, (width - inner_w) // 2
    middle = image[top : top + inner_h, left : left + inner_w]
    return cv2.resize(middle, (width, height), interpolation=cv2.INTER_LINEAR_EXACT)


def sample(image: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Look up pixels between pixels, bilinearly in 256ths, reflected at the border.

    Args:
        image: (h, w, 3) uint8.
        x: (h, w) float64, columns.
        y: (h, w) float64, rows.
    """
    height, width = image.shape[:2]
    fixed = [np.rint(v * 256).astype(np.int64) for v in (x, y)]
    (x0, fx), (y0, fy) = ((v >> 8, (v & 255)[..., None]) for v in fixed)
    columns = [_reflect(x0 + step, width) for step in (0, 1)]
    rows = [_reflect(y0 + step, height) for step in (0, 1)]
    wide = image.astype(np.int64)
    upper, lower = (wide[row, columns[0]] * (256 - fx) + wide[row, columns[1]] * fx for row in rows)
    return ((upper * (256 - fy) + lower * fy + (1 << 15)) >> 16).astype(np.uint8)


def _reflect(index: np.ndarray, size: int) -> np.ndarray:
    if size == 1:
        return np.zeros_like(index)
    folded = index % (2 * size - 2)
    return np.where(folded < size, folded, 2 * size - 2 - folded)


def plasma(bits: np.ndarray, decay: float) -> np.ndarray:
    """A fractal height map by the diamond-square algorithm, 0 to 1.

    Each addition and product is one rounding of IEEE 754, the same everywhere.

    Args:
        bits: (2, side, side) uint16 random numbers; ``side`` a power of two.
        decay: the roughness is divided by its square from one scale to the next.
    """
    side = bits.shape[-1]
    noise = bits / 32768.0 - 1.0
    heights = np.zeros((side, side))
    step, rough = side, 1.0
    while step >= 2:
        half = step // 2
        corners = heights[::step, ::step]
        pairs = corners + np.roll(corners, -1, 0)
        squares = (pairs + np.roll(pairs, -1, 1)) * 0.25
        heights[half::step, half::step] = squares + rough * noise[0, half::step, half::step]
        middles, corners = heights[half::step, half::step], heights[::step, ::step]
        left = (middles + np.roll(middles, 1, 0)) + (corners + np.roll(corners, -1, 1))
        heights[::step, half::step] = left * 0.25 + rough * noise[0, ::step, half::step]
        top = (middles + np.roll(middles, 1, 1)) + (corners + np.roll(corners, -1, 0))
        heights[half::step, ::step] = top * 0.25 + rough * noise[1, half::step, ::step]
        step, rough = half, rough / decay**2
    heights -= heights.min()
    return heights / heights.max()
